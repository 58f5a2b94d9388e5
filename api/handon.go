package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	// confirmTimeout is how long one of them may take that is asked because another one
	// refused for good. With less than confirmLeast left it is not asked.
	confirmTimeout = 2 * time.Second
	confirmLeast   = 50 * time.Millisecond
)

var (
	// errNobody means that no other node is known that runs a shard.
	errNobody = errors.New("no other node is known that runs it")
	// errNoAnswer means that none of those that were asked answered.
	errNoAnswer = errors.New("none of the nodes that run it answered")
)

// relayed is the answer of another node that does not do what it was asked, passed on
// as it is.
type relayed struct {
	status *status.Status
	nodes  int // that answered so, of those that were asked
}

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

// behind reports whether the node says that its shard is behind or halted there.
func (r *relayed) behind() bool {
	reason := r.info().GetReason()
	return reason == ReasonNotSynced || reason == ReasonChainHalted
}

// verdict is what the refusal of another node is worth.
type verdict uint8

const (
	// noVerdict: it is about the way there, or the node cannot serve.
	noVerdict verdict = iota
	// doubtful: the node is busy, or does not know. Another one may do better.
	doubtful
	// definite: the shard's rules, or the request itself, are the reason, on which all
	// honest nodes agree that are as far.
	definite
)

// judge says what an error of a call of another node is worth.
func judge(err error) (*relayed, verdict) {
	s, ok := status.FromError(err)
	if !ok {
		return nil, noVerdict
	}
	r := &relayed{status: s}
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
	case codes.Unavailable:
		if r.behind() {
			return r, doubtful
		}
		return nil, noVerdict
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

// hostCall is a call that one of the nodes which run a chain is to answer.
type hostCall struct {
	chain  ledger.ChainID
	method string
	req    proto.Message
	// resp is filled with the answer.
	resp proto.Message
	// accept may be nil. It errs if resp cannot be right, and then the next node is asked.
	accept func() error
	// share returns how long one of so many nodes that are left may take; confirming says
	// that it is asked because one before it refused for good.
	share func(left int, confirming bool) time.Duration

	// confirmed is how many nodes were asked because one before had refused for good.
	confirmed int
}

// said is what a node said that does not do what it was asked.
type said struct {
	what  *relayed
	worth verdict
}

// agrees reports whether two nodes say the same, so that no other one need be asked.
func (s said) agrees(other said) bool {
	same := s.what.status.Code() == other.what.status.Code() && s.what.info().GetReason() == other.what.info().GetReason()
	return same && (s.worth == definite && other.worth == definite || congested(s.what))
}

// ask makes the call of nodes that run the chain, one after the other, at most
// forwardTries, until one answers it, and returns who it was.
//
// A refusal is what one node says, which may lie or be behind: whatever the reason is, for
// this node does not execute the shard. So another node is asked too, and if it takes the
// call, that is the answer. Two that refuse alike, definitely or since the shard is
// congested, end the search. If nobody confirms a refusal, because there is no other node,
// none of them answers within confirmTimeout, or no time is left, the first definite one is
// the answer, and otherwise the first doubtful one, as a *relayed. Two nodes that lie alike
// are believed, and so is one that says that it has taken what it has not: what it says is
// no more than a claim, until the shard's certificate or anchor shows it.
//
// Other errors are errNobody, errNoAnswer and that of ctx.
func (c *hostCall) ask(ctx context.Context, peers Forwarder) (endpoint string, err error) {
	hosts := peers.Hosts(c.chain)
	hosts = hosts[:min(len(hosts), forwardTries)]
	if len(hosts) == 0 {
		return "", errNobody
	}
	var list []said
	final := func() int {
		return slices.IndexFunc(list, func(s said) bool { return s.worth == definite })
	}
	refused := func(r *relayed) error {
		for i := range list {
			if list[i].what.status.Code() == r.status.Code() {
				r.nodes++
			}
		}
		return r
	}
	for i, endpoint := range hosts {
		confirming := final() >= 0
		limit := c.share(len(hosts)-i, confirming)
		if confirming {
			if limit < confirmLeast {
				break
			}
			c.confirmed++
		}
		attempt, cancel := context.WithTimeout(ctx, limit)
		err := c.try(attempt, peers, endpoint)
		cancel()
		if err == nil {
			return endpoint, nil
		}
		if ctx.Err() != nil {
			break
		}
		r, worth := judge(err)
		if worth == noVerdict {
			continue
		}
		one := said{r, worth}
		agreed := slices.ContainsFunc(list, one.agrees)
		if list = append(list, one); agreed {
			return "", refused(r)
		}
	}
	switch at := final(); {
	case at >= 0:
		return "", refused(list[at].what)
	case ctx.Err() != nil:
		return "", ctx.Err()
	case len(list) > 0:
		return "", refused(list[0].what)
	default:
		return "", errNoAnswer
	}
}

// try makes the call of one node. resp is empty unless it answers.
func (c *hostCall) try(ctx context.Context, peers Forwarder, endpoint string) error {
	err := peers.Call(ctx, endpoint, c.method, c.req, c.resp)
	if err == nil && c.accept != nil {
		if err = c.accept(); err != nil {
			peers.Fault(endpoint)
		}
	}
	if err != nil {
		proto.Reset(c.resp)
	}
	return err
}

func congested(r *relayed) bool { return r.info().GetReason() == ReasonCongested }

// forwardShare is hostCall.share: a node that is to confirm a refusal has half of what is left
// at most, so that the answer still arrives.
func (b *backend) forwardShare(ctx context.Context) func(left int, confirming bool) time.Duration {
	return func(left int, confirming bool) time.Duration {
		rest := forwardTimeout * time.Duration(left)
		if deadline, ok := ctx.Deadline(); ok {
			rest = deadline.Sub(b.Now())
		}
		if confirming {
			return min(confirmTimeout, rest/2)
		}
		return min(forwardTimeout, max(forwardLeast, rest/time.Duration(left)))
	}
}

// forward hands a call on to a node that runs a shard, and fills resp with its answer.
// A call that was handed on already is refused, and so is one that nobody takes. accept
// is that of askHosts.
func (b *backend) forward(ctx context.Context, sh *shard.Shard, epoch uint64, method string, req, resp proto.Message, accept func() error) (*servicev1.Source, error) {
	if handedOn(ctx) || b.Peers == nil {
		return nil, b.notServing(sh, epoch)
	}
	b.rates.charge(callerIP(ctx), forwardTokens)
	call := hostCall{chain: sh.ID, method: method, req: req, resp: resp, accept: accept, share: b.forwardShare(ctx)}
	endpoint, err := call.ask(ctx, b.Peers)
	b.rates.charge(callerIP(ctx), forwardTokens*call.confirmed)
	if refusal, ok := errors.AsType[*relayed](err); ok {
		b.metrics.forwarded("refused")
		if _, here := b.hosted(sh.ID); here && refusal.behind() {
			return nil, b.notServing(sh, epoch)
		}
		return nil, refusal
	}
	_, here := b.hosted(sh.ID)
	switch {
	case err == nil:
		b.metrics.forwarded("ok")
		return &servicev1.Source{ServedBy: endpoint, Evidence: servicev1.Evidence_EVIDENCE_CLAIMED}, nil
	case errors.Is(err, errNobody), errors.Is(err, errNoAnswer) && here:
		return nil, b.notServing(sh, epoch)
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
