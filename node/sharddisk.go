package node

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/tributary-network/tributary/ledger/kv/badgerkv"
	"github.com/tributary-network/tributary/shard"
)

// errShardDisk says that a shard does not run since its disk has less space than the
// reserve: badger cannot survive a full disk.
var errShardDisk = errors.New("less disk space is free than store.disk_reserve")

// checkShardDisk returns errShardDisk if less than the reserve is free where a shard has its part
// of the store or its files. A file system that the main chain's data lie on too is the
// node's business (guardDisk): nothing could go on there.
func (n *Node) checkShardDisk(id shard.ID) error {
	if n.inMemory {
		return nil
	}
	main, err := device(n.home.Data())
	if err != nil {
		return err
	}
	reserve := uint64(n.cfg.Store.DiskReserve) //nolint:gosec // bounded by the settings
	for _, dir := range []string{n.serviceDir(), n.shardsDir(), n.shardDir(id)} {
		own, err := device(dir)
		if errors.Is(err, fs.ErrNotExist) || err == nil && own == main {
			continue
		}
		if err != nil {
			return err
		}
		free, err := badgerkv.FreeBytes(dir)
		if err != nil {
			return err
		}
		if free < reserve {
			return fmt.Errorf("%w: %d MiB of %d MiB at %s, where shard %d has its data; free some, or lower the reserve: it is tried again every %v",
				errShardDisk, free>>20, reserve>>20, dir, id, shardRetryMost)
		}
	}
	return nil
}

// device is the file system that a directory lies on.
func device(dir string) (uint64, error) {
	var s unix.Stat_t
	if err := unix.Stat(dir, &s); err != nil {
		return 0, fmt.Errorf("look which file system %s is on: %w", dir, err)
	}
	return s.Dev, nil
}

// checkDisk stops a shard whose disk is about to be full.
func (s *shards) checkDisk(r *shardRun) {
	err := s.node.checkShardDisk(r.id)
	if !errors.Is(err, errShardDisk) {
		return // what cannot be looked at is told when it cannot be written
	}
	r.giveUp(err)
}
