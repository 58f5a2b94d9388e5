package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
)

const (
	// sampleInterval is how old the node's picture of itself may be.
	sampleInterval = 200 * time.Millisecond
	// diskInterval is how often the free space is looked at. At 100 MB/s a
	// reserve of 2 GiB lasts for twenty seconds.
	diskInterval = time.Second
	// diskWarn is the multiple of the reserve below which the log warns.
	diskWarn = 2
)

// ErrDiskReserve says that the node stopped, or did not start, because less disk
// space than its reserve is free. badger cannot survive a full disk.
var ErrDiskReserve = errors.New("less disk space is free than store.disk_reserve")

// guardDisk returns ErrDiskReserve when the free space falls below the reserve.
func (n *Node) guardDisk(ctx context.Context) error {
	tick := time.NewTicker(diskInterval)
	defer tick.Stop()
	warned := false
	for {
		err := checkDisk(n.home.Data(), uint64(n.cfg.Store.DiskReserve))
		if err != nil {
			return err
		}
		if free, err := badgerkv.FreeBytes(n.home.Data()); err == nil && !warned && free < diskWarn*uint64(n.cfg.Store.DiskReserve) {
			warned = true
			n.log.LogAttrs(ctx, slog.LevelWarn, "disk space runs low; the node stops when the reserve is reached",
				slog.Uint64("free_bytes", free), slog.Uint64("reserve_bytes", uint64(n.cfg.Store.DiskReserve)))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// checkDisk returns ErrDiskReserve if less than reserve bytes are free at dir.
func checkDisk(dir string, reserve uint64) error {
	free, err := badgerkv.FreeBytes(dir)
	if err != nil {
		return err
	}
	if free < reserve {
		return fmt.Errorf("%w: %d MiB of %d MiB at %s; free some, or lower the reserve", ErrDiskReserve, free>>20, reserve>>20, dir)
	}
	return nil
}
