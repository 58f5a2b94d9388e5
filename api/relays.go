package api

import (
	"context"
	"errors"
	"fmt"
	"math"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// relays implements RelayService.
type relays struct {
	servicev1.UnimplementedRelayServiceServer
	*backend
}

const (
	// MaxWantedLinks is how many links one call of GetWanted is about.
	MaxWantedLinks = 512
	// relayBytes is how many bytes of a relay or of an outbox cost a token.
	relayBytes = 4096
	// relayTokens is what checking a relay costs beyond its call: proofs, and the
	// certificates of committees.
	relayTokens = 2 * callCost
	// certificateTokens is what reading a certificate from the store costs.
	certificateTokens = 2
)

// chainBlocks is what a chain that runs here gives others to carry.
type chainBlocks interface {
	Outbox(height uint64) (*link.Outbox, error)
	Took(l link.Link, seq uint64) (height uint64, ok bool, err error)
	Certificate(height uint64) (cert.Certificate, error)
	LatestCertificate() (cert.Certificate, error)
	Head() (height uint64, appHash []byte)
}

// mainBlocks is the main chain as chainBlocks.
type mainBlocks struct {
	Main
	Agreement
	State
}

// blocks returns a chain that runs here.
func (b *backend) blocks(id ledger.ChainID) (chainBlocks, error) {
	if id == b.Network.Domain.Chain && b.Main != nil {
		return mainBlocks{b.Main, b.Agreement, b.State}, nil
	}
	if s, ok := b.hosted(id); ok {
		return s, nil
	}
	return nil, b.notHere(id)
}

// notHere says that a chain does not run here.
func (b *backend) notHere(id ledger.ChainID) error {
	if id < shard.FirstID || id > shard.MaxID {
		return invalid("chain_id", "%d is no chain; want %d for main, or the id of a shard", id, b.Network.Domain.Chain)
	}
	sh, epoch, err := b.shardByName("chain_id", ShardName(id))
	if err != nil {
		return err
	}
	p := b.notHosted(&sh, epoch)
	p.code = codes.FailedPrecondition
	return p
}

// relayShard returns a shard that runs here and is as far as its peers.
func (b *backend) relayShard(id uint32) (Shard, error) {
	if s, ok := b.hosted(ledger.ChainID(id)); ok {
		return s, b.abreast(s, ledger.ChainID(id))
	}
	return nil, b.notHere(ledger.ChainID(id))
}

// SubmitRelay implements RelayServiceServer.
func (r *relays) SubmitRelay(ctx context.Context, req *servicev1.SubmitRelayRequest) (*servicev1.SubmitRelayResponse, error) {
	n := len(req.GetPayload())
	r.rates.charge(callerIP(ctx), relayTokens+n/relayBytes)
	if n == 0 || n > chain.MaxTxSize {
		return nil, unencodable(chain.CodeTooLarge, "payload", "%d bytes, want 1 to %d", n, chain.MaxTxSize)
	}
	s, err := r.relayShard(req.GetChainId())
	if err != nil {
		return nil, err
	}
	if err := s.SubmitRelay(ctx, req.GetPayload()); err != nil {
		return nil, explainRelay(err, ledger.ChainID(req.GetChainId()))
	}
	return &servicev1.SubmitRelayResponse{}, nil
}

// explainRelay adds to the refusal of a relay what to do about it.
func explainRelay(err error, id shard.ID) error {
	rule, ok := errors.AsType[*chain.RuleError](err)
	if !ok {
		return err
	}
	p := ruleProblem(rule)
	if p.code == codes.Internal {
		return p
	}
	if remedy := relayRemedy(rule.Code); remedy != "" {
		p.message += "; " + remedy
	}
	p.subject, p.fields, p.positions = ShardName(id), nil, nil
	p.set("shard", p.subject)
	if p.code == codes.InvalidArgument {
		p.fields = []field{{path: "payload", problem: p.message}}
	}
	return p
}

// relayRemedy returns what to do about a relay that was refused with a code, unless the
// refusal says so itself.
func relayRemedy(c chain.Code) string {
	switch c {
	case chain.CodeMalformed, chain.CodeUnknownKind, chain.CodeBadOrder, chain.CodeInvalidValue:
		return "send what shardblock.Relay.Encode makes of what GetWanted says is missing, unchanged"
	case chain.CodeBadCertificate, chain.CodeWrongNetwork, chain.CodeWrongChain:
		return "take certificates of the main chain of this network, which ListCertificates gives"
	case chain.CodeUnknownCommittee:
		return "only the committee that the main chain elected for the epoch can sign"
	case chain.CodeBadRange, chain.CodeBadProof, chain.CodeNeverSent:
		return "make the proof anew, of the block's whole outbox, which GetOutbox gives"
	case chain.CodeNotAnchored:
		return "what it has of a shard comes with the newest row of anchors, once the main chain has anchored it"
	case chain.CodeLinkGap:
		return "bring those before it first; GetWanted tells where the link is"
	case chain.CodeLinkRepeat:
		return "it was brought before; GetWanted tells where the link is"
	case chain.CodeNothingNew:
		return "there is nothing to do"
	case chain.CodeForeignPlace:
		return "bring it to the shard that has the place, which Locate tells of an account"
	case chain.CodeAnchorEpoch:
		return "bring the epoch once the main chain is in it"
	case chain.CodeUnknownShard:
		return "ListShards tells which there are"
	default:
		return ""
	}
}

// carries reports whether transactions of a kind bring the main chain what shards have for
// it, so that anybody may sign them.
func carries(k chain.Kind) bool {
	switch k {
	case chain.KindAnchor, chain.KindAnchorConflict, chain.KindImport, chain.KindRelist, chain.KindReack:
		return true
	default:
		return false
	}
}

// explainCarried adds to the refusal of a transaction of such a kind what to do about it.
func (p *problem) explainCarried(c chain.Code) {
	if remedy := carriedRemedy(c); remedy != "" {
		p.message += "; " + remedy
	}
	if p.fields, p.positions = nil, nil; p.code == codes.InvalidArgument {
		p.fields = []field{{path: "signed_tx", problem: p.message}}
	}
}

// carriedRemedy is relayRemedy for the main chain.
func carriedRemedy(c chain.Code) string {
	switch c {
	case chain.CodeMalformed, chain.CodeUnknownKind, chain.CodeInvalidValue:
		return "send what Encode of anchor.Anchors, anchor.Conflict, settlement.Delivery or link.Link makes, unchanged"
	case chain.CodeBadCertificate, chain.CodeUnknownCommittee, chain.CodeWrongNetwork, chain.CodeAnchorGeneration:
		return "take the certificates that ListCertificates of a node gives which runs the shard; GetShard tells who may sign them"
	case chain.CodeAnchorStale, chain.CodeNothingNew, chain.CodeLinkRepeat:
		return "it was brought before: there is nothing to do"
	case chain.CodeNotAnchored:
		return "anchor the shard up to there first"
	case chain.CodeForeignPlace, chain.CodeLinkNotFound:
		return "name a link with the main chain at its end, as a trace shows it"
	default:
		return relayRemedy(c)
	}
}

// GetOutbox implements RelayServiceServer.
func (r *relays) GetOutbox(ctx context.Context, req *servicev1.GetOutboxRequest) (*servicev1.GetOutboxResponse, error) {
	first, last := link.Place{}, link.Place{Service: math.MaxUint32, Zone: math.MaxUint8, Bucket: math.MaxUint8}
	if req.GetFirst() != nil || req.GetLast() != nil {
		var err error
		if first, err = readPlace("first", req.GetFirst()); err != nil {
			return nil, err
		}
		if last, err = readPlace("last", req.GetLast()); err != nil {
			return nil, err
		}
	}
	id := ledger.ChainID(req.GetChainId())
	source, err := r.blocks(id)
	if err != nil {
		return nil, err
	}
	box, err := outboxAt(source, id, req.GetHeight())
	if err != nil {
		return nil, err
	}
	begin, end := box.Span(first, last)
	leaves := box.Leaves()
	resp := &servicev1.GetOutboxResponse{Matching: uint32(end - begin), LeafCount: uint32(len(leaves)), Root: optionalHash(box.Root())} //nolint:gosec // of a block
	r.rates.charge(callerIP(ctx), readTokens+rowTokens(len(leaves)))
	begin += int(min(req.GetSkip(), uint32(end-begin))) //nolint:gosec // of a block
	if begin == end {
		return resp, nil
	}
	in, err := fitImport(box, id, req.GetHeight(), begin, end)
	if err != nil {
		return nil, err
	}
	resp.Import = in.Encode()
	r.rates.charge(callerIP(ctx), len(resp.GetImport())/relayBytes)
	return resp, nil
}

// outboxAt returns the outbox of a block that there is.
func outboxAt(source chainBlocks, id ledger.ChainID, height uint64) (*link.Outbox, error) {
	head, _ := source.Head()
	if height == 0 || height > head {
		return nil, missing(ReasonBlockNotFound, BlockName(height), "there is no block %d of chain %d; the last one is %d", height, id, head)
	}
	return source.Outbox(height)
}

// fitImport returns as many leaves from begin on as fit an import.
func fitImport(box *link.Outbox, id ledger.ChainID, height uint64, begin, end int) (link.Import, error) {
	end = min(end, begin+link.MaxImportLeaves)
	for {
		in, err := box.Import(id, height, begin, end)
		if err != nil {
			return in, fmt.Errorf("prove leaves %d to %d of block %d: %w", begin, end, height, err)
		}
		if in.Size() <= link.MaxImportSize || end == begin+1 {
			return in, nil
		}
		end = begin + (end-begin)/2
	}
}

func readPlace(path string, p *servicev1.Place) (link.Place, error) {
	if p.GetZone() > math.MaxUint8 || p.GetBucket() > math.MaxUint8 {
		return link.Place{}, invalid(path, "zone %d, bucket %d; both are 0 to 255", p.GetZone(), p.GetBucket())
	}
	return link.Place{Service: p.GetService(), Zone: byte(p.GetZone()), Bucket: uint8(p.GetBucket())}, nil
}

func renderPlaceOf(p link.Place) *servicev1.Place {
	return &servicev1.Place{Service: p.Service, Zone: uint32(p.Zone), Bucket: uint32(p.Bucket)}
}

// ListCertificates implements RelayServiceServer.
func (r *relays) ListCertificates(ctx context.Context, req *servicev1.ListCertificatesRequest) (*servicev1.ListCertificatesResponse, error) {
	limit := req.GetLimit()
	if limit > cert.MaxRun {
		return nil, invalid("limit", "%d, want 1 to %d", limit, cert.MaxRun)
	}
	if limit == 0 {
		limit = cert.MaxRun
	}
	if req.GetFromHeight() == 0 {
		return nil, invalid("from_height", "is missing; heights begin with 1")
	}
	source, err := r.blocks(ledger.ChainID(req.GetChainId()))
	if err != nil {
		return nil, err
	}
	resp := &servicev1.ListCertificatesResponse{}
	resp.HeadHeight, _ = source.Head()
	newest, err := source.LatestCertificate()
	if errors.Is(err, exec.ErrNoCertificate) {
		return resp, nil
	}
	if err != nil {
		return nil, err
	}
	resp.CertifiedHeight = newest.Checkpoint.Height
	for h := req.GetFromHeight(); h <= resp.GetCertifiedHeight() && uint32(len(resp.GetCertificates())) < limit; h++ { //nolint:gosec // at most limit
		c, err := source.Certificate(h)
		if errors.Is(err, exec.ErrNoCertificate) {
			break
		}
		if err != nil {
			return nil, err
		}
		resp.Certificates = append(resp.Certificates, c.Encode())
	}
	r.rates.charge(callerIP(ctx), certificateTokens*(1+len(resp.GetCertificates())))
	return resp, nil
}

// GetWanted implements RelayServiceServer.
func (r *relays) GetWanted(ctx context.Context, req *servicev1.GetWantedRequest) (*servicev1.GetWantedResponse, error) {
	if n := len(req.GetLinks()); n > MaxWantedLinks {
		return nil, invalid("links", "%d, at most %d at once", n, MaxWantedLinks)
	}
	links := make([]link.Link, len(req.GetLinks()))
	for i, l := range req.GetLinks() {
		path := fmt.Sprintf("links[%d]", i)
		src, err := readPlace(path+".from", l.GetFrom())
		if err != nil {
			return nil, err
		}
		dst, err := readPlace(path+".to", l.GetTo())
		if err != nil {
			return nil, err
		}
		links[i] = link.Link{Src: src, Dst: dst}
	}
	s, err := r.relayShard(req.GetChainId())
	if err != nil {
		return nil, err
	}
	r.rates.charge(callerIP(ctx), rowTokens(2*len(links)))
	resp := &servicev1.GetWantedResponse{}
	err = s.Read(func(v chain.View, height uint64) error {
		status := shardblock.ReadStatus(v)
		resp.Height, resp.Epoch, resp.Ended = height, status.Epoch, status.Ended != 0 && height >= status.Ended
		resp.FirstMainEpoch, resp.LastMainEpoch = shardblock.MainEpochs(v)
		for _, h := range shardblock.Heads(v) {
			resp.Heads = append(resp.Heads, h.Height)
		}
		for _, l := range links {
			in, out := link.InboundAt(v, l), link.OutboundAt(v, l.Reverse())
			resp.Links = append(resp.Links, &servicev1.LinkRows{Inbound: in.Encode(), Outbound: out.Encode()})
		}
		return nil
	})
	return resp, err
}

// GetShardGenesis implements RelayServiceServer.
func (r *relays) GetShardGenesis(_ context.Context, req *servicev1.GetShardGenesisRequest) (*servicev1.GetShardGenesisResponse, error) {
	id := shard.ID(req.GetChainId())
	if id < shard.FirstID || id > shard.MaxID {
		return nil, invalid("chain_id", "%d is no shard; want %d to %d", id, shard.FirstID, shard.MaxID)
	}
	if r.Hosting == nil {
		return nil, missing(ReasonPruned, ShardName(id), "this node keeps no geneses of shards")
	}
	genesis, err := r.Hosting.Genesis(id)
	if errors.Is(err, exec.ErrUnknown) {
		return nil, missing(ReasonPruned, ShardName(id), "this node does not have its genesis")
	}
	return &servicev1.GetShardGenesisResponse{Genesis: genesis}, err
}
