package link_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

var update = flag.Bool("update", false, "rewrite the golden vectors")

func goldenImport(tb testing.TB) *link.Import {
	tb.Helper()
	a, b, known := newNode(2, here), newNode(3, there), anchored{}
	a.block(tb, known, func(c *link.Context) {
		send(tb, c, forth, "yes")
		send(tb, c, forth, "no, thanks")
		send(tb, c, link.Link{Src: here, Dst: main}, "to main")
	})
	b.block(tb, known, func(c *link.Context) {
		if _, err := c.Apply(a.carry(tb, there), known, b); err != nil {
			tb.Fatal(err)
		}
		send(tb, c, link.Link{Src: there, Dst: main}, "also to main")
	})
	return b.carry(tb, here)
}

// TestGolden: a difference is a fork of every network that runs.
func TestGolden(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	put := func(name string, b []byte) { got[name] = hex.EncodeToString(b) }
	m := link.Message{
		Link: link.Link{Src: here, Dst: there}, Seq: 258, Kind: 772, OriginTx: ledger.HashOf("tx"),
		Sender: ledger.Address{1, 2}, Recipient: ledger.Address{3, 4}, Expiry: 1 << 40, Payload: []byte("payload"),
	}
	put("message", m.Encode())
	a := link.Ack{Link: m.Link, Next: 5, Bounced: 2}
	put("acknowledgement", a.Encode())
	put("message leaf", link.Leaf{Message: &m}.Encode())
	put("acknowledgement leaf", link.Leaf{Ack: &a}.Encode())
	out := link.Outbound{Next: 1, Acked: 2, Kept: 3, Bytes: 4, Returns: 5, ReturnBytes: 6, Bounced: 7, Returned: 8, Back: 9, Progress: 10}
	put("outbound", out.Encode())
	in := link.Inbound{Next: 1, Seen: 2, Bounced: 3, Listed: 4}
	put("inbound", in.Encode())
	put("outbound key", link.OutboundKey(m.Link))
	put("inbound key", link.InboundKey(m.Link))
	put("message key", link.MessageKey(m.Link, 258))
	put("bucket prefix", link.BucketPrefix(200))
	put("link", m.Link.Encode())
	put("import", goldenImport(t).Encode())
	seed := ledger.HashOf("seed")
	for _, i := range link.Expected(seed, 7, m.Link, 32, 100) {
		got["relays"] += hex.EncodeToString([]byte{byte(i)})
	}

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
		t.Errorf("%s: %s", path, diff)
	}
}

func places() *rapid.Generator[link.Place] {
	return rapid.Custom(func(t *rapid.T) link.Place {
		return link.Place{Service: rapid.Uint32().Draw(t, "service"), Zone: rapid.Byte().Draw(t, "zone"), Bucket: rapid.Byte().Draw(t, "bucket")}
	})
}

// TestRoundTrip: what is written is read as it was.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		m := link.Message{
			Link: link.Link{Src: places().Draw(rt, "src"), Dst: places().Draw(rt, "dst")}, Seq: rapid.Uint64().Draw(rt, "seq"),
			Kind: rapid.Uint16().Draw(rt, "kind"), Payload: rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(rt, "payload"),
		}
		if m.Link.Src == m.Link.Dst {
			m.Link.Dst.Bucket++
		}
		copy(m.Sender[:], rapid.SliceOfN(rapid.Byte(), 21, 21).Draw(rt, "sender"))
		copy(m.OriginTx[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(rt, "origin"))
		if rapid.Bool().Draw(rt, "bounce") {
			m.Of, m.Code = rapid.Uint64().Draw(rt, "of"), chain.Code(rapid.Uint16Min(1).Draw(rt, "code"))
		} else {
			m.Expiry = rapid.Uint64Min(1).Draw(rt, "expiry")
		}
		raw := m.Encode()
		again, err := link.DecodeMessage(raw)
		if diff := cmp.Diff(m, again); err != nil || diff != "" || len(raw) != m.Size() {
			rt.Fatalf("decoded with %v: %s", err, diff)
		}
		o := link.Outbound{Next: rapid.Uint64().Draw(rt, "next"), Bytes: rapid.Uint64().Draw(rt, "bytes"), Progress: rapid.Uint64().Draw(rt, "progress")}
		if again, err := link.DecodeOutbound(o.Encode()); err != nil || again != o {
			rt.Fatalf("outbound decoded with %v", err)
		}
		i := link.Inbound{Next: rapid.Uint64().Draw(rt, "received"), Seen: rapid.Uint64().Draw(rt, "seen"), Listed: rapid.Uint64().Draw(rt, "listed")}
		if again, err := link.DecodeInbound(i.Encode()); err != nil || again != i {
			rt.Fatalf("inbound decoded with %v", err)
		}
	})
	in := goldenImport(t)
	again, err := link.DecodeImport(in.Encode())
	if diff := cmp.Diff(in, &again); err != nil || diff != "" || len(in.Encode()) != in.Size() {
		t.Errorf("import decoded with %v: %s", err, diff)
	}
}

func TestDecodersRefuse(t *testing.T) {
	t.Parallel()
	good := link.Message{Link: forth, Expiry: 1}
	message := func(change func(m *link.Message)) error {
		m := good
		change(&m)
		_, err := link.DecodeMessage(m.Encode())
		return err
	}
	ack := func(a link.Ack) error {
		_, err := link.DecodeAck(a.Encode())
		return err
	}
	leaf := func(b []byte) error {
		_, err := link.DecodeLeaf(b)
		return err
	}
	imported := func(b []byte) error {
		_, err := link.DecodeImport(b)
		return err
	}
	in := goldenImport(t)
	edit := func(change func(in *link.Import)) error {
		other := *in
		change(&other)
		return imported(other.Encode())
	}
	many := make([]link.Leaf, link.MaxImportLeaves+1)
	for i := range many {
		many[i] = link.Leaf{Ack: &link.Ack{Link: forth}}
	}
	large := link.Message{Link: forth, Expiry: 1, Payload: make([]byte, link.MaxPayload)}
	for _, row := range []struct {
		name string
		err  error
		want chain.Code
	}{
		{"good", message(func(*link.Message) {}), chain.CodeOK},
		{"the longest payload", message(func(m *link.Message) { m.Payload = make([]byte, link.MaxPayload) }), chain.CodeOK},
		{"a payload too long", message(func(m *link.Message) { m.Payload = make([]byte, link.MaxPayload+1) }), chain.CodeMalformed},
		{"a link to itself", message(func(m *link.Message) { m.Link.Dst = m.Link.Src }), chain.CodeMalformed},
		{"no expiry", message(func(m *link.Message) { m.Expiry = 0 }), chain.CodeMalformed},
		{"a bounce that expires", message(func(m *link.Message) { m.Code = 1 }), chain.CodeMalformed},
		{"an answer that is no bounce", message(func(m *link.Message) { m.Of = 1 }), chain.CodeMalformed},
		{"a bounce", message(func(m *link.Message) { m.Code, m.Expiry, m.Of = 1, 0, 9 }), chain.CodeOK},
		{"an acknowledgement to itself", ack(link.Ack{Link: link.Link{Src: here, Dst: here}}), chain.CodeMalformed},
		{"more bounced than received", ack(link.Ack{Link: forth, Next: 1, Bounced: 2}), chain.CodeMalformed},
		{"an acknowledgement cut short", leaf(append([]byte{1}, make([]byte, link.AckSize-1)...)), chain.CodeMalformed},
		{"no leaf", leaf(nil), chain.CodeMalformed},
		{"another leaf", leaf([]byte{3}), chain.CodeMalformed},
		{"a good import", edit(func(*link.Import) {}), chain.CodeOK},
		{"no leaves", edit(func(in *link.Import) { in.Leaves = nil }), chain.CodeMalformed},
		{"too many leaves", edit(func(in *link.Import) { in.Leaves = many }), chain.CodeTooLarge},
		{"no range", edit(func(in *link.Import) { in.Range.Size = 0 }), chain.CodeMalformed},
		{"a byte more", imported(append(in.Encode(), 0)), chain.CodeMalformed},
		{"a byte less", imported(in.Encode()[:in.Size()-1]), chain.CodeMalformed},
		{"too many bytes", edit(func(in *link.Import) {
			in.Leaves = nil
			for range 15 {
				in.Leaves = append(in.Leaves, link.Leaf{Message: &large})
			}
		}), chain.CodeTooLarge},
	} {
		wantCode(t, row.name, row.err, row.want)
	}
}

// canonical checks that decode accepts nothing but what encode writes.
func canonical[T any](f *testing.F, seed []byte, decode func([]byte) (T, error), encode func(*T) []byte) {
	f.Helper()
	f.Add(seed)
	f.Add(seed[:len(seed)-1])
	f.Add(append(bytes.Clone(seed), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decode(b)
		if err != nil {
			if _, ok := chain.CodeOf(err); !ok {
				t.Errorf("%x: %v has no code", b, err)
			}
			return
		}
		if again := encode(&v); !bytes.Equal(again, b) {
			t.Errorf("%x decodes, and encodes as %x", b, again)
		}
	})
}

// FuzzDecodeLink: what is decoded encodes to the same bytes.
func FuzzDecodeLink(f *testing.F) {
	f.Add(link.Link{Src: here, Dst: there}.Encode())
	f.Add(link.Link{Src: here, Dst: here}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := link.DecodeLink(b); err == nil && (!bytes.Equal(l.Encode(), b) || l.Src == l.Dst) {
			t.Errorf("%x decodes to %s, which encodes to %x", b, l, l.Encode())
		}
	})
}

func FuzzDecodeMessage(f *testing.F) {
	m := link.Message{Link: forth, Expiry: 9, Payload: []byte("payload")}
	canonical(f, m.Encode(), link.DecodeMessage, (*link.Message).Encode)
}

func FuzzDecodeLeaf(f *testing.F) {
	a := link.Ack{Link: forth, Next: 9}
	canonical(f, link.Leaf{Ack: &a}.Encode(), link.DecodeLeaf, func(l *link.Leaf) []byte { return l.Encode() })
}

func FuzzDecodeImport(f *testing.F) {
	canonical(f, goldenImport(f).Encode(), link.DecodeImport, (*link.Import).Encode)
}

// FuzzApply: an import that is not the one that was made changes nothing.
func FuzzApply(f *testing.F) {
	a, b, known := newNode(2, here), newNode(3, there), anchored{}
	a.block(f, known, func(c *link.Context) {
		send(f, c, forth, "yes")
		send(f, c, forth, "no")
		send(f, c, link.Link{Src: here, Dst: main}, "to main")
	})
	good := a.carry(f, there)
	f.Add(good.Encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		in, err := link.DecodeImport(raw)
		if err != nil {
			return
		}
		c := b.context()
		_, err = c.Apply(&in, known, &handler{})
		if (err == nil) != (c.State.Len() > 0) {
			t.Errorf("%x: %v with %d changes", raw, err, c.State.Len())
		}
		for i, l := range in.Leaves {
			if err == nil && !bytes.Equal(l.Encode(), good.Leaves[i].Encode()) {
				t.Errorf("%x: a leaf that was not sent is taken", raw)
			}
		}
	})
}
