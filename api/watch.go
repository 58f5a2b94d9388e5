package api

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
)

const (
	// maxWatchNames is how many channels one watch may name.
	maxWatchNames = 1000
	// maxNoticeScan bounds the channels looked at for notices at a time.
	maxNoticeScan = 100_000
	// noticeChunk is how many channels are looked at in one read of the state.
	noticeChunk = 500
)

// watchFilter selects events.
type watchFilter struct {
	ids   map[ledger.Hash]bool
	payer ledger.Address // zero: none
	payee ledger.Address // zero: none
}

func newWatchFilter(req *channelv1.WatchChannelsRequest) (*watchFilter, error) {
	f := &watchFilter{ids: make(map[ledger.Hash]bool, len(req.GetNames()))}
	if len(req.GetNames()) > maxWatchNames {
		return nil, invalid("names", "%d names, at most %d; watch by payer or payee, or with several watches", len(req.GetNames()), maxWatchNames)
	}
	for i, name := range req.GetNames() {
		id, err := parseHashName("names["+strconv.Itoa(i)+"]", collectionChannels, name)
		if err != nil {
			return nil, err
		}
		f.ids[id] = true
	}
	var err error
	if req.GetPayer() != "" {
		if f.payer, err = parseAddress("payer", req.GetPayer()); err != nil {
			return nil, err
		}
	}
	if req.GetPayee() != "" {
		if f.payee, err = parseAddress("payee", req.GetPayee()); err != nil {
			return nil, err
		}
	}
	if f.payer.IsZero() && f.payee.IsZero() && len(f.ids) == 0 {
		return nil, invalid("names", "give the names of channels, a payer or a payee to watch")
	}
	return f, nil
}

func (f *watchFilter) matches(id ledger.Hash, payer, payee ledger.Address) bool {
	return !f.payer.IsZero() && f.payer == payer || !f.payee.IsZero() && f.payee == payee || f.ids[id]
}

// place is where a watch is: before event number event of the block at height.
type place struct {
	height uint64
	event  uint64
}

// watch is one call of WatchChannels. It is a cursor over the committed blocks
// and keeps no events.
type watch struct {
	*backend
	server  channelv1.ChannelService_WatchChannelsServer
	ip      netip.Addr // of the watcher
	filter  *watchFilter
	blocks  *exec.Subscription
	skip    uint64 // events of the first block that were sent before
	at      place
	within  uint64    // notice distance, settlement clock
	noticed uint64    // notices up to this deadline were sent; 0: none yet
	beat    time.Time // when the last heartbeat was
}

// tokenList binds resume tokens; they are good for every filter.
const tokenList = "WatchChannels"

// WatchChannels implements ChannelServiceServer.
func (c *channels) WatchChannels(req *channelv1.WatchChannelsRequest, server channelv1.ChannelService_WatchChannelsServer) error {
	f, err := newWatchFilter(req)
	if err != nil {
		return err
	}
	w := &watch{backend: c.backend, server: server, ip: callerIP(server.Context()), filter: f, within: req.GetExpiringWithin()}
	if w.within == 0 {
		w.within = channel.UrgentWindows * uint64(c.Network.Params.DefaultChallenge)
	}
	w.within = min(w.within, c.Network.Params.MaxLifetime)
	if err := w.begin(req.GetResumeToken(), req.GetFromHeight()); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(server.Context())
	defer end(nil)
	go func() { // ends with the call
		select {
		case <-c.stopping:
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

// begin finds the place to begin at.
func (w *watch) begin(token string, from uint64) error {
	switch {
	case token != "" && from != 0:
		return invalid("from_height", "give either resume_token or from_height")
	case token != "":
		height, cursor, ok := w.pages.decode(newFilter(tokenList), token)
		if !ok || !readCursor(cursor, &w.skip) || height == 0 {
			return invalid("resume_token", "is not the resume_token of a watch on this network; begin with from_height")
		}
		w.at = place{height: height, event: w.skip}
	case from != 0:
		w.at.height = from
	default:
		head, _ := w.State.Head()
		w.at.height = head + 1
	}
	w.blocks = w.State.Subscribe(w.at.height)
	return nil
}

func (w *watch) token() string {
	return w.pages.token(newFilter(tokenList), w.at.height, cursorU64(w.at.event))
}

// follow sends what happens until ctx ends.
func (w *watch) follow(ctx context.Context) error {
	if err := w.heartbeat(); err != nil {
		return err
	}
	if err := w.notices(ctx); err != nil {
		return err
	}
	for {
		block, err := w.next(ctx)
		var gap *exec.GapError
		switch {
		case errors.As(err, &gap):
			err = w.gap(gap)
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			err = w.heartbeat()
		case err == nil:
			err = w.block(ctx, block)
		}
		if err != nil {
			return err
		}
		if w.Now().Sub(w.beat) >= w.Heartbeat { // there is always a block; events do not say how far the node is
			if err := w.heartbeat(); err != nil {
				return err
			}
		}
	}
}

// next waits for the next block, at most until a heartbeat is due.
func (w *watch) next(ctx context.Context) (*exec.BlockResult, error) {
	ctx, cancel := context.WithTimeout(ctx, max(0, w.Heartbeat-w.Now().Sub(w.beat)))
	defer cancel()
	return w.blocks.Next(ctx)
}

// block sends the events of a block, and at the head notices. A block of the past
// was read for this watch only, which costs tokens.
func (w *watch) block(ctx context.Context, b *exec.BlockResult) error {
	if head, _ := w.State.Head(); head > b.Height {
		if err := w.rates.pay(ctx, w.ip, blockTokens(b)); err != nil {
			return err
		}
	}
	var opened openings
	for i := range b.Events {
		e := &b.Events[i]
		w.at = place{height: b.Height, event: uint64(i) + 1}
		if uint64(i) < w.skip || !w.filter.matches(e.ID, e.Payer, e.Payee) {
			continue
		}
		out := renderEvent(e, b.Height)
		if e.Kind == settlement.EventOpened {
			var err error
			if out.Channel, err = opened.record(w, b.Events[i:]); err != nil {
				return err
			}
		}
		if err := w.event(out); err != nil {
			return err
		}
		if w.expiresSoon(e) {
			if err := w.expiring(renderEvent(e, b.Height)); err != nil {
				return err
			}
		}
	}
	w.skip = 0
	w.at = place{height: b.Height + 1}
	return w.notices(ctx)
}

// openings are the records of channels that a block opened, read some at a time.
type openings map[uint64]*channelv1.Channel

// record returns the record with which the channel of the first of events was
// opened, or nil if it is closed by now. What follows it is read with it.
func (o *openings) record(w *watch, events []settlement.Event) (*channelv1.Channel, error) {
	if c, ok := (*o)[events[0].Index]; ok {
		return c, nil
	}
	*o = make(openings)
	err := w.State.Read(func(v chain.View, _ uint64) error {
		for i := range events {
			e := &events[i]
			if e.Kind != settlement.EventOpened || !w.filter.matches(e.ID, e.Payer, e.Payee) {
				continue
			}
			(*o)[e.Index] = nil
			if c, ok := settlement.ChannelAt(v, e.Index); ok {
				fees := channel.FeesAt(v, c.FeesNumber)
				(*o)[e.Index] = renderOpening(&c, &fees, e, &w.Network.Params)
			}
			if len(*o) == noticeChunk {
				break
			}
		}
		return nil
	})
	return (*o)[events[0].Index], err
}

// expiresSoon reports whether an event moved a channel's expiry to where
// notices were sent already.
func (w *watch) expiresSoon(e *settlement.Event) bool {
	return (e.Kind == settlement.EventOpened || e.Kind == settlement.EventExtended) && e.Deadline <= w.noticed
}

// notices sends EXPIRING for the channels whose expiry has come within the
// notice distance, if the watch is at the head.
func (w *watch) notices(ctx context.Context) error {
	if head, _ := w.State.Head(); w.at.height <= head {
		return nil
	}
	scan := noticeScan{from: w.noticed + 1}
	for looked := 0; !scan.done && looked < maxNoticeScan; looked += noticeChunk {
		if looked > 0 {
			if err := w.rates.pay(ctx, w.ip, rowTokens(noticeChunk)); err != nil {
				return err
			}
		}
		soon, err := w.scanNotices(&scan)
		if err != nil {
			return err
		}
		for _, e := range soon {
			if err := w.expiring(e); err != nil {
				return err
			}
		}
	}
	w.noticed = max(w.noticed, scan.to)
	return nil
}

// noticeScan is a walk through the queue of deadlines, some channels at a time,
// since blocks wait for readers of the state.
type noticeScan struct {
	from, to uint64 // deadlines, both included; to is set by the first step
	index    uint64 // channels up to index-1 of deadline from are done
	done     bool
}

func (w *watch) scanNotices(s *noticeScan) ([]*channelv1.ChannelEvent, error) {
	var soon []*channelv1.ChannelEvent
	err := w.State.Read(func(v chain.View, height uint64) error {
		clock := settlement.Clock(v, height)
		if s.to == 0 {
			s.to = clock + w.within
		}
		if s.from <= clock {
			s.from, s.index = clock+1, 0
		}
		if s.done = s.from > s.to; s.done {
			return nil
		}
		looked := 0
		for deadline, index := range channel.Deadlines(v, s.from, s.to) {
			if deadline == s.from && index < s.index {
				continue
			}
			if looked++; looked > noticeChunk {
				s.from, s.index = deadline, index
				return nil
			}
			c, ok := settlement.ChannelAt(v, index)
			if ok && !c.Closing() && w.filter.matches(c.ID, c.Payer, c.Payee) {
				soon = append(soon, &channelv1.ChannelEvent{
					Name: ChannelName(c.ID), Index: index, Payer: c.Payer.String(), Payee: c.Payee.String(), Height: height,
					DepositTotal: uint64(c.Deposit), RedeemedTotal: uint64(c.Redeemed), Deadline: deadline,
				})
			}
		}
		s.done = true
		return nil
	})
	return soon, err
}

func (w *watch) expiring(e *channelv1.ChannelEvent) error {
	e.Kind, e.TxIndex = channelv1.ChannelEvent_KIND_EXPIRING, nil
	return w.event(e)
}

func (w *watch) event(e *channelv1.ChannelEvent) error {
	return w.send(&channelv1.WatchChannelsResponse{Message: &channelv1.WatchChannelsResponse_Event{Event: e}})
}

// gap tells that blocks are missing, and goes on behind them.
func (w *watch) gap(g *exec.GapError) error {
	w.at, w.skip = place{height: g.To + 1}, 0
	return w.send(&channelv1.WatchChannelsResponse{Message: &channelv1.WatchChannelsResponse_Gap_{
		Gap: &channelv1.WatchChannelsResponse_Gap{FromHeight: g.From, ToHeight: g.To},
	}})
}

func (w *watch) heartbeat() error {
	height, clock, err := w.now()
	if err != nil {
		return err
	}
	w.beat = w.Now()
	hb := &channelv1.WatchChannelsResponse_Heartbeat{Height: height, SettlementClock: clock}
	if w.at.height <= height {
		hb.LagBlocks = uint32(min(height+1-w.at.height, 1<<31))
	}
	return w.send(&channelv1.WatchChannelsResponse{Message: &channelv1.WatchChannelsResponse_Heartbeat_{Heartbeat: hb}})
}

func (w *watch) send(m *channelv1.WatchChannelsResponse) error {
	m.ResumeToken = w.token()
	return w.server.Send(m)
}
