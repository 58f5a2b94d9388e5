package node

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/node/telemetry"
)

// mainName is the name of the main chain, in checks and in the log.
const mainName = "main"

// hosted is one chain as this node runs it: its state, its rules, its agreement,
// and what is known of them. A node has one for the main chain and one for each
// shard that it serves. They share the process, keys and stores; what fails in one
// is told under its name and stays in it.
type hosted struct {
	name string       // for people: mainName, or that of a shard
	log  *slog.Logger // of the node, with the chain's name unless it is main
	disk string       // the directory of its store, "" if it is in memory
	// flaw says in one line why the chain cannot be relied on although it runs, "" if
	// nothing is known. It may be nil, and is safe for concurrent use.
	flaw func(comet.Status) string
	// stopping is set when the chain is about to be stopped.
	stopping atomic.Bool

	layer  *layer.Settlement
	exec   *exec.Executor
	ledger *exec.Main  // the same with what only the main chain has; nil on others
	shard  *exec.Shard // the same with what only shards have; nil on main
	chain  *comet.Chain
	height *heightFile // nil without a disk
	counts *telemetry.Chain

	ancestors *ancestors // of a shard that has not begun yet; else nil

	sample atomic.Pointer[sample] // never nil
}

// newHosted returns a chain of which nothing is open yet.
func newHosted(name string, log *slog.Logger) *hosted {
	h := &hosted{name: name, log: log}
	h.sample.Store(&sample{reason: "the chain is starting"})
	return h
}

// module returns the logger of a part of the chain.
func (h *hosted) module(name string) *slog.Logger {
	return h.log.With(slog.String(telemetry.ModuleKey, name))
}

// synced reports whether the chain has caught up with its peers, as of a moment ago.
func (h *hosted) synced() bool { return !h.sample.Load().chain.CatchingUp }

// keepHeightIn remembers in a file how high the store is, after a check that it is as
// high as it was. lost says what can be done if it is not.
func (h *hosted) keepHeightIn(path, lost string) (err error) {
	height, _ := h.exec.Head()
	if h.height, err = openHeightFile(path, h.module("store")); err != nil {
		return err
	}
	return errors.Join(h.height.check(height, lost), h.height.set(height))
}

// runConsensus runs the chain's agreement; begun is called when it has started. A
// chain that halts keeps running in the sense of this function.
func (h *hosted) runConsensus(ctx context.Context, begun func()) error {
	if err := h.chain.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, comet.ErrHalted) {
			return err
		}
		<-ctx.Done() // the blocks in the store halt it; the process stays
	} else {
		begun()
		<-ctx.Done()
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), consensusStop)
	defer cancel()
	return h.chain.Stop(stop)
}

// runRules runs what gets records into blocks, and all else the rules do beside them.
func (h *hosted) runRules(ctx context.Context) error { return h.exec.Run(ctx, h.chain.Broadcast) }

// upkeep looks after the chain while it runs.
func (h *hosted) upkeep(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for name, part := range map[string]func(context.Context) error{
		"watch": h.watch, "observe": h.observe, "halt": h.haltTogether, "state": h.layer.Run,
	} {
		group.Go(func() error { return contained(h.log, name, func() error { return part(ctx) }) })
	}
	return group.Wait()
}

// haltTogether stops consensus when the rules stop between two blocks, as when
// the money they count is not all there.
func (h *hosted) haltTogether(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-h.exec.Halted():
		h.chain.Halt(h.exec.HaltError())
	}
	return nil
}

// extensions hands what went with votes to the Executor.
func (h *hosted) extensions(height uint64) (blockHash []byte, extensions []exec.VoteExtension, err error) {
	blockHash, list, err := h.chain.Extensions(height)
	for _, x := range list {
		extensions = append(extensions, exec.VoteExtension{Validator: address(x.Validator), Round: x.Round, Data: x.Data})
	}
	return blockHash, extensions, err
}

// commitRound tells the Executor in which round a block was decided.
func (h *hosted) commitRound(height uint64) (blockHash []byte, round uint32, err error) {
	return h.chain.CommitRound(height)
}

// ask asks the chain's other nodes for the Executor, which asks again whatever comes of it.
func (h *hosted) ask(question []byte) { _ = h.chain.Ask(question) }

// sample is a chain's picture of itself. It is replaced, never changed.
type sample struct {
	chain  comet.Status
	ready  bool
	reason string // why not ready
}

// look takes a new sample.
func (h *hosted) look() *sample {
	s := &sample{chain: h.chain.Status()}
	s.ready, s.reason = s.chain.Health(time.Now(), comet.HealthLimits{IgnoreQuorum: !s.chain.Validator})
	if s.chain.Halt != nil && s.chain.Halt.Cause == comet.HaltStore && h.disk != "" {
		s.reason += storeRemedy(h.disk)
	}
	if h.flaw != nil && s.chain.Halt == nil {
		if flaw := h.flaw(s.chain); flaw != "" {
			s.ready, s.reason = false, flaw
		}
	}
	if h.stopping.Load() {
		s.ready, s.reason = false, "the node is stopping"
	}
	h.sample.Store(s)
	return s
}

// watch keeps the sample fresh until ctx ends.
func (h *hosted) watch(ctx context.Context) error {
	tick := time.NewTicker(sampleInterval)
	defer tick.Stop()
	halted := false
	for {
		s := h.look()
		if s.chain.Halt != nil && !halted {
			halted = true
			h.reportHalt(ctx, s)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// reportHalt tells once why the chain halted on this node.
func (h *hosted) reportHalt(ctx context.Context, s *sample) {
	halt := s.chain.Halt
	if halt.Cause == comet.HaltAppHash {
		h.counts.HashMismatch()
	}
	reason := halt.Reason
	if halt.Cause == comet.HaltStore && h.disk != "" {
		reason += storeRemedy(h.disk)
	}
	h.log.LogAttrs(ctx, slog.LevelError, "a chain is halted on this node; the process stays so that it can be examined",
		slog.String("name", h.name), slog.Uint64("height", halt.Height), slog.String("reason", reason))
}

// storeRemedy says what to do about a chain whose store in a directory failed.
func storeRemedy(dir string) string {
	return "; see that there is space at " + dir + " and that its disk works, and start the node again: what was committed is safe"
}

// close gives back what was opened, the newest first.
func (h *hosted) close() error {
	var errs []error
	if h.counts != nil {
		h.counts.Close()
	}
	errs = append(errs, h.ancestors.close())
	if h.layer != nil {
		errs = append(errs, h.layer.Close())
	}
	if h.height != nil {
		errs = append(errs, h.height.close())
	}
	return errors.Join(errs...)
}
