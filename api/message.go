package api

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard/link"
)

const (
	// maxSent is how many messages of a transaction are told of.
	maxSent = 64
	// messageTokens is what looking for a message costs beyond its call: a block with its
	// outbox is read from the store.
	messageTokens = 2 * callCost
)

// GetMessage implements RoutingServiceServer.
func (r *routing) GetMessage(ctx context.Context, req *servicev1.GetMessageRequest) (*servicev1.GetMessageResponse, error) {
	id := ledger.ChainID(req.GetChainId())
	if _, err := r.readBlocks(id); err != nil {
		return nil, err
	}
	r.rates.charge(callerIP(ctx), messageTokens)
	switch what := req.GetWhat().(type) {
	case *servicev1.GetMessageRequest_Sent_:
		var hash ledger.Hash
		if err := readBytes("sent.tx_hash", what.Sent.GetTxHash(), hash[:]); err != nil {
			return nil, err
		}
		return r.sent(ctx, id, hash)
	case *servicev1.GetMessageRequest_Known_:
		src, err := readPlace("known.from", what.Known.GetFrom())
		if err != nil {
			return nil, err
		}
		dst, err := readPlace("known.to", what.Known.GetTo())
		if err != nil {
			return nil, err
		}
		return r.known(ctx, id, link.Link{Src: src, Dst: dst}, what.Known.GetSeq())
	default:
		return nil, invalid("what", "is missing; want sent or known")
	}
}

// sent returns what a transaction of a chain that runs here, or has ended, sent.
func (r *routing) sent(ctx context.Context, id ledger.ChainID, hash ledger.Hash) (*servicev1.GetMessageResponse, error) {
	source, err := r.readBlocks(id)
	if err != nil {
		return nil, err
	}
	resp := &servicev1.GetMessageResponse{}
	resp.Height, _ = source.Head()
	var about origin
	if s, ok := r.readable(id); ok {
		about, err = r.sentByShard(ctx, s, hash, resp)
	} else {
		about, err = r.sentByMain(hash, resp)
	}
	height := resp.GetTransaction().GetHeight()
	if err != nil || height == 0 || resp.GetTransaction().GetStage() < chainv1.Stage_STAGE_FINAL {
		return resp, err
	}
	box, err := outboxAt(source, id, height)
	if errors.Is(err, exec.ErrPruned) {
		resp.Note = "this node no longer has what the block sent"
		return resp, nil
	}
	if err != nil {
		return nil, err
	}
	leaves := box.Leaves()
	rows := len(leaves)
	defer func() { r.rates.charge(callerIP(ctx), rowTokens(rows)) }()
	for i := range leaves {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m := leaves[i].Message
		if m == nil || m.IsBounce() {
			continue
		}
		of, netted, looked := about(m)
		rows += looked
		if !of {
			continue
		}
		if resp.More = len(resp.GetSent()) == maxSent; resp.GetMore() {
			break
		}
		resp.Netted = resp.GetNetted() || netted
		leaf, err := r.outboxLeaf(source, id, height, box, i)
		if err != nil {
			return nil, err
		}
		resp.Sent = append(resp.Sent, leaf)
	}
	return resp, nil
}

// origin reports whether a message of a block is of a transaction, whether it stands for
// others too, and how many rows had to be looked at to see that.
type origin func(*link.Message) (of, netted bool, rows int)

// sentByMain fills in a transaction of the main chain, and returns which messages are of
// it. Notices of what was redeemed stand for all that their block redeemed.
func (r *routing) sentByMain(hash ledger.Hash, resp *servicev1.GetMessageResponse) (origin, error) {
	status, err := r.look(hash, TransactionName(hash))
	if err != nil {
		return nil, err
	}
	ms := r.blockTime(&status)
	resp.Transaction, resp.Time = renderTransaction(&status, nil, ms), renderTime(ms)
	var paid map[uint64]struct{} // channels, once there is a notice to look for them in
	return func(m *link.Message) (of, netted bool, rows int) {
		if m.OriginTx == hash {
			return true, false, 0
		}
		if !m.OriginTx.IsZero() || status.Receipt == nil || channel.NoticeKind(m.Kind) != channel.NoticeRedeemed {
			return false, false, 0
		}
		if paid == nil {
			paid, rows = paidBy(status.Receipt), len(status.Receipt.Entries)
		}
		n, err := channel.DecodeRedeemedNotice(m.Payload)
		if err != nil {
			return false, false, rows
		}
		rows += len(n.Lanes)
		netted = slices.ContainsFunc(n.Lanes, func(l channel.LaneTotal) bool {
			_, ok := paid[l.Index]
			return ok
		})
		return netted, netted, rows
	}, nil
}

// paidBy returns the channels on which a settlement paid something.
func paidBy(r *settlement.Receipt) map[uint64]struct{} {
	paid := make(map[uint64]struct{}, len(r.Entries))
	for i := range r.Entries {
		if e := &r.Entries[i]; e.Applied() {
			paid[e.Index] = struct{}{}
		}
	}
	return paid
}

// sentByShard is sentByMain for a shard: a message of earnings stands for all that its
// block booked for a payee.
func (r *routing) sentByShard(ctx context.Context, s ShardRecords, hash ledger.Hash, resp *servicev1.GetMessageResponse) (origin, error) {
	status, err := s.Status(hash)
	if errors.Is(err, exec.ErrUnknown) {
		return nil, missing(ReasonTransactionNotFound, BookingName(hash), "this node does not know %s", BookingName(hash))
	}
	if err != nil {
		return nil, err
	}
	t := &chainv1.Transaction{Name: TransactionName(hash), Hash: hash[:], Stage: renderStage(status.Stage), DropReason: status.DropReason, ValidUntil: status.ValidUntil}
	resp.Transaction = t
	rec := status.Receipt
	if rec == nil {
		return nil, nil
	}
	t.Height, t.Index, t.Code = status.Height, status.TxIndex, renderCode(rec.Code)
	t.Kind, t.Signer, t.Nonce = chainv1.Kind(rec.Kind), rec.Signer.String(), rec.Nonce
	if status.Stage >= exec.StageFinal {
		if b, err := s.Block(status.Height); err == nil {
			resp.Time = renderTime(b.Time)
		}
		if err := r.bookedBy(ctx, s, &status, resp); err != nil {
			return nil, err
		}
	}
	err = s.Read(func(v chain.View, _ uint64) error {
		own := service.ReadShard(v)
		if home := service.HomeOf(rec.Payee); rec.Booked != (service.Sums{}) && !own.Owns(home) {
			resp.Note = "if there is no message of earnings, the link to " + home.String() + " had no room, and they wait for a later block"
		}
		return nil
	})
	return func(m *link.Message) (of, netted bool, rows int) {
		if m.OriginTx == hash {
			return true, false, 0
		}
		earned := service.MessageKind(m.Kind) == service.KindEarnings && m.Recipient == rec.Payee && rec.Booked != (service.Sums{})
		return earned, earned, 0
	}, err
}

// outboxLeaf returns a leaf of the outbox of a block with its proof and, if there is one,
// the certificate of the block.
func (r *routing) outboxLeaf(source chainBlocks, id ledger.ChainID, height uint64, box *link.Outbox, at int) (*servicev1.OutboxLeaf, error) {
	in, err := box.Import(id, height, at, at+1)
	if err != nil {
		return nil, err
	}
	out := &servicev1.OutboxLeaf{Height: height, Import: in.Encode(), LeafCount: uint64(len(box.Leaves()))}
	c, err := source.Certificate(height)
	if err == nil {
		out.Certificate = c.Encode()
	} else if !errors.Is(err, exec.ErrNoCertificate) && !errors.Is(err, exec.ErrPruned) {
		return nil, err
	}
	if s, ok := r.readable(id); ok {
		if b, err := s.Block(height); err == nil {
			out.Time = renderTime(b.Time)
		}
	} else if h, ok := r.Node.Header(height); ok {
		out.Time = renderStamp(h.Time)
	}
	return out, nil
}

// readState calls f with the state of a chain that runs here, or has ended.
func (b *backend) readState(id ledger.ChainID, f func(v chain.View, height uint64) error) error {
	if id == b.Network.Domain.Chain {
		return b.State.Read(f)
	}
	if s, ok := b.readable(id); ok {
		return s.Read(f)
	}
	return b.notHere(id)
}

// known returns what a chain that runs here knows of a message.
func (r *routing) known(ctx context.Context, id ledger.ChainID, l link.Link, seq uint64) (*servicev1.GetMessageResponse, error) {
	resp := &servicev1.GetMessageResponse{}
	if s, ok := r.hosted(id); ok {
		if err := r.abreast(s, id); err != nil {
			return nil, err
		}
	}
	err := r.readState(id, func(v chain.View, height uint64) error {
		in, out := link.InboundAt(v, l), link.OutboundAt(v, l)
		resp.Height = height
		resp.Received = in.Next > seq
		resp.KnownSent, resp.Acknowledged = out.Next > seq, out.Acked > seq
		return nil
	})
	if err != nil || !resp.GetReceived() {
		return resp, err
	}
	return resp, r.findAck(ctx, id, l, seq, resp)
}

// findAck looks for the block that took a message in, and fills in what it says.
func (r *routing) findAck(ctx context.Context, id ledger.ChainID, l link.Link, seq uint64, resp *servicev1.GetMessageResponse) error {
	source, err := r.readBlocks(id)
	if err != nil {
		return err
	}
	at, ok, err := source.Took(l, seq)
	if err != nil || !ok {
		return err // too long ago to say what became of it
	}
	box, err := source.Outbox(at)
	if errors.Is(err, exec.ErrPruned) {
		return nil // it went meanwhile
	}
	if err != nil {
		return err
	}
	r.rates.charge(callerIP(ctx), rowTokens(len(box.Leaves())))
	ack := ackOf(box, l)
	if ack < 0 {
		return fmt.Errorf("block %d of chain %d does not acknowledge link %s, which it took messages of", at, id, l)
	}
	if resp.Acknowledgement, err = r.outboxLeaf(source, id, at, box, ack); err != nil {
		return err
	}
	if i := bounceOf(box, l, seq); i >= 0 {
		m := box.Leaves()[i].Message
		resp.Code, resp.Result = renderCode(m.Code), servicev1.HopState_HOP_STATE_BOUNCED
		if m.Code == chain.CodeMessageExpired {
			resp.Result = servicev1.HopState_HOP_STATE_EXPIRED
		}
		resp.Bounce, err = r.outboxLeaf(source, id, at, box, i)
		return err
	}
	resp.Result = servicev1.HopState_HOP_STATE_EXECUTED
	return nil
}

// ackOf returns the place of the acknowledgement of a link in an outbox, or -1.
func ackOf(box *link.Outbox, l link.Link) int {
	return slices.IndexFunc(box.Leaves(), func(x link.Leaf) bool { return x.Ack != nil && x.Ack.Link == l })
}

// bounceOf returns the place of the bounce of a message in an outbox, or -1.
func bounceOf(box *link.Outbox, l link.Link, seq uint64) int {
	return slices.IndexFunc(box.Leaves(), func(x link.Leaf) bool {
		return x.Message != nil && x.Message.IsBounce() && x.Message.Link == l.Reverse() && x.Message.Of == seq
	})
}
