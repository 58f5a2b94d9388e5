package client

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/route"
)

// AnchorStatus is how a shard does, as its anchors show: "live", "late", "stalled",
// "finished", or "" of a shard that is not founded.
type AnchorStatus string

// Anchoring is what the main chain has of a shard.
type Anchoring struct {
	Height uint64 // last one that is anchored, 0 if none is
	Since  uint64 // of the main chain: since when an anchor is waited for
	Status AnchorStatus
	Missed uint64 // anchors that were due and did not come
	Until  uint64 // first epoch in which it does not serve any more, 0 while that is not known
	End    uint64 // last height, likewise
	// RedrawEpoch is the last epoch in which it got another committee because anchors were
	// missing, and Redraws how often it did in it; 0 and 0 if it never did.
	RedrawEpoch uint64
	Redraws     uint32
}

func anchoringOf(m *servicev1.Anchoring) Anchoring {
	names := map[servicev1.AnchorStatus]AnchorStatus{
		servicev1.AnchorStatus_ANCHOR_STATUS_LIVE: "live", servicev1.AnchorStatus_ANCHOR_STATUS_LATE: "late",
		servicev1.AnchorStatus_ANCHOR_STATUS_STALLED: "stalled", servicev1.AnchorStatus_ANCHOR_STATUS_FINISHED: "finished",
	}
	return Anchoring{
		Height: m.GetHeight(), Since: m.GetSince(), Status: names[m.GetStatus()], Missed: m.GetMissed(),
		Until: m.GetUntilEpoch(), End: m.GetEndHeight(), RedrawEpoch: m.GetRedrawEpoch(), Redraws: m.GetRedraws(),
	}
}

// Location is the home of an account on a service.
type Location struct {
	Service   uint32
	Shard     shard.ID
	Place     service.Place // of the account
	Buckets   shard.Range   // of the shard
	Epoch     uint64        // in which this holds
	Next      shard.ID      // in the next epoch: another one if the shard is split or merged
	Endpoints []string      // host:port of nodes that run it, as they announced
	Hosted    bool          // the node that answers runs it
	Anchored  uint64        // last height that is anchored
	Level     *route.Level  // how congested it is, nil if the node does not know
}

func (r *reader) location(m *servicev1.Location) Location {
	out := Location{
		Service: r.service(m.GetService()), Shard: r.shard("shard", m.GetShard()),
		Place:   service.Place{Zone: uint8(m.GetZone()), Bucket: uint8(m.GetBucket())},
		Buckets: shard.Range{First: shard.Bucket(m.GetFirstBucket()), Last: shard.Bucket(m.GetLastBucket())},
		Epoch:   m.GetEpoch(), Endpoints: m.GetEndpoints(), Hosted: m.GetHosted(), Anchored: m.GetAnchoredHeight(),
	}
	if m.GetNextShard() != "" {
		out.Next = r.shard("next_shard", m.GetNextShard())
	}
	out.Level = r.level(m.LevelBps)
	return out
}

func (r *reader) level(bps *uint32) *route.Level {
	if bps == nil {
		return nil
	}
	if *bps > uint32(route.Full) {
		r.fail("level_bps", route.ErrBadLevel)
		return nil
	}
	l := route.Level(*bps)
	return &l
}

// Locate returns the home shards of an account, on a service that is named by its id in
// digits or its name, or on all that have its zone if that is empty.
func (c *Client) Locate(ctx context.Context, account ledger.Address, srv string) ([]Location, error) {
	req := &servicev1.LocateRequest{Account: accountsPrefix + account.String()}
	if srv != "" {
		req.Service = servicesPrefix + srv
	}
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*servicev1.LocateResponse, error) {
		return e.routing.Locate(ctx, req)
	})
	if err != nil {
		return nil, fmt.Errorf("locate %s: %w", account, err)
	}
	c.saw(resp.GetHeight())
	var r reader
	var out []Location
	for _, m := range resp.GetLocations() {
		out = append(out, r.location(m))
	}
	return out, r.err
}

// Congestion is how much waits in a shard.
type Congestion struct {
	Shard      shard.ID
	Service    uint32
	Zone       byte
	Level      route.Level
	Backlog    route.Backlog
	RetryAfter time.Duration // 0 if it takes transactions
	Source     string        // "here", "peer", or "anchors" if nobody who runs it answered
	Height     uint64        // of the shard; 0 if it comes from anchors
}

func congestionOf(m *servicev1.Congestion) (Congestion, error) {
	var r reader
	sources := map[servicev1.CongestionSource]string{
		servicev1.CongestionSource_CONGESTION_SOURCE_HERE: "here", servicev1.CongestionSource_CONGESTION_SOURCE_PEER: "peer",
		servicev1.CongestionSource_CONGESTION_SOURCE_ANCHORS: "anchors",
	}
	b, bps := m.GetBacklog(), m.GetLevelBps()
	out := Congestion{
		Shard: r.shard("shard", m.GetShard()), Service: r.service(m.GetService()), Zone: byte(m.GetZone()),
		Backlog: route.Backlog{Inbox: b.GetInbox(), Outbox: b.GetOutbox(), Bytes: b.GetBytes(), MissedAnchors: b.GetMissedAnchors()},
		Source:  sources[m.GetSource()], Height: m.GetHeight(), RetryAfter: m.GetRetryAfter().AsDuration(),
	}
	if l := r.level(&bps); l != nil {
		out.Level = *l
	}
	return out, r.err
}

// Congestion yields how congested the shards of a service are, named by its id in digits
// or its name, or all if that is empty, ascending by service, zone and bucket. An error
// ends the sequence.
func (c *Client) Congestion(ctx context.Context, srv string) iter.Seq2[Congestion, error] {
	req := &servicev1.ListCongestionRequest{PageSize: pageSize}
	if srv != "" {
		req.Service = servicesPrefix + srv
	}
	return pages(func(token string) ([]Congestion, string, error) {
		req.PageToken = token
		resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*servicev1.ListCongestionResponse, error) {
			return e.routing.ListCongestion(ctx, req)
		})
		if err != nil {
			return nil, "", fmt.Errorf("list the congestion of shards: %w", err)
		}
		page, err := each(resp.GetShards(), congestionOf)
		return page, resp.GetNextPageToken(), err
	})
}

// Choice is a shard that a client had better use.
type Choice struct {
	route.Choice
	Endpoints []string
}

// Advice is where a client had better live, and whose providers it had better use.
type Advice struct {
	Home, Provider Choice
	Account        ledger.Address // that the key has at home
	Epoch          uint64
}

// Hint asks where the owner of a key should make its account, and which shard's providers
// it should use, on a service that is named by its id in digits or its name. zones are
// those to choose from; none means all.
func (c *Client) Hint(ctx context.Context, srv string, key ledger.PublicKey, zones ...byte) (Advice, error) {
	req := &servicev1.HintRequest{Service: servicesPrefix + srv, PublicKey: key[:]}
	for _, z := range zones {
		req.Zones = append(req.Zones, uint32(z))
	}
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*servicev1.HintResponse, error) {
		return e.routing.Hint(ctx, req)
	})
	if err != nil {
		return Advice{}, fmt.Errorf("ask where to go on service %s: %w", srv, err)
	}
	var r reader
	out := Advice{
		Home: r.choice(resp.GetHome()), Provider: r.choice(resp.GetProvider()), Account: r.address("account", resp.GetAccount()), Epoch: resp.GetEpoch(),
	}
	return out, r.err
}

func (r *reader) choice(m *servicev1.Choice) Choice {
	out := Choice{Endpoints: m.GetEndpoints()}
	out.Zone, out.Shard = byte(m.GetZone()), r.shard("shard", m.GetShard())
	if l := r.level(&m.LevelBps); l != nil {
		out.Level = *l
	}
	return out
}

// Evidence says on what a step of a trace rests.
type Evidence uint8

// What a step rests on.
const (
	// EvidenceOwn: the node that answers runs the chain.
	EvidenceOwn = Evidence(servicev1.Evidence_EVIDENCE_OWN)
	// EvidenceVerified: another node said so, and the node that answers verified it
	// against a certificate or an anchor.
	EvidenceVerified = Evidence(servicev1.Evidence_EVIDENCE_VERIFIED)
	// EvidenceClaimed: another node said so, and nothing proves it.
	EvidenceClaimed = Evidence(servicev1.Evidence_EVIDENCE_CLAIMED)
)

// String returns the evidence's name: "verified".
func (e Evidence) String() string {
	switch e {
	case EvidenceOwn:
		return "own"
	case EvidenceVerified:
		return "verified"
	case EvidenceClaimed:
		return "claimed"
	default:
		return "unknown"
	}
}

// Source is who knew what was answered, and how far that is to be believed.
type Source struct {
	// ServedBy is host:port of the node that answered in place of the one that was asked;
	// empty if that runs the shard itself.
	ServedBy string
	Evidence Evidence
}

func sourceOf(m *servicev1.Source) Source {
	return Source{ServedBy: m.GetServedBy(), Evidence: Evidence(m.GetEvidence())} //nolint:gosec // an enumeration
}

// Step is one thing that happened to a hop.
type Step struct {
	Phase      link.Phase
	Chain      ledger.ChainID
	Height     uint64    // 0 if it is not known in which block
	Time       time.Time // zero if that is not known
	Checkpoint ledger.Hash
	Leaf       uint64 // of the outbox, among Leaves; Leaves is 0 if no leaf proves it
	Leaves     uint64
	Evidence   Evidence
}

// Hop is a message on its way from one chain to another.
type Hop struct {
	Link      link.Link
	Seq       uint64
	From, To  ledger.ChainID
	Kind      string // "earnings"
	Recipient ledger.Address
	Phase     link.Phase
	Code      chain.Code // why it goes or went back; CodeOK otherwise
	Netted    bool       // it stands for several transactions of its block
	Steps     []Step     // in the order in which they happened
	Note      string     // what could not be found out
}

// VoucherState is how far a booked voucher is: "booked", "settling", "paid" or "closed".
type VoucherState string

// TracedVoucher is a voucher that was booked, on its way to be paid by the main chain.
type TracedVoucher struct {
	Position   int    // of the booking's entry
	Index      uint64 // row of the channel
	Lane       uint8
	Seq        uint64
	Cumulative ledger.Amount
	State      VoucherState
	// Settlement is the transaction that paid it, in block Height of the main chain; zero if
	// it is not paid, or if what paid it is not kept any more.
	Settlement ledger.Hash
	Height     uint64
	Time       time.Time
	Evidence   Evidence // that it was booked
}

func (r *reader) traced(m *servicev1.TracedVoucher) TracedVoucher {
	states := map[servicev1.VoucherState]VoucherState{
		servicev1.VoucherState_VOUCHER_STATE_BOOKED: "booked", servicev1.VoucherState_VOUCHER_STATE_SETTLING: "settling",
		servicev1.VoucherState_VOUCHER_STATE_PAID: "paid", servicev1.VoucherState_VOUCHER_STATE_CLOSED: "closed",
	}
	out := TracedVoucher{
		Position: int(m.GetPosition()), Index: m.GetChannelIndex(), Lane: uint8(m.GetLane()), Seq: m.GetSeq(), Cumulative: ledger.Amount(m.GetCumulative()),
		State: states[m.GetState()], Height: m.GetHeight(), Time: timeOf(m.GetTime()), Evidence: Evidence(m.GetEvidence()),
	}
	out.Settlement = r.hexHash("settlement", settlementsPrefix, m.GetSettlement())
	return out
}

// Trace is a transaction over all hops.
type Trace struct {
	Hash     ledger.Hash
	Kind     chain.Kind
	Stage    Stage
	Chain    ledger.ChainID // that took it
	Height   uint64         // of that chain
	Code     chain.Code     // once it is in a block
	Phase    link.Phase     // pending, committed or anchored
	Evidence Evidence
	Steps    []Step
	Hops     []Hop
	Vouchers []TracedVoucher // of a booking: what it booked, at most 16
	More     bool
	Main     uint64 // height of the main chain on the node that answers
	Notes    []string
}

// Trace follows a transaction of the main chain or of a shard over all hops. id is the
// shard that took it, 0 if that is not known or it was the main chain.
func (c *Client) Trace(ctx context.Context, hash ledger.Hash, id shard.ID) (Trace, error) {
	req := &servicev1.TraceRequest{Name: transactionsPrefix + hash.String()}
	if id != 0 {
		req.Shard = shardsPrefix + strconv.FormatUint(uint64(id), 10)
	}
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*servicev1.TraceResponse, error) {
		return e.routing.Trace(ctx, req)
	})
	if err != nil {
		return Trace{}, fmt.Errorf("trace %s: %w", hash, err)
	}
	var r reader
	o, tx := resp.GetOrigin(), resp.GetOrigin().GetTransaction()
	t := Trace{
		Hash: r.hash("hash", tx.GetHash()), Kind: chain.Kind(tx.GetKind()), Stage: Stage(tx.GetStage()), Chain: ledger.ChainID(o.GetChainId()),
		Height: tx.GetHeight(), Phase: link.Phase(o.GetState()), Evidence: Evidence(o.GetEvidence()), Steps: r.steps(o.GetSteps()),
		More: resp.GetMore(), Main: resp.GetHeight(), Notes: resp.GetNotes(),
	}
	if tx.GetCode() != chainv1.Code_CODE_UNSPECIFIED {
		t.Code = r.code("code", tx.GetCode())
	}
	for _, m := range resp.GetHops() {
		h := Hop{
			Link: link.Link{Src: placeOf(m.GetFrom()), Dst: placeOf(m.GetTo())}, Seq: m.GetSeq(),
			From: ledger.ChainID(m.GetFromChainId()), To: ledger.ChainID(m.GetToChainId()), Kind: m.GetKindName(),
			Recipient: r.address("recipient", m.GetRecipient()), Phase: link.Phase(m.GetState()), Netted: m.GetNetted(),
			Steps: r.steps(m.GetSteps()), Note: m.GetNote(),
		}
		if m.GetCode() != chainv1.Code_CODE_UNSPECIFIED {
			h.Code = r.code("code", m.GetCode())
		}
		t.Hops = append(t.Hops, h)
	}
	for _, m := range resp.GetVouchers() {
		t.Vouchers = append(t.Vouchers, r.traced(m))
	}
	return t, r.err
}

func (r *reader) steps(list []*servicev1.Step) (out []Step) {
	for _, m := range list {
		p := m.GetProof()
		out = append(out, Step{
			Phase: link.Phase(m.GetState()), Chain: ledger.ChainID(m.GetChainId()), Height: m.GetHeight(), Time: timeOf(m.GetTime()),
			Checkpoint: r.hash("checkpoint_hash", p.GetCheckpointHash()), Leaf: p.GetLeafIndex(), Leaves: p.GetLeafCount(), Evidence: Evidence(p.GetEvidence()),
		})
	}
	return out
}

func placeOf(m *servicev1.Place) link.Place {
	return link.Place{Service: m.GetService(), Zone: byte(m.GetZone()), Bucket: uint8(m.GetBucket())}
}

// timeOf reads a time that may be missing.
func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
