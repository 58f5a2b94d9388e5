package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
)

const (
	// forwardTries is how many nodes that run a shard are tried for one call.
	forwardTries = 3
	// forwardTimeout is how long one of them may take, or its share of what is left of
	// the call, but forwardLeast in any case.
	forwardTimeout = 10 * time.Second
	forwardLeast   = time.Second
)

var (
	// errNobody means that no other node is known that runs a shard.
	errNobody = errors.New("no other node is known that runs it")
	// errNoAnswer means that none of those that were asked answered.
	errNoAnswer = errors.New("none of the nodes that run it answered")
)

// relayed is the answer of another node that does not do what it was asked, passed on
// as it is.
type relayed struct{ status *status.Status }

// Error returns the message.
func (r *relayed) Error() string { return r.status.Message() }

// problem returns the answer as one of this node's own.
func (r *relayed) problem() *problem {
	p := &problem{code: r.status.Code(), reason: ReasonInternal, message: r.status.Message(), passed: r.status}
	if info := r.info(); info != nil {
		p.reason, p.metadata = info.GetReason(), info.GetMetadata()
	}
	return p
}

// info returns what the answer says of itself, nil if it is not by a node.
func (r *relayed) info() *errdetails.ErrorInfo {
	for _, d := range r.status.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == Domain {
			return info
		}
	}
	return nil
}

// verdict is what the refusal of another node is worth.
type verdict uint8

const (
	// noVerdict: it is about the way there, or the node cannot serve.
	noVerdict verdict = iota
	// doubtful: the node is busy, or does not know. Another one may do better.
	doubtful
	// definite: the shard's rules, or the request itself, are the reason, on which all
	// nodes agree.
	definite
)

// judge says what an error of a call of another node is worth.
func judge(err error) (*relayed, verdict) {
	s, ok := status.FromError(err)
	if !ok {
		return nil, noVerdict
	}
	r := &relayed{s}
	info := r.info()
	if info == nil || info.GetReason() == ReasonNotHosted {
		return nil, noVerdict
	}
	switch s.Code() {
	case codes.InvalidArgument:
		return r, definite
	case codes.FailedPrecondition, codes.Aborted, codes.AlreadyExists, codes.PermissionDenied, codes.OutOfRange:
		if _, rule := codeNamed(info.GetReason()); rule {
			return r, definite
		}
		return r, doubtful
	case codes.NotFound, codes.ResourceExhausted, codes.DataLoss:
		return r, doubtful
	default:
		return nil, noVerdict
	}
}

// codeNamed returns the code of the chain that has a name.
func codeNamed(name string) (chain.Code, bool) {
	for c := chain.Code(1); c != 0; c++ { // it wraps around after the last one
		if c.Known() && c.String() == name {
			return c, true
		}
	}
	return 0, false
}

// askHosts makes a call of nodes that run a chain, one after the other, until one answers
// it, fills resp with that, and returns who it was. share returns how long one of so many
// that are left may take. accept may be nil; it errs if an answer cannot be right, and
// then the next one is asked.
//
// A definite refusal ends the search, as a *relayed, and so do two that say that the shard
// is congested. A doubtful one is returned if nobody does better. Other errors are
// errNobody, errNoAnswer and that of ctx.
func askHosts(ctx context.Context, peers Forwarder, id ledger.ChainID, method string, req, resp proto.Message, share func(left int) time.Duration, accept func() error) (endpoint string, err error) {
	hosts := peers.Hosts(id)
	hosts = hosts[:min(len(hosts), forwardTries)]
	if len(hosts) == 0 {
		return "", errNobody
	}
	var refusal *relayed
	for i, endpoint := range hosts {
		attempt, cancel := context.WithTimeout(ctx, share(len(hosts)-i))
		err := peers.Call(attempt, endpoint, method, req, resp)
		cancel()
		if err == nil && accept != nil {
			if err = accept(); err != nil {
				peers.Fault(endpoint)
			}
		}
		if err == nil {
			return endpoint, nil
		}
		proto.Reset(resp)
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		r, worth := judge(err)
		switch {
		case worth == definite, worth == doubtful && refusal != nil && congested(r) && congested(refusal):
			return "", r
		case worth == doubtful && refusal == nil:
			refusal = r
		}
	}
	if refusal != nil {
		return "", refusal
	}
	return "", errNoAnswer
}

func congested(r *relayed) bool { return r.info().GetReason() == ReasonCongested }

// forwardShare returns how long one of so many nodes that are left may take.
func (b *backend) forwardShare(ctx context.Context) func(left int) time.Duration {
	return func(left int) time.Duration {
		deadline, ok := ctx.Deadline()
		if !ok {
			return forwardTimeout
		}
		return min(forwardTimeout, max(forwardLeast, deadline.Sub(b.Now())/time.Duration(left)))
	}
}

// forward hands a call on to a node that runs a shard, and fills resp with its answer.
// A call that was handed on already is refused, and so is one that nobody takes. accept
// is that of askHosts.
func (b *backend) forward(ctx context.Context, sh *shard.Shard, epoch uint64, method string, req, resp proto.Message, accept func() error) (*servicev1.Source, error) {
	if handedOn(ctx) || b.Peers == nil {
		return nil, b.notHosted(sh, epoch)
	}
	b.rates.charge(callerIP(ctx), forwardTokens)
	endpoint, err := askHosts(ctx, b.Peers, sh.ID, method, req, resp, b.forwardShare(ctx), accept)
	if refusal, ok := errors.AsType[*relayed](err); ok {
		b.metrics.forwarded("refused")
		return nil, refusal
	}
	switch {
	case err == nil:
		b.metrics.forwarded("ok")
		return &servicev1.Source{ServedBy: endpoint, Evidence: servicev1.Evidence_EVIDENCE_CLAIMED}, nil
	case errors.Is(err, errNobody):
		return nil, b.notHosted(sh, epoch)
	case errors.Is(err, errNoAnswer):
		b.metrics.forwarded("failed")
		p := unavailable(ReasonNotHosted, retrySoon, fmt.Sprintf("none of the nodes that run %s answered; send the same request again in %v", sh, retrySoon))
		return nil, b.place(p, sh, epoch)
	default:
		return nil, err
	}
}

// ownAnswer is the source of what a shard that runs here says.
func ownAnswer() *servicev1.Source {
	return &servicev1.Source{Evidence: servicev1.Evidence_EVIDENCE_OWN}
}
