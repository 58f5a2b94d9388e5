package exec_test

import (
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/comet"
)

// answering is a member whose Executor asks others and answers.
type answering struct{ application }

func (a answering) Answer(question []byte) []byte { return a.m.exec.Answer(question) }

func (a answering) Answered(answer []byte) error { return a.m.exec.Answered(answer) }

// One member votes and never signs, and another comes to the blocks when they are decided:
// they get their certificates all the same, on every node that asks, those that hand over
// to the next committee too.
func TestLateMemberSignsWhatItMissed(t *testing.T) {
	t.Parallel()
	const epoch = 10
	a := newAgreement(t, 4, longEpochs(epoch), true)
	a.asks = true
	a.cfg = func(i int, c *exec.Config) {
		if i == 0 {
			c.CommitRound = nil // it signs nothing afterwards either
		}
	}
	a.startAll(t)
	d := a.members[0].exec.Domain()
	sender := accountOf(3)
	mute := func(comet.Block, []byte) []byte { return nil }
	a.members[0].twist.Store(&mute)
	a.settle(t, 1, sender.transfer(d, accountOf(4).addr, 1))
	a.stop(t, 3)
	first := a.members[1].height() + 1
	for i := 0; a.members[1].height() < first+epoch; i++ {
		a.settle(t, 1, sender.transfer(d, accountOf(4).addr, 1))
	}
	last := a.members[1].height()
	a.wantMissed(t, first, last)

	// It is away for so long that those who wait look at the votes in vain.
	for i := range 3 {
		awaitCertifier(t, a.members[i].exec)
	}
	a.wantMissed(t, first, last)
	a.start(t, 3)
	for i, m := range a.members[1:] {
		eventually(t, 30*time.Second, "caught up", func() bool { return m.height() >= last })
		for height := first; height <= last; height++ {
			eventually(t, 30*time.Second, "a certificate", func() bool {
				_, err := a.certificateOf(t, 1+i, height)
				return err == nil
			})
		}
	}
	certificate, err := a.certificateOf(t, 1, first+1)
	if err != nil || !certificate.Signed(a.placeOf(t, 3)) || certificate.Signed(a.placeOf(t, 0)) || len(certificate.Signers()) != 3 {
		t.Errorf("block %d is signed by %v, %v", first+1, certificate.Signers(), err)
	}
	for next := a.gen.Params.Staking.Epoch(first) + 1; next <= a.gen.Params.Staking.Epoch(last-1); next++ {
		for i, m := range a.members[1:] {
			if _, err := m.exec.Handover(next); err != nil {
				t.Errorf("member %d: hand-over to epoch %d: %v", 1+i, next, err)
			}
		}
	}
}

// wantMissed wants the running members to have seen too few signatures for blocks.
func (a *agreement) wantMissed(t *testing.T, first, last uint64) {
	t.Helper()
	for i, m := range a.members {
		if m.chain == nil {
			continue
		}
		for height := first; height <= last; height++ {
			if c, err := m.exec.CertificateStored(height); err == nil {
				t.Fatalf("member %d has a certificate of block %d without the late one, signed by %v", i, height, c.Signers())
			}
		}
	}
}

// placeOf returns the place of member i in the first committee.
func (a *agreement) placeOf(t *testing.T, i int) int {
	t.Helper()
	c := a.gen.Committee()
	for at := range c.Members {
		if c.Members[at].Address() == staking.Address(a.members[i].signer.Address()) {
			return at
		}
	}
	t.Fatalf("member %d is not in the committee", i)
	return 0
}

// asking lets a member's Executor ask others.
func (m *member) asking(c *exec.Config) {
	c.CommitRound = func(height uint64) ([]byte, uint32, error) { return m.chain.CommitRound(height) }
	c.Ask = func(question []byte) { _ = m.chain.Ask(question) } // it asks again
}
