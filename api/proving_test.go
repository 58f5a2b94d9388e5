package api_test

import (
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/ledger/stateproof"
	accountv1 "github.com/tributary-network/tributary/proto/tributary/account/v1"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
)

// prover does something after each proof of another one.
type prover struct {
	api.Prover

	after func()
}

func (p prover) Prove(key []byte) (*stateproof.Statement, error) {
	st, err := p.Prover.Prove(key)
	p.after()
	return st, err
}

// state makes its head move when it is asked for it.
type state struct {
	api.State

	move func()
}

func (s state) Head() (uint64, []byte) {
	s.move()
	return s.State.Head()
}

// What a response says of the state is of one state, whatever the chain does
// meanwhile.
func TestResponsesAreOfOneState(t *testing.T) {
	t.Parallel()
	var w *world
	moves := 0
	move := func() {
		if moves++; moves == 1 {
			w.block(w.transfer(w.payer, w.other.addr, 1))
		}
	}
	w = newWorld(t, func(c *api.Config) {
		c.Prover, c.State = prover{c.Prover, move}, state{c.State, move}
	})
	l := w.openLot(1, 5_000, w.later())
	defer w.byHand()()
	_, appHash := w.exec.Head()
	height := w.height()
	moves = 0
	got, err := w.nodes().GetStatus(w.ctx(), &nodev1.GetStatusRequest{})
	if s := got.GetChains()[0]; err != nil || s.GetHeight() == height && string(s.GetAppHash()) != string(appHash) {
		t.Errorf("application hash %x at height %d, %v, want %x", s.GetAppHash(), s.GetHeight(), err, appHash)
	}
	moves = 0
	ch, err := w.channels().GetChannel(w.ctx(), &channelv1.GetChannelRequest{Name: api.ChannelName(l.ids[0]), WithProof: true})
	if err != nil || moves == 0 || ch.GetSettlementClock() != ch.GetHeight() || ch.GetHeight() != ch.GetProof().GetHeight() || ch.GetHeight() != w.height() {
		t.Errorf("height %d, settlement clock %d, proof of %d, %v, want the head %d of a clock that never stood still",
			ch.GetHeight(), ch.GetSettlementClock(), ch.GetProof().GetHeight(), err, w.height())
	}
}

// Proofs are what goes first under load, whatever asks for them, and never many at
// once.
func TestProofsAreOptional(t *testing.T) {
	t.Parallel()
	const calls = 6
	begun, finish := make(chan struct{}, calls), make(chan struct{})
	w := newWorld(t, func(c *api.Config) {
		c.Limits.InFlight = calls
		c.Prover = prover{c.Prover, func() {
			begun <- struct{}{}
			<-finish
		}}
	})
	l := w.openLot(1, 5_000, w.later())
	channel := &channelv1.GetChannelRequest{Name: api.ChannelName(l.ids[0]), WithProof: true}
	account := &accountv1.GetAccountRequest{Name: api.AccountName(w.payee.addr), WithProof: true}
	proved := make(chan error, calls)
	for range calls / 2 {
		go func() {
			_, err := w.accounts().GetAccount(w.ctx(), account)
			proved <- err
		}()
		<-begun
	}
	_, err := w.channels().GetChannel(w.ctx(), channel)
	wantProblem(t, err, codes.ResourceExhausted, api.ReasonOverloaded)
	_, err = w.accounts().GetAccount(w.ctx(), account)
	wantProblem(t, err, codes.ResourceExhausted, api.ReasonOverloaded)
	if _, err := w.channels().GetChannel(w.ctx(), &channelv1.GetChannelRequest{Name: channel.GetName()}); err != nil {
		t.Errorf("a channel without proof at half load: %v", err)
	}
	close(finish)
	for range calls / 2 {
		if err := <-proved; err != nil {
			t.Errorf("a proof below half load: %v", err)
		}
	}
	if _, err := w.channels().GetChannel(w.ctx(), channel); err != nil {
		t.Errorf("a channel with proof afterwards: %v", err)
	}
}

// A proof costs what several calls cost.
func TestProofsCostMore(t *testing.T) {
	t.Parallel()
	left := func(proof bool) int {
		w := newWorld(t)
		l := w.openLot(1, 5_000, w.later())
		w.cfg.Limits.RequestsPerSecond, w.cfg.Limits.Burst = 0.001, 12
		limited := newServer(w)
		if _, err := limited.channels().GetChannel(w.ctx(), &channelv1.GetChannelRequest{Name: api.ChannelName(l.ids[0]), WithProof: proof}); err != nil {
			t.Fatal(err)
		}
		for n := 0; ; n++ {
			if _, err := limited.nodes().GetStatus(w.ctx(), &nodev1.GetStatusRequest{}); err != nil {
				wantProblem(t, err, codes.ResourceExhausted, api.ReasonRateLimited)
				return n
			}
		}
	}
	if plain, proved := left(false), left(true); plain < proved+4 {
		t.Errorf("%d calls are left after a plain one, %d after a proof", plain, proved)
	}
}
