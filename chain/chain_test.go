package chain_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

func domain() chain.Domain {
	return chain.Domain{Network: ledger.HashOf("test network"), Chain: ledger.MainChain}
}

func key(n byte) ledger.PrivateKey { return ledger.NewPrivateKey([ledger.SeedSize]byte{n}) }

func fields() chain.TxFields {
	return chain.TxFields{Kind: chain.KindTransfer, Zone: 3, Nonce: 7, MaxFee: 100, ValidUntil: 55, Payload: []byte("payload")}
}

func TestTxGolden(t *testing.T) {
	t.Parallel()
	raw := chain.SignTx(domain(), key(1), fields())
	head := slices.Concat([]byte("trib\x01\x01"), domainBytes(), []byte{0, 0, 0, 1, 0, 0, 0, 65, 1, 3})
	if !bytes.HasPrefix(raw, head) {
		t.Errorf("transaction begins %x, want %x", raw[:len(head)], head)
	}
	const hash = "1189e0ddd107381dde4f9400c3acdc66ac16fe2800c0c33b3de916635bf04cf3"
	if got := ledger.HashOf("whole", raw).String(); got != hash {
		t.Errorf("transaction hashes to %s, want %s:\n%x", got, hash, raw)
	}
	tx, err := chain.DecodeTx(domain(), raw)
	if err != nil {
		t.Fatal(err)
	}
	got := chain.TxFields{Kind: tx.Kind, Zone: tx.Signer.Zone(), Nonce: tx.Nonce, MaxFee: tx.MaxFee, ValidUntil: tx.ValidUntil, Payload: tx.Payload}
	if diff := cmp.Diff(fields(), got); diff != "" {
		t.Errorf("decoded fields (-want +got):\n%s", diff)
	}
	if c := tx.Claim(); !ledger.Verify(c.Key, c.Message, c.Signature) {
		t.Error("the signature does not verify")
	}
	if len(raw) != chain.TxOverhead+len("payload") {
		t.Errorf("%d bytes, want TxOverhead + payload", len(raw))
	}
}

func domainBytes() []byte {
	n := domain().Network
	return n[:]
}

// One valid transaction; each row breaks one thing and wants this code.
func TestDecodeTxRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		spoil func(raw []byte) []byte
		want  chain.Code
	}{
		{"magic", patch(0, 'T'), chain.CodeMalformed},
		{"version", patch(4, 2), chain.CodeMalformed},
		{"type of a voucher", patch(5, byte(chain.TypeVoucher)), chain.CodeMalformed},
		{"network", patch(6, 0), chain.CodeWrongNetwork},
		{"chain", patch(41, 9), chain.CodeWrongChain},
		{"body length", patch(45, 1), chain.CodeMalformed},
		{"huge body length", patch(42, 0xff), chain.CodeMalformed},
		{"truncated", func(raw []byte) []byte { return raw[:len(raw)-1] }, chain.CodeMalformed},
		{"trailing byte", func(raw []byte) []byte { return append(raw, 0) }, chain.CodeMalformed},
		{"empty", func([]byte) []byte { return nil }, chain.CodeMalformed},
		{"header alone", func(raw []byte) []byte { return raw[:chain.HeaderSize] }, chain.CodeMalformed},
		{"too large", func([]byte) []byte { return make([]byte, chain.MaxTxSize+1) }, chain.CodeTooLarge},
		{"small-order signer", func(raw []byte) []byte { copy(raw[48:80], append([]byte{1}, make([]byte, 31)...)); return raw }, chain.CodeBadKey},
		{"signer not on the curve", func(raw []byte) []byte { copy(raw[48:80], append([]byte{2}, make([]byte, 31)...)); return raw }, chain.CodeBadKey},
		{"max_fee above the supply", patch(88, 0x80), chain.CodeAmountOverflow},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			raw := row.spoil(chain.SignTx(domain(), key(1), fields()))
			_, err := chain.DecodeTx(domain(), raw)
			if !errors.Is(err, row.want.Err()) {
				t.Errorf("error %v, want %v", err, row.want)
			}
		})
	}
}

func patch(at int, b byte) func([]byte) []byte {
	return func(raw []byte) []byte {
		raw[at] = b
		return raw
	}
}

// The name of a transaction does not depend on its signature, so that nobody
// can make one transaction look like two.
func TestTxHashIgnoresTheSignature(t *testing.T) {
	t.Parallel()
	raw := chain.SignTx(domain(), key(1), fields())
	a, err := chain.DecodeTx(domain(), raw)
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Clone(raw)
	other[len(other)-1] ^= 1
	b, err := chain.DecodeTx(domain(), other)
	if err != nil || a.Hash != b.Hash {
		t.Errorf("hashes %v and %v differ (%v)", a.Hash, b.Hash, err)
	}
	other[len(other)-ledger.SignatureSize-1] ^= 1
	if c, err := chain.DecodeTx(domain(), other); err != nil || c.Hash == a.Hash {
		t.Errorf("another payload has the same hash (%v)", err)
	}
}

func TestBundleRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		records := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 100), 1, chain.BundleRecords).Draw(rt, "records")
		size := 0
		for _, r := range records {
			size = chain.BundleSize(size, len(r))
		}
		raw := chain.EncodeRecords(records)
		if len(raw) != size {
			rt.Fatalf("BundleSize says %d, the bundle has %d bytes", size, len(raw))
		}
		b, err := chain.DecodeBundle(raw)
		if err != nil || b.Tick != 0 || !slices.EqualFunc(b.Records, records, bytes.Equal) {
			rt.Fatalf("round trip: %v", err)
		}
	})
	b, err := chain.DecodeBundle(chain.EncodeTick(77))
	if err != nil || b.Tick != 77 || b.Records != nil || b.Seal != nil {
		t.Errorf("tick: %+v, %v", b, err)
	}
}

func TestSealRoundTrip(t *testing.T) {
	t.Parallel()
	seal := chain.Seal{Height: 0x0102030405060708}
	for i := range seal.Signature {
		seal.Signature[i] = byte(i)
	}
	raw := seal.Encode()
	const want = "b30102030405060708" +
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f"
	if got := hex.EncodeToString(raw); got != want || len(raw) != chain.SealBundleSize {
		t.Errorf("a seal is %s, want %s", got, want)
	}
	b, err := chain.DecodeBundle(raw)
	if err != nil || b.Seal == nil || *b.Seal != seal || b.Records != nil || b.Tick != 0 {
		t.Errorf("decoded %+v, %v", b, err)
	}
}

func TestRelayRoundTrip(t *testing.T) {
	t.Parallel()
	raw := chain.EncodeRelay([]byte("carried"))
	const want = "b463617272696564"
	if got := hex.EncodeToString(raw); got != want || !chain.IsRelay(raw) {
		t.Errorf("a relay is %s, want %s", got, want)
	}
	b, err := chain.DecodeBundle(raw)
	if err != nil || string(b.Relay) != "carried" || b.Records != nil || b.Tick != 0 || b.Seal != nil {
		t.Errorf("decoded %+v, %v", b, err)
	}
	if b, err = chain.DecodeBundle(chain.EncodeRelay(make([]byte, chain.MaxTxSize))); err != nil || len(b.Relay) != chain.MaxTxSize {
		t.Errorf("the largest relay: %d bytes, %v", len(b.Relay), err)
	}
	if chain.IsRelay(nil) || chain.IsRelay(chain.EncodeTick(1)) {
		t.Error("a tick, or nothing, is taken for a relay")
	}
}

func TestDecodeBundleRefuses(t *testing.T) {
	t.Parallel()
	big := bytes.Repeat([]byte{1}, chain.BundleTarget)
	for _, row := range []struct {
		name string
		raw  []byte
		want chain.Code
	}{
		{"empty", nil, chain.CodeMalformed},
		{"unknown tag", []byte{0, 0, 0}, chain.CodeMalformed},
		{"no records", []byte{0xB1, 0, 0}, chain.CodeMalformed},
		{"too many records", chain.EncodeRecords(make([][]byte, chain.BundleRecords+1)), chain.CodeMalformed},
		{"fewer records than said", []byte{0xB1, 0, 2, 0, 0, 0, 1, 9}, chain.CodeMalformed},
		{"trailing byte", append(chain.EncodeRecords([][]byte{{1}}), 0), chain.CodeMalformed},
		{"record longer than the bundle", []byte{0xB1, 0, 1, 0, 0, 0, 9, 9}, chain.CodeMalformed},
		{"several records above the target", chain.EncodeRecords([][]byte{big, {1}}), chain.CodeTooLarge},
		{"above all limits", make([]byte, chain.MaxBundleSize+1), chain.CodeTooLarge},
		{"tick for height zero", chain.EncodeTick(0), chain.CodeMalformed},
		{"relay of nothing", chain.EncodeRelay(nil), chain.CodeMalformed},
		{"relay above the limit", chain.EncodeRelay(make([]byte, chain.MaxTxSize+1)), chain.CodeMalformed},
		{"seal of height zero", (&chain.Seal{}).Encode(), chain.CodeMalformed},
		{"seal with a trailing byte", append((&chain.Seal{Height: 1}).Encode(), 0), chain.CodeMalformed},
		{"seal that is cut", (&chain.Seal{Height: 1}).Encode()[:chain.SealBundleSize-1], chain.CodeMalformed},
		{"tick with a trailing byte", append(chain.EncodeTick(1), 0), chain.CodeMalformed},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if _, err := chain.DecodeBundle(row.raw); !errors.Is(err, row.want.Err()) {
				t.Errorf("error %v, want %v", err, row.want)
			}
		})
	}
	if _, err := chain.DecodeBundle(chain.EncodeRecords([][]byte{make([]byte, chain.MaxTxSize)})); err != nil {
		t.Errorf("one record of the largest size: %v", err)
	}
}

func FuzzDecodeTx(f *testing.F) {
	f.Add(chain.SignTx(domain(), key(1), fields()))
	f.Fuzz(func(t *testing.T, raw []byte) {
		tx, err := chain.DecodeTx(domain(), raw)
		if err != nil {
			if _, ok := chain.CodeOf(err); !ok {
				t.Errorf("an error without a code: %v", err)
			}
			return
		}
		again := chain.AttachSignature(chain.UnsignedTx(domain(), tx.SignerKey, chain.TxFields{
			Kind: tx.Kind, Zone: tx.Signer.Zone(), Nonce: tx.Nonce, MaxFee: tx.MaxFee, ValidUntil: tx.ValidUntil, Payload: tx.Payload,
		}), tx.Signature)
		if !bytes.Equal(raw, again) {
			t.Errorf("%x encodes back to %x", raw, again)
		}
	})
}

func FuzzDecodeBundle(f *testing.F) {
	f.Add(chain.EncodeRecords([][]byte{{1, 2, 3}, {}}))
	f.Add(chain.EncodeTick(5))
	f.Add((&chain.Seal{Height: 9}).Encode())
	f.Add(chain.EncodeRelay([]byte{1, 2, 3}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := chain.DecodeBundle(raw)
		if err != nil {
			return
		}
		var again []byte
		switch {
		case b.Seal != nil:
			again = b.Seal.Encode()
		case b.Relay != nil:
			again = chain.EncodeRelay(b.Relay)
		case b.Tick != 0:
			again = chain.EncodeTick(b.Tick)
		default:
			again = chain.EncodeRecords(b.Records)
		}
		if !bytes.Equal(raw, again) {
			t.Errorf("%x encodes back to %x", raw, again)
		}
	})
}

func TestCodesHaveNames(t *testing.T) {
	t.Parallel()
	seen := map[string]chain.Code{}
	for c := range chain.Code(200) {
		if !c.Known() {
			continue
		}
		if other, ok := seen[c.String()]; ok {
			t.Errorf("codes %d and %d share the name %s", c, other, c)
		}
		seen[c.String()] = c
		err := error(chain.Refuse(c, "detail"))
		if got, ok := chain.CodeOf(err); !ok || got != c || !errors.Is(err, c.Err()) {
			t.Errorf("code %v is not found again in its error", c)
		}
		if !strings.HasPrefix(err.Error(), c.String()) {
			t.Errorf("error %q does not begin with %s", err, c)
		}
	}
	if len(seen) < 36 {
		t.Errorf("%d codes have names, want all of them", len(seen))
	}
}

// model is a View over a plain map.
type model map[string][]byte

func (m model) Get(key []byte) []byte { return m[string(key)] }

func (m model) Range(prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		var keys []string
		for k := range m {
			if strings.HasPrefix(k, string(prefix)) {
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
		for _, k := range keys {
			if !yield([]byte(k), m[k]) {
				return
			}
		}
	}
}

// An overlay must behave like its base with the writes done.
func TestOverlayIsItsBaseWithWrites(t *testing.T) {
	t.Parallel()
	name := rapid.StringMatching(`[ab]{1,3}`)
	rapid.Check(t, func(rt *rapid.T) {
		base := model{}
		for k, v := range rapid.MapOf(name, rapid.String()).Draw(rt, "base") {
			base[k] = []byte(v)
		}
		want := model{}
		maps.Copy(want, base)
		o := chain.NewOverlay(base)
		top := chain.NewOverlay(o) // writes below and above must merge the same
		for range rapid.IntRange(0, 20).Draw(rt, "writes") {
			k, v := name.Draw(rt, "key"), rapid.String().Draw(rt, "value")
			if rapid.Bool().Draw(rt, "delete") {
				top.Delete([]byte(k))
				delete(want, k)
			} else {
				top.Set([]byte(k), []byte(v))
				want[k] = []byte(v)
			}
			if rapid.Bool().Draw(rt, "merge") {
				o.Merge(top)
				top = chain.NewOverlay(o)
			}
		}
		prefix := rapid.SampledFrom([]string{"", "a", "ab", "b", "c"}).Draw(rt, "prefix")
		if diff := cmp.Diff(collect(want, prefix), collect(top, prefix)); diff != "" {
			rt.Fatalf("Range(%q) (-want +got):\n%s", prefix, diff)
		}
		from := prefix + rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(rt, "from")
		tail := slices.DeleteFunc(collect(want, prefix), func(row [2]string) bool { return row[0] < from })
		for k, v := range chain.RangeFrom(top, []byte(prefix), []byte(from)) {
			if len(tail) == 0 || tail[0] != [2]string{string(k), hex.EncodeToString(v)} {
				rt.Fatalf("RangeFrom(%q, %q) yields %q, want %v", prefix, from, k, tail)
			}
			tail = tail[1:]
		}
		if len(tail) > 0 {
			rt.Fatalf("RangeFrom(%q, %q) ends before %v", prefix, from, tail)
		}
		for _, k := range []string{"a", "b", "aa", "ab", "ba", "bbb"} {
			if !bytes.Equal(want.Get([]byte(k)), top.Get([]byte(k))) || (want.Get([]byte(k)) == nil) != (top.Get([]byte(k)) == nil) {
				rt.Fatalf("Get(%q) = %q, want %q", k, top.Get([]byte(k)), want.Get([]byte(k)))
			}
		}
		o.Merge(top)
		if got := apply(base, o.Changes()); cmp.Diff(want, got) != "" {
			rt.Fatalf("changes do not lead to the same state:\n%s", cmp.Diff(want, got))
		}
	})
}

func collect(v chain.View, prefix string) [][2]string {
	out := [][2]string{}
	for k, value := range v.Range([]byte(prefix)) {
		out = append(out, [2]string{string(k), hex.EncodeToString(value)})
	}
	return out
}

func apply(base model, changes chain.Changes) model {
	out := model{}
	maps.Copy(out, base)
	if !slices.IsSortedFunc(changes, func(a, b chain.Change) int { return bytes.Compare(a.Key, b.Key) }) {
		panic("changes are not sorted")
	}
	for _, c := range changes {
		if c.Value == nil {
			delete(out, string(c.Key))
		} else {
			out[string(c.Key)] = c.Value
		}
	}
	return out
}

func TestTableKeys(t *testing.T) {
	t.Parallel()
	table := chain.Table{Prefix: 2, RowSize: 8}
	k := table.Key(0x0102030405060708)
	if want := []byte{2, 1, 2, 3, 4, 5, 6, 7, 8}; !bytes.Equal(k, want) {
		t.Errorf("key %x, want %x", k, want)
	}
	if i, err := table.Index(k); err != nil || i != 0x0102030405060708 {
		t.Errorf("index %x, %v", i, err)
	}
	for _, bad := range [][]byte{nil, k[:8], append(bytes.Clone(k), 0), append([]byte{3}, k[1:]...)} {
		if _, err := table.Index(bad); err == nil {
			t.Errorf("Index(%x) accepts a key that is no row", bad)
		}
	}
}
