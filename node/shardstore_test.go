package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/node/telemetry"
	"github.com/tributary-network/tributary/shard"
)

// ailing is a store that fails from the moment on in which so many blocks are stored.
type ailing struct {
	kv.Store

	how    *ailment
	blocks *atomic.Int32
}

// ailment is what reads and commits do before anything else; nil functions do nothing.
type ailment struct {
	read, commit func() error
	after        int32 // blocks
}

func (s ailing) fails(f func() error) error {
	if f == nil || s.blocks.Load() < s.how.after {
		return nil
	}
	return f()
}

func (s ailing) Get(key []byte) ([]byte, error) {
	if err := s.fails(s.how.read); err != nil {
		return nil, err
	}
	return s.Store.Get(key)
}

func (s ailing) Snapshot() (kv.Snapshot, error) {
	if err := s.fails(s.how.read); err != nil {
		return nil, err
	}
	return s.Store.Snapshot()
}

func (s ailing) NewBatch() kv.Batch { return ailingBatch{s.Store.NewBatch(), s} }

type ailingBatch struct {
	kv.Batch

	store ailing
}

func (b ailingBatch) Set(key, value []byte) error {
	if bytes.HasSuffix(key, []byte("blockstore/blockStore")) {
		b.store.blocks.Add(1)
	}
	return b.Batch.Set(key, value)
}

func (b ailingBatch) Commit(durable bool) error {
	if err := b.store.fails(b.store.how.commit); err != nil {
		b.Discard()
		return err
	}
	return b.Batch.Commit(durable)
}

// TestAStoreOfAShardFails: what one shard reads and writes fails or panics, wherever that
// happens. The others and the main chain go on, the status, /readyz, the metrics and the log
// name the shard and what to do; the next start goes on with it.
func TestAStoreOfAShardFails(t *testing.T) {
	t.Parallel()
	const id = shard.ID(3)
	full := func() error { return fmt.Errorf("%w: %w", kv.ErrFailed, syscall.ENOSPC) }
	broken := func() error { panic("a bug in the store") }
	for _, row := range []struct {
		name string
		how  ailment
		want []string // of the reason
	}{
		{"it cannot be written", ailment{commit: full, after: 1}, []string{syscall.ENOSPC.Error(), "there is space at", "start the node again"}},
		{"it cannot be read", ailment{read: full, after: 1}, []string{syscall.ENOSPC.Error()}},
		{"a write panics", ailment{commit: broken, after: 1}, []string{"a bug in the store"}},
		{"a read panics", ailment{read: broken, after: 1}, []string{"a bug in the store"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			o := solo(t)
			out := &buffer{}
			o.Log = slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelWarn}))
			n, err := node.Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			var blocks atomic.Int32
			n.SeeThrough(func(of shard.ID, store kv.Store) kv.Store {
				if of == id {
					return ailing{store, &row.how, &blocks}
				}
				return store
			})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- n.Run(ctx) }()
			stop := sync.OnceFunc(func() {
				cancel()
				if err := <-ended; err != nil {
					t.Errorf("Run: %v", err)
				}
			})
			t.Cleanup(stop)
			waitUntil(t, "the shard is told of", func() bool {
				s := n.ShardStates()
				return s == telemetry.ShardStates{Running: 7, Halted: 1} || s == telemetry.ShardStates{Running: 7, Failed: 1}
			})
			for _, text := range row.want {
				waitUntil(t, "the reason says "+text, func() bool { return strings.Contains(shardIn(n, id).Reason, text) })
				checkFault(t, n, id, text)
			}
			waitUntil(t, "the others go on", func() bool {
				for _, s := range n.Hosting() {
					if s.ID != id && s.Height == 0 {
						return false
					}
				}
				return true
			})
			if text := out.String(); !strings.Contains(text, "shard=s3") && !strings.Contains(text, "name=s3") || !strings.Contains(text, row.want[0]) {
				t.Errorf("the log: %s", text)
			}
			stop()
			n, _ = running(t, o)
			waitUntil(t, "all shards go on", func() bool { return allReady(n, 8) && shardIn(n, id).Height > 0 })
		})
	}
}

// TestTheDiskOfTheShardsIsFull: what the shards have lies on a disk of their own, which is
// about to be full. They stop before it is and the main chain goes on; they come back by
// themselves when there is space again, or with the next start.
func TestTheDiskOfTheShardsIsFull(t *testing.T) {
	t.Parallel()
	o := solo(t)
	o.Config.Store.DiskReserve = 16 << 20
	service := filepath.Join(o.Home.Data(), "service")
	if err := os.MkdirAll(service, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", service, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=700,size=96m"); err != nil {
		t.Skipf("a small disk needs the right to mount one: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(service, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	n, stop := running(t, o)
	waitUntil(t, "all shards have a block", func() bool {
		for _, s := range n.Hosting() {
			if s.Height == 0 {
				return false
			}
		}
		return allReady(n, 8)
	})
	heights := make(map[shard.ID]uint64)
	for _, s := range n.Hosting() {
		heights[s.ID] = s.Height
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(service, &disk); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(service, "ballast")
	free := int(disk.Bavail) * int(disk.Bsize) //nolint:gosec // small
	if err := os.WriteFile(ballast, make([]byte, free-(8<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the shards are stopped", func() bool { return n.ShardStates() == telemetry.ShardStates{Failed: 8} })
	for _, s := range n.Hosting() {
		if s.State != api.HostedFailed || !strings.Contains(s.Reason, service) || !strings.Contains(s.Reason, "free some") {
			t.Errorf("shard %d: %+v", s.ID, s)
		}
	}
	if ok, reason := n.Ready(); !ok {
		t.Errorf("the node is not ready: %s", reason)
	}
	stop()
	n, stop = running(t, o)
	waitUntil(t, "they do not start", func() bool { return n.ShardStates() == telemetry.ShardStates{Failed: 8} })
	stop()
	if err := os.Remove(ballast); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	n, stop = running(t, o)
	waitUntil(t, "they go on where they were", func() bool {
		for _, s := range n.Hosting() {
			if s.Height < heights[s.ID] {
				return false
			}
		}
		return allReady(n, 8)
	})
	stop()
}
