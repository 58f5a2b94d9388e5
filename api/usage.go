package api

import (
	"context"
	"errors"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
)

// certify adds to a proof what the main chain's committee certified: who served the
// shard, and what of it is anchored. What has no certificate yet is left out.
func (b *backend) certify(out *servicev1.UsageProof, id shard.ID, epoch uint64) (err error) {
	if com, ok, err := b.committeeOf(id, epoch); err != nil {
		return err
	} else if ok {
		out.Committee = com.Encode()
	}
	if b.Main == nil {
		return nil
	}
	if out.Assignment, err = b.certified(registry.AssignmentKey(epoch, id)); err != nil {
		return err
	}
	out.Anchor, err = b.certified(anchor.Key(id))
	return err
}

// certified returns a statement about the state of the main chain with its certificate,
// nil if there is none.
func (b *backend) certified(key []byte) (*servicev1.CertifiedState, error) {
	certificate, st, err := b.Main.Certified(key)
	if errors.Is(err, exec.ErrNoCertificate) || errors.Is(err, exec.ErrPruned) {
		return nil, nil //nolint:nilnil // nothing to tell is no failure
	}
	if err != nil {
		return nil, err
	}
	proof, err := st.Proof.Encode()
	if err != nil {
		return nil, err
	}
	return &servicev1.CertifiedState{Statement: renderStatement(st, proof), Certificate: certificate.Encode()}, nil
}

func renderSums(s service.Sums) *servicev1.Sums {
	return &servicev1.Sums{Amount: s.Amount, Units: s.Units, Work: s.Work}
}

// renderBooking returns a booking as clients see it: what is durable in the shard is
// INCLUDED, and FINAL once it is anchored. tx may be nil.
func (b *backend) renderBooking(local ShardState, sh *shard.Shard, s *exec.ShardStatus, tx *chain.Tx, how detail) (*servicev1.Booking, error) {
	out := &servicev1.Booking{
		Name: BookingName(s.Hash), Shard: ShardName(sh.ID), Service: ServiceName(sh.Service),
		Transaction: &chainv1.Transaction{
			Name: TransactionName(s.Hash), Hash: s.Hash[:], Stage: renderStage(s.Stage), DropReason: s.DropReason, ValidUntil: s.ValidUntil,
		},
	}
	t := out.GetTransaction()
	if s.Stage == exec.StageFinal {
		row, err := b.anchors(sh.ID)
		if err != nil {
			return nil, err
		}
		if !keepsOwn(&row, local, s.Height) {
			t.Stage = chainv1.Stage_STAGE_INCLUDED
		}
	}
	if tx != nil {
		t.Kind, t.Signer, t.Nonce = chainv1.Kind(tx.Kind), tx.Signer.String(), tx.Nonce
	}
	r := s.Receipt
	if r == nil {
		return out, nil
	}
	t.Height, t.Index, t.Code = s.Height, s.TxIndex, renderCode(r.Code)
	t.Kind, t.Signer, t.Nonce = chainv1.Kind(r.Kind), r.Signer.String(), r.Nonce
	if !r.Payee.IsZero() {
		out.Payee = r.Payee.String()
	}
	out.Entries, out.Applied = uint32(len(r.Entries)), uint32(applied(r.Entries)) //nolint:gosec // at most channel.MaxEntries
	out.Booked, out.ResultsRoot = renderSums(r.Booked), optionalHash(r.ResultsRoot)
	for i := range r.Entries {
		e := &r.Entries[i]
		if how == noEntries || how == unappliedOnly && e.Applied() {
			continue
		}
		out.Results = append(out.Results, &servicev1.BookingResult{
			Position: uint32(i), Code: renderCode(e.Code), ChannelIndex: e.Index, Lane: uint32(e.Lane), //nolint:gosec // likewise
			Seq: e.Seq, Booked: renderSums(e.Booked), Total: renderSums(e.Total),
		})
	}
	return out, nil
}

// GetUsage implements ServiceChainServiceServer.
func (s *services) GetUsage(ctx context.Context, req *servicev1.GetUsageRequest) (*servicev1.GetUsageResponse, error) {
	ref, err := s.channelRef("channel", req.GetChannel())
	if err != nil {
		return nil, err
	}
	c, ok, err := s.Index.Channel(ref.Index)
	if err != nil {
		return nil, err
	}
	if !ok || c.State == exec.ChannelClosed || c.Service == 0 {
		p := missing(chain.CodeChannelUnknown.String(), req.GetChannel(), "%s names no service, so no usage is booked on it", req.GetChannel())
		if ok && c.State == exec.ChannelClosed {
			p.message = req.GetChannel() + " is closed, and its shard forgets it; what was paid is with the channel itself (GetChannel)"
		}
		return nil, p
	}
	m, _, err := s.shardMap()
	if err != nil {
		return nil, err
	}
	sh, err := s.home(m, "channel", c.Service, c.Payer)
	if err != nil {
		return nil, err
	}
	local, ok := s.serving(sh.ID)
	if !ok {
		return s.usageAway(ctx, &sh, m.Epoch(), req, &c)
	}
	return s.usageIn(ctx, local, &sh, req, &c)
}

// usageIn returns the usage of a channel whose home runs here.
func (s *services) usageIn(ctx context.Context, local Shard, sh *shard.Shard, req *servicev1.GetUsageRequest, c *exec.ChannelInfo) (*servicev1.GetUsageResponse, error) {
	name := req.GetChannel()
	out := &servicev1.GetUsageResponse{Channel: name, ChannelIndex: c.Index, Service: ServiceName(sh.Service), Shard: ShardName(sh.ID), Source: ownAnswer()}
	at, err := s.readHere(ctx, local, sh.ID, req.GetProve(), func(v chain.View) error {
		if usageOf(v, service.HomeOf(c.Payer).Bucket, c.Index, out) {
			return nil
		}
		p := missing(chain.CodeChannelUnknown.String(), name, "the main chain has not told %s of %s yet; try again in a moment", ShardName(sh.ID), name)
		p.set("shard", ShardName(sh.ID))
		p.retry = retrySoon
		return p
	})
	out.Proof, out.Height, out.AnchoredHeight = at.proof, at.height, at.anchored
	return out, err
}

// readIn is when something was read of a shard that runs here.
type readIn struct {
	height   uint64
	anchored uint64                // last height that the main chain has
	proof    *servicev1.ProvedRows // of what was read at height; nil if it was not asked for, or there is none
}

// readHere reads the state of a shard that runs here, and proves what was read if asked to.
func (b *backend) readHere(ctx context.Context, local Shard, id shard.ID, prove bool, read func(v chain.View) error) (at readIn, err error) {
	var rows readRows
	err = local.Read(func(v chain.View, height uint64) error {
		rows.View, at.height = v, height
		return read(&rows)
	})
	if err != nil {
		return readIn{}, err
	}
	b.rates.charge(callerIP(ctx), rowTokens(len(rows.keys)))
	if prove {
		proof, height, err := b.proveRows(ctx, local, &rows)
		if err != nil {
			return readIn{}, err
		}
		if proof != nil {
			at.proof, at.height = proof, height
		}
	}
	at.anchored, err = b.anchored(id)
	return at, err
}

// usageOf adds what a shard's state says of a channel whose payer is in a bucket, and
// returns false if it does not know it, or if v lacks one of its lanes.
func usageOf(v chain.View, bucket uint8, index uint64, out *servicev1.GetUsageResponse) bool {
	u, ok := service.ChannelAt(v, bucket, index)
	if !ok {
		return false
	}
	out.Payer, out.Payee, out.Deposit, out.ExpiresAt = u.Payer.String(), u.Payee.String(), uint64(u.Deposit), u.ExpiresAt
	out.Booked = renderSums(u.Booked)
	for lane := range uint8(channel.Lanes) {
		if u.Lanes&(1<<lane) == 0 {
			continue
		}
		l, ok := service.LaneAt(v, &u, index, lane)
		if !ok {
			return false
		}
		out.Lanes = append(out.Lanes, &servicev1.LaneUsage{
			Lane: uint32(lane), Cumulative: uint64(l.Cumulative), Units: l.Units, Work: l.Work, UsageRoot: optionalHash(l.UsageRoot),
			Seq: l.Seq, Settled: uint64(l.Settled), Redeemed: uint64(l.Redeemed),
		})
	}
	return true
}

// GetEarnings implements ServiceChainServiceServer.
func (s *services) GetEarnings(ctx context.Context, req *servicev1.GetEarningsRequest) (*servicev1.GetEarningsResponse, error) {
	payee, err := parseAccountName("payee", req.GetPayee())
	if err != nil {
		return nil, err
	}
	if req.GetService() == "" {
		return nil, invalid("service", "is missing; want services/ and an id or label, which ListServices tells")
	}
	m, _, id, err := s.mapFor(req.GetService())
	if err != nil {
		return nil, err
	}
	sh, err := s.home(m, "payee", id, payee)
	if err != nil {
		return nil, err
	}
	local, ok := s.serving(sh.ID)
	if !ok {
		return s.earningsAway(ctx, &sh, m.Epoch(), req, payee)
	}
	out := &servicev1.GetEarningsResponse{Payee: req.GetPayee(), Service: ServiceName(sh.Service), Shard: ShardName(sh.ID), Source: ownAnswer()}
	at, err := s.readHere(ctx, local, sh.ID, req.GetProve(), func(v chain.View) error {
		earningsOf(v, payee, out)
		return nil
	})
	out.Proof, out.Height, out.AnchoredHeight = at.proof, at.height, at.anchored
	return out, err
}

// earningsOf adds what a shard's state says that a payee earned.
func earningsOf(v chain.View, payee ledger.Address, out *servicev1.GetEarningsResponse) {
	e := service.EarningsOf(v, payee)
	out.Total = renderSums(e.Total)
	for i := range e.Epochs {
		out.Epochs = append(out.Epochs, &servicev1.EpochEarnings{Epoch: e.Epochs[i].Epoch, Earned: renderSums(e.Epochs[i].Sums)})
	}
}
