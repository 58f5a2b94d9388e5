package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
)

// idle is an application that does nothing: what remains is the engine.
type idle struct {
	height    atomic.Uint64
	pending   atomic.Uint64
	committed atomic.Int64  // transaction bytes
	changed   chan struct{} // of capacity 1; filled at each commit
}

func (a *idle) Head() (uint64, []byte)           { return a.height.Load(), make([]byte, 32) }
func (a *idle) InitChain([]byte) ([]byte, error) { return make([]byte, 32), nil }
func (a *idle) Check([]byte, bool) error         { return nil }
func (a *idle) Accept(comet.Block) error         { return nil }

func (a *idle) Extend(comet.Block) ([]byte, error) { return nil, nil }

func (a *idle) Propose(_ uint64, maxBytes int64, mempool [][]byte) [][]byte {
	for i, tx := range mempool {
		if maxBytes -= int64(len(tx)) + 6; maxBytes < 0 {
			return mempool[:i]
		}
	}
	return mempool
}

func (a *idle) Finalize(b comet.Block) (comet.Outcome, error) {
	out := comet.Outcome{AppHash: make([]byte, 32), Results: make([]comet.TxResult, len(b.Txs))}
	for _, tx := range b.Txs {
		a.committed.Add(int64(len(tx)))
	}
	a.pending.Store(b.Height)
	return out, nil
}

func (a *idle) Commit() (uint64, error) {
	a.height.Store(a.pending.Load())
	select {
	case a.changed <- struct{}{}:
	default:
	}
	return 0, nil
}

// engineLoad says what the engine carries.
type engineLoad struct {
	bundle      int   // bytes of one transaction
	outstanding int64 // bytes submitted and not yet committed
	duration    time.Duration
	dir         string
}

// engineCost is what the engine alone costs.
type engineCost struct {
	bytesPerSecond float64
	cpuPerByte     float64 // CPU seconds over all validators
}

// measureEngine runs four validators of the same consensus engine, with the same
// settings, over the same store, on transactions of the same size, and an
// application that does nothing.
func measureEngine(ctx context.Context, load engineLoad) (engineCost, error) {
	n, err := startEngine(ctx, load.dir)
	if err != nil {
		return engineCost{}, err
	}
	defer n.stop()
	warm := time.Now().Add(load.duration / 4)
	if err := n.push(ctx, load, warm); err != nil {
		return engineCost{}, err
	}
	begin, bytes0, cpu0 := time.Now(), n.apps[0].committed.Load(), selfCPU()
	if err := n.push(ctx, load, begin.Add(load.duration)); err != nil {
		return engineCost{}, err
	}
	carried := float64(n.apps[0].committed.Load() - bytes0)
	if carried == 0 {
		return engineCost{}, errors.New("the engine committed nothing")
	}
	return engineCost{
		bytesPerSecond: carried / time.Since(begin).Seconds(),
		cpuPerByte:     (selfCPU() - cpu0).Seconds() / carried,
	}, nil
}

// engineNet is four validators in this process.
type engineNet struct {
	apps   []*idle
	chains []*comet.Chain
	stores []*badgerkv.Store
	sent   int64
	serial uint64
}

const validators = 4

func startEngine(ctx context.Context, dir string) (_ *engineNet, err error) {
	n := &engineNet{}
	defer func() {
		if err != nil {
			n.stop()
		}
	}()
	genesis := comet.Genesis{ChainID: "engine", Time: time.Now()}
	var signers []*comet.Signer
	var keys []*comet.NodeKey
	for i := range validators {
		home := filepath.Join(dir, fmt.Sprint("engine", i))
		if err := os.MkdirAll(home, 0o700); err != nil {
			return nil, fmt.Errorf("make engine home: %w", err)
		}
		signer, err := comet.GenerateSigner(home)
		if err != nil {
			return nil, err
		}
		key, err := comet.GenerateNodeKey(home)
		if err != nil {
			return nil, err
		}
		signers, keys = append(signers, signer), append(keys, key)
		genesis.Validators = append(genesis.Validators, comet.GenesisValidator{PubKey: signer.PubKey(), Power: 1})
	}
	logger := slog.New(slog.DiscardHandler)
	for i := range validators {
		home := filepath.Join(dir, fmt.Sprint("engine", i))
		store, err := badgerkv.Open(badgerkv.Main(filepath.Join(home, "db")))
		if err != nil {
			return nil, err
		}
		n.stores = append(n.stores, store)
		app := &idle{changed: make(chan struct{}, 1)}
		c, err := comet.New(comet.Config{Dir: home, ListenAddr: "127.0.0.1:0"}, genesis, signers[i], keys[i], store, app, logger, nil)
		if err != nil {
			return nil, err
		}
		n.apps, n.chains = append(n.apps, app), append(n.chains, c)
	}
	if err := n.connect(ctx); err != nil {
		return nil, err
	}
	return n, n.ready(ctx)
}

// connect starts the chains, each as a peer of all others.
func (n *engineNet) connect(ctx context.Context) error {
	var peers []string
	for _, c := range n.chains {
		peers = append(peers, c.PeerAddr())
	}
	for _, c := range n.chains {
		if err := c.Start(ctx); err != nil {
			return err
		}
		if err := c.SetPeers(peers); err != nil {
			return err
		}
	}
	return nil
}

// ready waits until all validators agree on blocks.
func (n *engineNet) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, c := range n.chains {
		for {
			ok, reason := c.Status().Health(time.Now(), comet.HealthLimits{})
			if ok && c.LatestHeight() > 0 {
				break
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return fmt.Errorf("the engine does not start: %s: %w", reason, ctx.Err())
			}
		}
	}
	return nil
}

// push keeps load.outstanding bytes under way until deadline.
func (n *engineNet) push(ctx context.Context, load engineLoad, deadline time.Time) error {
	timeout := time.NewTimer(time.Until(deadline))
	defer timeout.Stop()
	for {
		for n.sent-n.apps[0].committed.Load() < load.outstanding {
			tx := make([]byte, load.bundle)
			if _, err := rand.Read(tx[:32]); err != nil {
				return fmt.Errorf("make transaction: %w", err)
			}
			n.serial++
			binary.BigEndian.PutUint64(tx, n.serial)
			if err := n.chains[n.serial%validators].Broadcast(tx); err != nil {
				return fmt.Errorf("submit to the engine: %w", err)
			}
			n.sent += int64(len(tx))
		}
		select {
		case <-n.apps[0].changed:
		case <-timeout.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stop ends the network. Stores close last, as late readers must not find them shut.
func (n *engineNet) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, c := range n.chains {
		if err := c.Stop(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "stop engine:", err)
		}
	}
	for _, s := range n.stores {
		if err := s.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "close engine store:", err)
		}
	}
}

// selfCPU returns the processor time of this process.
func selfCPU() time.Duration { return usedBy(syscall.RUSAGE_SELF) }

// threadCPU returns the processor time of this thread.
func threadCPU() time.Duration {
	const thread = 1 // RUSAGE_THREAD of Linux
	return usedBy(thread)
}

func usedBy(who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
