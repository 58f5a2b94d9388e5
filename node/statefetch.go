package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/layer"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
)

const (
	// stateHosts is how many nodes are asked for a state, at most, and stateAsked how many
	// of them at once.
	stateHosts = 64
	stateAsked = 8
	// stateTimeout bounds one call, stateRest how long to wait before asking again, and
	// statePatience how long to wait for nodes that prepare a state; stateDoubt, if these are
	// nobody's of whom anything is known: such a node costs its owner nothing.
	stateTimeout  = 30 * time.Second
	stateRest     = 500 * time.Millisecond
	statePatience = 10 * time.Minute
	stateDoubt    = time.Minute
	// stateFailures in a row make a node that is asked for chunks one that is not asked
	// any more.
	stateFailures = 10
	// stateBusy is how long those who describe a state alike are asked for one chunk while
	// they only answer that they are busy.
	stateBusy = 2 * time.Minute
	// stateMost bounds the bytes of a state where the settings do not.
	stateMost = 64 << 30
	// stateTold is how often the log tells of progress.
	stateTold = 10 * time.Second
)

// errStateElsewhere says that nobody who can be reached gives a state.
var errStateElsewhere = errors.New("no node that can be reached has the state")

// wantedState is a state that a chain begins or goes on with: that with a root, as after a
// height.
type wantedState struct {
	stateName

	height uint64
}

func (w *wantedState) String() string {
	return fmt.Sprintf("state %s of shard %d at height %d", w.root, w.id, w.height)
}

// giver is a node that is asked for a state.
type giver struct {
	endpoint string
	trust    int  // 0: it is of who served the shard, 1: of another validator, anybody: of anybody
	failures int  // in a row
	busy     int  // answers in a row that it is
	gone     bool // it does not have the state, cannot be reached, or sent what is wrong
}

// anybody is the trust in a node of nobody who is known.
const anybody = 2

// described is a state in chunks, as some nodes describe it alike.
type described struct {
	manifest layer.Manifest
	givers   []*giver
}

// fetchState restores a state into a layer without one, from whoever has it. Each chunk is
// checked against the description of the state, and all of it against its root, so nobody
// is trusted; who sends a wrong chunk is not asked again. room opens the layer, which stays
// the caller's, and is called once, when somebody has described the state: what is removed
// for it stays while nobody has. progress may be nil.
func (n *Node) fetchState(ctx context.Context, want *wantedState, room func() (*layer.Settlement, error), progress func(string)) error {
	f := &stateFetch{call: n.peers.Call, want: want, room: room, progress: progress, log: n.module("states").With(slog.String("shard", shardName(want.id)))}
	f.givers, f.most = n.stateGivers(want.id), uint64(n.cfg.Shards.MaxData)
	return f.run(ctx)
}

// run fetches the state.
func (f *stateFetch) run(ctx context.Context) error {
	lists, err := f.describe(ctx)
	if err != nil {
		return err
	}
	if f.into, err = f.room(); err != nil {
		return err
	}
	for i := range lists {
		done, err := f.take(ctx, &lists[i])
		if done || err != nil && (ctx.Err() != nil || !errors.Is(err, layer.ErrSnapshot)) {
			return err
		}
		f.log.LogAttrs(ctx, slog.LevelWarn, "what nodes gave as the state of a shard is not it", slog.Int("nodes", len(lists[i].givers)), slog.Any("err", err))
	}
	return f.nowhere()
}

// nowhere says that nobody gives the state, and why if it was too large.
func (f *stateFetch) nowhere() error {
	if f.large > 0 {
		return fmt.Errorf("%w: %s has %d MiB as nodes describe it, more than shards.max_data, %d MiB: raise it if that is right",
			errStateElsewhere, f.want, f.large>>20, f.limit()>>20)
	}
	return fmt.Errorf("%w: %s, asked of %d nodes", errStateElsewhere, f.want, len(f.givers))
}

// limit returns how many bytes the state may have.
func (f *stateFetch) limit() uint64 { return cmp.Or(f.most, stateMost) }

// stateFetch is a state that is being fetched.
type stateFetch struct {
	call     func(ctx context.Context, endpoint, method string, req, resp proto.Message) error
	log      *slog.Logger
	want     *wantedState
	room     func() (*layer.Settlement, error) // opens into
	into     *layer.Settlement                 // nil before the state is described
	progress func(string)
	givers   []*giver
	most     uint64        // bytes; 0 is stateMost
	patience time.Duration // with those that are busy; 0 is stateBusy
	large    uint64        // bytes of a description that was refused for them
}

// describe asks what the state is like, and returns what is said: a description is only as
// good as who gives it, so first that of nodes of who served the shard, then that of other
// validators', and of these that of the most nodes.
func (f *stateFetch) describe(ctx context.Context) (lists []described, err error) {
	patience, cancel := context.WithTimeout(ctx, statePatience)
	defer cancel()
	began := time.Now()
	for {
		waiting, doubts := false, time.Since(began) >= stateDoubt
		for some := range slices.Chunk(f.givers, stateAsked) {
			list, later := f.ask(patience, some, doubts)
			waiting = waiting || later
			for i := range list {
				lists = gather(lists, &list[i])
			}
		}
		if len(lists) > 0 || !waiting {
			break
		}
		f.say("nodes that have the state prepare it")
		if !pause(patience, stateRest) {
			break
		}
	}
	slices.SortStableFunc(lists, func(a, b described) int {
		return cmp.Or(cmp.Compare(a.trust(), b.trust()), cmp.Compare(len(b.givers), len(a.givers)))
	})
	if len(lists) == 0 {
		return nil, cmp.Or(ctx.Err(), f.nowhere())
	}
	return lists, nil
}

// trust returns that of the giver who is trusted most.
func (d *described) trust() int {
	return slices.MinFunc(d.givers, func(a, b *giver) int { return cmp.Compare(a.trust, b.trust) }).trust
}

// gather adds what a node says to what others do.
func gather(lists []described, d *described) []described {
	for i := range lists {
		a, b := lists[i].manifest, d.manifest
		a.State.Height = b.State.Height // it is as much as any after which the state was this
		if a.Hash() == b.Hash() {
			lists[i].givers = append(lists[i].givers, d.givers...)
			return lists
		}
	}
	return append(lists, *d)
}

// ask asks some nodes at once. later says that one of them prepares the state; if it doubts,
// one that is a validator's.
func (f *stateFetch) ask(ctx context.Context, givers []*giver, doubts bool) (list []described, later bool) {
	var mu sync.Mutex
	var wait sync.WaitGroup
	for _, g := range givers {
		if g.gone {
			continue
		}
		wait.Go(func() {
			var m layer.Manifest
			var bad error
			err := contained(f.log, "ask for a state", func() (err error) {
				m, bad, err = f.askOne(ctx, g)
				return err
			})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case status.Code(err) == codes.ResourceExhausted:
				later = later || !doubts || g.trust < anybody
			case err != nil:
				g.gone = true
			case bad != nil || m.State.AppHash != f.want.root:
				g.gone = true
				f.log.LogAttrs(ctx, slog.LevelWarn, "a node describes another state than it was asked for", slog.String("node", g.endpoint), slog.Any("err", bad))
			case m.Bytes > f.limit():
				g.gone, f.large = true, max(f.large, m.Bytes)
				f.log.LogAttrs(ctx, slog.LevelWarn, "a node describes a state that takes more than shards.max_data", slog.String("node", g.endpoint), slog.Uint64("bytes", m.Bytes))
			default:
				m.State.Height = f.want.height
				list = append(list, described{m, []*giver{g}})
			}
		})
	}
	wait.Wait()
	return list, later
}

// askOne asks one node. bad is what is wrong with its answer, err why there is none.
func (f *stateFetch) askOne(ctx context.Context, g *giver) (m layer.Manifest, bad, err error) {
	var resp servicev1.DescribeShardStateResponse
	err = f.bounded(ctx, g, servicev1.RelayService_DescribeShardState_FullMethodName,
		&servicev1.DescribeShardStateRequest{ChainId: uint32(f.want.id), StateRoot: f.want.root[:]}, &resp)
	if err == nil {
		m, bad = layer.DecodeManifest(resp.GetManifest())
	}
	return m, bad, err
}

func (f *stateFetch) bounded(ctx context.Context, g *giver, method string, req, resp proto.Message) error {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	return f.call(ctx, g.endpoint, method, req, resp)
}

// take restores a state by its description, and reports whether it is there. The error is
// layer.ErrSnapshot if another description may do.
func (f *stateFetch) take(ctx context.Context, d *described) (done bool, err error) {
	r, err := f.into.Restore(d.manifest)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, r.Abort()) }()
	began, told := time.Now(), time.Now()
	total, taken := len(d.manifest.Chunks), uint64(0)
	for {
		chunk, from, err := f.chunk(ctx, d, r.Next())
		if err != nil {
			return false, err
		}
		if taken += uint64(len(chunk)); taken > f.limit() {
			f.large = max(f.large, taken)
			return false, fmt.Errorf("%s has more bytes than shards.max_data: %w", f.want, layer.ErrSnapshot)
		}
		done, err := r.Add(r.Next(), chunk)
		switch {
		case errors.Is(err, layer.ErrChunk):
			from.gone = true
			f.log.LogAttrs(ctx, slog.LevelWarn, "chunk of a state refused; its sender is not asked again", slog.String("node", from.endpoint), slog.Any("err", err))
			continue
		case err != nil:
			return false, err
		case done:
			f.log.LogAttrs(ctx, slog.LevelInfo, "the state of a shard was fetched", slog.Uint64("height", f.want.height), slog.String("state_root", f.want.root.String()),
				slog.Uint64("bytes", d.manifest.Bytes), slog.Int("chunks", total), slog.Duration("took", time.Since(began).Round(time.Millisecond)))
			return true, nil
		}
		f.say(fmt.Sprintf("chunk %d of %d of its state fetched", r.Next(), total))
		if time.Since(told) >= stateTold {
			told = time.Now()
			f.log.LogAttrs(ctx, slog.LevelInfo, "the state of a shard is fetched", slog.Int("chunk", int(r.Next())), slog.Int("chunks", total), slog.String("node", from.endpoint))
		}
	}
}

// chunk returns a chunk from one of those who have the state: the one that gave the last,
// as long as it does. One that is busy, or failed, is asked again when the others have
// been, and all of them only for a time.
func (f *stateFetch) chunk(ctx context.Context, d *described, index uint32) ([]byte, *giver, error) {
	began := time.Now()
	for {
		from := d.next()
		if from == nil {
			return nil, nil, fmt.Errorf("chunk %d of %s: none of %d nodes gives it: %w", index, f.want, len(d.givers), layer.ErrSnapshot)
		}
		if from.busy+from.failures > 0 && !pause(ctx, stateRest) {
			return nil, nil, ctx.Err()
		}
		var resp servicev1.GetShardStateChunkResponse
		err := f.bounded(ctx, from, servicev1.RelayService_GetShardStateChunk_FullMethodName,
			&servicev1.GetShardStateChunkRequest{ChainId: uint32(f.want.id), StateRoot: f.want.root[:], Index: index}, &resp)
		switch {
		case err == nil:
			from.failures, from.busy = 0, 0
			return resp.GetChunk(), from, nil
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		case status.Code(err) == codes.NotFound:
			from.gone = true
			continue
		case status.Code(err) == codes.ResourceExhausted:
			from.busy++
		default:
			from.failures++
			from.gone = from.failures >= stateFailures
		}
		f.log.LogAttrs(ctx, slog.LevelDebug, "chunk of a state not given", slog.String("node", from.endpoint), slog.Any("err", err))
		if patience := cmp.Or(f.patience, stateBusy); time.Since(began) >= patience && d.waited() {
			return nil, nil, fmt.Errorf("chunk %d of %s: nobody gave it in %v: %w", index, f.want, patience, layer.ErrSnapshot)
		}
	}
}

// next returns who is to be asked for a chunk, or nil if nobody is left.
func (d *described) next() (from *giver) {
	for _, g := range d.givers {
		if !g.gone && (from == nil || g.failures+g.busy < from.failures+from.busy) {
			from = g
		}
	}
	return from
}

// waited reports whether everybody has been asked in vain.
func (d *described) waited() bool {
	from := d.next()
	return from == nil || from.busy+from.failures > 0
}

func (f *stateFetch) say(text string) {
	if f.progress != nil {
		f.progress(text)
	}
}

// stateGivers returns where nodes serve the API that may have a state of a shard: those of
// validators that served it as far as the main chain remembers, those of other validators,
// then all others; of each, those that run it go first.
func (n *Node) stateGivers(id shard.ID) (list []*giver) {
	served := map[ledger.PublicKey]bool{}
	nodes := slices.Concat(n.directory.Hosts(id), n.directory.Nodes())
	_ = n.main.exec.Read(func(v chain.View, height uint64) error { // without it nobody is trusted more than others
		epoch := n.genesis.Params.Staking.Epoch(height + 1)
		for e := epoch - min(epoch, n.genesis.Params.Staking.Kept()); e <= epoch; e++ {
			if a, ok := registry.ReadAssignment(v, e, id); ok {
				for i := range a.Committee.Members {
					served[a.Committee.Members[i].ConsensusKey] = true
				}
			}
		}
		return nil
	})
	for i := range nodes {
		e := &nodes[i]
		g := &giver{endpoint: e.GRPC, trust: anybody}
		switch {
		case served[e.Validator]:
			g.trust = 0
		case e.Validator != ledger.PublicKey{}:
			g.trust = 1
		}
		if n.doors.open(e) {
			list = append(list, g)
		}
	}
	slices.SortStableFunc(list, func(a, b *giver) int { return cmp.Compare(a.trust, b.trust) })
	var once []*giver
	for _, g := range list {
		if !slices.ContainsFunc(once, func(o *giver) bool { return o.endpoint == g.endpoint }) {
			once = append(once, g)
		}
	}
	return once[:min(len(once), stateHosts)]
}

// pause waits for d, and reports false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
