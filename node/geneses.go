package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
	"github.com/tributary-network/tributary/shard"
)

const (
	// genesisView is the part of the main chain's store with the geneses of shards.
	genesisView = "shards"
	// genesisTimeout bounds how long other nodes are asked for a genesis, and
	// genesisAsked how many of them.
	genesisTimeout = 4 * time.Second
	genesisAsked   = 64
)

// errGenesisUnknown says that nobody who can be believed tells what a shard began from.
var errGenesisUnknown = errors.New("what the shard began from is not known: the main chain has forgotten it, " +
	"and members of its committee with more than a third of its power do not tell the same")

// shardGenesis returns what a shard begins from, the same on every node: made of the
// main chain's state in the epoch in which the shard began, and kept from then on, as
// that state forgets. What was forgotten before this node came is fetched from those
// who serve the shard. The error wraps shardblock.ErrNotFounded if the main chain does
// not have it yet.
func (n *Node) shardGenesis(ctx context.Context, id shard.ID) (g shardblock.Genesis, err error) {
	if g, ok, err := n.keptGenesis(id); ok || err != nil {
		return g, err
	}
	forgotten := false
	var row anchor.State
	var serving committee.Committee
	err = n.main.exec.Read(func(v chain.View, height uint64) error {
		var err error
		if g, err = shardblock.FromMain(v, n.genesis.NetworkID(), &n.genesis.Params.Staking, &n.genesis.Params.Anchors, id); err == nil {
			return nil
		}
		epoch := n.genesis.Params.Staking.Epoch(height + 1)
		var founded bool
		if row, founded = anchor.Read(v, id); founded && epoch > row.Begins {
			a, _ := registry.ReadAssignment(v, epoch, id)
			serving, forgotten = a.Committee, true
		}
		return err
	})
	if forgotten && errors.Is(err, shardblock.ErrNotFounded) {
		if g, err = n.fetchGenesis(ctx, id, &row, &serving); err == nil {
			n.log.LogAttrs(ctx, slog.LevelInfo, "fetched what a shard began from", slog.String("shard", shardName(id)), slog.String("genesis", g.Hash().String()))
		}
	}
	if err != nil {
		return g, err
	}
	return g, n.keepGenesis(id, &g)
}

func (n *Node) keptGenesis(id shard.ID) (g shardblock.Genesis, ok bool, err error) {
	kept, err := n.main.layer.View(genesisView).Get([]byte(shardName(id)))
	if err != nil {
		return g, false, fmt.Errorf("read the genesis of shard %d: %w", id, err)
	}
	if kept == nil {
		return g, false, nil
	}
	if g, err = shardblock.DecodeGenesis(kept); err != nil {
		return g, false, err
	}
	origin := g.Generation
	err = n.main.exec.Read(func(v chain.View, _ uint64) error {
		if row, founded := anchor.Read(v, id); founded {
			origin = row.Origin
		}
		return nil
	})
	return g, g.Generation == origin && err == nil, err // if nothing was anchored, it began anew
}

func (n *Node) keepGenesis(id shard.ID, g *shardblock.Genesis) error {
	b := n.main.layer.View(genesisView).NewBatch()
	defer b.Discard()
	if err := errors.Join(b.Set([]byte(shardName(id)), g.Encode()), b.Commit(true)); err != nil {
		return fmt.Errorf("keep the genesis of shard %d: %w", id, err)
	}
	return nil
}

// keepGeneses keeps what each shard of the map began from, and how its present generation
// goes on, for itself and others, while the main chain's state has it.
func (s *shards) keepGeneses(ctx context.Context) {
	n := s.node
	var ids []shard.ID
	var generations []uint32
	err := n.main.exec.Read(func(v chain.View, height uint64) error {
		m, ok := registry.ReadMap(v)
		if !ok {
			return nil
		}
		epoch := n.genesis.Params.Staking.Epoch(height + 1)
		for sh := range m.All() {
			row, founded := anchor.Read(v, sh.ID)
			kept, ok := s.kept[sh.ID]
			if founded && row.Begins <= epoch && max(row.Begins, row.RedrawEpoch)+n.genesis.Params.Staking.Kept() >= epoch && (!ok || kept != row.Generation) {
				ids, generations = append(ids, sh.ID), append(generations, row.Generation)
			}
		}
		return nil
	})
	for i, id := range ids {
		if err == nil {
			if _, known, bad := n.keptGenesis(id); bad == nil && !known {
				err = n.makeGenesis(id)
			}
		}
		if err == nil {
			err = n.keepResume(id)
		}
		if ctx.Err() != nil || err != nil && !errors.Is(err, shardblock.ErrNotFounded) {
			break
		}
		if err == nil {
			s.kept[id] = generations[i]
		}
		err = nil
	}
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "keep what shards began from", slog.Any("err", err))
	}
}

// makeGenesis makes what a shard begins from of the main chain's state, and keeps it.
func (n *Node) makeGenesis(id shard.ID) error {
	var g shardblock.Genesis
	err := n.main.exec.Read(func(v chain.View, _ uint64) (err error) {
		g, err = shardblock.FromMain(v, n.genesis.NetworkID(), &n.genesis.Params.Staking, &n.genesis.Params.Anchors, id)
		return err
	})
	if err != nil {
		return err
	}
	return n.keepGenesis(id, &g)
}

// Genesis implements api.Hosting.
func (s *shards) Genesis(id shard.ID) ([]byte, error) {
	kept, err := s.node.main.layer.View(genesisView).Get([]byte(shardName(id)))
	if err == nil && kept == nil {
		err = fmt.Errorf("genesis of shard %d: %w", id, exec.ErrUnknown)
	}
	return kept, err
}

// told is what a member of a committee says that a shard began from.
type told struct {
	genesis shardblock.Genesis
	power   uint64
}

// believed returns what members with more than a third of a committee's power tell alike:
// one of them is honest, or nothing of the shard can be believed.
func believed(list []told, total uint64) (g shardblock.Genesis, ok bool) {
	powers := map[ledger.Hash]uint64{}
	for i := range list {
		hash := list[i].genesis.Hash()
		if powers[hash] += list[i].power; powers[hash] > total/3 {
			return list[i].genesis, true
		}
	}
	return g, false
}

// fetchGenesis asks the nodes of those who serve a shard what it began from.
func (n *Node) fetchGenesis(ctx context.Context, id shard.ID, row *anchor.State, serving *committee.Committee) (shardblock.Genesis, error) {
	ctx, cancel := context.WithTimeout(ctx, genesisTimeout)
	defer cancel()
	var mu sync.Mutex
	var wait sync.WaitGroup
	var list []told
	for _, m := range n.askable(id, serving) {
		wait.Go(func() {
			var g shardblock.Genesis
			err := contained(n.logOf(id), "ask for a genesis", func() (err error) {
				g, err = n.askGenesis(ctx, m.endpoint, id)
				return err
			})
			if err != nil || !fits(&g, n.genesis.NetworkID(), id, row) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			list = append(list, told{g, m.power})
		})
	}
	wait.Wait()
	g, ok := believed(list, serving.TotalPower())
	if !ok {
		return g, fmt.Errorf("shard %d: %w", id, errGenesisUnknown)
	}
	return g, nil
}

// member is where a member of a committee serves the API.
type member struct {
	endpoint string
	power    uint64
}

// askable returns where the members of a committee are reached, one node of each.
func (n *Node) askable(id shard.ID, serving *committee.Committee) (list []member) {
	var asked []ledger.PublicKey
	own := n.signer.PubKey()
	for _, e := range n.directory.Hosts(id) {
		reached := e.GRPC != "" && (e.TLS || api.Loopback(e.GRPC))
		if !reached || e.Validator == (ledger.PublicKey{}) || slices.Contains(asked, e.Validator) || bytes.Equal(e.Validator[:], own) || len(list) == genesisAsked {
			continue
		}
		at := slices.IndexFunc(serving.Members, func(m committee.Member) bool { return m.ConsensusKey == e.Validator })
		if at >= 0 {
			n.doors.note(e.GRPC, e.TLS)
			asked = append(asked, e.Validator)
			list = append(list, member{endpoint: e.GRPC, power: serving.Members[at].Power})
		}
	}
	return list
}

func (n *Node) askGenesis(ctx context.Context, endpoint string, id shard.ID) (g shardblock.Genesis, err error) {
	var resp servicev1.GetShardGenesisResponse
	if err := n.peers.Call(ctx, endpoint, servicev1.RelayService_GetShardGenesis_FullMethodName, &servicev1.GetShardGenesisRequest{ChainId: uint32(id)}, &resp); err != nil {
		return g, err
	}
	return shardblock.DecodeGenesis(resp.GetGenesis())
}

// fits reports whether a genesis can be that of a shard, of which main has row.
func fits(g *shardblock.Genesis, network ledger.NetworkID, id shard.ID, row *anchor.State) bool {
	s := &g.Service
	return s.Network == network && s.Shard.Chain == id && s.Epoch == row.Begins && g.Generation == row.Origin && s.Shard.Service == row.Service &&
		s.Shard.Zone == row.Zone && s.Shard.First == uint8(row.Buckets.First) && s.Shard.Last == uint8(row.Buckets.Last) && g.Clock == row.Base
}
