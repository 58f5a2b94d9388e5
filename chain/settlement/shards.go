package settlement

import (
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// AnchorParams are the consensus parameters of the anchors of shards.
type AnchorParams = anchor.Params

// Keys decodes the keys of a committee as committee.Committee.Keys does, and may
// remember them: decoding takes 0.2 ms for each member. The result has no influence on
// the outcome of anything.
type Keys func(c *committee.Committee) ([]*bls.Key, error)

// ShardEventKind says what happened to a shard.
type ShardEventKind uint8

// The kinds of events of shards, with the fields that they set beside Kind, TxIndex
// and Shard.
const (
	ShardAnchored ShardEventKind = 1 // First and Last (heights)
	ShardFinished ShardEventKind = 2 // Last (height): it is anchored to its end
	// ShardFounded: Epoch (the first in which it can serve), when all its parents are
	// finished, or, of a zone that is new, in the last block before it.
	ShardFounded ShardEventKind = 3
	// ShardRedrawn: Generation, the one that begins, Last (the height after which it goes
	// on), Epoch, Round (of the draw; 0 if the committee is that of the epoch).
	ShardRedrawn  ShardEventKind = 4
	ShardConflict ShardEventKind = 5 // First and Last (the height), Epoch, Guilty
)

// String returns the kind's name: "anchored".
func (k ShardEventKind) String() string {
	switch k {
	case ShardAnchored:
		return "anchored"
	case ShardFinished:
		return "finished"
	case ShardFounded:
		return "founded"
	case ShardRedrawn:
		return "redrawn"
	case ShardConflict:
		return "conflict"
	default:
		return "unknown"
	}
}

// ShardEvent is one thing that happened to one shard. What a kind does not name is zero.
type ShardEvent struct {
	Kind        ShardEventKind
	TxIndex     int // position in the block; -1 for what the chain does by itself
	Shard       shard.ID
	First, Last uint64 // heights of the shard
	Epoch       uint64
	Round       uint32
	Guilty      uint32 // how many members are punished
	Generation  uint32
}

// sitting is a committee of a shard with its keys, as far as a block asked for it.
type sitting struct {
	id         shard.ID
	epoch      uint64
	generation uint32
}

type seated struct {
	committee committee.Committee
	keys      []*bls.Key
}

// committees answers anchor.Context from the state, which changes what it answers with
// after the records of a block only.
func (b *block) committees(id shard.ID, epoch uint64, generation uint32) (*committee.Committee, []*bls.Key, bool) {
	at := sitting{id, epoch, generation}
	if s, ok := b.seats[at]; ok {
		return &s.committee, s.keys, true
	}
	a, ok := registry.ReadServing(b.state, epoch, id, generation)
	if !ok || len(a.Committee.Members) == 0 {
		return nil, nil, false
	}
	decode := b.keys
	if decode == nil {
		decode = (*committee.Committee).Keys
	}
	keys, err := decode(&a.Committee)
	if err != nil { // cannot be: such keys are not registered
		panic(fmt.Errorf("keys of shard %d in epoch %d: %w", id, epoch, err))
	}
	if b.seats == nil {
		b.seats = make(map[sitting]*seated)
	}
	s := &seated{a.Committee, keys}
	b.seats[at] = s
	return &s.committee, s.keys, true
}

// MaxAnchorWeight is what anchors, and each run of a conflict, weigh at most: so both fit
// every block, and so does a height of the largest committee.
func (p *Params) MaxAnchorWeight() int64 { return p.MaxBlockWeight() / 4 }

// anchors returns the parameters of anchors that hold: who signs must be answerable.
func (p *Params) anchors() AnchorParams {
	rules := p.Anchors
	rules.MaxLag = max(1, min(rules.MaxLag, p.Staking.EvidenceEpochs-1))
	return rules
}

// beginShards prepares the contexts of anchors and links.
func (b *block) beginShards(d chain.Domain, height uint64) {
	rules := b.params.anchors()
	b.anchors = anchor.Context{
		State: b.state, Rules: &rules, Network: d.Network, Height: height,
		Epoch: b.params.Staking.Epoch(height), Committees: b.committees, MaxWeight: b.params.MaxAnchorWeight(),
	}
	b.links = link.Context{State: b.state, Here: isMain, Silent: true, Height: height, Clock: height}
}

// isMain reports whether a place is that of the main chain.
func isMain(p link.Place) bool { return p == link.Place{} }

// anchor takes heights of shards.
func (b *block) anchor(index int, r *Receipt, a *anchor.Anchors, row uint64) error {
	results, err := b.anchors.Apply(a)
	if err != nil {
		return err
	}
	back, err := anchor.PaidBack(r.Fee, a, results)
	if err != nil {
		return chain.Refuse(chain.CodeAmountOverflow, "%v", err)
	}
	b.bank.repay(row, back)
	r.Runs, r.Paid, r.ResultsRoot = results, back, rootOf(runLeaves(results))
	for i := range results {
		x := &results[i]
		if !x.Taken() {
			continue
		}
		if slices.ContainsFunc(a.Runs[i].Heads, func(h cert.Head) bool { return !h.UsageRoot.IsZero() }) {
			b.registry.Finish()
		}
		e := ShardEvent{Kind: ShardAnchored, TxIndex: index, Shard: x.Shard, First: x.First, Last: x.Last}
		b.shardEvents = append(b.shardEvents, e)
		if x.Finished { // its heirs, if it has no other parent to wait for, are founded
			b.shardEvents = append(b.shardEvents, ShardEvent{Kind: ShardFinished, TxIndex: index, Shard: x.Shard, Last: x.Last})
			b.syncShards(index)
		}
	}
	return nil
}

// syncShards makes the rows of shards fit the map.
func (b *block) syncShards(index int) {
	m, ok := registry.ReadMap(b.state)
	if !ok {
		return
	}
	var fresh []shard.Shard
	for s := range m.All() {
		if b.state.Get(anchor.Key(s.ID)) == nil {
			fresh = append(fresh, s)
		}
	}
	anchor.Sync(b.state, m, b.ctx.Height)
	for i := range fresh {
		if s := &fresh[i]; b.state.Get(anchor.Key(s.ID)) != nil {
			b.shardEvents = append(b.shardEvents, ShardEvent{Kind: ShardFounded, TxIndex: index, Shard: s.ID, Epoch: max(s.Since, m.Epoch())})
		}
	}
}

// HasPairings reports whether transactions of a kind have signatures of committees.
func HasPairings(k chain.Kind) bool { return k == chain.KindAnchor || k == chain.KindAnchorConflict }

// Pairings looks up against v, for the block at height, what the signatures of committees
// in tx are to be verified with, and refuses what that block would refuse without
// verifying them. verify does so without v and returns the hashes of the runs that
// hold, for Block.Proved, or why the transaction would fail. It is nil for a transaction
// that has no such signatures, and takes up to 30 ms. proved and keys are as in Block.
func Pairings(v chain.View, p Params, d chain.Domain, height uint64, tx *chain.Tx, proved func(ledger.Hash) bool, keys Keys) (verify func() (runs []ledger.Hash, err error), err error) {
	if !HasPairings(tx.Kind) {
		return nil, nil
	}
	m, err := decodeShard(tx)
	if err != nil {
		return nil, err
	}
	b := begin(v, &p, d, height)
	b.keys, b.anchors.Proved = keys, proved
	if m.anchors != nil {
		return b.anchors.Prepare(m.anchors)
	}
	return b.anchors.PrepareConflict(m.conflict)
}

// ShardsNeedTick reports whether the chain has to go on to the block at height because of
// shards: after an anchor, until the next one is due; while one is late that was anchored
// before; and while notices wait or are to be acknowledged. All of that ends by itself.
func ShardsNeedTick(v chain.View, p *Params, height uint64) bool {
	rules := p.anchors()
	return anchor.NeedsTick(v, &rules, height, p.Staking.Epoch) || linksNeedTick(v, p, height)
}
