package node

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/statetree"
)

// TestOfferedSnapshots wants what peers say of a snapshot to be what its manifest
// says.
func TestOfferedSnapshots(t *testing.T) {
	t.Parallel()
	state := ledger.Hash{1}
	m := layer.Manifest{
		Format: layer.SnapshotFormat, State: statetree.Summary{Height: 1_000, AppHash: state, Version: 9, Leaves: 1},
		Bytes: 3, Chunks: []ledger.Hash{{2}},
	}
	hash := m.Hash()
	honest := comet.Snapshot{Height: 1_000, Format: 1, Chunks: 1, Hash: hash[:], Metadata: m.Encode()}
	for name, test := range map[string]struct {
		spoil  func(*comet.Snapshot)
		refuse bool
	}{
		"honest":            {func(*comet.Snapshot) {}, false},
		"no manifest":       {func(s *comet.Snapshot) { s.Metadata = nil }, true},
		"another height":    {func(s *comet.Snapshot) { s.Height++ }, true},
		"another format":    {func(s *comet.Snapshot) { s.Format++ }, true},
		"more chunks":       {func(s *comet.Snapshot) { s.Chunks++ }, true},
		"another hash":      {func(s *comet.Snapshot) { s.Hash = state[:] }, true},
		"without a hash":    {func(s *comet.Snapshot) { s.Hash = nil }, true},
		"a longer manifest": {func(s *comet.Snapshot) { s.Metadata = append(s.Metadata, 0) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := layer.New(memkv.New(), layer.Options{State: statetree.Options{Tables: settlement.Tables()}})
			if err != nil {
				t.Fatal(err)
			}
			gen := settlement.Genesis{Name: "test", Time: 1, Params: settlement.LocalParams()}
			gen.Accounts = []settlement.GenesisAccount{{Address: ledger.Address{1}, Balance: 1}}
			e, err := exec.OpenMain(exec.Config{}, l, gen, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			s := honest
			test.spoil(&s)
			err = application{Executor: e.Executor}.OfferSnapshot(s, state[:])
			if test.refuse != errors.Is(err, comet.ErrSnapshotRefused) || !test.refuse && err != nil {
				t.Errorf("OfferSnapshot: %v", err)
			}
			if err := (application{Executor: e.Executor}).ApplySnapshotChunk(0, []byte("bad")); !test.refuse && !errors.Is(err, comet.ErrChunkRefused) {
				t.Errorf("ApplySnapshotChunk: %v", err)
			}
		})
	}
}
