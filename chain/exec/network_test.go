package exec_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger"
)

func longEpochs(blocks uint64) settlement.Params {
	p := settlement.LocalParams()
	p.Staking.EpochBlocks = blocks
	return p
}

// certificateOf returns the certificate that member i has of a block, verified.
func (a *agreement) certificateOf(t *testing.T, i int, height uint64) (cert.Certificate, error) {
	t.Helper()
	e := a.members[i].exec
	certificate, err := e.Certificate(height)
	if err != nil {
		return certificate, err
	}
	err = e.Read(func(v chain.View, _ uint64) error {
		com, ok := staking.ReadCommittee(v, certificate.Checkpoint.Epoch)
		if !ok {
			return errors.New("no committee")
		}
		keys, err := com.Keys()
		if err != nil {
			return err
		}
		return certificate.Verify(e.Domain().Network, e.Domain().Chain, &com, keys)
	})
	if err != nil {
		t.Errorf("member %d: the certificate of block %d: %v", i, height, err)
	}
	return certificate, nil
}

// Blocks are sealed, a lone record is final within a second, every block gets a
// certificate on every node, and then nothing more happens.
func TestSealedChainIdles(t *testing.T) { //nolint:paralleltest // measures time
	a := newAgreement(t, 4, longEpochs(1000), true)
	a.cfg = func(_ int, c *exec.Config) { c.CertifyDelay = 300 * time.Millisecond } // every block gets its certificate, however late
	a.startAll(t)
	d := a.members[0].exec.Domain()
	a.settle(t, 0, accountOf(0).transfer(d, accountOf(1).addr, 1)) // everything is warm
	var s exec.Status
	quick(t, time.Second, "a lone record", func() {
		s = a.settle(t, 2, accountOf(1).transfer(d, accountOf(2).addr, 1))
	})
	eventually(t, 10*time.Second, "nothing pending", func() bool {
		for _, m := range a.members {
			if m.height() <= s.Height || !m.chain.Status().PendingSince.IsZero() {
				return false
			}
		}
		return true
	})
	height := a.members[0].height()
	idle := time.NewTimer(1500 * time.Millisecond) // fifteen times the tick interval
	defer idle.Stop()
	<-idle.C
	for i, m := range a.members {
		if m.height() != height || height != s.Height+1 {
			t.Errorf("member %d is at height %d after a while of idleness, was at %d; the record is in block %d", i, m.height(), height, s.Height)
		}
		eventually(t, time.Second, fmt.Sprintf("member %d is healthy", i), func() bool {
			ok, _ := m.chain.Status().Health(time.Now(), comet.HealthLimits{})
			return ok
		})
		for h := uint64(1); h <= height; h++ {
			txs, err := m.chain.Txs(h)
			if err != nil || len(txs) == 0 || len(txs[0]) != chain.SealBundleSize || txs[0][0] != 0xB3 {
				t.Errorf("member %d: block %d does not begin with a seal: %x, %v", i, h, txs, err)
			}
			awaitCertifier(t, m.exec)
			certificate, err := a.certificateOf(t, i, h)
			if err != nil || len(certificate.Signers()) < 3 {
				t.Errorf("member %d: certificate of block %d: signed by %v, %v", i, h, certificate.Signers(), err)
			}
		}
		if s := m.exec.Stats(); s.ExtensionsWrong+s.Uncertified != 0 || s.Ahead == 0 {
			t.Errorf("member %d: %d wrong extensions, %d blocks without certificate, %d of %d blocks executed ahead",
				i, s.ExtensionsWrong, s.Uncertified, s.Ahead, s.Blocks)
		}
	}
}

// With any share of wrong extensions blocks go on being made, and each node has a
// certificate if and only if it saw enough right ones.
func TestChainGoesOnAtEveryShareOfWrongExtensions(t *testing.T) {
	t.Parallel()
	const validators = 4
	a := newAgreement(t, validators, longEpochs(1000), true)
	a.pace = 200 * time.Millisecond // votes may come late by as much
	a.startAll(t)
	d := a.members[0].exec.Domain()
	sender := accountOf(3)
	certified, possible := 0, 0
	for _, kind := range []struct {
		name  string
		twist func(b comet.Block, extension []byte) []byte
	}{
		{"garbage", func(b comet.Block, _ []byte) []byte { sum := sha256.Sum256(b.Hash); return append(sum[:], sum[:16]...) }},
		{"missing", func(comet.Block, []byte) []byte { return nil }},
		{"too long", func(comet.Block, []byte) []byte { return make([]byte, 4096) }},
	} {
		for bad := range validators + 1 {
			name := fmt.Sprintf("%s from %d of %d", kind.name, bad, validators)
			for i, m := range a.members {
				m.twist.Store(nil)
				if i < bad {
					m.twist.Store(&kind.twist)
				}
			}
			var s exec.Status
			quick(t, 3*time.Second, name+": a block", func() { s = a.settle(t, 3, sender.transfer(d, accountOf(4).addr, 1)) })
			some, late := a.wantCertificates(t, name, s.Height)
			for tries := 0; late && tries < 5; tries++ { // votes came when nobody waited for them any more
				s = a.settle(t, 3, sender.transfer(d, accountOf(4).addr, 1))
				some, late = a.wantCertificates(t, name, s.Height)
			}
			if late {
				t.Errorf("%s: no certificate of block %d, as of those before, with enough right extensions", name, s.Height)
			}
			certified += some
			if 3*(validators-bad) > 2*validators {
				possible += validators
			}
		}
	}
	if certified == 0 || certified > possible {
		t.Errorf("%d certificates, at most %d are possible", certified, possible)
	} else {
		t.Logf("%d of %d certificates", certified, possible)
	}
	for i, m := range a.members {
		if err := m.exec.HaltError(); err != nil {
			t.Errorf("member %d halted: %v", i, err)
		}
	}
}

// wantCertificates wants each member to have a certificate of a block only if it
// saw enough right extensions, and returns how many have, and whether one has none
// although it saw enough by now.
func (a *agreement) wantCertificates(t *testing.T, name string, height uint64) (certified int, late bool) {
	t.Helper()
	for i, m := range a.members {
		awaitCertifier(t, m.exec)
		hash, extensions, err := m.extensions(height)
		if err != nil {
			t.Fatal(err)
		}
		right := 0
		for _, x := range extensions {
			if len(x.Data) > 0 && bytes.Equal(x.Data, a.honestly(x.Validator, hash)) {
				right++
			}
		}
		certificate, err := a.certificateOf(t, i, height)
		switch enough := 3*right > 2*len(a.members); {
		case err == nil && enough:
			certified++
		case enough && errors.Is(err, exec.ErrNoCertificate):
			late = true
		case err == nil || !errors.Is(err, exec.ErrNoCertificate):
			t.Errorf("%s: member %d: certificate signed by %v, %v; %d right extensions", name, i, certificate.Signers(), err, right)
		}
	}
	return certified, late
}

// honestly is what a validator would have sent with its vote for a block.
func (a *agreement) honestly(validator staking.Address, hash []byte) []byte {
	for _, m := range a.members {
		if bytes.Equal(m.signer.Address(), validator[:]) {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.honest[string(hash)]
		}
	}
	return nil
}

// A proposer that cannot seal loses its turn, and only that.
func TestProposerWithoutSealLosesItsTurn(t *testing.T) {
	t.Parallel()
	a := newAgreement(t, 4, longEpochs(1000), true)
	a.cfg = func(i int, c *exec.Config) {
		if i == 1 {
			c.BLS = nil
		}
	}
	for i := range a.members {
		a.start(t, i)
	}
	sender := accountOf(3)
	eventually(t, 20*time.Second, "first block", func() bool { return a.members[0].height() > 0 && a.members[1].height() > 0 })
	for range 5 {
		eventually(t, 20*time.Second, "healthy", func() bool { return !a.members[0].chain.Status().CatchingUp })
		a.settle(t, 0, sender.transfer(a.members[0].exec.Domain(), accountOf(4).addr, 1))
	}
	own := a.members[1].signer.Address()
	for h := uint64(1); h <= a.members[0].height(); h++ {
		if b, err := a.members[0].chain.Block(h); err != nil || bytes.Equal(b.Proposer, own) {
			t.Errorf("block %d is by the member without a key: %+v, %v", h, b, err)
		}
	}
}

// Delegations change who has what power from the first block of the next epoch on,
// to which the chain goes by itself and where it stops; seeds close meanwhile. A
// node that was away comes to the same state, and its certificates go on.
func TestEpochsPassWhileStakeMoves(t *testing.T) {
	t.Parallel()
	const epoch = 10
	params := longEpochs(epoch)
	params.Staking.PowerCapBps = 10_000
	a := newAgreement(t, 4, params, true)
	a.startAll(t)
	d := a.members[0].exec.Domain()
	before := a.members[0].chain.Status().TotalPower
	delegate := staking.Delegate{Validator: 2, Amount: 100 * ledger.DropsPerCoin}
	s := a.settle(t, 0, accountOf(5).tx(d, chain.KindDelegate, delegate.Encode()))
	if s.Receipt.Code != chain.CodeOK {
		t.Fatalf("delegate: %v", s.Receipt.Code)
	}
	a.stop(t, 3)
	next := params.Staking.LastBlock(params.Staking.Epoch(s.Height)) + 1
	if params.Staking.Epoch(s.Height+2) != params.Staking.Epoch(s.Height) {
		next += epoch // elected in the epoch after
	}
	eventually(t, 30*time.Second, "the next epoch", func() bool { return a.members[0].height() >= next })
	eventually(t, 10*time.Second, "idleness", func() bool { return a.members[0].chain.Status().PendingSince.IsZero() })
	height := a.members[0].height()
	idle := time.NewTimer(time.Second)
	defer idle.Stop()
	<-idle.C
	if now := a.members[0].height(); now != height || height > next+1 {
		t.Errorf("the chain is at height %d, was at %d; the epoch began with %d", now, height, next)
	}
	for h, grown := range map[uint64]bool{next - 1: false, next: true} {
		vals, err := a.members[0].chain.Validators(h)
		if err != nil {
			t.Fatal(err)
		}
		total := int64(0)
		for _, v := range vals {
			total += v.Power
		}
		if (total > before) != grown {
			t.Errorf("the power at height %d is %d, was %d", h, total, before)
		}
	}
	a.start(t, 3)
	eventually(t, 30*time.Second, "caught up", func() bool { return a.members[3].height() == a.members[0].height() })
	a.settle(t, 0, accountOf(6).transfer(d, accountOf(4).addr, 1))
	if _, h0 := a.members[0].exec.Head(); h0 == nil {
		t.Error("no head")
	}
	for i, m := range a.members {
		var seed, first ledger.Hash
		_ = m.exec.Read(func(v chain.View, height uint64) error {
			seed = staking.Seed(v, params.Staking.Epoch(height)+1)
			first = staking.Seed(v, 0)
			return nil
		})
		if seed.IsZero() || seed == first {
			t.Errorf("member %d: seed of the next epoch is %s", i, seed)
		}
		awaitCertifier(t, m.exec)
		certificate, err := m.exec.LatestCertificate()
		if err != nil || certificate.Checkpoint.Epoch == 0 {
			t.Errorf("member %d: latest certificate %+v, %v", i, certificate.Checkpoint, err)
		}
		if s := m.exec.Stats(); s.ExtensionsWrong != 0 {
			t.Errorf("member %d: %d wrong extensions", i, s.ExtensionsWrong)
		}
	}
}
