package shardtest

import (
	"bytes"
	"iter"
	"maps"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// State is a state in memory.
type State struct{ rows map[string][]byte }

// NewState returns the state that changes make.
func NewState(c chain.Changes) *State {
	s := &State{rows: map[string][]byte{}}
	s.Apply(c)
	return s
}

// Get is that of chain.View.
func (s *State) Get(key []byte) []byte { return s.rows[string(key)] }

// Range is that of chain.View.
func (s *State) Range(prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		for _, k := range slices.Sorted(maps.Keys(s.rows)) {
			if bytes.HasPrefix([]byte(k), prefix) && !yield([]byte(k), s.rows[k]) {
				return
			}
		}
	}
}

// Apply writes changes.
func (s *State) Apply(c chain.Changes) {
	for i := range c {
		if c[i].Value == nil {
			delete(s.rows, string(c[i].Key))
		} else {
			s.rows[string(c[i].Key)] = c[i].Value
		}
	}
}

// Hash returns a hash of all rows.
func (s *State) Hash() ledger.Hash {
	var parts [][]byte
	for _, k := range slices.Sorted(maps.Keys(s.rows)) {
		parts = append(parts, []byte(k), s.rows[k])
	}
	return ledger.HashOf("shardtest/state", parts...)
}

// Shard is the chain of a shard. It is owned by the test's goroutine.
type Shard struct {
	tb   testing.TB
	Main *Main

	Genesis     shardblock.Genesis
	Verifiers   shardblock.Verifiers
	State       *State
	Height      uint64
	Boxes       map[uint64]*link.Outbox
	Checkpoints []cert.Checkpoint
	Blocks      []shardblock.Block
}

// Begin returns the chain of a shard that begins by g.
func Begin(m *Main, g shardblock.Genesis, parents ...chain.View) *Shard {
	m.tb.Helper()
	changes, err := g.State(parents...)
	if err != nil {
		m.tb.Fatal(err)
	}
	return &Shard{tb: m.tb, Main: m, Genesis: g, Verifiers: Verifiers(), State: NewState(changes), Boxes: map[uint64]*link.Outbox{}}
}

// Verifiers are the real ones, which remember certificates that hold.
func Verifiers() shardblock.Verifiers {
	verify, seen := shardblock.VerifyCertificate(Network()), map[string]bool{}
	return shardblock.Verifiers{
		Claims: func(claims []ledger.Claim) (bad []int) {
			for i := range claims {
				if c := &claims[i]; !ledger.Verify(c.Key, c.Message, c.Signature) {
					bad = append(bad, i)
				}
			}
			return bad
		},
		Certificate: func(c *cert.Certificate, com *committee.Committee) error {
			name := string(c.Encode()) + string(com.Encode())
			if seen[name] {
				return nil
			}
			err := verify(c, com)
			seen[name] = err == nil
			return err
		},
	}
}

// Try applies a block to the state and leaves it as it is.
func (s *Shard) Try(relays []*shardblock.Relay, txs ...service.BlockTx) (chain.Changes, shardblock.Result, error) {
	b := shardblock.Block{Height: s.Height + 1, Relays: relays, Txs: txs}
	return shardblock.Apply(s.State, b, s.Verifiers)
}

// Block makes the next block.
func (s *Shard) Block(relays []*shardblock.Relay, txs ...service.BlockTx) shardblock.Result {
	s.tb.Helper()
	changes, res, err := s.Try(relays, txs...)
	if err != nil {
		s.tb.Fatalf("block %d: %v", s.Height+1, err)
	}
	s.State.Apply(changes)
	s.Height++
	s.Boxes[s.Height] = res.Outbox
	s.Blocks = append(s.Blocks, shardblock.Block{Height: s.Height, Relays: relays, Txs: txs})
	s.Checkpoints = append(s.Checkpoints, cert.Checkpoint{
		Network: Network(), Chain: s.Genesis.Service.Shard.Chain, Height: s.Height, Epoch: res.Epoch,
		StateRoot: s.State.Hash(), OutboxRoot: res.Outbox.Root(), UsageRoot: res.Service.UsageRoot,
	})
	return res
}

// Anchor puts into the next block of main what it anchors of the shard: all heights up to
// one.
func (s *Shard) Anchor(height uint64) {
	g := &s.Genesis.Service.Shard
	row, ok := anchor.Read(s.Main.pending, g.Chain)
	if !ok {
		s.tb.Fatal("the shard is not founded")
	}
	for h := row.Height() + 1; h <= height; h++ {
		p := s.Checkpoints[h-1]
		row.Tree.Push(p.Encode())
		row.Last = p
		row.Outboxes = append(row.Outboxes, p.OutboxRoot)
		row.Outboxes = row.Outboxes[max(0, len(row.Outboxes)-anchor.Window):]
	}
	s.Main.Set(anchor.Key(g.Chain), row.Encode())
}

// Messages returns the relay that brings the leaves begin to end-1 of the outbox at a
// height to another shard, all of them if end is 0, as main's last block proves them.
func (s *Shard) Messages(height uint64, begin, end int) *shardblock.Relay {
	s.tb.Helper()
	box := s.Boxes[height]
	if end == 0 {
		end = len(box.Leaves())
	}
	id := s.Genesis.Service.Shard.Chain
	in, err := box.Import(id, height, begin, end)
	if err != nil {
		s.tb.Fatal(err)
	}
	m := s.Main
	row := m.Row(anchor.Key(id))
	r := &shardblock.Relay{
		Kind: shardblock.KindImport, News: shardblock.News{Heads: []cert.Certificate{m.Heads[m.height]}},
		Import: &shardblock.Import{Anchors: &row, Link: in},
	}
	state, err := anchor.DecodeState(row.Value)
	if err != nil {
		s.tb.Fatal(err)
	}
	if _, recent := state.Outbox(height); !recent {
		p, err := anchor.Prove(s.Checkpoints[:state.Height()], height)
		if err != nil {
			s.tb.Fatal(err)
		}
		r.Import.Older = &p
	}
	return r
}
