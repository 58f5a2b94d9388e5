package node

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/shard"
)

// errAnotherGeneration says that the main chain drew a shard's committee anew: this chain
// of it is over, and another one goes on from what is anchored.
var errAnotherGeneration = errors.New("the shard goes on with another generation")

// generation is which chain of a shard goes on, by the main chain: generation 0 is the one
// that it was founded with, and each other one goes on from the last height that was
// anchored when it was drawn. It has a chain id, consensus stores, files and sign states of
// its own.
type generation struct {
	id     shard.ID
	number uint32
	// origin is the generation whose genesis the shard began from.
	origin uint32
	// height and root are what it goes on from, 0 if it begins with the genesis.
	height uint64
	root   ledger.Hash
	// anchored is the last anchored height.
	anchored uint64
	// resumes are how the generations went on, up to this one, as far as they are known here.
	resumes []shardblock.Resume
}

// resume returns how the generation went on, or nil if it began with the genesis, or if the
// main chain has forgotten and this node never knew.
func (g *generation) resume() *shardblock.Resume {
	if last := len(g.resumes) - 1; last >= 0 && g.resumes[last].Generation == g.number {
		return &g.resumes[last]
	}
	return nil
}

// earlier returns the generations before it.
func (g *generation) earlier() []shardblock.Resume {
	if g.resume() != nil {
		return g.resumes[:len(g.resumes)-1]
	}
	return g.resumes
}

// generationOf returns the present generation of a shard by the state of the main chain.
func (n *Node) generationOf(id shard.ID) (g generation, err error) {
	g.id = id
	err = n.main.exec.Read(func(v chain.View, _ uint64) error {
		row, ok := anchor.Read(v, id)
		if !ok {
			return fmt.Errorf("shard %d: %w", id, shardblock.ErrNotFounded)
		}
		g.number, g.origin, g.height, g.root, g.anchored = row.Generation, row.Origin, row.Resumed, row.ResumedRoot, row.Height()
		return nil
	})
	if err != nil || g.number == 0 {
		return g, err
	}
	if g.resumes, err = n.keptResumes(&g); err != nil || g.height == 0 || g.resume() != nil {
		return g, err
	}
	if err := n.keepResume(id); err != nil && !errors.Is(err, shardblock.ErrNotFounded) {
		return g, err
	}
	g.resumes, err = n.keptResumes(&g)
	return g, err
}

// resumeKey is where the main chain's store keeps how a generation of a shard went on.
func resumeKey(id shard.ID, number uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte(shardName(id)+"/g"), number)
}

// keepResume keeps how the present generation of a shard goes on, which the main chain
// forgets in time.
func (n *Node) keepResume(id shard.ID) error {
	var r shardblock.Resume
	resumed := false
	err := n.main.exec.Read(func(v chain.View, _ uint64) (err error) {
		r, resumed, err = shardblock.ResumeFromMain(v, id)
		return err
	})
	if err != nil || !resumed {
		return err
	}
	if err := setDurably(n.main.layer.View(genesisView), resumeKey(id, r.Generation), r.Encode()); err != nil {
		return fmt.Errorf("keep how shard %d goes on: %w", id, err)
	}
	return nil
}

// keptResumes returns how the generations of a shard went on, up to g and after its
// genesis, as far as that is kept.
func (n *Node) keptResumes(g *generation) (list []shardblock.Resume, err error) {
	err = kv.Scan(n.main.layer.View(genesisView), []byte(shardName(g.id)+"/g"), func(_, value []byte) error {
		r, err := shardblock.DecodeResume(value)
		if err == nil && r.Generation > g.origin && r.Generation <= g.number {
			list = append(list, r)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read how shard %d went on: %w", g.id, err)
	}
	return list, nil
}

// setDurably writes one row.
func setDurably(s kv.Store, key, value []byte) error {
	b := s.NewBatch()
	defer b.Discard()
	return errors.Join(b.Set(key, value), b.Commit(true))
}

// consensusName is the name of what consensus of a generation has, in a shard's directory
// and its part of the store.
func consensusName(number uint32) string {
	if number == 0 {
		return "consensus"
	}
	return "consensus-g" + strconv.FormatUint(uint64(number), 10)
}

// consensusStore is where consensus of a generation keeps blocks and votes, in the store
// of a shard.
func consensusStore(l *layer.Settlement, number uint32) kv.Store {
	if number == 0 {
		return l.Consensus()
	}
	return l.View(consensusName(number))
}

// consensusPrefix is what the keys of consensusStore begin with in the store that all shards
// share.
func consensusPrefix(id shard.ID, number uint32) []byte {
	if number == 0 {
		return append(shardPrefix(id), "c/"...)
	}
	return append(shardPrefix(id), "v/"+consensusName(number)+"/"...)
}

// begin sets what differs in the genesis of consensus from that of the first generation.
func (g *generation) begin(out *comet.Genesis, main string) {
	out.ChainID = comet.GenerationChainID(main, uint32(g.id), g.number)
	if g.height == 0 {
		return
	}
	out.InitialHeight, out.AppHash = g.height+1, g.root[:]
	if r := g.resume(); r != nil {
		out.Validators = validatorsOf(&r.Assignment.Committee)
	}
}

// preparedKey is where a shard's part of the store says which generation its state is of:
// in a view of its layer.
const preparedKey = "v/generation/prepared"

// prepared returns the generation that the state in a shard's part of the store is of.
func prepared(part kv.Store) (number uint32, err error) {
	raw, err := part.Get([]byte(preparedKey))
	if err != nil || raw == nil {
		return 0, err
	}
	if len(raw) != 4 {
		return 0, fmt.Errorf("the state of the shard is of generation %x: the store is damaged", raw)
	}
	return binary.BigEndian.Uint32(raw), nil
}

// checkGenerations notes how far the shards are anchored, and stops the shards of which the main chain has another generation: those
// chains are over, and what is signed on them is worth nothing. What is fetched to start one is of no use either.
func (s *shards) checkGenerations() {
	runs, rows := s.sorted(), map[shard.ID]anchor.State{}
	_ = s.node.main.exec.Read(func(v chain.View, _ uint64) error { // a store that is closed has none
		for _, r := range runs {
			if row, ok := anchor.Read(v, r.id); ok {
				rows[r.id] = row
			}
		}
		return nil
	})
	for _, r := range runs {
		if row, ok := rows[r.id]; ok {
			r.compare(&row)
		}
	}
}

// compare notes how far a shard is anchored, and stops one that runs, or is about to, with
// another generation than its row of the main chain says.
func (r *shardRun) compare(row *anchor.State) {
	r.anchored.Store(row.Height())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = r.duty.Leaving && row.Floor() > r.duty.From
	if r.chosen && r.cancel != nil && r.generation != row.Generation {
		r.over = fmt.Errorf("%w: %d after %d, from height %d", errAnotherGeneration, row.Generation, r.generation, row.Resumed)
		r.cancel()
	}
}

// choose notes which generation of the shard is started.
func (r *shardRun) choose(number uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.generation, r.chosen = number, true
}

// giveUp stops a shard that runs. Why goes before what comes of stopping it, and another
// generation before that.
func (r *shardRun) giveUp(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.chain == nil {
		return // it has ended by itself
	}
	r.over = cmp.Or(r.over, why)
	r.cancel()
}

// left notes that the shard has stopped, and why: what it was stopped for goes before what
// came of that.
func (r *shardRun) left(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = r.over
	} else if r.over != nil {
		err = errors.Join(r.over, err)
	}
	r.chain, r.err, r.note = nil, cmp.Or(err, r.err), ""
	r.chosen, r.over = false, nil
}

// shardDir is where the files of a shard lie.
func (n *Node) shardDir(id shard.ID) string { return filepath.Join(n.shardsDir(), shardName(id)) }

// logOf returns the log of what a shard needs before it runs.
func (n *Node) logOf(id shard.ID) *slog.Logger {
	return n.module("shards").With(slog.String("shard", shardName(id)))
}
