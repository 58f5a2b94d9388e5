package channel

import (
	"cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// A notice is what the main chain tells the home of a channel: the shard, of the
// service that the channel names, that has the zone and bucket of the payer's
// address. All notices about one channel take the same link, so they arrive in
// the order in which the main chain made them, each once. They carry totals and
// no differences.

// NoticeKind numbers the kinds of notices.
type NoticeKind uint8

// The kinds of notices.
const (
	NoticeOpened   NoticeKind = 1 // OpenedNotice
	NoticeChanged  NoticeKind = 2 // ChangedNotice: a top-up, an extension, or the request of a close
	NoticeClosed   NoticeKind = 3 // ClosedNotice, however it was closed
	NoticeRedeemed NoticeKind = 4 // RedeemedNotice: one for each home and block
)

// String returns the kind's name: "opened".
func (k NoticeKind) String() string {
	switch k {
	case NoticeOpened:
		return "opened"
	case NoticeChanged:
		return "changed"
	case NoticeClosed:
		return "closed"
	case NoticeRedeemed:
		return "redeemed"
	default:
		return "unknown"
	}
}

// OpenedNotice says that a channel was opened.
//
//	index u64 | id 32 | payer 21 | payee 21 | voucher_key 32 | service u32 |
//	deposit u64 | expires_at u64
type OpenedNotice struct {
	Index      uint64
	ID         ledger.Hash
	Payer      ledger.Address // whose home the notice goes to
	Payee      ledger.Address
	VoucherKey ledger.PublicKey
	Service    uint32
	Deposit    ledger.Amount
	ExpiresAt  uint64 // sigma
}

// Opened returns the notice that c, whose row is index, was opened.
func (c *Channel) Opened(index uint64) OpenedNotice {
	return OpenedNotice{
		Index: index, ID: c.ID, Payer: c.Payer, Payee: c.Payee, VoucherKey: c.VoucherKey,
		Service: c.Service, Deposit: c.Deposit, ExpiresAt: c.ExpiresAt,
	}
}

// OpenedNoticeSize is the length of an encoded OpenedNotice in bytes, and more than that
// of a ChangedNotice.
const OpenedNoticeSize = 8 + ledger.HashSize + 2*ledger.AddressSize + ledger.PublicKeySize + 4 + 8 + 8

// Encode returns the message's payload.
func (n *OpenedNotice) Encode() []byte {
	w := codec.NewWriter(OpenedNoticeSize)
	w.Uint64(n.Index)
	w.Fixed(n.ID[:])
	w.Fixed(n.Payer[:])
	w.Fixed(n.Payee[:])
	w.Fixed(n.VoucherKey[:])
	w.Uint32(n.Service)
	w.Uint64(uint64(n.Deposit))
	w.Uint64(n.ExpiresAt)
	return w.Bytes()
}

// DecodeOpenedNotice reads what Encode wrote.
func DecodeOpenedNotice(b []byte) (OpenedNotice, error) {
	var n OpenedNotice
	r := codec.NewReader(b)
	n.Index = r.Uint64()
	r.Into(n.ID[:])
	r.Into(n.Payer[:])
	r.Into(n.Payee[:])
	r.Into(n.VoucherKey[:])
	n.Service = r.Uint32()
	n.Deposit, n.ExpiresAt = ledger.Amount(r.Uint64()), r.Uint64()
	if err := finish(r, "notice of an open"); err != nil {
		return OpenedNotice{}, err
	}
	return n, checkTotal(n.Deposit)
}

// ChangedNotice says what deposit and deadline of a channel are after a top-up, an
// extension, or the payer's request to close it.
//
//	payer 21 | index u64 | deposit u64 | expires_at u64 | closes_at u64
type ChangedNotice struct {
	Payer     ledger.Address
	Index     uint64
	Deposit   ledger.Amount // in all
	ExpiresAt uint64        // sigma
	ClosesAt  uint64        // sigma; 0 while nobody has requested the close
}

// Changed returns the notice of what c, whose row is index, is now.
func (c *Channel) Changed(index uint64) ChangedNotice {
	return ChangedNotice{Payer: c.Payer, Index: index, Deposit: c.Deposit, ExpiresAt: c.ExpiresAt, ClosesAt: c.CloseAt}
}

// Encode returns the message's payload.
func (n *ChangedNotice) Encode() []byte {
	w := codec.NewWriter(ledger.AddressSize + 4*8)
	w.Fixed(n.Payer[:])
	w.Uint64(n.Index)
	w.Uint64(uint64(n.Deposit))
	w.Uint64(n.ExpiresAt)
	w.Uint64(n.ClosesAt)
	return w.Bytes()
}

// DecodeChangedNotice reads what Encode wrote.
func DecodeChangedNotice(b []byte) (ChangedNotice, error) {
	var n ChangedNotice
	r := codec.NewReader(b)
	r.Into(n.Payer[:])
	n.Index, n.Deposit, n.ExpiresAt, n.ClosesAt = r.Uint64(), ledger.Amount(r.Uint64()), r.Uint64(), r.Uint64()
	if err := finish(r, "notice of a change"); err != nil {
		return ChangedNotice{}, err
	}
	return n, checkTotal(n.Deposit)
}

// ClosedNotice says that a channel is closed: nothing more can be redeemed.
//
//	payer 21 | index u64 | redeemed u64
type ClosedNotice struct {
	Payer    ledger.Address
	Index    uint64
	Redeemed ledger.Amount // in all, burn included
}

// ClosedNotice returns the notice of an event that closed its channel.
func (e *Event) ClosedNotice() ClosedNotice {
	return ClosedNotice{Payer: e.Payer, Index: e.Index, Redeemed: e.Redeemed}
}

// Encode returns the message's payload.
func (n *ClosedNotice) Encode() []byte {
	w := codec.NewWriter(ledger.AddressSize + 2*8)
	w.Fixed(n.Payer[:])
	w.Uint64(n.Index)
	w.Uint64(uint64(n.Redeemed))
	return w.Bytes()
}

// DecodeClosedNotice reads what Encode wrote.
func DecodeClosedNotice(b []byte) (ClosedNotice, error) {
	var n ClosedNotice
	r := codec.NewReader(b)
	r.Into(n.Payer[:])
	n.Index, n.Redeemed = r.Uint64(), ledger.Amount(r.Uint64())
	if err := finish(r, "notice of a close"); err != nil {
		return ClosedNotice{}, err
	}
	return n, checkTotal(n.Redeemed)
}

// MaxRedeemedLanes is the largest number of lanes in a RedeemedNotice, which has
// 59,504 bytes then. A block that redeems more on channels of one home sends
// several.
const MaxRedeemedLanes = 3_500

// RedeemedNotice says what has been paid out on lanes of channels that have one
// home. It is how the home learns that a settlement arrived, whoever sent it.
//
//	zone u8 | bucket u8 | count u16 | count x (index u64 | lane u8 | redeemed u64)
//
// Lanes are strictly ascending by (index, lane).
type RedeemedNotice struct {
	Zone, Bucket uint8
	Lanes        []LaneTotal // 1 to MaxRedeemedLanes
}

// LaneTotal is what has been paid out on one lane, as in Lane.Redeemed.
type LaneTotal struct {
	Index    uint64
	Lane     uint8
	Redeemed ledger.Amount
}

// Compare orders by index, then lane.
func (t *LaneTotal) Compare(o *LaneTotal) int {
	return cmp.Or(cmp.Compare(t.Index, o.Index), cmp.Compare(t.Lane, o.Lane))
}

const laneTotalSize = 8 + 1 + 8

// Encode returns the message's payload.
func (n *RedeemedNotice) Encode() []byte {
	w := codec.NewWriter(4 + len(n.Lanes)*laneTotalSize)
	w.Uint8(n.Zone)
	w.Uint8(n.Bucket)
	w.Uint16(uint16(len(n.Lanes)))
	for i := range n.Lanes {
		w.Uint64(n.Lanes[i].Index)
		w.Uint8(n.Lanes[i].Lane)
		w.Uint64(uint64(n.Lanes[i].Redeemed))
	}
	return w.Bytes()
}

// DecodeRedeemedNotice reads what Encode wrote.
func DecodeRedeemedNotice(b []byte) (RedeemedNotice, error) {
	r := codec.NewReader(b)
	n := RedeemedNotice{Zone: r.Uint8(), Bucket: r.Uint8()}
	count := int(r.Uint16())
	if r.Err() == nil && (count == 0 || count > MaxRedeemedLanes || r.Remaining() != count*laneTotalSize) {
		return RedeemedNotice{}, chain.Refuse(chain.CodeMalformed, "notice of %d redeemed lanes in %d bytes, want 1 to %d lanes of %d bytes",
			count, len(b), MaxRedeemedLanes, laneTotalSize)
	}
	n.Lanes = make([]LaneTotal, 0, count)
	for i := range count {
		t := LaneTotal{Index: r.Uint64(), Lane: r.Uint8(), Redeemed: ledger.Amount(r.Uint64())}
		if t.Lane >= Lanes {
			return RedeemedNotice{}, chain.Refuse(chain.CodeLaneLimit, "lane %d, lanes are 0 to %d", t.Lane, Lanes-1)
		}
		if err := checkTotal(t.Redeemed); err != nil {
			return RedeemedNotice{}, err
		}
		if i > 0 && n.Lanes[i-1].Compare(&t) >= 0 {
			return RedeemedNotice{}, chain.Refuse(chain.CodeBadOrder, "redeemed lane %d is not after the one before it", i)
		}
		n.Lanes = append(n.Lanes, t)
	}
	if err := finish(r, "notice of redemptions"); err != nil {
		return RedeemedNotice{}, err
	}
	return n, nil
}

func checkTotal(a ledger.Amount) error {
	if a > ledger.MaxAmount {
		return chain.Refuse(chain.CodeAmountOverflow, "a total of %d drops, at most %d", uint64(a), uint64(ledger.MaxAmount))
	}
	return nil
}
