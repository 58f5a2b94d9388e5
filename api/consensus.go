package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	consensusv1 "github.com/tributary-network/tributary/proto/tributary/consensus/v1"
)

// agreements implements ConsensusService.
type agreements struct {
	consensusv1.UnimplementedConsensusServiceServer
	*backend
}

const (
	collectionCertificates = "certificates"
	collectionCommittees   = "committees"
)

// readTokens is what it costs beyond its call to read a hand-over or a light block
// from the store: some hundred bytes for each member of a committee.
const readTokens = callCost

// CertificateName returns the resource name of a block's certificate:
// "certificates/{height}".
func CertificateName(height uint64) string {
	return collectionCertificates + "/" + strconv.FormatUint(height, 10)
}

// parseNumbered reads "{collection}/{number}", from least on, or
// "{collection}/latest", for which isLatest is true.
func parseNumbered(path, collection, name string, least uint64) (number uint64, isLatest bool, err error) {
	id, ok := strings.CutPrefix(name, collection+"/")
	if ok && id == latest {
		return 0, true, nil
	}
	number, parsed := strconv.ParseUint(id, 10, 63)
	if !ok || parsed != nil || number < least || strconv.FormatUint(number, 10) != id {
		return 0, false, invalid(path, "%s is not a name; want %s/ and a number from %d, or %s/latest", quoted(name), collection, least, collection)
	}
	return number, false, nil
}

// GetCertificate implements ConsensusServiceServer.
func (a *agreements) GetCertificate(ctx context.Context, req *consensusv1.GetCertificateRequest) (*consensusv1.GetCertificateResponse, error) {
	height, newest, err := parseNumbered("name", collectionCertificates, req.GetName(), 1)
	if err != nil {
		return nil, err
	}
	var certificate cert.Certificate
	if newest {
		certificate, err = a.Agreement.LatestCertificate()
	} else {
		certificate, err = a.Agreement.Certificate(height)
	}
	if errors.Is(err, exec.ErrNoCertificate) {
		return nil, a.uncertified(ctx, req.GetName(), height, err)
	}
	if err != nil {
		return nil, err
	}
	var com committee.Committee
	err = a.State.Read(func(v chain.View, _ uint64) error {
		com, _ = staking.ReadCommittee(v, certificate.Checkpoint.Epoch)
		return nil
	})
	if err != nil {
		return nil, err
	}
	resp := &consensusv1.GetCertificateResponse{Certificate: renderCertificate(&certificate, &com)}
	if len(com.Members) > 0 {
		resp.Committee = com.Encode()
	}
	return resp, nil
}

// certifyTokens is what it costs to ask for a certificate that is not there, since the
// votes for the block may have to be checked: some milliseconds.
const certifyTokens = 20 * readTokens

// maxEndpoints is how many other nodes an error names.
const maxEndpoints = 4

// uncertified says why there is no certificate of the block at height, 0 for the
// newest, and who may have one. none is what the node said about it.
func (a *agreements) uncertified(ctx context.Context, name string, height uint64, none error) error {
	head, _ := a.State.Head()
	p := missing(ReasonNoCertificate, name, "this node has no certificate of block %d", height)
	if u, ok := errors.AsType[*exec.UncertifiedError](none); ok {
		p.message += ": of the votes for it that are still here, too few carry a correct signature"
		if u.Making {
			p.message = fmt.Sprintf("the certificate of block %d is being made; ask again in a moment", height)
		}
		if u.Next != 0 {
			p.message += fmt.Sprintf("; that of block %d is here, whose state follows from it", u.Next)
			p.setNumber("next_height", u.Next)
		}
	}
	switch {
	case height == 0:
		p.message = "this node has no certificate of any block"
	case height > head:
		return missing(ReasonBlockNotFound, name, "there is no block %d yet; the last one is %d", height, head)
	default:
		b, err := a.State.BlockResult(height)
		if pruned, ok := errors.AsType[*exec.PrunedError](err); ok {
			gone := *pruned
			gone.What = fmt.Sprintf("the certificate of block %d", height)
			return &gone
		}
		if err != nil {
			return err
		}
		a.rates.charge(callerIP(ctx), blockTokens(b)+certifyTokens)
		p.message += "; any other node may have it"
		if others, err := a.endpoints(height); err == nil && others != "" {
			p.message += ", such as those at " + others + ", which validators of this block name"
			p.set("endpoints", others)
		}
	}
	p.setNumber("height", head)
	return p
}

// endpoints returns where some of those who voted for the block at height say that
// their nodes can be reached, "" if that is not known.
func (a *agreements) endpoints(height uint64) (string, error) {
	var list []string
	err := a.State.Read(func(v chain.View, _ uint64) error {
		com, _ := staking.ReadCommittee(v, a.Network.Params.Staking.Epoch(height))
		for i := range com.Members {
			if len(list) == maxEndpoints {
				break
			}
			if e := staking.ReadProfile(v, com.Members[i].Validator).Endpoints; len(e) > 0 {
				list = append(list, e[0])
			}
		}
		return nil
	})
	return strings.Join(list, ", "), err
}

func renderCertificate(c *cert.Certificate, com *committee.Committee) *consensusv1.Certificate {
	cp := &c.Checkpoint
	out := &consensusv1.Certificate{
		Name: CertificateName(cp.Height), Height: cp.Height, Epoch: cp.Epoch, Certificate: c.Encode(), StateRoot: cp.StateRoot[:],
		Members: uint32(len(com.Members)), TotalPower: com.TotalPower(),
	}
	for _, i := range c.Signers() {
		out.Signers++
		if i < len(com.Members) {
			out.Power += com.Members[i].Power
		}
	}
	return out
}

// epochOf reads the name of a committee in the field at path. The latest one is the last that is
// elected.
func (a *agreements) epochOf(path, name string, least uint64) (epoch uint64, err error) {
	epoch, newest, err := parseNumbered(path, collectionCommittees, name, least)
	if err != nil {
		return 0, err
	}
	rules := &a.Network.Params.Staking
	err = a.State.Read(func(v chain.View, height uint64) error {
		last := rules.Epoch(height + 1)
		if _, ok := staking.ReadElection(v, last+1); ok {
			last++
		}
		switch {
		case staking.ValidatorCount(v) == 0:
			return &problem{
				code: codes.NotFound, reason: ReasonCommitteeNotFound, subject: name, metadata: map[string]string{"name": name},
				message: "this network has no staking: its validators are fixed by its genesis, and there are no committees",
			}
		case newest:
			epoch = last
		case epoch > last || epoch >= math.MaxUint64/rules.EpochBlocks-1:
			p := missing(ReasonCommitteeNotFound, name, "the committee of epoch %d is not elected yet; the last one is that of epoch %d", epoch, last)
			p.setNumber("epoch", last)
			return p
		}
		return nil
	})
	return epoch, err
}

// GetCommittee implements ConsensusServiceServer.
func (a *agreements) GetCommittee(ctx context.Context, req *consensusv1.GetCommitteeRequest) (*consensusv1.GetCommitteeResponse, error) {
	epoch, err := a.epochOf("name", req.GetName(), 0)
	if err != nil {
		return nil, err
	}
	st, err := a.prove(ctx, staking.CommitteeKey(epoch))
	if err != nil {
		return nil, err
	}
	if st.Value == nil { // it is past
		if st, err = a.prove(ctx, staking.PastCommitteeKey(epoch)); err != nil {
			return nil, err
		}
	}
	var com committee.Committee
	known := false
	err = a.State.Read(func(v chain.View, _ uint64) error {
		com, known = staking.ReadCommittee(v, epoch)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if st.Value == nil || !known {
		return nil, a.forgotten(req.GetName())
	}
	resp := &consensusv1.GetCommitteeResponse{Epoch: epoch, Committee: com.Encode()}
	resp.Proof, err = a.renderProof(st)
	return resp, err
}

// forgotten says that the state no longer has a committee.
func (a *agreements) forgotten(name string) *problem {
	height, _ := a.State.Head()
	first := a.Network.Params.Staking.FirstCommittee(height)
	p := &problem{
		code: codes.DataLoss, reason: ReasonPruned, subject: name, metadata: map[string]string{"name": name},
		message: fmt.Sprintf("%s is too long ago: the state has committees from epoch %d on, on every node; older ones are in their hand-overs (GetHandover), which nodes keep longer",
			name, first),
	}
	p.setNumber(keptFromEpoch, first)
	return p
}

// GetHandover implements ConsensusServiceServer.
func (a *agreements) GetHandover(ctx context.Context, req *consensusv1.GetHandoverRequest) (*consensusv1.GetHandoverResponse, error) {
	epoch, err := a.epochOf("name", req.GetName(), 1)
	if err != nil {
		return nil, err
	}
	a.rates.charge(callerIP(ctx), readTokens)
	h, err := a.Agreement.Handover(epoch)
	if errors.Is(err, exec.ErrNoHandover) {
		return nil, missing(ReasonNoHandover, req.GetName(), "this node has no certified proof of the committee of epoch %d: it saw too few votes for the two blocks that end epoch %d. "+
			"It looks for more when it is asked again; another node may have one. If none has, trust the committee of epoch %d or a later one, by a hash from a source that you trust",
			epoch, epoch-1, epoch)
	}
	if err != nil {
		return nil, err
	}
	proof, err := h.Record.Proof.Encode()
	if err != nil {
		return nil, err
	}
	return &consensusv1.GetHandoverResponse{
		Epoch: epoch, Certificate: h.Certificate.Encode(), Proof: renderStatement(h.Record, proof),
	}, nil
}

// GetElection implements ConsensusServiceServer.
func (a *agreements) GetElection(ctx context.Context, req *consensusv1.GetElectionRequest) (*consensusv1.GetElectionResponse, error) {
	epoch, err := a.epochOf("name", req.GetName(), 0)
	if err != nil {
		return nil, err
	}
	var record committee.Record
	known := false
	err = a.State.Read(func(v chain.View, _ uint64) error {
		record, known = staking.ReadElection(v, epoch)
		return nil
	})
	if err != nil {
		return nil, err
	}
	list, err := a.Agreement.Candidates(epoch)
	switch {
	case !known && err == nil: // of a node that keeps everything; its hand-over has the record
		if record, err = a.recordOf(ctx, epoch, req.GetName()); err != nil {
			return nil, err
		}
	case !known:
		return nil, a.forgotten(req.GetName())
	case err != nil:
		return nil, err
	}
	a.rates.charge(callerIP(ctx), rowTokens(len(list)))
	return &consensusv1.GetElectionResponse{
		Epoch: epoch, Candidates: committee.EncodeCandidates(list), Seed: record.Seed[:],
		Seats: record.Rules.Seats, PowerCapBps: record.Rules.PowerCapBps,
		MinStake: record.Rules.MinStake, MinSelfStake: record.Rules.MinSelfStake,
		Committee: record.Committee.Encode(), Record: record.Encode(),
	}, nil
}

// recordOf returns the record of a committee that the state has forgotten, from its
// hand-over.
func (a *agreements) recordOf(ctx context.Context, epoch uint64, name string) (committee.Record, error) {
	a.rates.charge(callerIP(ctx), readTokens)
	h, err := a.Agreement.Handover(epoch)
	if errors.Is(err, exec.ErrNoHandover) || errors.Is(err, exec.ErrPruned) {
		return committee.Record{}, a.forgotten(name)
	}
	if err != nil {
		return committee.Record{}, err
	}
	return committee.DecodeRecord(h.Record.Value)
}

// GetLightBlock implements ConsensusServiceServer.
func (a *agreements) GetLightBlock(ctx context.Context, req *consensusv1.GetLightBlockRequest) (*consensusv1.GetLightBlockResponse, error) {
	id := cmp.Or(ledger.ChainID(req.GetChainId()), a.Network.Domain.Chain)
	head, _ := a.State.Head()
	if id != a.Network.Domain.Chain {
		s, err := a.relayShard(req.GetChainId())
		if err != nil {
			return nil, err
		}
		head, _ = s.Head()
	}
	height := cmp.Or(req.GetHeight(), head)
	if height > head {
		return nil, missing(ReasonBlockNotFound, BlockName(height), "there is no block %d yet; the last one is %d", height, head)
	}
	a.rates.charge(callerIP(ctx), readTokens)
	b, from, ok := a.Node.LightBlock(id, height)
	if !ok {
		p := &problem{
			code: codes.DataLoss, reason: ReasonPruned, subject: BlockName(height), metadata: map[string]string{"name": BlockName(height)},
			message: "this node does not have the header, votes or validators of " + BlockName(height) + "; ask one that keeps everything",
		}
		if from > height {
			p.message = fmt.Sprintf("this node does not have the header, votes or validators of %s: kept from height %d on; ask one that keeps everything, or whose blocks begin lower", BlockName(height), from)
			p.setNumber(keptFrom, from)
		}
		return nil, p
	}
	return &consensusv1.GetLightBlockResponse{Height: height, SignedHeader: b.SignedHeader, ValidatorSet: b.ValidatorSet}, nil
}

// evidenceTokens is what evidence costs its sender, since its signatures have to be
// verified: as much as some hundred reads.
const evidenceTokens = 100 * readTokens

// SubmitEvidence implements ConsensusServiceServer.
func (a *agreements) SubmitEvidence(ctx context.Context, req *consensusv1.SubmitEvidenceRequest) (*consensusv1.SubmitEvidenceResponse, error) {
	a.rates.charge(callerIP(ctx), evidenceTokens)
	err := a.Node.AddEvidence(req.GetEvidence())
	if errors.Is(err, ErrBadEvidence) {
		return nil, &problem{
			code: codes.InvalidArgument, reason: ReasonBadEvidence, subject: "evidence",
			message: fmt.Sprintf("evidence: %v; it is CometBFT's tendermint.types.Evidence of this chain, not older than a fault can be punished", err),
		}
	}
	if err != nil {
		return nil, err
	}
	return &consensusv1.SubmitEvidenceResponse{}, nil
}
