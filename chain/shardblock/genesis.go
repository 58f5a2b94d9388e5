package shardblock

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/zone"
)

// Genesis is what the chain of a shard begins from. Everybody who has the state of main
// in the epoch in which the shard begins makes the same: see FromMain.
type Genesis struct {
	Service service.Genesis
	// Generation is that which makes the first block.
	Generation uint32
	// Clock is the anchor clock before the first block: anchor.State.Base.
	Clock uint64
	// EpochBlocks is how many blocks an epoch of main has: see Config.
	EpochBlocks uint64
	// BeatBlocks is what anchor.Params.BeatBlocks says of main: see Config.
	BeatBlocks uint64
	Params     Params
	// Main is the committee of main that the shard trusts.
	Main committee.Committee
	// Committee votes the first blocks of the shard. Its epoch is that of Service.
	Committee committee.Committee
}

// ErrNotFounded means that main's state does not have what a genesis is made of, not yet
// or not any more: the shard's row of anchors, the record of its first epoch, or the
// committees of that epoch.
var ErrNotFounded = errors.New("the shard cannot begin by this state of main")

// maxGenesisPart is more than the longest part of a genesis in bytes.
const maxGenesisPart = 1 << 20

// FromMain returns the genesis of a shard by a view of main, from the last block before
// the epoch in which the shard begins on: by the state of main's genesis for a shard that
// was always there. Once a height is anchored nothing of what it reads changes, until it is
// forgotten; before, it changes with the generation (anchor.State.Generation), and with
// nothing else. So a node keeps the genesis that it made of a generation. epochs and anchors are
// parameters of main. The error is ErrNotFounded, with what is missing.
func FromMain(v chain.View, network ledger.NetworkID, epochs *staking.Params, anchors *anchor.Params, id shard.ID) (Genesis, error) {
	row, ok := anchor.Read(v, id)
	if !ok {
		return Genesis{}, fmt.Errorf("shard %d: %w: main waits for no anchors of it", id, ErrNotFounded)
	}
	epoch := row.Begins
	assignment, ok := registry.ReadAssignment(v, epoch, id)
	if !ok || len(assignment.Committee.Members) == 0 {
		return Genesis{}, fmt.Errorf("shard %d: %w: nobody serves it in epoch %d", id, ErrNotFounded, epoch)
	}
	record, ok := registry.ReadEpoch(v, epoch)
	if !ok {
		return Genesis{}, fmt.Errorf("shard %d: %w: no record of epoch %d, in which it begins", id, ErrNotFounded, epoch)
	}
	main, ok := staking.ReadCommittee(v, epoch)
	if !ok {
		return Genesis{}, fmt.Errorf("shard %d: %w: no committee of main in epoch %d", id, ErrNotFounded, epoch)
	}
	params := service.DefaultParams()
	limits, err := limitsOf(v, &row)
	if err != nil {
		return Genesis{}, fmt.Errorf("shard %d: %w", id, err)
	}
	own := limited(&limits, &params)
	params.Ahead = settleAhead * epochs.EpochBlocks
	g := Genesis{
		Service: service.Genesis{
			Network: network, Shard: placed(id, &row), Epoch: epoch, Sigma: record.Sigma, Params: params,
		},
		Generation: row.Origin, Clock: row.Base, EpochBlocks: epochs.EpochBlocks, BeatBlocks: anchors.BeatBlocks(),
		Params: own, Main: main, Committee: assignment.Committee,
	}
	if err := g.inherit(v, id, &row); err != nil {
		return Genesis{}, err
	}
	return g, g.Validate()
}

// limitsOf returns the limits of a shard's zone, which no new version of the service changes.
func limitsOf(v chain.View, row *anchor.State) (zone.Limits, error) {
	s, ok := registry.ReadService(v, row.Service)
	if !ok {
		return zone.Limits{}, fmt.Errorf("%w: service %d is not registered", ErrNotFounded, row.Service)
	}
	policy, err := s.Zones.Find(row.Zone)
	return policy.Limits, err
}

// placed returns what the rules of a service know of a shard.
func placed(id shard.ID, row *anchor.State) service.Shard {
	return service.Shard{
		Chain: id, Service: row.Service, Zone: row.Zone, First: uint8(row.Buckets.First), Last: uint8(row.Buckets.Last),
	}
}

// inherit notes the parents of a shard, whose row of anchors is given: those of its zone
// that were replaced when it began and had buckets of it. A zone changes once in an epoch.
// Rows of anchors stay for ever, while the map forgets a shard that is replaced itself,
// whose genesis those still need who lack its last blocks.
func (g *Genesis) inherit(v chain.View, id shard.ID, row *anchor.State) error {
	for parent, p := range anchor.All(v) {
		apart := p.Buckets.Last < row.Buckets.First || row.Buckets.Last < p.Buckets.First
		if p.Until == 0 || p.Until != row.Since || p.Service != row.Service || p.Zone != row.Zone || apart {
			continue
		}
		if !p.Finished() {
			return fmt.Errorf("shard %d: %w: its parent %d is not anchored to its end", id, ErrNotFounded, parent)
		}
		g.Service.Parents = append(g.Service.Parents, service.Parent{
			Shard: placed(parent, &p), Height: p.Last.Height, StateRoot: p.Last.StateRoot,
		})
	}
	slices.SortFunc(g.Service.Parents, func(a, b service.Parent) int { return cmp.Compare(a.Shard.First, b.Shard.First) })
	return nil
}

// Validate returns an error that names the first field that is wrong.
func (g *Genesis) Validate() error {
	if err := g.Service.Validate(); err != nil {
		return fmt.Errorf("service: %w", err)
	}
	if err := g.Params.Validate(); err != nil {
		return fmt.Errorf("params: %w", err)
	}
	switch {
	case len(g.Main.Members) == 0:
		return errors.New("main has no members, want a committee of the main chain")
	case len(g.Committee.Members) == 0:
		return errors.New("committee has no members, want who votes the first block")
	case g.Committee.Epoch != g.Service.Epoch:
		return fmt.Errorf("committee is of epoch %d, want %d", g.Committee.Epoch, g.Service.Epoch)
	case len(g.Service.Parents) == 0 && g.Clock != 0:
		return fmt.Errorf("clock is %d, want 0 for a shard without parents", g.Clock)
	}
	return nil
}

// Hash returns the hash of the canonical encoding.
func (g *Genesis) Hash() ledger.Hash { return ledger.HashOf("trib/shardblock-genesis/1", g.Encode()) }

func (g *Genesis) config() Config {
	return Config{Network: g.Service.Network, Clock: g.Clock, EpochBlocks: g.EpochBlocks, BeatBlocks: g.BeatBlocks, Params: g.Params}
}

// Encode returns the canonical encoding: the genesis of the service behind its length 4,
// the generation 4, the Config that it makes, and the committees of main and of the shard
// behind theirs.
func (g *Genesis) Encode() []byte {
	w := codec.NewWriter(1 << 12)
	w.Bytes32(g.Service.Encode())
	w.Uint32(g.Generation)
	c := g.config()
	c.write(w)
	w.Bytes32(g.Main.Encode())
	w.Bytes32(g.Committee.Encode())
	return w.Bytes()
}

// DecodeGenesis reads what Encode wrote and validates it.
func DecodeGenesis(b []byte) (Genesis, error) {
	r := codec.NewReader(b)
	raw, generation := r.Bytes32(maxGenesisPart), r.Uint32()
	var c Config
	c.read(r)
	main, own := r.Bytes32(maxGenesisPart), r.Bytes32(maxGenesisPart)
	if err := r.Done(); err != nil {
		return Genesis{}, fmt.Errorf("decode genesis of a shard: %w", err)
	}
	g := Genesis{Generation: generation, Clock: c.Clock, EpochBlocks: c.EpochBlocks, BeatBlocks: c.BeatBlocks, Params: c.Params}
	var err error
	if g.Service, err = service.DecodeGenesis(raw); err != nil {
		return Genesis{}, err
	}
	if g.Main, err = committee.Decode(main); err != nil {
		return Genesis{}, fmt.Errorf("decode genesis of a shard: main: %w", err)
	}
	if g.Committee, err = committee.Decode(own); err != nil {
		return Genesis{}, fmt.Errorf("decode genesis of a shard: committee: %w", err)
	}
	if c.Network != g.Service.Network {
		return Genesis{}, fmt.Errorf("decode genesis of a shard: network %s, that of the service is %s", c.Network, g.Service.Network)
	}
	if err := g.Validate(); err != nil {
		return Genesis{}, fmt.Errorf("decode genesis of a shard: %w", err)
	}
	return g, nil
}

// State returns the state at height 0: that of the service, which takes over from the
// parents' states, in the order of Service.Parents, with their links of the shard's
// buckets (link.Inherited). The caller has verified that each view has its parent's state
// root.
func (g *Genesis) State(parents ...chain.View) (chain.Changes, error) {
	if err := g.Validate(); err != nil {
		return nil, fmt.Errorf("genesis of a shard: %w", err)
	}
	changes, err := g.Service.State(parents...)
	if err != nil {
		return nil, err
	}
	o := chain.NewOverlay(nothing{})
	merge(o, changes)
	for i, v := range parents {
		p := &g.Service.Parents[i]
		if s := ReadStatus(v); s.Ended != p.Height {
			return nil, fmt.Errorf("genesis of a shard: parents[%d] ended at height %d, want %d", i, s.Ended, p.Height)
		}
		for bucket := max(int(g.Service.Shard.First), int(p.Shard.First)); bucket <= min(int(g.Service.Shard.Last), int(p.Shard.Last)); bucket++ {
			for key, value := range v.Range(link.BucketPrefix(uint8(bucket))) {
				o.Set(key, link.Inherited(key, value))
			}
		}
	}
	c := g.config()
	o.Set(ConfigKey(), c.Encode())
	o.Set(MainCommitteeKey(g.Main.Epoch), g.Main.Encode())
	o.Set(CommitteeKey(1), g.Committee.Encode())
	s := Status{Epoch: g.Service.Epoch, Generation: g.Generation, Since: 1, MainFirst: g.Service.Epoch*g.EpochBlocks + 1}
	s.Outbox, s.Bytes = underWay(o)
	o.Set(StatusKey(), s.Encode())
	return o.Changes(), nil
}

// merge applies changes to an overlay.
func merge(o *chain.Overlay, changes chain.Changes) {
	for i := range changes {
		if c := &changes[i]; c.Value == nil {
			o.Delete(c.Key)
		} else {
			o.Set(c.Key, c.Value)
		}
	}
}

// nothing is the View of no state.
type nothing struct{}

// Get returns nil.
func (nothing) Get([]byte) []byte { return nil }

// Range yields nothing.
func (nothing) Range([]byte) iter.Seq2[[]byte, []byte] {
	return func(func([]byte, []byte) bool) {}
}
