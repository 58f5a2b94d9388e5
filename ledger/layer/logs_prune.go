package layer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/lanelog"
)

const (
	// dropLogs bounds how many logs of a channel are given up in one batch, dropItems
	// how many objects are removed in one, and dropChannels how many channels are
	// looked up at a time.
	dropLogs     = 256
	dropItems    = 500
	dropChannels = 1_024

	// garbageRatio is the part of a file of the value log that has to be garbage before what
	// is not is written anew.
	garbageRatio = 0.5
)

// Retain says until when the logs of a channel are kept that closed. Said again, it holds
// anew. Channels of which nothing is said keep theirs for ever. It takes logs that come later
// too, until the time is over.
func (l *Logs) Retain(channel ledger.Hash, keep Retention) error {
	if keep.Until < keep.Closed {
		return fmt.Errorf("retain the logs of channel %s: they are kept until %d, and it closed at %d", channel, keep.Until, keep.Closed)
	}
	err := l.submit(&logWrite{apply: func(b *logBatch) error {
		raw, err := b.get(keepKey(channel))
		if err != nil {
			return err
		}
		if raw != nil {
			old, err := decodeRetention(raw)
			if err != nil {
				return fmt.Errorf("channel %s: %w", channel, err)
			}
			b.delete(untilKey(old.Until, channel))
		}
		b.set(keepKey(channel), keep.encode())
		b.set(untilKey(keep.Until, channel), []byte{})
		return nil
	}})
	if err != nil {
		return fmt.Errorf("retain the logs of channel %s: %w", channel, err)
	}
	return nil
}

// Retention returns what Retain said of a channel, and whether it said anything.
func (l *Logs) Retention(channel ledger.Hash) (Retention, bool, error) {
	raw, err := l.store.Get(keepKey(channel))
	if err != nil || raw == nil {
		return Retention{}, false, err
	}
	keep, err := decodeRetention(raw)
	if err != nil {
		return Retention{}, false, fmt.Errorf("channel %s: %w", channel, err)
	}
	return keep, true, nil
}

// Pruned is what Prune removed.
type Pruned struct {
	Channels int
	Logs     int
	Objects  uint64
	Entries  uint64
}

// Prune removes the logs of channels whose time is over at now, in seconds since 1970, and
// gives their space back to the disk (Reclaim). What is over is not read any more from the
// first batch on; the rest goes on where it ended if it is interrupted by ctx or a crash. It
// works below the reserve, as it is what frees the disk, and has one caller at a time.
func (l *Logs) Prune(ctx context.Context, now uint64) (done Pruned, err error) {
	if err := l.finish(ctx, &done); err != nil { // of a call before
		return done, fmt.Errorf("prune: %w", err)
	}
	for ctx.Err() == nil {
		due, err := l.due(now)
		if err != nil {
			return done, fmt.Errorf("prune: %w", err)
		}
		if len(due) == 0 {
			break
		}
		for _, d := range due {
			if err := l.give(ctx, d, &done); err != nil {
				return done, fmt.Errorf("prune channel %s: %w", d.channel, err)
			}
		}
	}
	if done.Objects > 0 {
		err = l.Reclaim(ctx)
	}
	return done, errors.Join(err, ctx.Err())
}

// dueChannel is a channel whose time is over.
type dueChannel struct {
	channel ledger.Hash
	until   uint64
}

// due returns channels whose time is over at now.
func (l *Logs) due(now uint64) (channels []dueChannel, err error) {
	prefix := []byte(untilPrefix)
	to := kv.PrefixEnd(prefix)
	if now+1 != 0 {
		to = binary.BigEndian.AppendUint64([]byte(untilPrefix), now+1)
	}
	it := l.store.Iterate(prefix, to, false)
	for len(channels) < dropChannels && it.Next() {
		key := it.Key()
		if len(key) != len(prefix)+8+ledger.HashSize {
			return nil, errors.Join(fmt.Errorf("key %x: %w", key, errRow), it.Close())
		}
		channels = append(channels, dueChannel{ledger.Hash(key[len(prefix)+8:]), binary.BigEndian.Uint64(key[len(prefix):])})
	}
	return channels, it.Close()
}

// give removes all logs of a channel, if its time was not changed meanwhile, and what Retain said.
func (l *Logs) give(ctx context.Context, d dueChannel, done *Pruned) error {
	for more := true; more && ctx.Err() == nil; {
		err := l.submit(&logWrite{apply: func(b *logBatch) (err error) {
			more, err = giveUp(b, d)
			return err
		}})
		if err != nil {
			return err
		}
		if err := l.finish(ctx, done); err != nil {
			return err
		}
	}
	if ctx.Err() == nil {
		done.Channels++
	}
	return nil
}

// giveUp marks logs of a channel as being removed, and reports whether there are more.
func giveUp(b *logBatch, d dueChannel) (more bool, err error) {
	raw, err := b.get(keepKey(d.channel))
	if err != nil {
		return false, err
	}
	var keep Retention
	if raw != nil {
		if keep, err = decodeRetention(raw); err != nil {
			return false, err
		}
	}
	if raw == nil || keep.Until != d.until { // it is not the channel's time any more
		b.delete(untilKey(d.until, d.channel))
		return false, nil
	}
	prefix := append([]byte(logPrefix), d.channel[:]...)
	logs := make(map[string]bool)
	if err := kv.Scan(b.store, prefix, func(key, _ []byte) error {
		logs[string(key)] = true
		if len(logs) > dropLogs {
			return errEnough
		}
		return nil
	}); err != nil && !errors.Is(err, errEnough) {
		return false, err
	}
	for key, value := range b.written { // of calls that are written together with this one
		if strings.HasPrefix(key, string(prefix)) {
			logs[key] = value != nil
		}
	}
	n := 0
	for key, there := range logs {
		if !there {
			continue
		}
		if n++; n > dropLogs {
			return true, nil
		}
		b.delete([]byte(key))
		b.set(dropKey(readLogID([]byte(key)[len(logPrefix):])), []byte{})
	}
	b.delete(keepKey(d.channel))
	b.delete(untilKey(d.until, d.channel))
	return false, nil
}

// finish removes the objects of logs that are marked.
func (l *Logs) finish(ctx context.Context, done *Pruned) error {
	for ctx.Err() == nil {
		var next *lanelog.ID
		if err := kv.Scan(l.store, []byte(dropPrefix), func(key, _ []byte) error {
			if len(key) != len(dropPrefix)+logIDSize {
				return fmt.Errorf("key %x: %w", key, errRow)
			}
			id := readLogID(key[len(dropPrefix):])
			next = &id
			return errEnough
		}); err != nil && !errors.Is(err, errEnough) {
			return err
		}
		if next == nil {
			return nil
		}
		if err := l.remove(ctx, *next, done); err != nil {
			return err
		}
	}
	return nil
}

// remove removes the objects of a log that is marked, and the mark after them.
func (l *Logs) remove(ctx context.Context, id lanelog.ID, done *Pruned) error {
	for ctx.Err() == nil {
		var writes []write
		entries := uint64(0)
		err := kv.Scan(l.store, itemsOf(id), func(key, value []byte) error {
			item, err := itemAt(id, key, value)
			if err != nil {
				return err
			}
			writes = append(writes, write{key: bytes.Clone(key)}, write{key: objectKey(item.Name)})
			entries += uint64(item.Count)
			if len(writes) >= 2*dropItems {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return err
		}
		if len(writes) == 0 {
			done.Logs++
			return l.remains([]write{{key: dropKey(id)}}, true)
		}
		if err := l.remains(writes, false); err != nil {
			return err
		}
		done.Objects += uint64(len(writes) / 2)
		done.Entries += entries
	}
	return nil
}

// remains writes deletions of what nothing refers to any more.
func (l *Logs) remains(writes []write, sync bool) error {
	if err := put(l.store, writes, sync); err != nil {
		return fmt.Errorf("remove a log: %w", err)
	}
	return nil
}

// Reclaim gives the space of what was removed or replaced back to the disk, as far as it is half of a
// file or more. It writes the tables anew and what is still needed of such files, which takes
// seconds for each gigabyte; others go on meanwhile. Of a store that OpenLogs did not open, it is for its
// owner to do.
func (l *Logs) Reclaim(ctx context.Context) error {
	if l.owned == nil {
		return nil
	}
	if err := l.owned.CompactAll(); err != nil {
		return fmt.Errorf("reclaim: %w", err)
	}
	for more := true; more && ctx.Err() == nil; {
		var err error
		if more, err = l.owned.CollectGarbage(garbageRatio); err != nil {
			return fmt.Errorf("reclaim: %w", err)
		}
	}
	return nil
}
