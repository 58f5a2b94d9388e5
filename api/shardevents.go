package api

import (
	"context"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

const (
	// shardKinds is what is added to the kinds of what happens to shards, so that they
	// follow those of the registry.
	shardKinds = 16
	// maxShownLinks is how many outcomes of an import a transaction tells.
	maxShownLinks = 64
	// maxEventBlocks is how many blocks one page of events looks at.
	maxEventBlocks = 1_024
)

// ListShardEvents implements ServiceChainServiceServer.
func (s *services) ListShardEvents(ctx context.Context, req *servicev1.ListShardEventsRequest) (*servicev1.ListShardEventsResponse, error) {
	var only eventFilter
	if req.GetShard() != "" {
		id, err := parseShardName("shard", req.GetShard())
		if err != nil {
			return nil, err
		}
		only.shard = id
	}
	_, head, service, err := s.mapFor(req.GetService())
	if err != nil {
		return nil, err
	}
	only.service, only.anchors = service, req.GetAnchors()
	anchors := ""
	if only.anchors {
		anchors = "anchors"
	}
	list := newFilter("ListShardEvents", req.GetShard(), req.GetService(), anchors)
	pg, err := s.pages.open(list, req.GetPageSize(), req.GetPageToken(), head)
	if err != nil {
		return nil, err
	}
	var before, skip uint64 // events of block before-1 that were told
	if pg.cursor != nil && !readCursor(pg.cursor, &before, &skip) {
		return nil, badCursor()
	}
	resp := &servicev1.ListShardEventsResponse{Height: head}
	if s.Main == nil {
		return resp, nil
	}
	blocks := 0
	next, err := s.Main.ShardEvents(before, func(e *exec.ShardEvents) bool {
		blocks++
		found := s.eventsOf(e, &only)
		for i := range found {
			if e.Height+1 == before && uint64(i) < skip {
				continue
			}
			if len(resp.GetEvents()) == pg.size {
				resp.NextPageToken = s.pages.token(list, pg.height, cursorU64(e.Height+1, uint64(i)))
				return false
			}
			resp.Events = append(resp.Events, found[i])
		}
		return blocks < maxEventBlocks
	})
	if next > 0 && resp.GetNextPageToken() == "" {
		resp.NextPageToken = s.pages.token(list, pg.height, cursorU64(next, 0))
	}
	s.rates.charge(callerIP(ctx), rowTokens(blocks+len(resp.GetEvents())))
	if err != nil {
		return nil, err
	}
	return resp, s.nameServices(resp.GetEvents())
}

// eventFilter is which events are wanted; zero is any.
type eventFilter struct {
	shard   shard.ID
	service uint32
	anchors bool

	services map[shard.ID]uint32 // of the shards that came up
}

// of reports whether a shard is of the service that is wanted.
func (f *eventFilter) of(b *backend, id shard.ID) bool {
	if f.service == 0 {
		return true
	}
	service, known := f.services[id]
	if !known {
		if f.services == nil {
			f.services = make(map[shard.ID]uint32)
		}
		service = b.serviceOf(id)
		f.services[id] = service
	}
	return service == f.service
}

// eventsOf returns the events of a block that are wanted, the last first.
func (b *backend) eventsOf(e *exec.ShardEvents, only *eventFilter) (list []*servicev1.ShardEvent) {
	for i := range e.Shards {
		ev := &e.Shards[i]
		if ev.Kind == settlement.ShardAnchored && !only.anchors || only.shard != 0 && ev.Shard != only.shard {
			continue
		}
		if only.of(b, ev.Shard) {
			list = append(list, renderShardEvent(ev))
		}
	}
	for i := range e.Registry {
		ev := &e.Registry[i]
		if only.service != 0 && ev.Service != only.service {
			continue
		}
		if only.shard != 0 && !slices.Contains(ev.Shards, only.shard) && !slices.Contains(ev.Heirs, only.shard) {
			continue
		}
		list = append(list, renderRegistryEvent(ev))
	}
	slices.Reverse(list)
	for _, ev := range list {
		ev.Height = e.Height
		if h, ok := b.Node.Header(e.Height); ok {
			ev.Time = renderStamp(h.Time)
		}
	}
	return list
}

// serviceOf returns the service of a shard, 0 if the main chain never founded it.
func (b *backend) serviceOf(id shard.ID) (service uint32) {
	_ = b.State.Read(func(v chain.View, _ uint64) error {
		if row, ok := anchor.Read(v, id); ok {
			service = row.Service
		}
		return nil
	})
	return service
}

// nameServices adds the services of the shards that events are about.
func (b *backend) nameServices(list []*servicev1.ShardEvent) error {
	return b.State.Read(func(v chain.View, _ uint64) error {
		for _, ev := range list {
			if ev.GetService() != "" || len(ev.GetShards()) == 0 {
				continue
			}
			id, err := parseShardName("shard", ev.GetShards()[0])
			if err != nil {
				return err
			}
			if row, ok := anchor.Read(v, id); ok {
				ev.Service, ev.Zone = ServiceName(row.Service), uint32(row.Zone)
			}
		}
		return nil
	})
}

func shardNames(list []shard.ID) (names []string) {
	for _, id := range list {
		names = append(names, ShardName(id))
	}
	return names
}

// txIndex returns the place of a transaction, nil for what the chain does by itself.
func txIndex(i int) *uint32 {
	if i < 0 {
		return nil
	}
	return new(uint32(i)) //nolint:gosec // of a block
}

func renderShardEvent(e *settlement.ShardEvent) *servicev1.ShardEvent {
	return &servicev1.ShardEvent{
		Kind: servicev1.ShardEvent_Kind(e.Kind + shardKinds), TxIndex: txIndex(e.TxIndex), Shards: []string{ShardName(e.Shard)},
		FirstHeight: e.First, LastHeight: e.Last, Epoch: e.Epoch, Round: e.Round, Guilty: e.Guilty, Generation: e.Generation,
	}
}

func renderRegistryEvent(e *registry.Event) *servicev1.ShardEvent {
	out := &servicev1.ShardEvent{
		Kind: servicev1.ShardEvent_Kind(e.Kind), TxIndex: txIndex(e.TxIndex), Service: ServiceName(e.Service), Zone: uint32(e.Zone),
		Shards: shardNames(e.Shards), Heirs: shardNames(e.Heirs), Epoch: e.Epoch, Version: e.Version, Validator: e.Validator,
	}
	if len(e.Shards) > 0 && e.Change != 0 {
		out.Change = e.Change.String()
	}
	return out
}

// renderRuns adds to a transaction what became of the heights that it anchored, and of
// what it brought from shards.
func renderRuns(out *chainv1.Transaction, r *settlement.Receipt) {
	for i := range r.Runs {
		run := &r.Runs[i]
		out.Runs = append(out.Runs, &chainv1.AnchoredRun{
			Shard: uint32(run.Shard), FirstHeight: run.First, LastHeight: run.Last, Code: renderCode(run.Code), Due: run.Due, Finished: run.Finished,
		})
	}
	out.LinksTotal = uint32(len(r.Links)) //nolint:gosec // at most link.MaxImportLeaves
	for i := range r.Links[:min(len(r.Links), maxShownLinks)] {
		out.Links = append(out.Links, renderOutcome(&r.Links[i]))
	}
}

func renderOutcome(r *link.Receipt) *chainv1.LinkOutcome {
	out := &chainv1.LinkOutcome{
		FromService: r.Link.Src.Service, FromZone: uint32(r.Link.Src.Zone), FromBucket: uint32(r.Link.Src.Bucket),
		ToService: r.Link.Dst.Service, ToZone: uint32(r.Link.Dst.Zone), ToBucket: uint32(r.Link.Dst.Bucket),
		Seq: r.Seq, Result: chainv1.LinkOutcome_Result(r.Result), Code: renderCode(r.Code),
	}
	if r.OriginTx != (ledger.Hash{}) {
		out.OriginTx = r.OriginTx[:]
	}
	return out
}
