package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

// ShardRecords is what a shard did, as far as this node has it: one that runs here, or one
// that has ended. All of it must be safe for concurrent use. Of one that has ended,
// exec.ErrNotRunning says that it cannot be read at the moment.
type ShardRecords interface {
	ShardState
	// Status is that of ShardPool.
	Status(hash ledger.Hash) (exec.ShardStatus, error)
	// Block is that of ShardBlocks.
	Block(height uint64) (*exec.ShardBlock, error)
	chainBlocks
}

// maxEndedSearched is in how many shards that have ended a booking is looked for whose
// shard is not named.
const maxEndedSearched = 4

// readable returns what a shard did that runs here, or that has ended and is kept here.
func (b *backend) readable(id shard.ID) (s ShardRecords, ok bool) {
	if s, ok := b.hosted(id); ok {
		return s, true
	}
	if b.Shards == nil {
		return nil, false
	}
	return b.Shards.Ended(id)
}

// kept returns the shards that ended last of those that are kept here.
func (b *backend) kept() []shard.ID {
	if b.Shards == nil {
		return nil
	}
	return b.Shards.Kept(maxEndedSearched)
}

// readBlocks is blocks, and also returns a shard that has ended and is kept here.
func (b *backend) readBlocks(id ledger.ChainID) (chainBlocks, error) {
	source, err := b.blocks(id)
	if err == nil || b.Shards == nil {
		return source, err
	}
	if s, ok := b.Shards.Ended(id); ok {
		return s, nil
	}
	if sh, epoch, bad := b.pastShardByName("chain_id", ShardName(id)); bad == nil {
		return nil, b.notHosted(&sh, epoch)
	}
	return nil, err
}

// endedRow returns what the main chain says of a shard that is anchored to its end; ok is
// false of any other.
func (b *backend) endedRow(id shard.ID) (row anchor.State, ok bool, err error) {
	err = b.State.Read(func(v chain.View, _ uint64) error {
		row, ok = anchor.Read(v, id)
		ok = ok && row.Finished()
		return nil
	})
	return row, ok, err
}

// pastShardByName is shardByName for what has happened: it finds shards that have ended too.
func (b *backend) pastShardByName(path, name string) (shard.Shard, uint64, error) {
	sh, epoch, err := b.shardByName(path, name)
	if err == nil {
		return sh, epoch, nil
	}
	id, bad := parseShardName(path, name)
	if bad != nil {
		return sh, 0, err
	}
	row, ended, bad := b.endedRow(id)
	if bad != nil || !ended {
		return sh, 0, cmp.Or(bad, err)
	}
	return shard.Shard{ID: id, Service: row.Service, Zone: row.Zone, Buckets: row.Buckets, Since: row.Since}, row.Until, nil
}

// successors returns the shards of a map that have the accounts now whose home a shard was,
// nil if they are not known.
func successors(m *shard.Map, row *anchor.State) (list []shard.ID) {
	for _, sh := range m.Zone(row.Service, row.Zone) {
		if sh.Buckets.First <= row.Buckets.Last && row.Buckets.First <= sh.Buckets.Last {
			list = append(list, sh.ID)
		}
	}
	return list
}

// noShard says that a shard is not in a map, and what became of it.
func noShard(v chain.View, m *shard.Map, id shard.ID, name string) *problem {
	p := missing(chain.CodeUnknownShard.String(), name, "there is no shard %d in epoch %d; ListShards tells which there are", id, m.Epoch())
	p.setNumber("epoch", m.Epoch())
	row, founded := anchor.Read(v, id)
	if !founded || row.Until == 0 || row.Until > m.Epoch() {
		return p
	}
	p.message = fmt.Sprintf("there is no shard %d in epoch %d: it was replaced in epoch %d", id, m.Epoch(), row.Until)
	p.addHeirs(successors(m, &row))
	return p
}

// addHeirs says which shards took over.
func (p *problem) addHeirs(heirs []shard.ID) {
	if len(heirs) == 0 {
		return
	}
	names := strings.Join(shardNames(heirs), ", ")
	p.message += "; what it had went to " + names
	p.set("heirs", names)
}

// endedAway makes the failure of a call about what a shard did that has ended one that says
// so: nobody was found who has it. Failures of other calls stay as they are.
func (b *backend) endedAway(ctx context.Context, id shard.ID, err error) error {
	p, ok := errors.AsType[*problem](err)
	if !ok || p.reason != ReasonNotHosted || handedOn(ctx) {
		return err
	}
	row, ended, bad := b.endedRow(id)
	if bad != nil || !ended {
		return cmp.Or(bad, err)
	}
	m, _, bad := b.shardMap()
	if bad != nil {
		return bad
	}
	out := &problem{
		code: codes.NotFound, reason: chain.CodeUnknownShard.String(), subject: ShardName(id),
		message: fmt.Sprintf("shard %d ended in epoch %d with height %d, and no node is known that still has what it did: nodes keep that for some epochs (shards.keep_epochs)", id, row.Until, row.End),
	}
	if hosts := b.shownHosts(id); len(hosts) > 0 {
		out.code, out.retry = codes.Unavailable, retrySoon
		out.message = fmt.Sprintf("shard %d ended in epoch %d with height %d, and none of those that kept what it did answered (%s); try again in %v",
			id, row.Until, row.End, strings.Join(hosts, ", "), retrySoon)
		out.set("endpoints", strings.Join(hosts, ","))
	}
	out.addHeirs(successors(m, &row))
	out.message += ": ask GetUsage and GetEarnings, which they answer, for what was booked in all, and GetChannel for what was paid"
	out.setNumber("epoch", m.Epoch())
	return out
}
