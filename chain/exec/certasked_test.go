package exec_test

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
)

// wantCertified wants the certificate of a block that other nodes have, too.
func (l *lateNode) wantCertified(t *testing.T, height uint64) {
	t.Helper()
	want, err := l.c.nodes[1].exec.Certificate(height)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := l.exec.Certificate(height); err != nil || !bytes.Equal(got.Encode(), want.Encode()) {
		t.Errorf("block %d: certificate %+v, %v", height, got.Checkpoint, err)
	}
}

// Blocks that nobody tries to certify any more are certified when somebody asks, as
// soon as there are votes enough, also after a start.
func TestCertificatesAreMadeWhenAskedFor(t *testing.T) {
	t.Parallel()
	l := newLateNode(t, 1_000)
	const mute = 3
	l.reach(t, exec.MaxUncertified+9, mute) // without Run nothing is certified
	for _, n := range l.c.nodes {
		awaitCertifier(t, n.exec)
	}
	if got := l.exec.Uncertified(); got != exec.MaxUncertified {
		t.Fatalf("%d blocks wait, want %d", got, exec.MaxUncertified)
	}
	l.wantCertified(t, 9)
	l.wantCertified(t, 2)
	none := func(height uint64) *exec.UncertifiedError {
		t.Helper()
		_, err := l.exec.Certificate(height)
		u, ok := errors.AsType[*exec.UncertifiedError](err)
		if !ok || !errors.Is(err, exec.ErrNoCertificate) || u.Height != height || u.Cause != nil {
			t.Fatalf("block %d: %v", height, err)
		}
		return u
	}
	for range 3 {
		if u := none(mute); u.Making || u.Next != 9 {
			t.Errorf("of a block with too few votes: %+v, want the next to be 9", u)
		}
	}
	if u := none(exec.MaxUncertified); !u.Making || u.Next != 0 {
		t.Errorf("of a block whose turn has not come: %+v", u)
	}
	if u := none(exec.MaxUncertified + 10); u.Making || u.Next != 0 {
		t.Errorf("of a block that is not there: %+v", u)
	}
	l.tell(mute)
	l.open(l.cfg)
	l.wantCertified(t, mute)
	for height := uint64(1); height <= 9; height++ {
		l.wantCertified(t, height)
	}
	l.run()
	awaitCertifier(t, l.exec)
	for height := uint64(10); height <= exec.MaxUncertified+9; height++ {
		l.wantCertified(t, height)
	}
}

// The committee of a block may be forgotten by the state when its certificate is asked
// for; whoever was handed over to it knows it.
func TestCertificatesOfForgottenCommittees(t *testing.T) {
	t.Parallel()
	const epoch = 10
	l := newLateNode(t, epoch, func(p *settlement.Params) { p.Staking.UnbondingEpochs, p.Staking.EvidenceEpochs = 2, 1 })
	const height = epoch + 5
	l.reach(t, 7*epoch, height)
	l.run()
	awaitCertifier(t, l.exec)
	if l.c.gen.Params.Staking.FirstCommittee(l.height()) <= 1 {
		t.Fatal("the committee is not forgotten")
	}
	if _, err := l.exec.Certificate(height); !errors.Is(err, exec.ErrNoCertificate) {
		t.Fatalf("with one vote: %v", err)
	}
	if _, err := l.exec.Handover(1); err != nil {
		t.Fatal(err)
	}
	l.tell(height)
	l.wantCertified(t, height)
}

// A checkpoint goes when its block is certified, and with what the index keeps of the
// block, so that a certificate does not come back after it was deleted.
func TestDeletedCertificatesStayDeleted(t *testing.T) {
	t.Parallel()
	c := newValidators(t, 1, 1_000)
	seen := newVotes()
	cfg := exec.Config{BLS: blsOf(0), Extensions: seen.extensions, KeepReceipts: 10}
	n := newNode(t, &network{}, c.gen, cfg, true)
	const blocks = exec.MaxUncertified + 40
	for range blocks {
		b := c.next()
		right := c.vote(t, b)
		c.agree(t, b, right)
		if b.Height%2 == 0 {
			seen.set(b.Height, b.Hash, right)
		}
		n.decide(b)
		if b.Height%16 == 0 {
			awaitCertifier(t, n.exec)
		}
	}
	awaitCertifier(t, n.exec)
	for more := true; more; {
		var err error
		if more, err = n.exec.PruneIndex(); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []uint64{n.exec.KeptFrom() - 1, 30, 2, 1} {
		if checkpoint, err := n.exec.CheckpointAt(from); err != nil || checkpoint != nil {
			t.Errorf("block %d, of %d, still has its checkpoint: %+v, %v", from, blocks, checkpoint, err)
		}
		if _, err := n.exec.Certificate(from); from%2 == 1 && !errors.Is(err, exec.ErrNoCertificate) {
			t.Errorf("block %d, of %d: %v", from, blocks, err)
		}
	}
}

// A validator that stopped between its blocks and their certificates has all of them
// after a start, of the votes that consensus stored with the blocks.
func TestNodeThatStoppedBeforeItsCertificates(t *testing.T) {
	t.Parallel()
	a := newAgreement(t, 4, longEpochs(1_000), true)
	var deaf atomic.Bool
	deaf.Store(true)
	a.cfg = func(i int, c *exec.Config) {
		if hear := c.Extensions; i == 1 {
			c.Extensions = func(height uint64) ([]byte, []exec.VoteExtension, error) {
				if deaf.Load() {
					return nil, nil, errors.New("votes come later")
				}
				return hear(height)
			}
		}
	}
	a.startAll(t)
	sender := accountOf(3)
	for range 5 {
		a.settle(t, 0, sender.transfer(a.members[0].exec.Domain(), accountOf(4).addr, 1))
	}
	m := a.members[1]
	if s := m.exec.Stats(); s.Certificates != 0 {
		t.Fatalf("%d certificates were made without votes", s.Certificates)
	}
	a.stop(t, 1)
	deaf.Store(false)
	a.start(t, 1)
	awaitCertifier(t, m.exec)
	head := m.height()
	for height := uint64(1); height <= head; height++ {
		if _, err := m.exec.CertificateStored(height); err != nil {
			t.Errorf("block %d of %d: %v", height, head, err)
		}
		if _, err := a.certificateOf(t, 1, height); err != nil {
			t.Errorf("block %d of %d: %v", height, head, err)
		}
	}
	if _, err := m.exec.Certificate(head + 1_000); !errors.Is(err, exec.ErrNoCertificate) {
		t.Errorf("of no block: %v", err)
	}
}
