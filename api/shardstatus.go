package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
)

// maxOverdueLanes is how many lanes that wait for payment the status of a shard looks at.
const maxOverdueLanes = 1_024

// GetShardStatus implements ServiceChainServiceServer.
func (s *services) GetShardStatus(ctx context.Context, req *servicev1.GetShardStatusRequest) (*servicev1.GetShardStatusResponse, error) {
	sh, epoch, err := s.shardByName("name", req.GetName())
	if err != nil {
		return nil, err
	}
	if local, ok := s.serving(sh.ID); ok {
		return s.statusIn(ctx, local, &sh, epoch)
	}
	resp, err := s.statusAway(ctx, &sh, epoch, req)
	if p, _ := errors.AsType[*problem](err); p == nil || p.reason != ReasonNotSynced && p.reason != ReasonChainHalted || handedOn(ctx) {
		return resp, err
	}
	local, ok := s.hosted(sh.ID)
	if !ok {
		return nil, err
	}
	if height, _ := local.Head(); height == 0 {
		return nil, err
	}
	return s.statusIn(ctx, local, &sh, epoch) // it is nowhere better than here, and the answer says how it is
}

// statusIn returns how a shard does that runs here.
func (s *services) statusIn(ctx context.Context, local Shard, sh *shard.Shard, epoch uint64) (*servicev1.GetShardStatusResponse, error) {
	info, run := s.Node.Info(), local.Chain()
	out := &servicev1.GetShardStatusResponse{
		NodeId: info.ID, Moniker: info.Moniker, Peers: uint32(run.Peers), Validator: run.Validator, //nolint:gosec // some
		CatchingUp: run.CatchingUp, Halted: run.Halted, HaltReason: run.HaltReason, Source: ownAnswer(),
	}
	var hash []byte
	out.Height, hash = local.Head()
	out.AppHash = hash
	records, size := local.Pending()
	out.PendingTxs, out.PendingBytes = uint64(max(records, 0)), uint64(max(size, 0)) //nolint:gosec // not negative
	if err := s.shardState(local, out); err != nil {
		return nil, err
	}
	if out.GetHeight() > 0 {
		if b, err := local.Block(out.GetHeight()); err == nil {
			out.BlockTime = renderTime(b.Time)
		}
	}
	certificate, err := local.LatestCertificate()
	if err == nil {
		out.CertifiedHeight = certificate.Checkpoint.Height
	} else if !errors.Is(err, exec.ErrNoCertificate) {
		return nil, err
	}
	if out.Shard, err = s.shardAt(sh, epoch); err != nil {
		return nil, err
	}
	members := len(out.GetShard().GetMembers())
	out.SmallCommittee = members < shard.SafeMembers
	s.rates.charge(callerIP(ctx), readTokens+rowTokens(members+2*int(out.GetOverdueLanes())))
	return out, nil
}

// shardState adds what the state of a shard says.
func (s *services) shardState(local Shard, out *servicev1.GetShardStatusResponse) error {
	return local.Read(func(v chain.View, height uint64) error {
		backlog := shardblock.Backlog(v)
		out.LevelBps, out.Backlog = uint32(shardblock.Level(v)), renderBacklog(&backlog)
		if st := shardblock.ReadStatus(v); st.Ended != 0 && height >= st.Ended {
			out.Ended = true
		}
		e := service.ReadEpoch(v)
		t := service.ReadTotals(v)
		out.Epoch, out.SettlementClock, out.Settling = e.Number, e.Sigma, service.Settling(v)
		lanes, overdue := service.Overdue(v, maxOverdueLanes)
		out.OverdueLanes, out.Overdue = uint32(lanes), uint64(overdue) //nolint:gosec // at most maxOverdueLanes
		out.Totals = &servicev1.ShardTotals{
			Booked: renderSums(t.Booked), Received: renderSums(t.Received), Returned: renderSums(t.Returned),
			Earned: renderSums(t.Earned), Sent: renderSums(t.Sent), Waiting: renderSums(t.Waiting), Stuck: renderSums(t.Stuck),
			Channels: t.Channels,
		}
		return nil
	})
}

// shardWatch is one call of WatchShard. It is a cursor over the committed blocks of the
// shard and of the main chain, and keeps nothing.
type shardWatch struct {
	*backend
	server servicev1.ServiceChainService_WatchShardServer
	ip     netip.Addr // of the watcher
	id     shard.ID
	shard  Shard
	sent   time.Time // when the last message was
}

// WatchShard implements ServiceChainServiceServer.
func (s *services) WatchShard(req *servicev1.WatchShardRequest, server servicev1.ServiceChainService_WatchShardServer) error {
	sh, epoch, err := s.shardByName("name", req.GetName())
	if err != nil {
		return err
	}
	local, ok := s.serving(sh.ID)
	if !ok {
		return s.notServing(&sh, epoch)
	}
	w := &shardWatch{backend: s.backend, server: server, ip: callerIP(server.Context()), id: sh.ID, shard: local}
	ctx, end := context.WithCancelCause(server.Context())
	defer end(nil)
	go func() { // ends with the call
		select {
		case <-s.stopping:
			end(shuttingDown())
		case <-ctx.Done():
		}
	}()
	from, err := w.begin(req)
	if err == nil {
		err = w.follow(ctx, from)
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// begin returns the height to begin with. Who goes on with a watch says which generation made
// the last block that it was told: what another one took back of it since comes anew. A chain
// here that is behind that generation, or was taken back itself, has nothing to go on with.
func (w *shardWatch) begin(req *servicev1.WatchShardRequest) (uint64, error) {
	from, told := req.GetFromHeight(), req.GetGeneration()
	if req.Generation == nil {
		return from, nil
	}
	own, head, err := w.generation()
	if err != nil {
		return 0, err
	}
	row, err := w.anchors(w.id)
	switch {
	case err != nil:
		return 0, err
	case own < told || row.TakesBack(own, head):
		return 0, w.behind(w.shard, w.id)
	case told >= row.Generation:
		return from, nil
	}
	end, _ := row.Began(told + 1) // all is told anew if that is so long ago that nobody knows
	return min(from, end+1), nil
}

// generation returns the generation of the shard's last block here, and its height.
func (w *shardWatch) generation() (generation uint32, head uint64, err error) {
	err = w.shard.Read(func(v chain.View, height uint64) error {
		generation, head = shardblock.ReadStatus(v).Generation, height
		return nil
	})
	return generation, head, err
}

// shardNews is something to tell: a block, a gap, or that the main chain went on.
type shardNews struct {
	block *exec.ShardBlock
	gap   *exec.GapError
}

// follow sends what happens until ctx ends.
func (w *shardWatch) follow(ctx context.Context, from uint64) error {
	if err := w.tell(&servicev1.WatchShardResponse{}); err != nil {
		return err
	}
	tasks, ctx := errgroup.WithContext(ctx)
	news := make(chan shardNews)
	tasks.Go(func() error { return w.readShard(ctx, from, news) })
	tasks.Go(func() error { return w.readMain(ctx, news) })
	tasks.Go(func() error {
		for {
			if err := w.next(ctx, news); err != nil {
				return err
			}
		}
	})
	return tasks.Wait()
}

// readShard passes the blocks of the shard on.
func (w *shardWatch) readShard(ctx context.Context, from uint64, news chan<- shardNews) error {
	blocks := w.shard.Follow(from)
	for {
		b, err := blocks.Next(ctx)
		n := shardNews{block: b}
		if err != nil && !errors.As(err, &n.gap) {
			return cmp.Or(w.over(), err)
		}
		if err := pass(ctx, news, n); err != nil {
			return err
		}
	}
}

// readMain passes on that the main chain anchored more of the shard.
func (w *shardWatch) readMain(ctx context.Context, news chan<- shardNews) error {
	blocks := w.State.Subscribe(0)
	last := uint64(0)
	for {
		_, err := blocks.Next(ctx)
		var gap *exec.GapError
		if err != nil && !errors.As(err, &gap) {
			return err
		}
		at, err := w.anchored(w.id)
		if err != nil {
			return err
		}
		if at == last {
			continue
		}
		last = at
		if err := pass(ctx, news, shardNews{}); err != nil {
			return err
		}
	}
}

func pass(ctx context.Context, news chan<- shardNews, n shardNews) error {
	select {
	case news <- n:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next sends the next message, or a heartbeat if nothing happens.
func (w *shardWatch) next(ctx context.Context, news <-chan shardNews) error {
	timer := time.NewTimer(max(0, w.Heartbeat-w.Now().Sub(w.sent)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return w.tell(&servicev1.WatchShardResponse{})
	case n := <-news:
		m := &servicev1.WatchShardResponse{}
		switch {
		case n.gap != nil:
			m.Gap = &servicev1.WatchShardResponse_Gap{FromHeight: n.gap.From, ToHeight: n.gap.To}
		case n.block != nil:
			if head, _ := w.shard.Head(); head > n.block.Height { // read for this watch only
				if err := w.rates.pay(ctx, w.ip, shardBlockTokens(n.block)); err != nil {
					return err
				}
			}
			m.Block = renderShardBlock(n.block)
		}
		return w.tell(m)
	}
}

// over says why there is nothing more to tell of: the shard does not run here any more, it
// began again, as with another committee, or it is halted. It returns nil if it goes on.
func (w *shardWatch) over() error {
	now, runs := w.hosted(w.id)
	switch {
	case runs && !sameChain(now, w.shard):
		return unavailable(ReasonNotHosted, retrySoon, fmt.Sprintf("shard %d began again on this node, as after a change of its committee; watch it again", w.id))
	case runs && now.Chain().Halted:
		return w.behind(now, w.id)
	case runs:
		return nil
	}
	sh, epoch, err := w.shardByName("name", ShardName(w.id))
	if err != nil {
		return err
	}
	p := w.notHosted(&sh, epoch)
	p.code, p.retry = codes.Unavailable, retrySoon
	return p
}

func (w *shardWatch) tell(m *servicev1.WatchShardResponse) (err error) {
	if err := w.over(); err != nil {
		return err
	}
	if m.AnchoredHeight, err = w.anchored(w.id); err != nil {
		return err
	}
	if m.Generation, m.HeadHeight, err = w.generation(); err != nil {
		return cmp.Or(w.over(), err)
	}
	level, _ := w.knownLevel(w.id)
	m.LevelBps, m.Heartbeat = uint32(level), durationpb.New(w.Heartbeat)
	w.sent = w.Now()
	return w.server.Send(m)
}

// shardBlockTokens is what it costs to read a block of a shard from the index.
func shardBlockTokens(b *exec.ShardBlock) int {
	return 1 + rowTokens(len(b.Receipts)+len(b.Bookings)+len(b.Imports))
}

func renderShardBlock(b *exec.ShardBlock) *servicev1.ShardBlock {
	var sums service.Sums
	for i := range b.Receipts {
		sums = sums.Plus(b.Receipts[i].Booked)
	}
	return &servicev1.ShardBlock{
		Height: b.Height, Time: renderTime(b.Time), Epoch: b.Epoch,
		Transactions: uint32(len(b.Receipts)), Bookings: uint32(len(b.Bookings)), Booked: renderSums(sums), //nolint:gosec // of a block
		Outbox: uint32(b.Outbox), Imports: uint32(len(b.Imports)), //nolint:gosec // likewise
	}
}

// shardAt returns a shard in an epoch as the main chain's head has it.
func (b *backend) shardAt(sh *shard.Shard, epoch uint64) (out *servicev1.Shard, err error) {
	err = b.State.Read(func(v chain.View, height uint64) error {
		out = b.renderShard(v, height, epoch, sh)
		return nil
	})
	b.addLevels(out)
	return out, err
}

// addLevels adds to shards how congested they are, as far as that is known without asking
// anybody. It reads the states of shards, so it is not called while that of the main
// chain is read: a writer who waits for one of them would keep both.
func (b *backend) addLevels(list ...*servicev1.Shard) {
	for _, sh := range list {
		if sh == nil {
			continue
		}
		if level, ok := b.knownLevel(shard.ID(sh.GetId())); ok {
			bps := uint32(level)
			sh.LevelBps = &bps
		}
	}
}

// renderShard returns a shard in an epoch as the state of the main chain at a height has
// it, without its level.
func (b *backend) renderShard(v chain.View, height, epoch uint64, sh *shard.Shard) *servicev1.Shard {
	out := &servicev1.Shard{
		Name: ShardName(sh.ID), Id: uint32(sh.ID), Service: ServiceName(sh.Service), Zone: uint32(sh.Zone),
		FirstBucket: uint32(sh.Buckets.First), LastBucket: uint32(sh.Buckets.Last), SinceEpoch: sh.Since,
	}
	for _, p := range sh.Parents {
		out.Parents = append(out.Parents, uint32(p))
	}
	_, out.Hosted = b.hosted(sh.ID)
	a, _ := registry.ReadAssignment(v, epoch, sh.ID)
	out.Kept, out.TotalPower = a.Kept, a.Committee.TotalPower()
	for i := range a.Committee.Members {
		out.Members = append(out.Members, &servicev1.Member{Validator: a.Committee.Members[i].Validator, Power: a.Committee.Members[i].Power})
	}
	if row, ok := anchor.Read(v, sh.ID); ok {
		out.Anchoring = renderAnchoring(&row, b.anchorRules(), height)
	}
	return out
}

// renderAnchoring returns what the main chain has of a shard at a height of main.
func renderAnchoring(row *anchor.State, rules *anchor.Params, height uint64) *servicev1.Anchoring {
	out := &servicev1.Anchoring{
		Height: row.Height(), Since: row.From, Status: servicev1.AnchorStatus(rules.Status(height, row.From)),
		Missed: rules.Missed(height, row.From), UntilEpoch: row.Until, EndHeight: row.End, RedrawEpoch: row.RedrawEpoch, Redraws: row.Redraws,
	}
	if row.Height() > 0 {
		root := row.Root()
		out.StateRoot, out.CheckpointsRoot = row.Last.StateRoot[:], root[:]
	}
	if row.Finished() {
		out.Status, out.Missed = servicev1.AnchorStatus_ANCHOR_STATUS_FINISHED, 0
	}
	return out
}
