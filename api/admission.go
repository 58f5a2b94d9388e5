package api

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/tap"

	accountv1 "github.com/tributary-network/tributary/proto/tributary/account/v1"
	channelv1 "github.com/tributary-network/tributary/proto/tributary/channel/v1"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

// importance decides which calls are refused first when there are too many.
type importance int

const (
	// optional calls are refused at half load: estimates, lists, proofs.
	optional importance = iota
	// ordinary calls are refused at three quarters: opens, transfers, reads.
	ordinary
	// vital calls are refused when there is no room at all: settling and
	// closing, by which money is saved.
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
		nodev1.NodeService_GetStatus_FullMethodName:
		return vital
	case settlementv1.SettlementService_EstimateSettlement_FullMethodName,
		settlementv1.SettlementService_ListSettlements_FullMethodName,
		settlementv1.SettlementService_GetSettlementProof_FullMethodName,
		channelv1.ChannelService_ListChannels_FullMethodName,
		nodev1.NodeService_ListBlocks_FullMethodName,
		nodev1.NodeService_ListTransactions_FullMethodName,
		accountv1.AccountService_RequestFaucet_FullMethodName:
		return optional
	default:
		return ordinary
	}
}

// admission decides which calls begin. It is safe for concurrent use.
type admission struct {
	limits  Limits
	rates   *rateLimiter
	metrics *metrics

	inFlight          atomic.Int64
	settlementStreams atomic.Int64
	watches           atomic.Int64
}

// exempt reports whether calls of method cost no tokens: probes must not fail
// because others ask too much.
func exempt(method string) bool {
	return strings.HasPrefix(method, "/"+grpc_health_v1.Health_ServiceDesc.ServiceName+"/")
}

// tap refuses a call when its headers arrive, before its message is read. It
// runs on the connection's goroutine and does not block.
func (a *admission) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	if exempt(info.FullMethodName) {
		return ctx, nil
	}
	caller, _ := peer.FromContext(ctx)
	if caller == nil {
		return ctx, nil
	}
	if wait, ok := a.rates.take(addrIP(caller.Addr)); !ok {
		a.metrics.refused(ReasonRateLimited)
		wait = max(wait.Round(time.Millisecond), time.Millisecond)
		p := exhausted(ReasonRateLimited, wait, "more than %g calls a second from one address; wait %v", a.limits.RequestsPerSecond, wait)
		p.subject = "address"
		return ctx, p
	}
	if !a.room(info.FullMethodName, a.inFlight.Load()) {
		return ctx, a.overloaded()
	}
	return ctx, nil
}

// room reports whether one more call of method may run beside n others.
func (a *admission) room(method string, n int64) bool {
	limit := int64(a.limits.InFlight)
	switch importanceOf(method) {
	case optional:
		limit /= 2
	case ordinary:
		limit = limit * 3 / 4
	case vital:
	}
	return n < max(limit, 1)
}

func (a *admission) overloaded() *problem {
	a.metrics.refused(ReasonOverloaded)
	return exhausted(ReasonOverloaded, overloadRetry, "too many calls are under way; send the same request again in %v", overloadRetry)
}

const overloadRetry = 200 * time.Millisecond

// unary counts calls under way and caps their deadline.
func (a *admission) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if exempt(info.FullMethod) {
		return handler(ctx, req)
	}
	n := a.inFlight.Add(1)
	defer a.inFlight.Add(-1)
	if !a.room(info.FullMethod, n-1) {
		return nil, a.overloaded()
	}
	ctx, cancel := context.WithTimeout(ctx, a.limits.MaxDeadline)
	defer cancel()
	return handler(ctx, req)
}

// stream counts streams by method.
func (a *admission) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	var count *atomic.Int64
	var limit int
	switch info.FullMethod {
	case settlementv1.SettlementService_StreamSettlements_FullMethodName:
		count, limit = &a.settlementStreams, a.limits.SettlementStreams
	case channelv1.ChannelService_WatchChannels_FullMethodName:
		count, limit = &a.watches, a.limits.Watches
	default: // health watches and reflection
		return handler(srv, stream)
	}
	defer count.Add(-1)
	if count.Add(1) > int64(limit) {
		a.metrics.refused(ReasonTooManyStreams)
		return exhausted(ReasonTooManyStreams, retrySoon, "%d streams of this method are open, which is the limit; try again later", limit)
	}
	return handler(srv, stream)
}
