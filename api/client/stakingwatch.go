package client

import (
	"context"
	"iter"
	"strconv"
	"time"

	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	stakingv1 "github.com/tributary-network/tributary/proto/tributary/staking/v1"
)

// StakingFilter says which events to watch, and from when on. Without Validator
// and Account it is all; with both those of either.
type StakingFilter struct {
	Validator *uint64
	Account   ledger.Address
	From      uint64 // height of the first block; 0 is the next one
}

// StakingUpdate is one thing that a watch of staking tells.
type StakingUpdate struct {
	// Events are all of one block that were asked for, in order. Without any the
	// update says only that there was nothing up to Height.
	Events []staking.Event
	Height uint64
	Gap    *Gap   // blocks that the node no longer has; then there are no events
	Head   uint64 // of the node's chain
}

// WatchStaking yields what happens to validators and their stake, block by block.
// It comes back by itself, on another node if need be, and neither loses nor
// repeats a block, unless a Gap says so. It ends with ctx, whose error it then
// yields, and with an error that does not pass.
func (c *Client) WatchStaking(ctx context.Context, f StakingFilter) iter.Seq2[StakingUpdate, error] {
	return func(yield func(StakingUpdate, error) bool) {
		w := &stakingWatch{client: c, filter: f, next: f.From}
		if err := w.run(ctx, func(u StakingUpdate) bool { return yield(u, nil) }); err != nil {
			yield(StakingUpdate{}, err)
		}
	}
}

// stakingWatch is one WatchStaking over all its streams.
type stakingWatch struct {
	client *Client
	filter StakingFilter
	next   uint64 // height to go on from; 0 before anything came
}

// run streams until something ends it for good.
func (w *stakingWatch) run(ctx context.Context, yield func(StakingUpdate) bool) error {
	return w.client.rewatch(ctx, "watch staking", watchResumes, func(e *endpoint) (bool, error) { return w.stream(ctx, e, yield) })
}

// stream opens one stream and yields what it tells until it ends. It reports
// whether anything came.
func (w *stakingWatch) stream(ctx context.Context, e *endpoint, yield func(StakingUpdate) bool) (came bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req := &stakingv1.WatchStakingRequest{Account: textOf(w.filter.Account), FromHeight: w.next}
	if w.filter.Validator != nil {
		req.Validator = validatorsPrefix + strconv.FormatUint(*w.filter.Validator, 10)
	}
	silence := time.AfterFunc(watchSilence, cancel)
	defer silence.Stop()
	stream, err := e.staking.WatchStaking(ctx, req)
	if err != nil {
		return false, err
	}
	var part []staking.Event // of a block whose events come in several messages
	for {
		m, err := stream.Recv()
		if err != nil {
			return came, err
		}
		silence.Stop() // the reader may take its time
		came = true
		events, err := each(m.GetEvents(), stakingEventOf)
		if err != nil {
			return came, err
		}
		part = append(part, events...)
		w.client.saw(m.GetHeadHeight())
		if !m.GetMore() {
			w.next = m.GetHeight() + 1
			u := StakingUpdate{Events: part, Height: m.GetHeight(), Head: m.GetHeadHeight()}
			if g := m.GetGap(); g != nil {
				u.Gap = &Gap{From: g.GetFromHeight(), To: g.GetToHeight()}
			}
			part = nil
			if !yield(u) {
				return came, errStopped
			}
		}
		silence.Reset(watchSilence)
	}
}

func stakingEventOf(m *stakingv1.StakingEvent) (staking.Event, error) {
	var r reader
	e := staking.Event{
		Kind: staking.EventKind(m.GetKind()), TxIndex: -1, Delegator: r.address("account", m.GetAccount()),
		Amount: ledger.Amount(m.GetAmount()), Reward: ledger.Amount(m.GetReward()), Epoch: m.GetEpoch(),
		Height: m.GetFaultHeight(), Power: m.GetPower(), Fault: staking.Fault(m.GetFault()),
	}
	if m.GetCode() != 0 {
		e.Code = r.code("code", m.GetCode())
	}
	if m.GetValidator() != "" {
		e.Validator = r.validator("validator", m.GetValidator())
	}
	if m.GetToValidator() != "" {
		e.To = r.validator("to_validator", m.GetToValidator())
	}
	if m.TxIndex != nil {
		e.TxIndex = int(m.GetTxIndex())
	}
	return e, r.err
}
