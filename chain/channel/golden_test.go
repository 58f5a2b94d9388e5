package channel_test

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/zone"
)

var update = flag.Bool("update", false, "rewrite the golden vectors")

var testDomain = chain.Domain{Network: ledger.HashOf("test network"), Chain: ledger.MainChain}

func key(i byte) ledger.PrivateKey { return ledger.NewPrivateKey([ledger.SeedSize]byte{i, 1}) }

func params() channel.OpenParams {
	return channel.OpenParams{
		Payee: key(2).Address(1), VoucherKey: key(3).Public(), Deposit: 1 << 40, ExpiresAt: 1 << 33,
		Challenge: 4_800, Service: 7, Terms: ledger.HashOf("terms"),
	}
}

func ref() channel.Ref { return channel.Ref{Index: 1 << 20, ID: ledger.HashOf("channel")} }

func voucher() channel.Entry {
	e := channel.Entry{Index: 300, Lane: 63, Claim: channel.ClaimVoucher, Cumulative: 1 << 40, Units: 9, UsageRoot: ledger.HashOf("usage")}
	e.Signature = key(3).Sign(e.Signed(testDomain, ref().ID))
	return e
}

func hashClaim() channel.Entry {
	links := channel.HashChain(ledger.HashOf("tip"), 12)
	e := channel.Entry{
		Index: 301, Lane: 2, Close: true, Claim: channel.ClaimHash, Step: 5, Preimage: links[5],
		Commit: channel.HashCommit{BaseCumulative: 100, BaseUnits: 4, Root: links[0], UnitPrice: 3, UnitSize: 16_384, Steps: 12, ChainNo: 8},
	}
	e.Signature = key(3).Sign(e.Signed(testDomain, ref().ID))
	return e
}

func goldenFees() channel.Fees {
	return channel.Fees{Zone: zone.Fees{ShareBps: 1, Entry: 1 << 33}, Service: zone.Fees{ShareBps: 5_000, Entry: 4}}
}

func batch() channel.Batch {
	plain := voucher()
	plain.Index, plain.Lane, plain.UsageRoot = 2, 0, ledger.Hash{}
	b := channel.Batch{
		Payee: key(2).Address(1), Mode: channel.Atomic,
		Entries: []channel.Entry{plain, {Index: 2, Lane: 1, Close: true}, voucher(), hashClaim()},
		Auth:    &channel.Authority{PayeeKey: key(2).Public(), ValidUntil: 99},
	}
	auth, err := b.CloseAuth()
	if err != nil {
		panic(err)
	}
	b.Auth.Signature = key(2).Sign(auth.Signed(testDomain))
	return b
}

func coop() channel.CoopClose {
	next := params()
	return channel.CoopClose{
		Channel: ref(), Final: 5, ValidUntil: 1_000, PayerKey: key(1).Public(), PayeeKey: key(2).Public(),
		PayerSig: ledger.Signature{1}, PayeeSig: ledger.Signature{2}, Rollover: &next,
	}
}

func record() channel.Channel {
	return channel.Channel{
		ID: ref().ID, Payer: key(1).Address(0), Payee: key(2).Address(1), PayerIndex: 3, PayeeIndex: 4,
		VoucherKey: key(3).Public(), Service: 7, Terms: ledger.HashOf("terms"), Deposit: 1_000, Redeemed: 300, Rent: 5,
		OpenHeight: 6, ExpiresAt: 900, Challenge: 20, CloseAt: 80,
		Lane0: channel.Lane{Redeemed: 100, Units: 3, UsageRoot: ledger.HashOf("usage")}, LanesUsed: 1<<63 | 1, FeesNumber: 9,
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	put := func(name string, b []byte) { got[name] = hex.EncodeToString(b) }
	p, r := params(), ref()
	v := channel.Voucher{ChannelID: r.ID, Lane: 63, Cumulative: 1 << 40, Units: 9, UsageRoot: ledger.HashOf("usage")}
	put("signed voucher", v.Signed(testDomain))
	h := hashClaim()
	put("signed hash commitment", h.Signed(testDomain, r.ID))
	c := coop()
	terms := c.Terms()
	put("signed cooperative close", terms.Signed(testDomain))
	c.Rollover = nil
	terms = c.Terms()
	put("signed cooperative close without roll-over", terms.Signed(testDomain))
	b := batch()
	auth, err := b.CloseAuth()
	if err != nil {
		t.Fatal(err)
	}
	put("signed close authority", auth.Signed(testDomain))
	id := channel.ID(testDomain, key(1).Address(0), 1<<41, 1_023, &p)
	put("channel id", id[:])
	id = channel.RolloverID(r.ID, &p)
	put("roll-over id", id[:])
	id = p.Hash()
	put("open params hash", id[:])
	c = coop()
	open := channel.Open{Channels: []channel.OpenParams{p, p}}
	topUp, extend, request := channel.TopUp{Channel: r, NewTotal: 5}, channel.Extend{Channel: r, NewExpiry: 6}, channel.RequestClose{Channel: r}
	put("open", open.Encode())
	put("top-up", topUp.Encode())
	put("extend", extend.Encode())
	put("request close", request.Encode())
	put("cooperative close", c.Encode())
	put("batch", b.Encode())
	ch := record()
	put("channel row", ch.Encode())
	put("lane row", ch.Lane0.Encode())
	n := channel.Counters{Channels: 1, Lanes: 2, Open: 3}
	put("counters", n.Encode())
	fees := goldenFees()
	put("fees", fees.Encode())
	put("fees key", channel.FeesKey(258))
	put("lane directory", channel.Directory{{Lane: 1, Row: 1 << 40}, {Lane: 63, Row: 2}}.Encode())
	for i, w := range channel.HashChain(ledger.HashOf("tip"), 3) {
		put(fmt.Sprintf("hash chain w%d", i), w[:])
	}
	golden(t, got)
}

func golden(t *testing.T, got map[string]string) {
	t.Helper()
	const path = "testdata/encodings.json"
	if *update {
		text, err := json.MarshalIndent(got, "", "  ")
		if err == nil {
			err = os.WriteFile(path, append(text, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the bytes of the protocol changed: %s", diff)
	}
}

// TestSignedSizes: the lengths that the design states, header included.
func TestSignedSizes(t *testing.T) {
	t.Parallel()
	v, c, terms, auth := channel.Voucher{}, channel.HashCommit{}, channel.CoopCloseTerms{}, channel.CloseAuth{}
	for _, row := range []struct {
		name string
		got  []byte
		body int
	}{
		{"voucher", v.Signed(testDomain), 82},
		{"hash commitment", c.Signed(testDomain), 124},
		{"cooperative close", terms.Signed(testDomain), 80},
		{"close authority", auth.Signed(testDomain), 66},
	} {
		if len(row.got) != chain.HeaderSize+row.body {
			t.Errorf("%s: %d bytes, want %d", row.name, len(row.got), chain.HeaderSize+row.body)
		}
	}
}
