package sharded_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"

	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/node/carry"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/relay"
)

var errFault = errors.New("a fault of the test")

// faults says what goes wrong between a relay and its chains, in percent.
type faults struct {
	mu   sync.Mutex
	rng  *rand.Rand
	lose int // what is handed in is taken and lost
	fail int // what is handed in is refused
	lie  int // what is handed in is twisted
	late int // certificates and proofs are not there yet
	kept [][]byte
}

func newFaults(seed uint64, lose, fail, lie, late int) *faults {
	return &faults{rng: rand.New(rand.NewPCG(seed, 7)), lose: lose, fail: fail, lie: lie, late: late}
}

func (f *faults) chance(percent int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rng.IntN(100) < percent
}

// mangle returns what arrives of what is handed in: lost, twisted, or itself, and
// sometimes something older once more.
func (f *faults) mangle(payload []byte) (arrives [][]byte, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rng.IntN(100) < f.fail {
		return nil, errFault
	}
	if f.rng.IntN(100) < f.lose {
		return nil, nil
	}
	if len(f.kept) < 64 {
		f.kept = append(f.kept, payload)
	} else {
		f.kept[f.rng.IntN(len(f.kept))] = payload
	}
	if f.rng.IntN(100) < f.lie {
		twisted := append([]byte(nil), payload...)
		twisted[f.rng.IntN(len(twisted))] ^= 1 << f.rng.IntN(8)
		arrives = append(arrives, twisted)
	}
	if f.rng.IntN(100) < f.lose {
		arrives = append(arrives, f.kept[f.rng.IntN(len(f.kept))])
	}
	return append(arrives, payload), nil
}

// faultyMain is a main chain with faults.
type faultyMain struct {
	carry.Main

	f *faults
}

func (m faultyMain) Submit(ctx context.Context, raw []byte) error {
	list, err := m.f.mangle(raw)
	for i, one := range list {
		if e := m.Main.Submit(ctx, one); i == len(list)-1 {
			err = e
		}
	}
	return err
}

func (m faultyMain) Certificate(height uint64) (cert.Certificate, error) {
	if m.f.chance(m.f.late) {
		return cert.Certificate{}, errFault
	}
	return m.Main.Certificate(height)
}

func (m faultyMain) Certified(key []byte) (cert.Certificate, *stateproof.Statement, error) {
	if m.f.chance(m.f.late) {
		return cert.Certificate{}, nil, errFault
	}
	return m.Main.Certified(key)
}

// faultyShard is a shard with faults.
type faultyShard struct {
	carry.Shard

	f    *faults
	lost func(height uint64) bool // outboxes that this node does not have
}

func (s faultyShard) SubmitRelay(ctx context.Context, payload []byte) error {
	list, err := s.f.mangle(payload)
	for i, one := range list {
		if e := s.Shard.SubmitRelay(ctx, one); i == len(list)-1 {
			err = e
		}
	}
	return err
}

func (s faultyShard) Certificate(height uint64) (cert.Certificate, error) {
	if s.f.chance(s.f.late) {
		return cert.Certificate{}, errFault
	}
	return s.Shard.Certificate(height)
}

func (s faultyShard) Outbox(height uint64) (*link.Outbox, bool, error) {
	if s.lost != nil && s.lost(height) {
		return nil, false, nil
	}
	if s.f.chance(s.f.late) {
		return nil, false, errFault
	}
	return s.Shard.Outbox(height)
}

// withFaults starts the relay of validator i over chains with faults.
func (w *world) withFaults(i int, f *faults) (*relay.Relay, context.CancelFunc) {
	w.tb.Helper()
	return w.relayOver(i, func(c *relay.Config) { c.Main = faultyMain{carry.Main{Main: w.mains[i]}, f} },
		func(id shard.ID) relay.Shard { return faultyShard{Shard: carry.Shard{Shard: w.hosted[i][id]}, f: f} })
}

// remote reaches the shards of other validators directly.
type remote struct {
	w *world
	i int
}

func (r remote) at(id shard.ID) (carry.Shard, error) {
	for i := range r.w.mains {
		if s := r.w.hosted[i][id]; i != r.i && s != nil {
			return carry.Shard{Shard: s}, nil
		}
	}
	return carry.Shard{}, errFault
}

func (r remote) Survey(_ context.Context, id shard.ID, links []link.Link) (out relay.Survey, err error) {
	s, err := r.at(id)
	if err != nil {
		return out, err
	}
	err = s.Read(func(v view, height uint64) error {
		out = relay.SurveyAt(v, height, links)
		return nil
	})
	return out, err
}

func (r remote) SubmitRelay(ctx context.Context, id shard.ID, payload []byte) error {
	s, err := r.at(id)
	if err != nil {
		return err
	}
	return s.SubmitRelay(ctx, payload)
}

func (r remote) Outbox(_ context.Context, id shard.ID, height uint64, first, last link.Place) (*link.Outbox, error) {
	s, err := r.at(id)
	if err != nil {
		return nil, err
	}
	box, ok, err := s.Outbox(height)
	if err != nil || !ok {
		return nil, errors.Join(err, errFault)
	}
	if begin, end := box.Span(first, last); begin == end {
		return nil, nil //nolint:nilnil // it has nothing for them
	}
	return box, nil
}
