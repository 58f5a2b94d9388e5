package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
)

// WatchFilter says which channels to watch and from when on. At least one of
// Channels, Payer and Payee must be given; a channel of any of them is watched.
type WatchFilter struct {
	Channels []ledger.Hash // at most 1,000
	Payer    ledger.Address
	Payee    ledger.Address
	// From is the block height to begin with; 0 means the next block. Token
	// instead begins after the Watched that it came with.
	From  uint64
	Token string
	// ExpiringWithin asks for notices of channels whose expiry is this close,
	// settlement clock; 0 means two default challenge windows.
	ExpiringWithin uint64
}

// Watched is one thing a watch tells: exactly one of Event, Gap and View is set.
type Watched struct {
	// Event is what happened to a channel. pay.EventExpiring is a notice, which
	// can come again.
	Event *pay.Event
	// Channel is, with the event of an open, the channel as it was opened; nil if
	// it is closed by now.
	Channel *pay.Channel
	// Gap says that events were lost because the node no longer has them: read
	// the channels anew.
	Gap *Gap
	// View says how far the node is, at the beginning and every few seconds. Its
	// Lag is how far the watch is behind.
	View *pay.View

	Token string // resumes after this
}

// Gap is a range of heights whose events are lost.
type Gap struct {
	From, To uint64 // both included
}

const (
	// watchSilence is after how long without a heartbeat a watch begins anew.
	watchSilence = 20 * time.Second
	// watchPatience is how long a watch goes on trying to come back while nobody tells it
	// anything.
	watchPatience = 10 * time.Minute
)

// WatchChannels yields what happens to channels, in the order of the chain. It
// comes back by itself, on another node if need be, when a node or connection
// ends; events are neither lost nor repeated, unless a Gap says so. It ends with
// ctx, whose error it then yields, and with an error that does not pass.
func (c *Client) WatchChannels(ctx context.Context, f WatchFilter) iter.Seq2[Watched, error] {
	return func(yield func(Watched, error) bool) {
		w := &watch{client: c, filter: f, token: f.Token, height: f.From}
		if err := w.run(ctx, func(m Watched) bool { return yield(m, nil) }); err != nil {
			yield(Watched{}, err)
		}
	}
}

// watch is one WatchChannels over all its streams.
type watch struct {
	client *Client
	filter WatchFilter
	token  string // of the last message
	// height is that of the last event, and seen the number of its events that
	// were yielded: where to go on if no node takes the token.
	height uint64
	seen   int
	skip   int // events of height to leave out, after going on by height
}

var errStopped = errors.New("watch was stopped by its reader")

// run streams until something ends it for good.
func (w *watch) run(ctx context.Context, yield func(Watched) bool) error {
	return w.client.rewatch(ctx, "watch channels", w.resumable, func(e *endpoint) (bool, error) { return w.stream(ctx, e, yield) })
}

// rewatch streams, and comes back on another node if need be when a stream ends. stream
// opens one, and reports whether anything came before it ended; errStopped means that its
// reader has enough, which is no error. Any other one is, with what before it, if it is not
// resumable, if watchPatience is over since the last stream on which anything came, and at the
// end of ctx.
func (c *Client) rewatch(ctx context.Context, what string, resumable func(error) bool, stream func(*endpoint) (came bool, err error)) error {
	patience, failures := time.NewTimer(watchPatience), 0
	defer patience.Stop()
	for {
		e := c.endpoint()
		came, err := stream(e)
		switch {
		case errors.Is(err, errStopped):
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
		if came {
			patience.Reset(watchPatience)
			failures = 0
		}
		failures++
		if err = errorOf(err); !resumable(err) {
			return fmt.Errorf("%s: %w", what, err)
		}
		select {
		case <-patience.C:
			return fmt.Errorf("%s: no node has told anything for %v, the last one asked is %s: %w", what, watchPatience, e.target, err)
		default:
		}
		c.leave(e)
		c.options.log.LogAttrs(ctx, slog.LevelInfo, "watch comes back", slog.String("watch", what), slog.String("endpoint", e.target), slog.Any("err", err))
		if !sleep(ctx, c.options.retry.delay(failures, err)) {
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
	}
}

// watchResumes reports whether a watch that ended with err may be opened again.
func watchResumes(err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return errors.Is(err, io.EOF)
	}
	switch e.Code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Aborted, codes.ResourceExhausted, codes.Canceled, codes.Internal, codes.Unknown:
		return true
	default:
		return false
	}
}

// resumable reports whether the watch can go on after err. A token that no
// longer counts, on another node for instance, is replaced by a height.
func (w *watch) resumable(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok && e.Code == codes.InvalidArgument && w.token != "" && w.token != w.filter.Token {
		w.token, w.skip = "", w.seen
		return true
	}
	return watchResumes(err)
}

// stream opens one stream and yields what it tells until it ends. It reports
// whether anything came.
func (w *watch) stream(ctx context.Context, e *endpoint, yield func(Watched) bool) (came bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req := &channelv1.WatchChannelsRequest{
		Payer: textOf(w.filter.Payer), Payee: textOf(w.filter.Payee), ExpiringWithin: w.filter.ExpiringWithin, ResumeToken: w.token,
	}
	if w.token == "" {
		req.FromHeight = w.height
	}
	for _, id := range w.filter.Channels {
		req.Names = append(req.Names, channelsPrefix+id.String())
	}
	silence := time.AfterFunc(watchSilence, cancel)
	defer silence.Stop()
	stream, err := e.channels.WatchChannels(ctx, req)
	if err != nil {
		return false, err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return came, err
		}
		silence.Stop() // the reader may take its time
		came = true
		out, ok, err := w.read(m)
		if err != nil {
			return came, err
		}
		if ok && !yield(out) {
			return came, errStopped
		}
		silence.Reset(watchSilence)
	}
}

// read returns a message as it is yielded, and false if it was before.
func (w *watch) read(m *channelv1.WatchChannelsResponse) (Watched, bool, error) {
	if t := m.GetResumeToken(); t != "" {
		w.token = t
	}
	out := Watched{Token: w.token}
	switch x := m.GetMessage().(type) {
	case *channelv1.WatchChannelsResponse_Heartbeat_:
		h := x.Heartbeat
		w.client.saw(h.GetHeight())
		out.View = &pay.View{Height: h.GetHeight(), Clock: h.GetSettlementClock(), Lag: uint64(h.GetLagBlocks())}
		if next := h.GetHeight() + 1 - uint64(h.GetLagBlocks()); next > w.height {
			w.height, w.seen, w.skip = next, 0, 0
		}
	case *channelv1.WatchChannelsResponse_Gap_:
		out.Gap = &Gap{From: x.Gap.GetFromHeight(), To: x.Gap.GetToHeight()}
		w.height, w.seen, w.skip = out.Gap.To+1, 0, 0
	case *channelv1.WatchChannelsResponse_Event:
		e, err := eventOf(x.Event)
		if err != nil {
			return out, false, err
		}
		if m := x.Event.GetChannel(); m != nil {
			info, err := channelOf(m, e.Height, 0)
			if err != nil {
				return out, false, err
			}
			out.Channel = &info.Channel
		}
		out.Event = e
		return out, w.fresh(e), nil
	default:
		return out, false, nil // of a later version
	}
	return out, true, nil
}

// fresh notes an event and reports whether it has not been yielded yet.
func (w *watch) fresh(e *pay.Event) bool {
	if e.Kind == pay.EventExpiring {
		return true
	}
	if e.Height != w.height {
		w.height, w.seen, w.skip = e.Height, 0, 0
	}
	if w.skip > 0 {
		w.skip--
		return false
	}
	w.seen++
	return true
}

// Follow yields the channels of a payer or payee and everything that happens to
// them, as pay.Payer and pay.Payee want it: first a list of all that are open,
// then every change, and a new list whenever changes may have been missed. It
// ends like WatchChannels.
func (c *Client) Follow(ctx context.Context, of Parties) iter.Seq2[pay.Update, error] {
	return func(yield func(pay.Update, error) bool) {
		listed := false
		for m, err := range c.WatchChannels(ctx, WatchFilter{Payer: of.Payer, Payee: of.Payee}) {
			switch {
			case err != nil:
			case m.Gap != nil:
				listed = false
			case m.View != nil && !listed:
				// Whatever happens from here on is among the events that follow.
				err = c.list(ctx, of, *m.View, yield)
				listed = err == nil
			case m.View != nil:
				err = c.advance(ctx, *m.View, yield)
			case m.Event != nil && listed:
				err = tell(of, &m, yield)
			}
			switch {
			case errors.Is(err, errStopped):
				return
			case err != nil && ctx.Err() == nil && passes(err):
				listed = false // with the next heartbeat
			case err != nil:
				yield(pay.Update{}, err)
				return
			}
		}
	}
}

// deliver yields u, and returns errStopped if that was the last.
func deliver(yield func(pay.Update, error) bool, u pay.Update) error {
	if !yield(u, nil) {
		return errStopped
	}
	return nil
}

// list yields all channels, by a state that is no older than view.
func (c *Client) list(ctx context.Context, of Parties, view pay.View, yield func(pay.Update, error) bool) error {
	if err := deliver(yield, pay.Update{Listing: pay.ListingBegins}); err != nil {
		return err
	}
	for info, err := range c.channels(ctx, of, 0, view.Height) {
		if err == nil {
			err = deliver(yield, pay.Update{Channel: &info.Channel})
		}
		if err != nil {
			return err
		}
	}
	return deliver(yield, pay.Update{Listing: pay.ListingEnds, View: view})
}

// advance yields how far the node is, unless it knows that the chain is further:
// then it is silent, and the last view grows old.
func (c *Client) advance(ctx context.Context, view pay.View, yield func(pay.Update, error) bool) error {
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	for _, ch := range s.Chains {
		if ch.Chain == c.network.Domain.Chain && ch.CatchingUp {
			return nil
		}
	}
	return deliver(yield, pay.Update{View: view})
}

// tell yields an event, and to a payee the record of a new channel, which has
// more than the event. A payer has it already. A channel that is closed by now has
// no record, and its last event follows.
func tell(of Parties, m *Watched, yield func(pay.Update, error) bool) error {
	u := pay.Update{Event: m.Event}
	if m.Event.Kind == channel.EventOpened && !of.Payee.IsZero() {
		if m.Channel == nil {
			return nil
		}
		u.Channel = m.Channel
	}
	return deliver(yield, u)
}
