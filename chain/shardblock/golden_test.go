package shardblock_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

var update = flag.Bool("update", false, "rewrite the golden vectors")

func goldenCertificate(height uint64) cert.Certificate {
	return cert.Certificate{
		Checkpoint: cert.Checkpoint{
			Network: shardtest.Network(), Chain: ledger.MainChain, Height: height, Round: 1, Epoch: 2, BlockHash: ledger.HashOf("block"),
			StateRoot: ledger.HashOf("state"), OutboxRoot: ledger.HashOf("outbox"), CommitteeHash: ledger.HashOf("committee"),
		},
		Bitmap: []byte{7}, Signature: bls.Signature{1, 2, 3},
	}
}

func goldenRelays(tb testing.TB) map[string]*shardblock.Relay {
	tb.Helper()
	row := shardblock.Row{Height: 9, Value: []byte("value"), Proof: []byte("proof")}
	absent := shardblock.Row{Height: 9, Proof: []byte("proof")}
	m := link.Message{Link: link.Link{Dst: link.Place{Service: 7, Zone: 1, Bucket: 200}}, Expiry: 9, Payload: []byte("payload")}
	in, err := rebox(tb, &m).Import(5, 8, 0, 1)
	if err != nil {
		tb.Fatal(err)
	}
	way := link.Link{Src: link.Place{Service: 7, Zone: 1}, Dst: link.Place{Service: 7, Zone: 2, Bucket: 3}}
	older := anchor.Proof{Checkpoint: goldenCertificate(3).Checkpoint, Size: 4, Path: []ledger.Hash{{1}, {2}}}
	return map[string]*shardblock.Relay{
		"head": {Kind: shardblock.KindHead, News: shardblock.News{
			Handovers: []shardblock.Handover{{Certificate: goldenCertificate(20), Record: row}}, Heads: []cert.Certificate{goldenCertificate(21), goldenCertificate(22)},
		}},
		"epoch":  {Kind: shardblock.KindEpoch, Epoch: &shardblock.Epoch{Epoch: 3, Record: row, Assignment: absent, Committee: []byte("committee")}},
		"import": {Kind: shardblock.KindImport, Import: &shardblock.Import{Anchors: &row, Older: &older, Link: in}},
		"import of main": {
			Kind: shardblock.KindImport, News: shardblock.News{Heads: []cert.Certificate{goldenCertificate(8)}},
			Import: &shardblock.Import{Link: in},
		},
		"relist": {Kind: shardblock.KindRelist, Link: way},
		"reack":  {Kind: shardblock.KindReack, Link: way},
	}
}

func goldenGenesis(tb testing.TB) shardblock.Genesis {
	tb.Helper()
	return shardblock.Genesis{
		Service: service.Genesis{
			Network: shardtest.Network(), Shard: shardtest.ShardAt(9, 1, 0, 127), Epoch: 4, Sigma: 400, Params: service.DefaultParams(),
			Parents: []service.Parent{{Shard: shardtest.ShardAt(5, 1, 0, 255), Height: 77, StateRoot: ledger.HashOf("root")}},
		},
		Generation: 3, Clock: 77, EpochBlocks: 10, BeatBlocks: 20, Params: shardblock.DefaultParams(),
		Main: shardtest.CommitteeOf(tb, 4, 1, 2), Committee: shardtest.CommitteeOf(tb, 4, 3),
	}
}

func goldenResume(tb testing.TB) shardblock.Resume {
	tb.Helper()
	return shardblock.Resume{
		Generation: 1, Height: 2, StateRoot: ledger.HashOf("root"), Record: registry.EpochRecord{Epoch: 3, Sigma: 4, First: 5},
		Assignment: shard.Assignment{Shard: 9, Committee: shardtest.CommitteeOf(tb, 3, 6, 7), Last: true},
	}
}

// TestGolden pins the encodings, and what a few blocks make of a state.
func TestGolden(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	put := func(name string, b []byte) { got[name] = hex.EncodeToString(b) }
	for name, r := range goldenRelays(t) {
		put("relay: "+name, r.Encode())
	}
	g := goldenGenesis(t)
	put("genesis", g.Encode())
	hash := g.Hash()
	put("genesis hash", hash[:])
	c := shardblock.Config{Network: shardtest.Network(), Clock: 1, EpochBlocks: 2, BeatBlocks: 3, Params: shardblock.DefaultParams()}
	put("config", c.Encode())
	h := shardblock.Head{Height: 3, Epoch: 4, StateRoot: ledger.HashOf("state"), OutboxRoot: ledger.HashOf("outbox")}
	put("head", h.Encode())
	again := goldenResume(t)
	put("resume", again.Encode())
	hash = again.Hash()
	put("resume hash", hash[:])
	s := shardblock.Status{Epoch: 1, Generation: 2, Since: 3, Ended: 4, Outbox: 5, Bytes: 6}
	put("status", s.Encode())
	for name, key := range map[string][]byte{
		"config": shardblock.ConfigKey(), "status": shardblock.StatusKey(), "head": shardblock.HeadKey(258),
		"committee of main": shardblock.MainCommitteeKey(258), "committee": shardblock.CommitteeKey(258),
	} {
		put("key: "+name, key)
	}
	w := newWorld(t)
	p := w.open(keyIn(t, "payer", 0, 127), keyIn(t, "payee", 128, 255), 1_000)
	w.main.Assign(1, leftID, 100, 101, 102, 104)
	w.main.To(10)
	w.left.Block(relays(w.main.EpochRelay(1, leftID), w.main.Notices(1, 0, 0)))
	w.left.Block(nil, w.book(p, 40))
	state := w.left.State.Hash()
	put("state after two blocks", state[:])

	const path = "testdata/shardblock.json"
	if *update {
		text, err := json.MarshalIndent(got, "", "  ")
		if err == nil {
			err = os.WriteFile(path, append(text, '\n'), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("encodings changed (-want +got), -update if that is meant:\n%s", diff)
	}
}

// TestRoundTrips: what is decoded encodes to the same bytes.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	for name, r := range goldenRelays(t) {
		raw := r.Encode()
		back, err := shardblock.DecodeRelay(raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !bytes.Equal(back.Encode(), raw) {
			t.Errorf("%s: encodes to other bytes", name)
		}
		for cut := range len(raw) {
			if _, err := shardblock.DecodeRelay(raw[:cut]); err == nil {
				t.Errorf("%s: %d of %d bytes are a relay", name, cut, len(raw))
			}
		}
		if _, err := shardblock.DecodeRelay(append(bytes.Clone(raw), 0)); err == nil {
			t.Errorf("%s: one byte more is a relay", name)
		}
	}
	g := goldenGenesis(t)
	back, err := shardblock.DecodeGenesis(g.Encode())
	if err != nil || !bytes.Equal(back.Encode(), g.Encode()) {
		t.Errorf("genesis: %v", err)
	}
	g.Main.Members = nil
	if g.Validate() == nil {
		t.Error("a genesis without a committee of main")
	}
}

func FuzzDecodeRelay(f *testing.F) {
	for _, r := range goldenRelays(f) {
		f.Add(r.Encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := shardblock.DecodeRelay(b); err == nil && !bytes.Equal(r.Encode(), b) {
			t.Errorf("%x encodes to %x", b, r.Encode())
		}
	})
}

func FuzzDecodeGenesis(f *testing.F) {
	g := goldenGenesis(f)
	f.Add(g.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if g, err := shardblock.DecodeGenesis(b); err == nil && !bytes.Equal(g.Encode(), b) {
			t.Errorf("%x encodes to %x", b, g.Encode())
		}
	})
}

func FuzzDecodeResume(f *testing.F) {
	r := goldenResume(f)
	f.Add(r.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := shardblock.DecodeResume(b); err == nil && !bytes.Equal(r.Encode(), b) {
			t.Errorf("%x encodes to %x", b, r.Encode())
		}
	})
}

func FuzzDecodeState(f *testing.F) {
	s, c, h := shardblock.Status{Epoch: 1}, shardblock.Config{Params: shardblock.DefaultParams()}, shardblock.Head{Epoch: 1}
	f.Add(s.Encode())
	f.Add(c.Encode())
	f.Add(h.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := shardblock.DecodeStatus(b); err == nil && !bytes.Equal(s.Encode(), b) {
			t.Errorf("status %x", b)
		}
		if c, err := shardblock.DecodeConfig(b); err == nil && !bytes.Equal(c.Encode(), b) {
			t.Errorf("config %x", b)
		}
		if h, err := shardblock.DecodeHead(b); err == nil && !bytes.Equal(h.Encode(), b) {
			t.Errorf("head %x", b)
		}
	})
}
