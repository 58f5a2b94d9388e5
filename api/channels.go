package api

import (
	"context"
	"math/bits"
	"strings"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
)

// channels implements ChannelService.
type channels struct {
	channelv1.UnimplementedChannelServiceServer
	*backend
}

// submitter are the fields that all submissions share.
type submitter interface {
	GetRequestId() string
	GetSignedTx() []byte
	GetWaitFor() chainv1.Stage
	GetValidateOnly() bool
}

// submitFields submits the transaction of kind that came as signed bytes, or,
// if envelope is not nil, as the fields that payload encodes.
func (b *backend) submitFields(ctx context.Context, req submitter, kind chain.Kind, path string, envelope *chainv1.Envelope, payload func() ([]byte, error)) (*chain.Tx, *chainv1.Transaction, error) {
	tx, err := b.fieldsTx(req, kind, path, envelope, payload)
	if err != nil {
		return nil, nil, err
	}
	status, err := b.submit(ctx, &submission{
		requestID: req.GetRequestId(), tx: tx, waitFor: req.GetWaitFor(), validateOnly: req.GetValidateOnly(),
	})
	if err != nil {
		return nil, nil, err
	}
	return &tx, b.transaction(&status, &tx), nil
}

func (b *backend) fieldsTx(req submitter, kind chain.Kind, path string, envelope *chainv1.Envelope, payload func() ([]byte, error)) (chain.Tx, error) {
	d := b.Network.Domain
	if payload == nil {
		return openSigned(d, req.GetSignedTx(), kind)
	}
	body, err := payload()
	if err != nil {
		return chain.Tx{}, err
	}
	raw, err := seal(d, path+".envelope", envelope, kind, body, sealed)
	if err != nil {
		return chain.Tx{}, err
	}
	return chain.DecodeTx(d, raw)
}

// OpenChannels implements ChannelServiceServer.
func (c *channels) OpenChannels(ctx context.Context, req *channelv1.OpenChannelsRequest) (*channelv1.OpenChannelsResponse, error) {
	var payload func() ([]byte, error)
	if open := req.GetOpen(); open != nil {
		payload = func() ([]byte, error) { return openPayload("open.channels", open.GetChannels()) }
	}
	tx, out, err := c.submitFields(ctx, req, chain.KindOpenChannels, "open", req.GetOpen().GetEnvelope(), payload)
	if err != nil {
		return nil, err
	}
	resp := &channelv1.OpenChannelsResponse{Transaction: out}
	open, err := channel.DecodeOpen(tx.Payload)
	if err != nil {
		return nil, err
	}
	for i := range open.Channels {
		id := channel.ID(c.Network.Domain, tx.Signer, tx.Nonce, uint16(i), &open.Channels[i])
		resp.Names = append(resp.Names, ChannelName(id))
	}
	return resp, nil
}

// TopUp implements ChannelServiceServer.
func (c *channels) TopUp(ctx context.Context, req *channelv1.TopUpRequest) (*channelv1.TopUpResponse, error) {
	var payload func() ([]byte, error)
	if t := req.GetTopUp(); t != nil {
		payload = func() ([]byte, error) {
			total, err := readAmount("top_up.new_deposit_total", t.GetNewDepositTotal())
			if err != nil {
				return nil, err
			}
			ref, err := c.channelRef("top_up.name", t.GetName())
			out := channel.TopUp{Channel: ref, NewTotal: total}
			return out.Encode(), err
		}
	}
	_, out, err := c.submitFields(ctx, req, chain.KindTopUp, "top_up", req.GetTopUp().GetEnvelope(), payload)
	if err != nil {
		return nil, err
	}
	return &channelv1.TopUpResponse{Transaction: out}, nil
}

// Extend implements ChannelServiceServer.
func (c *channels) Extend(ctx context.Context, req *channelv1.ExtendRequest) (*channelv1.ExtendResponse, error) {
	var payload func() ([]byte, error)
	if e := req.GetExtend(); e != nil {
		payload = func() ([]byte, error) {
			ref, err := c.channelRef("extend.name", e.GetName())
			out := channel.Extend{Channel: ref, NewExpiry: e.GetNewExpiresAt()}
			return out.Encode(), err
		}
	}
	_, out, err := c.submitFields(ctx, req, chain.KindExtend, "extend", req.GetExtend().GetEnvelope(), payload)
	if err != nil {
		return nil, err
	}
	return &channelv1.ExtendResponse{Transaction: out}, nil
}

// RequestClose implements ChannelServiceServer.
func (c *channels) RequestClose(ctx context.Context, req *channelv1.RequestCloseRequest) (*channelv1.RequestCloseResponse, error) {
	var payload func() ([]byte, error)
	if r := req.GetRequestClose(); r != nil {
		payload = func() ([]byte, error) {
			ref, err := c.channelRef("request_close.name", r.GetName())
			out := channel.RequestClose{Channel: ref}
			return out.Encode(), err
		}
	}
	_, out, err := c.submitFields(ctx, req, chain.KindRequestClose, "request_close", req.GetRequestClose().GetEnvelope(), payload)
	if err != nil {
		return nil, err
	}
	return &channelv1.RequestCloseResponse{Transaction: out}, nil
}

// CooperativeClose implements ChannelServiceServer.
func (c *channels) CooperativeClose(ctx context.Context, req *channelv1.CooperativeCloseRequest) (*channelv1.CooperativeCloseResponse, error) {
	var payload func() ([]byte, error)
	if cc := req.GetClose(); cc != nil {
		payload = func() ([]byte, error) {
			ref, err := c.channelRef("close.name", cc.GetName())
			if err != nil {
				return nil, err
			}
			return closePayload("close", cc, ref)
		}
	}
	tx, out, err := c.submitFields(ctx, req, chain.KindCoopClose, "close", req.GetClose().GetEnvelope(), payload)
	if err != nil {
		return nil, err
	}
	resp := &channelv1.CooperativeCloseResponse{Transaction: out}
	cc, err := channel.DecodeCoopClose(tx.Payload)
	if err != nil {
		return nil, err
	}
	if cc.Rollover != nil {
		resp.RolloverName = ChannelName(channel.RolloverID(cc.Channel.ID, cc.Rollover))
	}
	return resp, nil
}

// GetChannel implements ChannelServiceServer.
func (c *channels) GetChannel(ctx context.Context, req *channelv1.GetChannelRequest) (*channelv1.GetChannelResponse, error) {
	ref, err := c.channelRef("name", req.GetName())
	if err != nil {
		return nil, err
	}
	if req.GetWithProof() {
		return c.proveChannel(ctx, ref, req.GetName())
	}
	resp := &channelv1.GetChannelResponse{}
	err = c.State.Read(func(v chain.View, height uint64) error {
		resp.Height, resp.SettlementClock = height, settlement.Clock(v, height)
		ch, ok := settlement.ChannelAt(v, ref.Index)
		if !ok {
			return nil
		}
		fees := channel.FeesAt(v, ch.FeesNumber)
		resp.Channel = renderChannel(&ch, &fees, ref.Index, resp.SettlementClock, &c.Network.Params)
		for used := ch.LanesUsed; used != 0; used &= used - 1 {
			n := uint8(bits.TrailingZeros64(used))
			lane, _ := settlement.LaneAt(v, ref.Index, n)
			resp.Channel.Lanes = append(resp.Channel.Lanes, renderLane(uint32(n), &lane))
		}
		return nil
	})
	if err != nil || resp.Channel != nil {
		return resp, err
	}
	info, ok, err := c.Index.Channel(ref.Index)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, missing(chain.CodeChannelNotFound.String(), req.GetName(), "there is no channel %s", strings.TrimPrefix(req.GetName(), "channels/"))
	}
	resp.Channel = c.renderInfo(&info, resp.SettlementClock)
	return resp, nil
}

// renderInfo returns a channel as the index knows it.
func (b *backend) renderInfo(info *exec.ChannelInfo, clock uint64) *channelv1.Channel {
	if info.Closed == nil {
		return renderChannel(&info.Channel, &info.Fees, info.Index, clock, &b.Network.Params)
	}
	closed := info.Closed
	rules := b.Network.Params.Rules()
	return &channelv1.Channel{
		Name: ChannelName(closed.ID), Id: closed.ID[:], Index: closed.Index,
		Payer: closed.Payer.String(), Payee: closed.Payee.String(),
		State:        channelv1.ChannelState_CHANNEL_STATE_CLOSED,
		DepositTotal: uint64(closed.Deposit), RedeemedTotal: uint64(closed.Redeemed),
		BurnedTotal: uint64(rules.Burned(&info.Fees, closed.Redeemed)), Fees: renderFees(&info.Fees),
		Closed: &channelv1.Channel_Closing{
			Kind: channelv1.ChannelEvent_Kind(closed.Kind), Height: closed.Height, Refunded: uint64(closed.Refunded),
		},
	}
}

// ListChannels implements ChannelServiceServer.
func (c *channels) ListChannels(ctx context.Context, req *channelv1.ListChannelsRequest) (*channelv1.ListChannelsResponse, error) {
	f, err := channelFilter(req)
	if err != nil {
		return nil, err
	}
	resp := &channelv1.ListChannelsResponse{}
	var count uint64
	err = c.State.Read(func(v chain.View, height uint64) error {
		resp.Height, resp.SettlementClock = height, settlement.Clock(v, height)
		count = settlement.ChannelCount(v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	list := newFilter("ListChannels", req.GetPayer(), req.GetPayee(), req.GetState().String())
	pg, err := c.pages.open(list, req.GetPageSize(), req.GetPageToken(), resp.Height)
	if err != nil {
		return nil, err
	}
	var from uint64
	if pg.cursor != nil && !readCursor(pg.cursor, &from, &count) {
		return nil, badCursor()
	}
	for scan := range maxSparse {
		if scan > 0 && !c.affordScan(ctx) {
			break
		}
		page, next, err := c.Index.ListChannels(f, from, pg.size-len(resp.Channels))
		if err != nil {
			return nil, err
		}
		for i := range page {
			ch := c.renderInfo(&page[i], resp.SettlementClock)
			if page[i].Index < count && wanted(req.GetState(), ch.GetState()) {
				resp.Channels = append(resp.Channels, ch)
			}
		}
		if from = next; from == 0 || from >= count {
			return resp, nil
		}
		if len(resp.Channels) >= pg.size {
			break
		}
	}
	resp.NextPageToken = c.pages.token(list, pg.height, cursorU64(from, count))
	return resp, nil
}

// wanted reports whether a channel in state is listed under the filter want.
func wanted(want, state channelv1.ChannelState) bool {
	if want == channelv1.ChannelState_CHANNEL_STATE_UNSPECIFIED {
		return state != channelv1.ChannelState_CHANNEL_STATE_CLOSED
	}
	return want == state
}

func channelFilter(req *channelv1.ListChannelsRequest) (exec.ChannelFilter, error) {
	var f exec.ChannelFilter
	if (req.GetPayer() == "") == (req.GetPayee() == "") {
		return f, invalid("payer", "give either payer or payee, an address such as trib1...")
	}
	if _, ok := channelv1.ChannelState_name[int32(req.GetState())]; !ok {
		return f, invalid("state", "%d is no state", req.GetState())
	}
	if req.GetState() == channelv1.ChannelState_CHANNEL_STATE_CLOSED {
		f.State = exec.ChannelClosed
	}
	var err error
	if req.GetPayer() != "" {
		f.Payer, err = parseAddress("payer", req.GetPayer())
	} else {
		f.Payee, err = parseAddress("payee", req.GetPayee())
	}
	return f, err
}
