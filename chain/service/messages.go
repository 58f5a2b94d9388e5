package service

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// MessageKind numbers the messages that a shard takes. Those of the main chain have
// the numbers of channel.NoticeKind.
type MessageKind uint16

// The kinds of messages.
const (
	KindOpened   = MessageKind(channel.NoticeOpened)
	KindChanged  = MessageKind(channel.NoticeChanged)
	KindClosed   = MessageKind(channel.NoticeClosed)
	KindRedeemed = MessageKind(channel.NoticeRedeemed)
	// KindEarnings is an EarningsMessage of another shard of the service.
	KindEarnings MessageKind = 16
)

// String returns the kind's name: "earnings".
func (k MessageKind) String() string {
	if k == KindEarnings {
		return "earnings"
	}
	return channel.NoticeKind(k).String()
}

// Message is what a block sends to another shard of the service.
type Message struct {
	From, To  Place
	Kind      MessageKind
	Recipient ledger.Address // whom it is about
	Payload   []byte
}

// Inbound is a message that a block takes in.
type Inbound struct {
	// Main says that it comes from the main chain; From is then of no meaning. The
	// caller has proved it against the source's certificate.
	Main     bool
	From, To Place
	Kind     MessageKind
	Payload  []byte
	// Fate is that of a message of this shard that comes back; Fresh otherwise. To is
	// then the place that it was sent from, and From where it was sent to. The caller has
	// found it to be what was sent, which has not come back before.
	Fate Fate
	// MainEpoch is that of the block of the main chain by which the message is proved. A
	// shard that sends knows of the epoch after it at most. 0 says nothing.
	MainEpoch uint64
}

// Fate says what became of a message.
type Fate uint8

// The fates of messages.
const (
	Fresh   Fate = 0 // it is on its way
	Bounced Fate = 1 // its destination refused it
	Expired Fate = 2 // its destination took it too late
)

// ImportResult is what became of an inbound message.
type ImportResult struct {
	// Code is OK, or NO_OP_STALE for what was known already. Everything else is a
	// refusal, and the message is to be bounced.
	Code   chain.Code
	Detail string // for people; never hashed
}

// Taken reports whether the message was executed.
func (r *ImportResult) Taken() bool { return r.Code == chain.CodeOK || r.Code == chain.CodeStale }

// EarningsMessageSize is the length of an encoded EarningsMessage in bytes.
const EarningsMessageSize = ledger.AddressSize + 8 + SumsSize

// EarningsMessage says what a block of another shard added for a payee.
//
//	payee 21 | epoch u64 | amount u64 | units u64 | work u64
type EarningsMessage struct {
	Payee ledger.Address
	Epoch uint64 // of the shard that sends
	Sums
}

// Encode returns the message's payload.
func (m *EarningsMessage) Encode() []byte {
	w := codec.NewWriter(EarningsMessageSize)
	w.Fixed(m.Payee[:])
	w.Uint64(m.Epoch)
	writeSums(w, m.Sums)
	return w.Bytes()
}

// DecodeEarningsMessage reads what Encode wrote.
func DecodeEarningsMessage(b []byte) (EarningsMessage, error) {
	var m EarningsMessage
	r := codec.NewReader(b)
	r.Into(m.Payee[:])
	m.Epoch = r.Uint64()
	m.Sums = readSums(r)
	if err := r.Done(); err != nil {
		return EarningsMessage{}, chain.Refuse(chain.CodeMalformed, "earnings: %v", err)
	}
	return m, nil
}

// result executes an inbound message and returns what became of it.
func (b *block) result(m *Inbound) ImportResult {
	if err := b.take(m); err != nil {
		e := asRule(err)
		return ImportResult{Code: e.Code, Detail: e.Detail}
	}
	return ImportResult{}
}

// take executes one message. An error leaves the state as it was.
func (b *block) take(m *Inbound) error {
	if m.Fate != Fresh {
		return b.takeBack(m)
	}
	if !b.shard.Owns(m.To) {
		return b.wrongShard(m.To)
	}
	if (m.Kind == KindEarnings) == m.Main {
		return chain.Refuse(chain.CodeWrongSource, "message of kind %s, from the main chain: %t", m.Kind, m.Main)
	}
	switch m.Kind {
	case KindOpened:
		n, err := channel.DecodeOpenedNotice(m.Payload)
		if err != nil {
			return err
		}
		return b.opened(&n)
	case KindChanged:
		n, err := channel.DecodeChangedNotice(m.Payload)
		if err != nil {
			return err
		}
		return b.changed(&n)
	case KindClosed:
		n, err := channel.DecodeClosedNotice(m.Payload)
		if err != nil {
			return err
		}
		return b.closed(&n)
	case KindRedeemed:
		n, err := channel.DecodeRedeemedNotice(m.Payload)
		if err != nil {
			return err
		}
		return b.redeemed(&n)
	case KindEarnings:
		n, err := DecodeEarningsMessage(m.Payload)
		if err != nil {
			return err
		}
		return b.received(&n, max(b.epoch.Number, m.MainEpoch)+1)
	default:
		return chain.Refuse(chain.CodeUnknownKind, "message of kind %d", m.Kind)
	}
}

func (b *block) wrongShard(home Place) *chain.RuleError {
	return chain.Refuse(chain.CodeWrongShard, "home is %s of service %d; this shard has buckets %d to %d of zone %d",
		home, b.shard.Service, b.shard.First, b.shard.Last, b.shard.Zone)
}

// opened makes a channel known.
func (b *block) opened(n *channel.OpenedNotice) error {
	home := HomeOf(n.Payer)
	switch {
	case n.Service != b.shard.Service:
		return chain.Refuse(chain.CodeWrongService, "channel %d is of service %d, this is %d", n.Index, n.Service, b.shard.Service)
	case !b.shard.Owns(home):
		return b.wrongShard(home)
	}
	if c, known := ChannelAt(b.state, home.Bucket, n.Index); known {
		if c.ID == n.ID {
			return chain.Refuse(chain.CodeStale, "channel %d is known", n.Index)
		}
		return chain.Refuse(chain.CodeChannelMismatch, "channel %d is known as %s, not %s", n.Index, c.ID, n.ID)
	}
	c := Channel{
		ID: n.ID, Payer: n.Payer, Payee: n.Payee, VoucherKey: n.VoucherKey, Deposit: n.Deposit, ExpiresAt: n.ExpiresAt,
	}
	b.state.Set(ChannelKey(home.Bucket, n.Index), c.Encode())
	b.totals.Channels++
	return nil
}

// changed learns of a top-up, of an extension, or that the payer requested the close.
// Totals never fall, and a close that was requested is not taken back. What was booked on
// a channel that ends before its epoch's settlement can be paid is settled here and now.
func (b *block) changed(n *channel.ChangedNotice) error {
	c, err := b.known(n.Payer, n.Index)
	if err != nil {
		return err
	}
	if n.Deposit <= c.Deposit && n.ExpiresAt <= c.ExpiresAt && (n.ClosesAt == 0 || c.ClosesAt != 0) {
		return chain.Refuse(chain.CodeStale, "channel %d has as much", n.Index)
	}
	c.Deposit, c.ExpiresAt = max(c.Deposit, n.Deposit), max(c.ExpiresAt, n.ExpiresAt)
	if c.ClosesAt == 0 {
		c.ClosesAt = n.ClosesAt
	}
	if b.ends(&c) {
		b.hurryAll(&c, n.Index)
	}
	b.state.Set(ChannelKey(n.Payer.Bucket(), n.Index), c.Encode())
	return nil
}

func (b *block) known(payer ledger.Address, index uint64) (Channel, error) {
	home := HomeOf(payer)
	if !b.shard.Owns(home) {
		return Channel{}, b.wrongShard(home)
	}
	c, ok := ChannelAt(b.state, home.Bucket, index)
	if !ok || c.Payer != payer {
		return Channel{}, chain.Refuse(chain.CodeChannelUnknown, "channel %d of payer %s", index, payer)
	}
	return c, nil
}

// closed forgets a channel, its lanes and what was to be settled of them. What was
// booked on it stays counted.
func (b *block) closed(n *channel.ClosedNotice) error {
	c, err := b.known(n.Payer, n.Index)
	if err != nil {
		return err
	}
	bucket := n.Payer.Bucket()
	for lane := range uint8(channel.Lanes) {
		if c.Lanes>>lane&1 == 0 {
			continue
		}
		l := LaneOf(b.state, &c, n.Index, lane)
		if l.Moved != 0 {
			b.state.Delete(movedKey(bucket, l.Moved-1, &c.Payee, n.Index, lane))
		}
		if l.Pending() {
			b.state.Delete(pendingKey(bucket, &c.Payee, n.Index, lane))
		}
		if lane != 0 {
			b.state.Delete(laneKey(bucket, n.Index, lane))
		}
	}
	b.state.Delete(ChannelKey(bucket, n.Index))
	b.totals.Channels--
	if c.Booked != (Sums{}) {
		rest := restOf(b.state, bucket)
		rest.Ended = rest.Ended.Plus(c.Booked)
		b.state.Set(restKey(bucket), rest.Encode())
	}
	return nil
}

// redeemed learns what the main chain has paid out. Channels that are closed are
// passed over: the notice of the close may be of the same block.
func (b *block) redeemed(n *channel.RedeemedNotice) error {
	home := Place{n.Zone, n.Bucket}
	if !b.shard.Owns(home) {
		return b.wrongShard(home)
	}
	for i := range n.Lanes {
		t := &n.Lanes[i]
		c, ok := ChannelAt(b.state, home.Bucket, t.Index)
		if !ok {
			continue
		}
		l := LaneOf(b.state, &c, t.Index, t.Lane)
		if t.Redeemed <= l.Redeemed {
			continue
		}
		pending := l.Pending()
		l.Redeemed = t.Redeemed
		if l.Moved != 0 && !l.Unsettled() {
			b.state.Delete(movedKey(home.Bucket, l.Moved-1, &c.Payee, t.Index, t.Lane))
			l.Moved = 0
		}
		if pending && !l.Pending() {
			b.state.Delete(pendingKey(home.Bucket, &c.Payee, t.Index, t.Lane))
		}
		setLane(b.state, &c, t.Index, t.Lane, &l)
		b.state.Set(ChannelKey(home.Bucket, t.Index), c.Encode())
	}
	return nil
}

// received credits what another shard has booked for a payee of this one, in an epoch up
// to newest.
func (b *block) received(m *EarningsMessage, newest uint64) error {
	home := HomeOf(m.Payee)
	switch {
	case !b.shard.Owns(home):
		return b.wrongShard(home)
	case m.Amount > uint64(ledger.MaxAmount):
		return chain.Refuse(chain.CodeAmountOverflow, "earnings of %d drops, there are at most %d", m.Amount, uint64(ledger.MaxAmount))
	case m.Epoch > newest:
		return chain.Refuse(chain.CodeInvalidValue, "earnings of epoch %d, no shard can have begun a later one than %d", m.Epoch, newest)
	}
	b.totals.Received = b.totals.Received.Plus(m.Sums)
	b.credit(m.Payee, m.Epoch, m.Sums)
	return nil
}

// takeBack takes a message of this shard that came back. It cannot fail: what is no
// message of this shard is passed over.
func (b *block) takeBack(m *Inbound) error {
	if m.Kind != KindEarnings || !b.shard.Owns(m.To) {
		return nil
	}
	e, err := DecodeEarningsMessage(m.Payload)
	if err != nil {
		return nil //nolint:nilerr // a message that this shard did not make cannot come back to it
	}
	b.totals.Returned = b.totals.Returned.Plus(e.Sums)
	if m.Fate == Expired {
		b.add(e.Payee, e.Sums)
		return nil
	}
	b.stick(m.To.Bucket, e.Sums)
	return nil
}

// stick counts what nobody can be told of any more.
func (b *block) stick(bucket uint8, s Sums) {
	b.totals.Stuck = b.totals.Stuck.Plus(s)
	rest := restOf(b.state, bucket)
	rest.Stuck = rest.Stuck.Plus(s)
	b.state.Set(restKey(bucket), rest.Encode())
}
