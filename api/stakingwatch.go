package api

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	stakingv1 "github.com/tributary-network/tributary/proto/tributary/staking/v1"
)

// maxWatchedEvents is how many events one message of a watch has at most.
const maxWatchedEvents = 1_000

// stakeFilter selects events.
type stakeFilter struct {
	all       bool
	validator uint64
	byNumber  bool
	account   ledger.Address // zero: none
}

func newStakeFilter(req *stakingv1.WatchStakingRequest) (f stakeFilter, err error) {
	if req.GetValidator() != "" {
		f.byNumber = true
		if f.validator, err = parseValidatorName("validator", req.GetValidator()); err != nil {
			return f, err
		}
	}
	if req.GetAccount() != "" {
		if f.account, err = parseAddress("account", req.GetAccount()); err != nil {
			return f, err
		}
	}
	f.all = !f.byNumber && f.account.IsZero()
	return f, nil
}

func (f *stakeFilter) matches(e *staking.Event) bool {
	switch {
	case f.all:
		return true
	case !f.account.IsZero() && e.Delegator == f.account:
		return true
	case !f.byNumber || e.Kind == staking.EventEpochEnded:
		return false
	default:
		return e.Validator == f.validator || e.Kind == staking.EventRedelegated && e.To == f.validator
	}
}

// stakeWatch is one call of WatchStaking. It is a cursor over the committed
// blocks and keeps no events.
type stakeWatch struct {
	*backend
	server stakingv1.StakingService_WatchStakingServer
	ip     netip.Addr // of the watcher
	filter stakeFilter
	blocks *exec.Subscription
	next   uint64    // height of the next block
	sent   time.Time // when the last message was
}

// WatchStaking implements StakingServiceServer.
func (s *stakes) WatchStaking(req *stakingv1.WatchStakingRequest, server stakingv1.StakingService_WatchStakingServer) error {
	f, err := newStakeFilter(req)
	if err != nil {
		return err
	}
	from := req.GetFromHeight()
	if from == 0 {
		head, _ := s.State.Head()
		from = head + 1
	}
	w := &stakeWatch{
		backend: s.backend, server: server, ip: callerIP(server.Context()), filter: f,
		blocks: s.State.Subscribe(from), next: from,
	}
	ctx, end := context.WithCancelCause(server.Context())
	defer end(nil)
	go func() { // ends with the call
		select {
		case <-s.stopping:
			end(shuttingDown())
		case <-ctx.Done():
		}
	}()
	err = w.follow(ctx)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// follow sends what happens until ctx ends.
func (w *stakeWatch) follow(ctx context.Context) error {
	if err := w.heartbeat(); err != nil {
		return err
	}
	for {
		block, err := w.wait(ctx)
		var gap *exec.GapError
		switch {
		case errors.As(err, &gap):
			w.next = gap.To + 1
			err = w.send(&stakingv1.WatchStakingResponse{
				Height: gap.To, Gap: &stakingv1.WatchStakingResponse_Gap{FromHeight: gap.From, ToHeight: gap.To},
			})
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			err = w.heartbeat()
		case err == nil:
			err = w.block(ctx, block)
		}
		if err != nil {
			return err
		}
		if w.Now().Sub(w.sent) >= w.Heartbeat { // catching up through blocks without matches
			if err := w.heartbeat(); err != nil {
				return err
			}
		}
	}
}

// wait returns the next block, or waits until a heartbeat is due.
func (w *stakeWatch) wait(ctx context.Context) (*exec.BlockResult, error) {
	ctx, cancel := context.WithTimeout(ctx, max(0, w.Heartbeat-w.Now().Sub(w.sent)))
	defer cancel()
	return w.blocks.Next(ctx)
}

// block sends the events of a block. A block of the past was read for this watch
// only, which costs tokens.
func (w *stakeWatch) block(ctx context.Context, b *exec.BlockResult) error {
	if head, _ := w.State.Head(); head > b.Height {
		if err := w.rates.pay(ctx, w.ip, blockTokens(b)); err != nil {
			return err
		}
	}
	m := &stakingv1.WatchStakingResponse{Height: b.Height}
	for i := range b.Staking {
		if !w.filter.matches(&b.Staking[i]) {
			continue
		}
		if len(m.GetEvents()) == maxWatchedEvents {
			m.More = true
			if err := w.send(m); err != nil {
				return err
			}
			m = &stakingv1.WatchStakingResponse{Height: b.Height}
		}
		m.Events = append(m.Events, renderStakingEvent(&b.Staking[i], b.Height))
	}
	w.next = b.Height + 1
	if len(m.GetEvents()) == 0 {
		return nil
	}
	return w.send(m)
}

// heartbeat says that there was nothing up to the last block.
func (w *stakeWatch) heartbeat() error {
	return w.send(&stakingv1.WatchStakingResponse{Height: w.next - 1})
}

func (w *stakeWatch) send(m *stakingv1.WatchStakingResponse) error {
	m.HeadHeight, _ = w.State.Head()
	w.sent = w.Now()
	return w.server.Send(m)
}

// renderStakingEvent returns an event of the block at height; kinds and faults
// have the same numbers.
func renderStakingEvent(e *staking.Event, height uint64) *stakingv1.StakingEvent {
	out := &stakingv1.StakingEvent{
		Kind: stakingv1.StakingEvent_Kind(e.Kind), Height: height,
		Amount: uint64(e.Amount), Reward: uint64(e.Reward), Power: e.Power, Epoch: e.Epoch,
		Fault: stakingv1.StakingEvent_Fault(e.Fault),
	}
	if e.Kind != staking.EventEpochEnded {
		out.Validator = ValidatorName(e.Validator)
	}
	if e.Kind == staking.EventRedelegated {
		out.ToValidator = ValidatorName(e.To)
	}
	if !e.Delegator.IsZero() {
		out.Account = e.Delegator.String()
	}
	if e.Fault != 0 {
		out.FaultHeight = e.Height
	}
	if e.Code != 0 {
		out.Code = renderCode(e.Code)
	}
	if e.TxIndex >= 0 {
		position := uint32(e.TxIndex)
		out.TxIndex = &position
	}
	return out
}
