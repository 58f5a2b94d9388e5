package api

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

// This file turns values of the chain into messages.

// renderCode returns a code of the protocol; numbers are the same but for OK.
func renderCode(c chain.Code) chainv1.Code {
	if c == chain.CodeOK {
		return chainv1.Code_CODE_OK
	}
	return chainv1.Code(c)
}

// renderStage returns a stage; numbers are the same.
func renderStage(s exec.Stage) chainv1.Stage { return chainv1.Stage(s) }

// optionalHash returns the bytes of h, or nil if it is zero.
func optionalHash(h ledger.Hash) []byte {
	if h.IsZero() {
		return nil
	}
	return h[:]
}

// renderTime returns Unix milliseconds as a timestamp, and nil for 0.
func renderTime(ms int64) *timestamppb.Timestamp {
	if ms == 0 {
		return nil
	}
	return timestamppb.New(time.UnixMilli(ms))
}

// renderStamp returns t as a timestamp, and nil for the zero time.
func renderStamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// renderTransaction returns what is known of a transaction. tx may be nil: what
// is then not in the status stays empty. blockTime is in Unix milliseconds.
func renderTransaction(s *exec.Status, tx *chain.Tx, blockTime int64) *chainv1.Transaction {
	out := &chainv1.Transaction{
		Name: TransactionName(s.Hash), Hash: s.Hash[:], Stage: renderStage(s.Stage),
		DropReason: s.DropReason, ValidUntil: s.ValidUntil,
	}
	if tx != nil {
		out.Kind, out.Signer, out.Nonce = chainv1.Kind(tx.Kind), tx.Signer.String(), tx.Nonce
	}
	if r := s.Receipt; r != nil {
		out.Height, out.Index, out.BlockTime = s.Height, s.TxIndex, renderTime(blockTime)
		out.Kind, out.Signer, out.Nonce = chainv1.Kind(r.Kind), r.Signer.String(), r.Nonce
		out.Code, out.Fee = renderCode(r.Code), uint64(r.Fee)
		out.Paid, out.Burned, out.OwnerFees = uint64(r.Paid), uint64(r.Burned), uint64(r.OwnerFee)
		out.ChannelsOpened, out.FirstChannelIndex = r.Opened, r.FirstChannel
		renderRuns(out, r)
	}
	return out
}

// detail is how much of a settlement's entries is told.
type detail int

const (
	noEntries     detail = iota // for lists
	unappliedOnly               // entries whose code is not OK
	everyEntry                  // all
)

func detailOf(full bool) detail {
	if full {
		return everyEntry
	}
	return unappliedOnly
}

// renderSettlement returns a batch and what became of it.
func renderSettlement(s *exec.Status, tx *chain.Tx, blockTime int64, how detail) *settlementv1.Settlement {
	out := &settlementv1.Settlement{
		Name:        SettlementName(s.Hash),
		Transaction: renderTransaction(s, tx, blockTime),
	}
	r := s.Receipt
	if r == nil {
		return out
	}
	out.Entries = uint32(len(r.Entries))
	out.TotalPaid, out.TotalBurned, out.TotalOwnerFees = uint64(r.Paid), uint64(r.Burned), uint64(r.OwnerFee)
	out.ResultsRoot = optionalHash(r.ResultsRoot)
	for i := range r.Entries {
		e := &r.Entries[i]
		if e.Applied() {
			out.Applied++
		}
		if how == everyEntry || how == unappliedOnly && e.Code != chain.CodeOK {
			out.Results = append(out.Results, renderEntry(uint32(i), e))
		}
	}
	return out
}

func renderEntry(position uint32, e *settlement.EntryResult) *settlementv1.EntryResult {
	return &settlementv1.EntryResult{
		Position: position, ChannelIndex: e.Index, Lane: uint32(e.Lane), Code: renderCode(e.Code),
		Paid: uint64(e.Paid), Burned: uint64(e.Burned), RedeemedTotal: uint64(e.Redeemed), Closed: e.Closed,
		OwnerFee: uint64(e.OwnerFee),
	}
}

// renderChannel returns channel c with fees f, which is row index, as of the clock; without
// lanes above 0.
func renderChannel(c *channel.Channel, f *channel.Fees, index, clock uint64, p *settlement.Params) *channelv1.Channel {
	rules := p.Rules()
	out := &channelv1.Channel{
		Name: ChannelName(c.ID), Id: c.ID[:], Index: index,
		Payer: c.Payer.String(), Payee: c.Payee.String(), VoucherKey: c.VoucherKey[:],
		ServiceId: c.Service, TermsHash: optionalHash(c.Terms), State: renderState(c, clock),
		DepositTotal: uint64(c.Deposit), RedeemedTotal: uint64(c.Redeemed),
		BurnedTotal: uint64(rules.Burned(f, c.Redeemed)), Fees: renderFees(f), Rent: uint64(c.Rent),
		OpenHeight: c.OpenHeight, ExpiresAt: c.ExpiresAt, CloseAt: c.CloseAt, Challenge: c.Challenge,
	}
	return out
}

// renderFees returns the fees of a channel, nil if it has none.
func renderFees(f *channel.Fees) *channelv1.ChannelFees {
	if *f == (channel.Fees{}) {
		return nil
	}
	return &channelv1.ChannelFees{
		ZoneShareBps: f.Zone.ShareBps, ZoneEntryFee: uint64(f.Zone.Entry),
		OwnerShareBps: f.Service.ShareBps, OwnerEntryFee: uint64(f.Service.Entry),
	}
}

func renderState(c *channel.Channel, clock uint64) channelv1.ChannelState {
	switch {
	case c.Deadline() <= clock:
		return channelv1.ChannelState_CHANNEL_STATE_DUE
	case c.Closing():
		return channelv1.ChannelState_CHANNEL_STATE_CLOSING
	default:
		return channelv1.ChannelState_CHANNEL_STATE_OPEN
	}
}

func renderLane(lane uint32, l *channel.Lane) *channelv1.LaneState {
	return &channelv1.LaneState{
		Lane: lane, Redeemed: uint64(l.Redeemed), Units: l.Units, UsageRoot: optionalHash(l.UsageRoot),
	}
}

// renderEvent returns an event of the block at height; kinds have the same
// numbers.
func renderEvent(e *settlement.Event, height uint64) *channelv1.ChannelEvent {
	out := &channelv1.ChannelEvent{
		Kind: channelv1.ChannelEvent_Kind(e.Kind), Name: ChannelName(e.ID), Index: e.Index,
		Payer: e.Payer.String(), Payee: e.Payee.String(), Height: height,
		DepositTotal: uint64(e.Deposit), RedeemedTotal: uint64(e.Redeemed), Refunded: uint64(e.Refunded),
		Deadline: e.Deadline,
	}
	if e.TxIndex >= 0 {
		position := uint32(e.TxIndex)
		out.TxIndex = &position
	}
	return out
}

// renderOpening returns channel c with fees f as the event that opened it left it.
func renderOpening(c *channel.Channel, f *channel.Fees, e *settlement.Event, p *settlement.Params) *channelv1.Channel {
	opened := *c
	opened.Deposit, opened.Redeemed, opened.ExpiresAt, opened.CloseAt = e.Deposit, e.Redeemed, e.Deadline, 0
	out := renderChannel(&opened, f, e.Index, 0, p)
	out.State = channelv1.ChannelState_CHANNEL_STATE_OPEN
	return out
}

func renderTotals(t *settlement.Totals) *chainv1.Totals {
	return &chainv1.Totals{
		Accounts: uint64(t.Accounts), Escrow: uint64(t.Escrow), Rent: uint64(t.Rent),
		Burned: uint64(t.Burned), Fees: uint64(t.Fees),
		Staked: uint64(t.Staked), Rewards: uint64(t.Rewards), Minted: uint64(t.Minted),
	}
}

func renderHeader(h *Header) *chainv1.Header {
	return &chainv1.Header{
		Height: h.Height, Time: renderStamp(h.Time), Hash: h.Hash, AppHash: h.AppHash, Proposer: h.Proposer,
		SignedHeader: h.Signed, Commit: h.Commit,
	}
}

func renderParams(p *settlement.Params) *nodev1.Params {
	return &nodev1.Params{
		TxFee: uint64(p.TxFee), OpenFee: uint64(p.OpenFee), EntryFee: uint64(p.EntryFee), StepFee: uint64(p.StepFee),
		Rent: uint64(p.Rent), MinDeposit: uint64(p.MinDeposit), BurnBps: p.BurnBps,
		MinChallenge: p.MinChallenge, DefaultChallenge: p.DefaultChallenge, MaxChallenge: p.MaxChallenge,
		MaxLifetime: p.MaxLifetime, MaxBlockBytes: uint64(p.MaxBlockBytes), ReservedBps: p.ReservedBps,
		MaxStretch: p.MaxStretch, Services: p.Services,
		MaxOpens: channel.MaxOpens, MaxEntries: channel.MaxEntries,
		MaxTxBytes: chain.MaxTxSize, NonceWindow: chain.NonceWindow,
		MaxPayments: settlement.MaxPayments,
		PaymentFee:  uint64(p.PaymentFee), BlockIntervalMs: p.BlockInterval,
		Staking:            renderStakingParams(&p.Staking),
		RegisterServiceFee: uint64(p.Registry.RegisterFee), ServiceFee: uint64(p.Registry.ServiceFee),
		Anchors: &nodev1.AnchorParams{
			DueBlocks: p.Anchors.DueBlocks, LateBlocks: p.Anchors.LateBlocks, StalledBlocks: p.Anchors.StalledBlocks, MaxLag: p.Anchors.MaxLag,
			SetFee: uint64(p.Anchors.SetFee), HeightFee: uint64(p.Anchors.HeightFee),
		},
	}
}
