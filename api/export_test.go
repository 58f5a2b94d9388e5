package api

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
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
	return r.r.do(ctx, id, body, nil, submit)
}

// Charge, Reserve and their like are what work costs.
func (r *RateLimiter) Charge(ip netip.Addr, tokens int) { r.r.charge(ip, tokens) }

func (r *RateLimiter) Reserve(ip netip.Addr, tokens int) time.Duration {
	return r.r.reserve(ip, tokens)
}

// CallCost is the tokens of a call.
const CallCost = callCost

// NewSharedRequestIDs remembers share request ids of each address.
func NewSharedRequestIDs(limit, share int, now func() time.Time) *RequestIDs {
	return &RequestIDs{r: newRequestIDs(limit, func(netip.Addr) int { return share }, now)}
}

// StreamLogs are the clients of StreamSettlements.
type StreamLogs struct{ c *clients }

func NewStreamLogs(limits Limits, now func() time.Time) (*StreamLogs, error) {
	cfg := &Config{Limits: limits.withDefaults(), Now: now}
	m, err := newMetrics(nil, nil, nil)
	return &StreamLogs{newClients(cfg, m)}, err
}

// StreamClient is a client with a stream.
type StreamClient struct {
	c  *clients
	cl *client
	at *attachment
}

func (l *StreamLogs) Attach(id uuid.UUID, ip netip.Addr) (*StreamClient, error) {
	w, err := l.c.attach(id, ip, 0, 0, func(error) {})
	return &StreamClient{l.c, w.client, w.stream}, err
}

// Held is what all clients hold, in bytes.
func (l *StreamLogs) Held() int64 {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	return l.c.held
}

// Clients is how many clients are remembered.
func (l *StreamLogs) Clients() int {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	return len(l.c.byID)
}

func (s *StreamClient) Detach() { s.c.detach(s.cl, s.at) }

// Forgotten reports whether the client is forgotten.
func (s *StreamClient) Forgotten() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.cl.gone
}

// Item books an item that is checked and then final, and reports whether there
// was room for it.
func (s *StreamClient) Item(ctx context.Context, seq uint64, hash ledger.Hash) bool {
	return s.job(ctx, func(p *slot) {
		if fresh, err := s.c.begin(p, seq, hash); err == nil && fresh {
			s.c.note(s.cl, seq, &exec.Status{Hash: hash, Stage: exec.StageChecked})
			s.c.note(s.cl, seq, &exec.Status{Hash: hash, Stage: exec.StageFinal})
		}
	})
}

// Refusal books a refused item, and reports whether there was room for it.
func (s *StreamClient) Refusal(ctx context.Context, seq uint64, text string) bool {
	return s.job(ctx, func(p *slot) { s.c.refuse(p, seq, invalid("item", "%s", text), false) })
}

func (s *StreamClient) job(ctx context.Context, do func(*slot)) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := s.c.enter(ctx, s.cl, cancel) // waits for nothing
	if p == nil {
		return false
	}
	do(p)
	s.c.leave(p)
	return true
}

// Ack acknowledges updates.
func (s *StreamClient) Ack(seq uint64) error {
	_, err := s.c.acknowledge(s.cl, seq)
	return err
}

// UsageTx is how a booking request is read.
func UsageTx(network ledger.NetworkID, req *servicev1.BookUsageRequest) (chain.Tx, service.Usage, error) {
	return usageTx(network, req.GetBatch(), req.GetSignedTx(), req.GetService())
}

func ParseShardName(name string) (ledger.ChainID, error) { return parseShardName("name", name) }

func ParseTraced(name string) (ledger.Hash, error) { return parseTraced(name) }
