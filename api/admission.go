package api

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/tap"

	accountv1 "github.com/tributary-network/tributary/proto/tributary/account/v1"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
	consensusv1 "github.com/tributary-network/tributary/proto/tributary/consensus/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
	stakingv1 "github.com/tributary-network/tributary/proto/tributary/staking/v1"
)

// importance decides which calls are refused first when there are too many.
type importance int

const (
	// optional calls are refused at half load: estimates, lists, proofs.
	optional importance = iota
	// ordinary calls are refused at three quarters: opens, transfers, reads.
	ordinary
	// vital calls are refused when there is no room at all: settling and
	// closing, by which money is saved, and what is carried to shards. What they ask
	// to be proved is optional.
	vital
)

// importanceOf returns how important a call of method is.
func importanceOf(method string) importance {
	switch method {
	case settlementv1.SettlementService_SubmitSettlement_FullMethodName,
		settlementv1.SettlementService_GetSettlement_FullMethodName,
		channelv1.ChannelService_RequestClose_FullMethodName,
		channelv1.ChannelService_CooperativeClose_FullMethodName,
		channelv1.ChannelService_GetChannel_FullMethodName,
		nodev1.NodeService_SubmitTransaction_FullMethodName,
		nodev1.NodeService_GetStatus_FullMethodName,
		servicev1.RelayService_SubmitRelay_FullMethodName:
		return vital
	case settlementv1.SettlementService_EstimateSettlement_FullMethodName,
		settlementv1.SettlementService_ListSettlements_FullMethodName,
		settlementv1.SettlementService_GetSettlementProof_FullMethodName,
		channelv1.ChannelService_ListChannels_FullMethodName,
		nodev1.NodeService_ListBlocks_FullMethodName,
		nodev1.NodeService_ListTransactions_FullMethodName,
		accountv1.AccountService_RequestFaucet_FullMethodName,
		stakingv1.StakingService_ListValidators_FullMethodName,
		stakingv1.StakingService_ListDelegations_FullMethodName,
		stakingv1.StakingService_ListUnbondings_FullMethodName,
		consensusv1.ConsensusService_GetCommittee_FullMethodName,
		consensusv1.ConsensusService_GetHandover_FullMethodName,
		consensusv1.ConsensusService_GetElection_FullMethodName,
		consensusv1.ConsensusService_GetLightBlock_FullMethodName,
		servicev1.ServiceChainService_ListServices_FullMethodName,
		servicev1.ServiceChainService_ListShards_FullMethodName,
		servicev1.ServiceChainService_GetShard_FullMethodName,
		servicev1.RoutingService_ListCongestion_FullMethodName,
		servicev1.RoutingService_Hint_FullMethodName,
		servicev1.RoutingService_Trace_FullMethodName:
		return optional
	default:
		return ordinary
	}
}

// admission decides which calls begin. It is safe for concurrent use.
type admission struct {
	limits  Limits
	network *Network
	rates   *rateLimiter
	metrics *metrics

	calls   *quota // unary
	streams *quota // of StreamSettlements
	watches *quota // of WatchChannels, WatchStaking and WatchShard
	probes  *quota // health and reflection
}

// newAdmission returns the admission of a server of network n.
func newAdmission(l Limits, n *Network, now func() time.Time) *admission {
	of := func(total int) *quota { return newQuota(total, l.share(total)) }
	return &admission{
		limits: l, network: n, rates: newRateLimiter(l.RequestsPerSecond, l.Burst, now),
		calls: of(l.InFlight), streams: of(l.SettlementStreams), watches: of(l.Watches), probes: of(l.Conns),
	}
}

// home reports whether a caller at ip is a program on this machine, and the
// network one for trying things out.
func (n *Network) home(ip netip.Addr) bool {
	return n.Local && (!ip.IsValid() || ip.IsLoopback())
}

// share returns how much of total one caller may use.
func (l Limits) share(total int) int { return max(1, total*l.SharePercent/100) }

// callerOf returns who calls: at home one connection, otherwise an address.
func (a *admission) callerOf(ctx context.Context) caller {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return caller{}
	}
	ip := addrIP(p.Addr)
	if a.network.home(ip) {
		if connection, err := netip.ParseAddrPort(p.Addr.String()); err == nil {
			return connection
		}
	}
	return netip.AddrPortFrom(ip, 0)
}

// probe reports whether method tells about the server and not the chain. Probes
// cost no tokens: they must not fail because others ask too much.
func probe(method string) bool {
	return strings.HasPrefix(method, "/"+grpc_health_v1.Health_ServiceDesc.ServiceName+"/")
}

// ticket is the place of a call in a quota, given back once.
type ticket struct {
	once sync.Once
	give func()
}

func (t *ticket) release() { t.once.Do(t.give) }

type ticketKey struct{}

// tap lets a call begin, or refuses it, when its headers arrive, before its
// message is read. A call has its place in a quota from here until its answer is
// sent or its stream ends, and a unary one its deadline: so messages that never
// arrive wholly are bounded, too. tap runs on the connection's goroutine and does
// not block.
func (a *admission) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	who, method := a.callerOf(ctx), info.FullMethodName
	if !probe(method) {
		if wait, ok := a.rates.take(callerIP(ctx), callCost); !ok {
			return ctx, a.rateLimited(wait)
		}
	}
	q, limit, unary := a.quotaOf(method)
	if !q.enter(who, limit) {
		return ctx, a.refuse(q)
	}
	t := &ticket{give: func() { q.leave(who) }}
	ended, cancel := ctx, func() {}
	if unary {
		ctx, cancel = context.WithTimeout(ctx, a.limits.MaxDeadline)
	}
	context.AfterFunc(ended, func() { // the stream's own context, which gRPC ends with it
		cancel()
		t.release()
	})
	return context.WithValue(ctx, ticketKey{}, t), nil
}

// quotaOf returns what a call of method takes a place of, and how many may be
// taken for it to have one.
func (a *admission) quotaOf(method string) (q *quota, limit int, unary bool) {
	switch {
	case method == settlementv1.SettlementService_StreamSettlements_FullMethodName:
		return a.streams, a.streams.total, false
	case method == channelv1.ChannelService_WatchChannels_FullMethodName,
		method == stakingv1.StakingService_WatchStaking_FullMethodName,
		method == servicev1.ServiceChainService_WatchShard_FullMethodName:
		return a.watches, a.watches.total, false
	case probe(method) || strings.HasPrefix(method, "/grpc.reflection."):
		return a.probes, a.probes.total, false
	}
	limit = a.calls.total
	switch importanceOf(method) {
	case optional:
		limit /= 2
	case ordinary:
		limit = limit * 3 / 4
	case vital:
	}
	return a.calls, max(limit, 1), true
}

// crowded reports whether what is optional is refused, asked by a call that has
// begun.
func (a *admission) crowded() bool { return a.calls.count() > max(a.calls.total/2, 1) }

func (a *admission) rateLimited(wait time.Duration) *problem {
	a.metrics.refused(ReasonRateLimited)
	wait = max(wait.Round(time.Millisecond), time.Millisecond)
	p := exhausted(ReasonRateLimited, wait, "more than the work of %g calls a second from one address; wait %v", a.limits.RequestsPerSecond, wait)
	p.subject = "address"
	return p
}

// overloadRetry is when to come back after too many calls were under way.
const overloadRetry = 200 * time.Millisecond

// refuse says that there is no place in q.
func (a *admission) refuse(q *quota) *problem {
	if q == a.calls {
		a.metrics.refused(ReasonOverloaded)
		return exhausted(ReasonOverloaded, overloadRetry, "too many calls are under way, all in all or from one caller; send the same request again in %v", overloadRetry)
	}
	a.metrics.refused(ReasonTooManyStreams)
	return exhausted(ReasonTooManyStreams, retrySoon, "too many streams of this kind are open, all in all (of %d) or from one caller; try again later", q.total)
}

// giveBack gives the place of the call of ctx back.
func giveBack(ctx context.Context) {
	if t, ok := ctx.Value(ticketKey{}).(*ticket); ok {
		t.release()
	}
}

// unary gives the place of a call back before its answer is sent.
func (a *admission) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	defer giveBack(ctx)
	return handler(ctx, req)
}

// stream gives the place of a stream back before its status is sent.
func (a *admission) stream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	defer giveBack(stream.Context())
	return handler(srv, stream)
}
