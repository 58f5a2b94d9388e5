package api

import (
	"context"
	"net"
	"net/netip"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	settlementv1 "github.com/tributary-network/tributary/proto/tributary/settlement/v1"
)

// StatusOf is err as clients see it.
func StatusOf(err error) (s *status.Status, known bool) {
	p, known := problemOf(err)
	return p.GRPCStatus(), known
}

// RuleStatus is the table of codes.
func RuleStatus(c chain.Code) codes.Code {
	code, _ := ruleStatus(c)
	return code
}

// BatchTx is how a settlement request is read.
func BatchTx(d chain.Domain, req *settlementv1.SubmitSettlementRequest) (chain.Tx, error) {
	b := &backend{Config: Config{Network: Network{Domain: d}}}
	return b.batchTx(req.GetBatch(), req.GetSignedTx(), sealed)
}

// Pager is a pager of one list.
type Pager struct {
	p *pager
	f filter
}

func NewPager(network ledger.NetworkID, list string, values ...string) *Pager {
	return &Pager{p: newPager(network), f: newFilter(list, values...)}
}

func (p *Pager) Token(height uint64, cursor []byte) string { return p.p.token(p.f, height, cursor) }

func (p *Pager) Open(size int32, token string, head uint64) (pageSize int, height uint64, cursor []byte, err error) {
	pg, err := p.p.open(p.f, size, token, head)
	return pg.size, pg.height, pg.cursor, err
}

func ParseChannelName(name string) (ledger.Hash, error) {
	return parseHashName("name", collectionChannels, name)
}

func ParseAccountName(name string) (ledger.Address, error) { return parseAccountName("name", name) }

func ParseBlockName(name string, head uint64) (uint64, error) {
	return parseBlockName("name", name, head)
}

// RateLimiter is a token bucket for each address.
type RateLimiter struct{ r *rateLimiter }

func NewRateLimiter(perSecond float64, burst int, now func() time.Time) *RateLimiter {
	return &RateLimiter{r: newRateLimiter(perSecond, burst, now)}
}

func (r *RateLimiter) Take(ip netip.Addr) (time.Duration, bool) { return r.r.take(ip, callCost) }

func AddrIP(a net.Addr) netip.Addr { return addrIP(a) }

// RequestIDs remembers request ids.
type RequestIDs struct{ r *requestIDs }

func NewRequestIDs(limit int, now func() time.Time) *RequestIDs {
	return &RequestIDs{r: newRequestIDs(limit, func(netip.Addr) int { return limit }, now)}
}

func (r *RequestIDs) Do(ctx context.Context, id string, body [32]byte, submit func() (ledger.Hash, error)) (ledger.Hash, error) {
	return r.r.do(ctx, id, body, submit)
}
