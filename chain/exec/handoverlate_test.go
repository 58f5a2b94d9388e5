package exec_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
)

// lateNode is a node that has seen too few votes for the blocks of some heights.
type lateNode struct {
	*node
	c    *validators
	seen *votes
	all  map[uint64][]exec.VoteExtension
	hash map[uint64][]byte
	cfg  exec.Config
}

func newLateNode(t *testing.T, epoch uint64, change ...func(*settlement.Params)) *lateNode {
	t.Helper()
	l := &lateNode{c: newValidators(t, 4, epoch, change...), seen: newVotes(), all: map[uint64][]exec.VoteExtension{}, hash: map[uint64][]byte{}}
	l.cfg = exec.Config{BLS: blsOf(0), Extensions: l.seen.extensions, CertifyDelay: time.Millisecond}
	l.node = newNode(t, &network{}, l.c.gen, l.cfg, false)
	return l
}

// reach agrees on blocks up to a height; of those in mute this node sees one vote.
func (l *lateNode) reach(t *testing.T, height uint64, mute ...uint64) {
	t.Helper()
	for l.height() < height {
		b := l.c.next()
		right := l.c.vote(t, b)
		l.c.agree(t, b, right)
		l.all[b.Height], l.hash[b.Height] = right, b.Hash
		for _, h := range mute {
			if b.Height == h {
				right = right[:1]
			}
		}
		l.seen.set(b.Height, b.Hash, right)
		l.decide(b)
	}
}

// tell lets the node see the other votes for the block at height.
func (l *lateNode) tell(height uint64) { l.seen.set(height, l.hash[height], l.all[height]) }

// Votes for the blocks that end an epoch may come long after the others: whoever waits
// for them gets the hand-over without asking.
func TestHandoversWaitForVotes(t *testing.T) {
	t.Parallel()
	const epoch = 10
	l := newLateNode(t, epoch)
	l.run()
	l.reach(t, epoch+1, epoch-1, epoch)
	awaitCertifier(t, l.exec)
	if _, err := l.exec.Handover(1); !errors.Is(err, exec.ErrNoHandover) {
		t.Fatalf("hand-over without a certificate: %v", err)
	}
	before := l.exec.Stats().Certificates
	l.tell(epoch)
	tick(t, "the certificate", func() bool { return l.exec.Stats().Certificates > before })
	handedOver(t, l.exec, l.c.gen.Committee())
}

// Whoever asks for a hand-over makes the node look at the votes it has by now: after a
// restart, and long after the epoch.
func TestHandoversAreMadeWhenAskedFor(t *testing.T) {
	t.Parallel()
	const epoch = 10
	l := newLateNode(t, epoch)
	l.reach(t, epoch+3, epoch-1, epoch)
	l.open(l.cfg) // it does not run: nobody but who asks makes certificates
	ask := func() error { _, err := l.exec.Handover(1); return err }
	if err := ask(); !errors.Is(err, exec.ErrNoHandover) {
		t.Fatalf("hand-over without votes: %v", err)
	}
	l.tell(epoch - 1)
	known := handedOver(t, l.exec, l.c.gen.Committee())
	l.reach(t, 4*epoch, 2*epoch-1, 2*epoch)
	if _, err := l.exec.Handover(2); !errors.Is(err, exec.ErrNoHandover) {
		t.Fatalf("hand-over without votes: %v", err)
	}
	l.open(l.cfg)
	l.tell(2 * epoch)
	handedOver(t, l.exec, known)
}

// A node that joined by a snapshot has no hand-overs of the epochs before, says from
// which epoch on it has them, and takes those of others if they hold.
func TestHandoversAreAdopted(t *testing.T) {
	t.Parallel()
	const epoch = 10
	l := newLateNode(t, epoch)
	s, err := layer.OpenSnapshots(t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	l.cfg.Snapshots, l.cfg.SnapshotStride = s, 3*epoch
	l.open(l.cfg)
	l.run()
	for l.height() < 3*epoch+2 { // which hands over each time
		l.reach(t, l.height()+1)
		awaitCertifier(t, l.exec)
	}
	tick(t, "a snapshot", func() bool { return len(l.exec.Snapshots()) == 1 })
	m := l.exec.Snapshots()[0]
	n := &node{t: t, net: l.net, store: memkv.New(), gen: l.c.gen, arrived: make(chan struct{}, 1)}
	n.open(exec.Config{})
	if err := n.exec.OfferSnapshot(m.Encode(), m.State.AppHash[:]); err != nil {
		t.Fatal(err)
	}
	for i := range m.Chunks {
		chunk, err := l.exec.SnapshotChunk(m.State.Height, uint32(i))
		if err != nil {
			t.Fatal(err)
		}
		if err := n.exec.ApplySnapshotChunk(uint32(i), chunk); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.exec.Handover(2); !isPrunedFrom(err, 3) {
		t.Errorf("a hand-over before the snapshot: %v", err)
	}
	if _, err := n.exec.Candidates(2); !isPrunedFrom(err, 4) {
		t.Errorf("candidates before the snapshot: %v", err)
	}
	missing, err := n.exec.MissingHandovers()
	if err != nil || len(missing) != 2 || missing[0] != 1 {
		t.Fatalf("missing hand-overs: %v, %v", missing, err)
	}
	right := map[uint64]*exec.Handover{}
	for at := uint64(1); at <= 3; at++ {
		if right[at], err = l.exec.Handover(at); err != nil {
			t.Fatal(err)
		}
	}
	foreign := foreignHandover(t, epoch, 2)
	if foreign.Record.Height != right[2].Record.Height || foreign.Record.Root == right[2].Record.Root {
		t.Fatalf("the other chain's statement is of block %d, want %d, and state %x", foreign.Record.Height, right[2].Record.Height, foreign.Record.Root)
	}
	for name, row := range map[string]struct {
		epoch uint64
		h     exec.Handover
	}{
		"a record of another state": {2, exec.Handover{Record: foreign.Record, Certificate: right[2].Certificate}},
		"another epoch's":           {1, *right[2]},
		"another's certificate":     {2, exec.Handover{Record: right[2].Record, Certificate: right[1].Certificate}},
		"another record":            {2, exec.Handover{Record: right[3].Record, Certificate: right[2].Certificate}},
		"no record":                 {2, exec.Handover{Certificate: right[2].Certificate}},
		"a changed record":          {2, changedRecord(*right[2])},
		"a changed certificate":     {2, changedCertificate(*right[2])},
		"a hand-over to epoch 0":    {0, *right[1]},
	} {
		if err := n.exec.AdoptHandover(row.epoch, &row.h); !errors.Is(err, exec.ErrWrongHandover) && !errors.Is(err, exec.ErrNoHandover) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for at := uint64(1); at <= 3; at++ {
		if err := n.exec.AdoptHandover(at, right[at]); err != nil {
			t.Fatal(err)
		}
	}
	missing, err = n.exec.MissingCandidates()
	if err != nil || len(missing) != 2 {
		t.Fatalf("missing candidates: %v, %v", missing, err)
	}
	for at := uint64(1); at <= 3; at++ {
		list, err := l.exec.Candidates(at)
		if err != nil {
			t.Fatal(err)
		}
		wrong := append([]committee.Candidate(nil), list...)
		wrong[0].Stake++
		if err := n.exec.AdoptCandidates(at, wrong); !errors.Is(err, exec.ErrWrongHandover) {
			t.Errorf("wrong candidates: %v", err)
		}
		if err := n.exec.AdoptCandidates(at, list); err != nil {
			t.Fatal(err)
		}
	}
	n.open(exec.Config{})
	known := l.c.gen.Committee()
	for known.Epoch < 3 {
		known = handedOver(t, n.exec, known)
	}
	for what, missing := range map[string]func() ([]uint64, error){"hand-overs": n.exec.MissingHandovers, "candidates": n.exec.MissingCandidates} {
		if list, err := missing(); err != nil || len(list) != 0 {
			t.Errorf("missing %s in the end: %v, %v", what, list, err)
		}
	}
}

// foreignHandover returns the hand-over to an epoch of another chain with the same keys:
// what its statement says is proved, in the state of that chain.
func foreignHandover(t *testing.T, blocks, epoch uint64) *exec.Handover {
	t.Helper()
	l := newLateNode(t, blocks, func(p *settlement.Params) { p.Staking.DuplicateVoteBps++ })
	l.run()
	for l.height() < epoch*blocks+2 {
		l.reach(t, l.height()+1)
		awaitCertifier(t, l.exec)
	}
	h, err := l.exec.Handover(epoch)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func changedRecord(h exec.Handover) exec.Handover {
	s := *h.Record
	s.Value = append([]byte(nil), s.Value...)
	s.Value[len(s.Value)-1] ^= 1
	h.Record = &s
	return h
}

func changedCertificate(h exec.Handover) exec.Handover {
	h.Certificate.Signature[5] ^= 1
	return h
}
