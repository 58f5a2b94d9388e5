package client

import (
	"context"
	"fmt"
	"iter"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/ledger"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
)

// pageSize is how many items a list asks for at a time, the most there are.
const pageSize = 500

// Channel reads a channel with its lanes, open or closed. One that never existed
// is an error of chain.CodeChannelNotFound.
func (c *Client) Channel(ctx context.Context, id ledger.Hash) (ChannelInfo, error) {
	resp, err := c.getChannel(ctx, id, false)
	if err != nil {
		return ChannelInfo{}, err
	}
	return channelOf(resp.GetChannel(), resp.GetHeight(), resp.GetSettlementClock())
}

func (c *Client) getChannel(ctx context.Context, id ledger.Hash, proof bool) (*channelv1.GetChannelResponse, error) {
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*channelv1.GetChannelResponse, error) {
		return e.channels.GetChannel(ctx, &channelv1.GetChannelRequest{Name: channelsPrefix + id.String(), WithProof: proof})
	})
	if err != nil {
		return nil, fmt.Errorf("read channel %s: %w", id, err)
	}
	c.saw(resp.GetHeight())
	return resp, nil
}

// Parties selects channels by exactly one of payer and payee.
type Parties struct {
	Payer ledger.Address
	Payee ledger.Address
}

func (p Parties) payer() string { return textOf(p.Payer) }
func (p Parties) payee() string { return textOf(p.Payee) }

func textOf(a ledger.Address) string {
	if a.IsZero() {
		return ""
	}
	return a.String()
}

// Channels yields the channels of a payer or payee, oldest first, without their
// lanes; state 0 leaves out closed ones. An error ends the sequence.
func (c *Client) Channels(ctx context.Context, of Parties, state ChannelState) iter.Seq2[ChannelInfo, error] {
	return c.channels(ctx, of, state, 0)
}

// channels is Channels of nodes that have come to height least. Another one is an
// error that passes.
func (c *Client) channels(ctx context.Context, of Parties, state ChannelState, least uint64) iter.Seq2[ChannelInfo, error] {
	req := &channelv1.ListChannelsRequest{
		Payer: of.payer(), Payee: of.payee(), State: channelv1.ChannelState(state), PageSize: pageSize,
	}
	next := func(token string) ([]ChannelInfo, string, error) {
		req.PageToken = token
		resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*channelv1.ListChannelsResponse, error) {
			return e.channels.ListChannels(ctx, req)
		})
		if err != nil {
			return nil, "", fmt.Errorf("list channels: %w", err)
		}
		c.saw(resp.GetHeight())
		if h := resp.GetHeight(); h < least {
			return nil, "", fmt.Errorf("list channels: %w", &Error{
				Code: codes.Unavailable, Message: fmt.Sprintf("the node is at height %d, and the list is to be of height %d", h, least),
			})
		}
		page := make([]ChannelInfo, len(resp.GetChannels()))
		for i, m := range resp.GetChannels() {
			if page[i], err = channelOf(m, resp.GetHeight(), resp.GetSettlementClock()); err != nil {
				return nil, "", err
			}
		}
		return page, resp.GetNextPageToken(), nil
	}
	return pages(next)
}

// pages yields the items of all pages.
func pages[T any](next func(token string) (page []T, token2 string, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for token := ""; ; {
			page, after, err := next(token)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range page {
				if !yield(item, nil) {
					return
				}
			}
			if after == "" {
				return
			}
			token = after
		}
	}
}
