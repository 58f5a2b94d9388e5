package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tributary-network/tributary/chain"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/relay"
)

// Remote reaches shards that this node does not run by the RelayService of nodes that do.
// It is a relay.Remote, and safe for concurrent use.
type Remote struct{ peers Forwarder }

// NewRemote returns a Remote over other nodes.
func NewRemote(peers Forwarder) *Remote { return &Remote{peers} }

// remoteTimeout is how long a node may take to answer before another one is asked.
const remoteTimeout = 5 * time.Second

// call asks the nodes that run a shard, one after the other, until one answers that accept
// does not err about; nil takes any answer.
func (r *Remote) call(ctx context.Context, id shard.ID, method string, req, resp proto.Message, accept func() error) error {
	share := func(_ int, confirming bool) time.Duration {
		if confirming {
			return confirmTimeout
		}
		return remoteTimeout
	}
	c := hostCall{chain: id, method: method, req: req, resp: resp, accept: accept, share: share}
	_, err := c.ask(ctx, r.peers)
	if refusal, ok := errors.AsType[*relayed](err); ok {
		return ruleOf(refusal)
	}
	return err
}

// ruleOf returns the refusal of another node as a rule of the chain, if it is one.
func ruleOf(r *relayed) error {
	p := r.problem()
	if c, ok := codeNamed(p.reason); ok {
		return chain.Refuse(c, "%s", p.message)
	}
	return status.Error(p.code, p.message)
}

// Survey implements relay.Remote.
func (r *Remote) Survey(ctx context.Context, id shard.ID, links []link.Link) (relay.Survey, error) {
	req := &servicev1.GetWantedRequest{ChainId: uint32(id)}
	for _, l := range links {
		req.Links = append(req.Links, &servicev1.LinkName{From: renderPlaceOf(l.Src), To: renderPlaceOf(l.Dst)})
	}
	resp := &servicev1.GetWantedResponse{}
	var out relay.Survey
	read := func() (err error) {
		out, err = readSurvey(resp, len(links))
		return err
	}
	if err := r.call(ctx, id, servicev1.RelayService_GetWanted_FullMethodName, req, resp, read); err != nil {
		return relay.Survey{}, fmt.Errorf("survey shard %d: %w", id, err)
	}
	return out, nil
}

// readSurvey reads an answer about so many links.
func readSurvey(resp *servicev1.GetWantedResponse, links int) (relay.Survey, error) {
	if len(resp.GetLinks()) != links {
		return relay.Survey{}, fmt.Errorf("%d links in the answer, want %d", len(resp.GetLinks()), links)
	}
	out := relay.Survey{
		Height: resp.GetHeight(), Epoch: resp.GetEpoch(), Ended: resp.GetEnded(), Heads: resp.GetHeads(),
		First: resp.GetFirstMainEpoch(), Last: resp.GetLastMainEpoch(),
	}
	for _, m := range resp.GetLinks() {
		in, err := link.DecodeInbound(m.GetInbound())
		if err != nil {
			return relay.Survey{}, err
		}
		back, err := link.DecodeOutbound(m.GetOutbound())
		if err != nil {
			return relay.Survey{}, err
		}
		out.Ways = append(out.Ways, relay.Way{In: in, Out: back})
	}
	return out, nil
}

// SubmitRelay implements relay.Remote.
func (r *Remote) SubmitRelay(ctx context.Context, id shard.ID, payload []byte) error {
	req := &servicev1.SubmitRelayRequest{ChainId: uint32(id), Payload: payload}
	if err := r.call(ctx, id, servicev1.RelayService_SubmitRelay_FullMethodName, req, &servicev1.SubmitRelayResponse{}, nil); err != nil {
		return fmt.Errorf("bring a relay to shard %d: %w", id, err)
	}
	return nil
}

const (
	// maxFetched is how many leaves an outbox has at most that is fetched, and
	// maxFetchedBytes how many bytes they are.
	maxFetched      = 1 << 14
	maxFetchedBytes = 64 << 20
	// maxFetchCalls is in how many parts it comes at most. A part is as large as an import
	// may be, or has half as many leaves as that, and so on where the leaves after it are
	// large.
	maxFetchCalls = 256
	// fetchTimeout is how long all of them may take.
	fetchTimeout = 30 * time.Second
)

// Outbox implements relay.Remote.
func (r *Remote) Outbox(ctx context.Context, id shard.ID, height uint64, first, last link.Place) (*link.Outbox, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	box, err := r.outbox(ctx, id, height, first, last)
	if err != nil {
		return nil, fmt.Errorf("fetch the outbox of block %d of shard %d: %w", height, id, err)
	}
	return box, nil
}

func (r *Remote) outbox(ctx context.Context, id shard.ID, height uint64, first, last link.Place) (*link.Outbox, error) {
	req := &servicev1.GetOutboxRequest{ChainId: uint32(id), Height: height, First: renderPlaceOf(first), Last: renderPlaceOf(last)}
	resp := &servicev1.GetOutboxResponse{}
	if err := r.call(ctx, id, servicev1.RelayService_GetOutbox_FullMethodName, req, resp, nil); err != nil {
		return nil, err
	}
	count := int(resp.GetLeafCount())
	if resp.GetMatching() == 0 || count > maxFetched {
		return nil, nil //nolint:nilnil // it has nothing for those places, or more than is fetched
	}
	root, err := readHash("root", resp.GetRoot())
	if err != nil {
		return nil, err
	}
	var leaves []link.Leaf
	size := 0
	for calls := 0; len(leaves) < count; calls++ {
		req = &servicev1.GetOutboxRequest{ChainId: uint32(id), Height: height, Skip: uint32(len(leaves))} //nolint:gosec // at most maxFetched
		resp = &servicev1.GetOutboxResponse{}
		if err := r.call(ctx, id, servicev1.RelayService_GetOutbox_FullMethodName, req, resp, nil); err != nil {
			return nil, err
		}
		in, err := link.DecodeImport(resp.GetImport())
		if err != nil {
			return nil, err
		}
		if size += len(resp.GetImport()); calls == maxFetchCalls || size > maxFetchedBytes {
			return nil, fmt.Errorf("%d bytes in %d parts have %d of its %d leaves", size, calls+1, len(leaves), count)
		}
		if in.Shard != id || in.Height != height || in.Range.Begin != uint64(len(leaves)) || in.Range.Size != uint64(count) { //nolint:gosec // not negative
			return nil, fmt.Errorf("%w: leaves from %d on of %d of block %d of shard %d, want those from %d on of %d",
				errWrongProof, in.Range.Begin, in.Range.Size, in.Height, in.Shard, len(leaves), count)
		}
		part := make([][]byte, len(in.Leaves))
		for i := range in.Leaves {
			part[i] = in.Leaves[i].Encode()
		}
		if err := in.Range.Verify(root, part); err != nil {
			return nil, fmt.Errorf("%w: leaves from %d on: %w", errWrongProof, len(leaves), err)
		}
		leaves = append(leaves, in.Leaves...)
	}
	return link.OutboxOf(leaves)
}
