package settlement

import (
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/shard"
)

// MaxRedraws is how many shards get another committee in one block at most because they
// are stalled; the others do in the next ones.
const MaxRedraws = 16

// MaxPunished is how many of those who certified two versions of a height one transaction
// punishes at most. The same evidence once more punishes the next ones: any committee's
// fits a block.
const MaxPunished = 32

// judge punishes those who certified two versions of one height of a shard, MaxPunished of
// them at most, and draws its committee anew, unless all of that was done before. Then it
// refuses, so that only who brings evidence that has an effect has its fee back.
func (b *block) judge(index int, r *Receipt, in *anchor.Conflict, row uint64) error {
	verdict, err := b.anchors.Judge(in)
	if err != nil {
		return err
	}
	if verdict.Epoch+uint64(b.params.Staking.EvidenceEpochs) < b.anchors.Epoch {
		return chain.Refuse(chain.CodeEvidenceExpired, "height %d of shard %d is of epoch %d, this is epoch %d: at most %d epochs may pass",
			in.Height, in.Shard(), verdict.Epoch, b.anchors.Epoch, b.params.Staking.EvidenceEpochs)
	}
	event := ShardEvent{
		Kind: ShardConflict, TxIndex: index, Shard: in.Shard(), First: in.Height, Last: in.Height, Epoch: verdict.Epoch,
	}
	var punished []staking.Event
	if verdict.Guilty {
		for _, member := range verdict.Signed {
			events, _ := b.staking.PunishShard(member, verdict.Epoch)
			if len(events) == 0 {
				continue
			}
			punished = append(punished, events...)
			if event.Guilty++; event.Guilty == MaxPunished {
				break
			}
		}
	}
	state, _ := anchor.Read(b.state, in.Shard())
	at := len(b.shardEvents)
	renewed := !state.Finished() && verdict.Generation == state.Generation && b.redraw(in.Shard())
	if len(punished) == 0 && !renewed {
		return chain.Refuse(chain.CodeEvidenceKnown, "the conflict of height %d of shard %d has had all its effects", in.Height, in.Shard())
	}
	for i := range punished {
		punished[i].TxIndex = index
	}
	b.stakingEvents = append(b.stakingEvents, punished...)
	b.shardEvents = slices.Insert(b.shardEvents, at, event)
	b.bank.repay(row, r.Fee)
	r.Paid = r.Fee
	return nil
}

// redrawStalled gives another committee to shards that miss their anchors. If there is
// nobody else, those whose committee could not go on any more go on with that of this
// epoch.
func (b *block) redrawStalled() {
	if !b.registry.On() {
		return
	}
	for _, id := range inTurn(b.anchors.Stalled(b.params.Staking.Epoch), b.ctx.Height) {
		if !b.redraw(id) && !b.restart(id) {
			b.anchors.Asked(id)
		}
	}
}

// inTurn returns MaxRedraws of shards at most. They take turns by height: many that nobody
// serves, for which nobody is found time and again, keep no other from its turn.
func inTurn(stalled []shard.ID, height uint64) []shard.ID {
	n := uint64(len(stalled))
	if n <= MaxRedraws {
		return stalled
	}
	first := height % n * MaxRedraws % n
	return slices.Concat(stalled[first:], stalled[:first])[:MaxRedraws]
}

// restart has a shard go on with the committee of this epoch, if what that of an earlier
// one certifies cannot be anchored any more.
func (b *block) restart(id shard.ID) bool {
	state, _ := anchor.Read(b.state, id)
	serving, _ := registry.ReadShort(b.state, b.anchors.Epoch, id)
	if !b.anchors.Rules.Lost(&state, b.anchors.Epoch) || len(serving.Seats) == 0 {
		return false
	}
	b.anchors.Restarted(id)
	b.renewed(id, 0)
	return true
}

// renewed notes that another generation of a shard begins.
func (b *block) renewed(id shard.ID, round uint32) {
	state, _ := anchor.Read(b.state, id)
	b.shardEvents = append(b.shardEvents, ShardEvent{
		Kind: ShardRedrawn, TxIndex: -1, Shard: id, Last: state.Resumed, Epoch: b.anchors.Epoch, Round: round, Generation: state.Generation,
	})
}

// redraw gives a shard another committee for this epoch and those that are drawn already.
// If there is nobody else it changes nothing and returns false: a committee that stays
// loses nothing of what it has certified.
func (b *block) redraw(id shard.ID) bool {
	round := b.anchors.Round(id)
	if !b.registry.Redraw(id, round) {
		return false
	}
	b.anchors.Redrawn(id, round)
	clear(b.seats)
	b.renewed(id, round)
	return true
}
