package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

// Names of resources.
const (
	channelsPrefix     = "channels/"
	settlementsPrefix  = "settlements/"
	transactionsPrefix = "transactions/"
	accountsPrefix     = "accounts/"
)

// reader collects what is wrong with an answer. A node that sends something
// unreadable is at fault; the first fault is reported.
type reader struct {
	err error
}

func (r *reader) fail(field string, err error) {
	if r.err == nil {
		r.err = fmt.Errorf("answer of the node: %s: %w", field, err)
	}
}

// hash reads 32 bytes; none stand for zero.
func (r *reader) hash(field string, b []byte) (h ledger.Hash) {
	if len(b) == 0 {
		return h
	}
	if len(b) != ledger.HashSize {
		r.fail(field, fmt.Errorf("%d bytes, want %d", len(b), ledger.HashSize))
		return h
	}
	copy(h[:], b)
	return h
}

// address reads a bech32 address; an empty one stands for zero.
func (r *reader) address(field, s string) ledger.Address {
	if s == "" {
		return ledger.Address{}
	}
	a, err := ledger.ParseAddress(s)
	if err != nil {
		r.fail(field, err)
	}
	return a
}

func hashOf(field string, b []byte) (ledger.Hash, error) {
	var r reader
	h := r.hash(field, b)
	if r.err == nil && h.IsZero() {
		r.fail(field, fmt.Errorf("is missing"))
	}
	return h, r.err
}

func paramsOf(p *nodev1.Params) settlement.Params {
	return settlement.Params{
		TxFee: ledger.Amount(p.GetTxFee()), OpenFee: ledger.Amount(p.GetOpenFee()),
		EntryFee: ledger.Amount(p.GetEntryFee()), StepFee: ledger.Amount(p.GetStepFee()),
		Rent: ledger.Amount(p.GetRent()), MinDeposit: ledger.Amount(p.GetMinDeposit()), BurnBps: p.GetBurnBps(),
		MinChallenge: p.GetMinChallenge(), DefaultChallenge: p.GetDefaultChallenge(), MaxChallenge: p.GetMaxChallenge(),
		MaxLifetime: p.GetMaxLifetime(), MaxBlockBytes: int64(p.GetMaxBlockBytes()), ReservedBps: p.GetReservedBps(),
		MaxStretch: p.GetMaxStretch(), Services: p.GetServices(),
		PaymentFee: ledger.Amount(p.GetPaymentFee()), BlockInterval: p.GetBlockIntervalMs(),
		Staking:  stakingParamsOf(p.GetStaking()),
		Registry: registry.Params{RegisterFee: ledger.Amount(p.GetRegisterServiceFee()), ServiceFee: ledger.Amount(p.GetServiceFee())},
		Anchors: settlement.AnchorParams{
			DueBlocks: p.GetAnchors().GetDueBlocks(), LateBlocks: p.GetAnchors().GetLateBlocks(), StalledBlocks: p.GetAnchors().GetStalledBlocks(),
			MaxLag: p.GetAnchors().GetMaxLag(), SetFee: ledger.Amount(p.GetAnchors().GetSetFee()), HeightFee: ledger.Amount(p.GetAnchors().GetHeightFee()),
		},
	}
}

// Stage is how far a transaction has come.
type Stage uint8

// The stages.
const (
	StageReceived Stage = iota + 1 // the node has the bytes
	StageChecked                   // sound, and on its way into a block
	StageIncluded                  // in a block that the validators agreed on
	StageFinal                     // and its effects are durable
	StageDropped                   // given up by this node
	// StageRefused is in a durable block that did not execute it, for a reason that
	// may pass. It is no outcome: any node may still execute the same bytes, until
	// Status.ValidUntil or until another transaction uses the nonce.
	StageRefused
)

// String returns the stage's name: "final".
func (s Stage) String() string {
	switch s {
	case StageReceived:
		return "received"
	case StageChecked:
		return "checked"
	case StageIncluded:
		return "included"
	case StageFinal:
		return "final"
	case StageDropped:
		return "dropped"
	case StageRefused:
		return "refused"
	default:
		return "unknown"
	}
}

// Status is where a transaction is, and at StageIncluded and StageFinal what it
// did.
type Status struct {
	Hash   ledger.Hash
	Kind   chain.Kind // of one that no block has executed, this and what follows may be unknown
	Signer ledger.Address
	Nonce  uint64

	Stage      Stage
	Height     uint64    // of its block; 0 before StageIncluded and at StageDropped
	TxIndex    uint32    // position in the block
	Time       time.Time // of the block
	DropReason string    // at StageDropped
	ValidUntil uint64    // at StageRefused: the last block that may execute it; 0 if there is no last one
	// Receipt is the outcome at StageIncluded and StageFinal, and why there is none
	// yet at StageRefused. It is nil before, and at StageDropped. Its Entries are
	// complete only where that is said.
	Receipt *settlement.Receipt
}

// receipt returns the receipt, and the zero one if there is none.
func (s *Status) receipt() settlement.Receipt {
	if s.Receipt == nil {
		return settlement.Receipt{}
	}
	return *s.Receipt
}

// code reads a code, of which there must be one.
func (r *reader) code(field string, c chainv1.Code) chain.Code {
	switch c {
	case chainv1.Code_CODE_UNSPECIFIED:
		r.fail(field, errors.New("missing"))
		return chain.CodeMalformed
	case chainv1.Code_CODE_OK:
		return chain.CodeOK
	default:
		return chain.Code(c)
	}
}

func statusOf(t *chainv1.Transaction) (Status, error) {
	var r reader
	s := Status{
		Hash: r.hash("hash", t.GetHash()), Kind: chain.Kind(t.GetKind()), Signer: r.address("signer", t.GetSigner()), Nonce: t.GetNonce(),
		Stage: Stage(t.GetStage()), Height: t.GetHeight(), TxIndex: t.GetIndex(), DropReason: t.GetDropReason(),
		ValidUntil: t.GetValidUntil(),
	}
	executed := s.Stage == StageIncluded || s.Stage == StageFinal || s.Stage == StageRefused
	if executed || t.GetCode() != chainv1.Code_CODE_UNSPECIFIED { // the latter of one that was only simulated
		s.Receipt = &settlement.Receipt{
			Hash: s.Hash, Kind: s.Kind, Signer: s.Signer, Nonce: s.Nonce,
			Code: r.code("code", t.GetCode()), Fee: ledger.Amount(t.GetFee()), Paid: ledger.Amount(t.GetPaid()),
			Burned: ledger.Amount(t.GetBurned()), OwnerFee: ledger.Amount(t.GetOwnerFees()), FirstChannel: t.GetFirstChannelIndex(), Opened: t.GetChannelsOpened(),
		}
		r.outcomes(s.Receipt, t)
	}
	if t.GetBlockTime() != nil {
		s.Time = t.GetBlockTime().AsTime()
	}
	return s, r.err
}

// settlementOf returns a settlement with the results it has.
func settlementOf(m *settlementv1.Settlement) (Status, error) {
	s, err := statusOf(m.GetTransaction())
	if err != nil || s.Receipt == nil {
		return s, err
	}
	var r reader
	s.Receipt.ResultsRoot = r.hash("results_root", m.GetResultsRoot())
	for _, e := range m.GetResults() {
		s.Receipt.Entries = append(s.Receipt.Entries, channel.EntryResult{
			Index: e.GetChannelIndex(), Lane: uint8(e.GetLane()), Code: r.code("results.code", e.GetCode()), Closed: e.GetClosed(),
			Paid: ledger.Amount(e.GetPaid()), Burned: ledger.Amount(e.GetBurned()), Redeemed: ledger.Amount(e.GetRedeemedTotal()),
			OwnerFee: ledger.Amount(e.GetOwnerFee()),
		})
	}
	return s, r.err
}

// ChannelState is where a channel is in its life.
type ChannelState uint8

// The states. In a list call the zero value stands for all but closed ones.
const (
	ChannelOpen ChannelState = iota + 1
	ChannelClosing
	ChannelDue // past its deadline; the chain closes it in one of the next blocks
	ChannelClosed
)

// String returns the state's name: "open".
func (s ChannelState) String() string {
	switch s {
	case ChannelOpen:
		return "open"
	case ChannelClosing:
		return "closing"
	case ChannelDue:
		return "due"
	case ChannelClosed:
		return "closed"
	default:
		return "unknown"
	}
}

// ChannelInfo is a channel, open or closed, as a node shows it.
type ChannelInfo struct {
	// Channel is the record. Of a closed channel it has only index, id, parties
	// and totals.
	pay.Channel

	State  ChannelState
	Burned ledger.Amount // of what was redeemed, but for a zone's fees of entries
	Closed *Closing      // how it ended; nil unless closed
	View   pay.View      // the state this is; Lag is 0
}

// Closing is how a channel ended.
type Closing struct {
	Kind     channel.EventKind
	Height   uint64
	Refunded ledger.Amount // to the payer, rent included
}

func channelOf(m *channelv1.Channel, height, clock uint64) (ChannelInfo, error) {
	var r reader
	c := ChannelInfo{
		Channel: pay.Channel{
			Index: m.GetIndex(), ID: r.hash("id", m.GetId()), Payer: r.address("payer", m.GetPayer()), Payee: r.address("payee", m.GetPayee()),
			VoucherKey: ledger.PublicKey(r.hash("voucher_key", m.GetVoucherKey())), Service: m.GetServiceId(),
			Terms: r.hash("terms_hash", m.GetTermsHash()), Deposit: ledger.Amount(m.GetDepositTotal()),
			Redeemed: ledger.Amount(m.GetRedeemedTotal()), Rent: ledger.Amount(m.GetRent()), OpenHeight: m.GetOpenHeight(),
			ExpiresAt: m.GetExpiresAt(), Challenge: m.GetChallenge(), CloseAt: m.GetCloseAt(), Height: height,
			Fees: feesOf(m.GetFees()),
		},
		State: ChannelState(m.GetState()), Burned: ledger.Amount(m.GetBurnedTotal()),
		View: pay.View{Height: height, Clock: clock},
	}
	for _, l := range m.GetLanes() {
		c.Lanes = append(c.Lanes, pay.LaneState{
			Lane: uint8(l.GetLane()), Redeemed: ledger.Amount(l.GetRedeemed()), Units: l.GetUnits(),
			UsageRoot: r.hash("usage_root", l.GetUsageRoot()),
		})
	}
	if end := m.GetClosed(); end != nil {
		c.Closed = &Closing{Kind: eventKindOf(end.GetKind()), Height: end.GetHeight(), Refunded: ledger.Amount(end.GetRefunded())}
	}
	return c, r.err
}

func feesOf(m *channelv1.ChannelFees) (f channel.Fees) {
	f.Zone.ShareBps, f.Zone.Entry = m.GetZoneShareBps(), ledger.Amount(m.GetZoneEntryFee())
	f.Service.ShareBps, f.Service.Entry = m.GetOwnerShareBps(), ledger.Amount(m.GetOwnerEntryFee())
	return f
}

func eventKindOf(k channelv1.ChannelEvent_Kind) channel.EventKind {
	if k == channelv1.ChannelEvent_KIND_EXPIRING {
		return pay.EventExpiring
	}
	return channel.EventKind(k)
}

func eventOf(m *channelv1.ChannelEvent) (*pay.Event, error) {
	var r reader
	e := &pay.Event{Height: m.GetHeight(), Event: channel.Event{
		Kind: eventKindOf(m.GetKind()), Index: m.GetIndex(), ID: r.name(channelsPrefix, m.GetName()),
		Payer: r.address("payer", m.GetPayer()), Payee: r.address("payee", m.GetPayee()), TxIndex: -1,
		Deposit: ledger.Amount(m.GetDepositTotal()), Redeemed: ledger.Amount(m.GetRedeemedTotal()),
		Refunded: ledger.Amount(m.GetRefunded()), Deadline: m.GetDeadline(),
	}}
	if m.TxIndex != nil {
		e.TxIndex = int(m.GetTxIndex())
	}
	return e, r.err
}

// name reads "prefix" and a hash in hexadecimal.
func (r *reader) name(prefix, name string) ledger.Hash {
	if len(name) < len(prefix) || name[:len(prefix)] != prefix {
		r.fail("name", fmt.Errorf("%q, want %s and an id", name, prefix))
		return ledger.Hash{}
	}
	h, err := ledger.ParseHash(name[len(prefix):])
	if err != nil {
		r.fail("name", err)
	}
	return h
}
