package anchor_test

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
)

type nothing struct{}

func (nothing) Get([]byte) []byte                      { return nil }
func (nothing) Range([]byte) iter.Seq2[[]byte, []byte] { return func(func([]byte, []byte) bool) {} }

// network is where every test takes place.
var network = ledger.HashOf("network")

// one and two are the shards of every world.
const (
	one = shard.FirstID
	two = shard.FirstID + 1
	// pool is the number of validators, of which seats serve in an epoch.
	pool  = 6
	seats = 4
	// perEpoch is the number of heights of a shard in an epoch: 1 to 7 are of epoch 0.
	perEpoch = 8
)

// validator is somebody who serves.
type validator struct {
	secret *bls.SecretKey
	key    *bls.Key
}

// validators returns those of the pool.
var validators = sync.OnceValue(func() (list [pool]validator) {
	for i := range list {
		seed := ledger.HashOf("seed", []byte{byte(i)})
		secret, err := bls.NewSecretKey(seed[:])
		if err != nil {
			panic(err)
		}
		key, err := bls.ParseKey(secret.Public())
		if err != nil {
			panic(err)
		}
		list[i] = validator{secret, key}
	}
	return list
})

// serving returns the committee of an epoch, of which one seat changes each time.
// Another round has the same members with other powers.
func serving(epoch uint64, round uint32) (*committee.Committee, []*bls.Key) {
	c := &committee.Committee{Epoch: epoch}
	var keys []*bls.Key
	for i := range uint64(seats) {
		row := (epoch + i) % pool
		v := validators()[row]
		c.Members = append(c.Members, committee.Member{
			Validator: row, ConsensusKey: ledger.HashOf("consensus", []byte{byte(row)}), BLSKey: v.secret.Public(), Power: 1 + uint64(round),
		})
		keys = append(keys, v.key)
	}
	return c, keys
}

// version says how a checkpoint differs from the one that a shard made first.
type version struct {
	round  uint32 // of the precommits
	block  byte   // another block if not 0
	state  byte   // another outcome if not 0
	redraw uint32 // the round of the draw of the committee
	epoch  int    // later than usual

	generation uint32
}

func epochOf(height uint64) uint64 { return height / perEpoch }

func checkpoint(id shard.ID, height uint64, v version) cert.Checkpoint {
	epoch := epochOf(height) + uint64(v.epoch)
	com, _ := serving(epoch, v.redraw)
	at := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, uint32(id)), height)
	c := cert.Checkpoint{
		Network: network, Chain: id, Generation: v.generation, Height: height, Round: v.round, Epoch: epoch,
		BlockHash: ledger.HashOf("block", at, []byte{v.block}), StateRoot: ledger.HashOf("state", at, []byte{v.block, v.state}),
		UsageRoot: ledger.HashOf("usage", at), ResultsRoot: ledger.HashOf("results", at), CommitteeHash: com.Hash(),
	}
	if height%3 != 0 { // now and then nothing is sent
		c.OutboxRoot = ledger.HashOf("outbox", at)
	}
	return c
}

// signed keeps certificates, which take a millisecond to make.
var signed sync.Map

type signedKey struct {
	id      shard.ID
	height  uint64
	v       version
	members string
}

// certify returns the certificate of a height by members of its committee.
func certify(id shard.ID, height uint64, v version, members ...int) cert.Certificate {
	if members == nil { // three or four of them, by height
		members = [][]int{{0, 1, 2}, {0, 1, 2}, {0, 1, 2, 3}, {1, 2, 3}}[height/2%4]
	}
	key := signedKey{id, height, v, fmt.Sprint(members)}
	if kept, ok := signed.Load(key); ok {
		if c, ok := kept.(cert.Certificate); ok {
			return c
		}
	}
	c := cert.Certificate{Checkpoint: checkpoint(id, height, v), Bitmap: []byte{0}}
	var shares []bls.Signature
	for _, i := range members {
		c.Bitmap[0] |= 1 << i
		shares = append(shares, validators()[(c.Checkpoint.Epoch+uint64(i))%pool].secret.Sign(c.Checkpoint.Message()))
	}
	sum, err := bls.Aggregate(shares)
	if err != nil {
		panic(err)
	}
	c.Signature = sum
	signed.Store(key, c)
	return c
}

func join(tb testing.TB, list ...cert.Certificate) cert.Run {
	tb.Helper()
	r, err := cert.Join(list)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// run returns the run of the heights of a shard from first to last.
func run(tb testing.TB, id shard.ID, first, last uint64, v version) cert.Run {
	tb.Helper()
	var list []cert.Certificate
	for h := first; h <= last; h++ {
		list = append(list, certify(id, h, v))
	}
	return join(tb, list...)
}

// world is the anchors of a main chain.
type world struct {
	tb     testing.TB
	ctx    anchor.Context
	shards *shard.Map
	redraw map[uint64]uint32 // by epoch
}

// newWorld has two shards, one for each half of zone 3 of service 1, at height 100 of
// main in epoch 5.
func newWorld(tb testing.TB) *world {
	tb.Helper()
	m, err := shard.Establish(shard.Empty(0), shard.Change{Kind: shard.Found, Service: 1, Zone: 3, Count: 2})
	if err != nil {
		tb.Fatal(err)
	}
	rules := anchor.LocalParams()
	w := &world{tb: tb, shards: m, redraw: map[uint64]uint32{}}
	w.ctx = anchor.Context{State: chain.NewOverlay(nothing{}), Rules: &rules, Network: network, Height: 100, Epoch: 5, Committees: w.committees}
	anchor.Sync(w.ctx.State, m, 100)
	return w
}

func (w *world) committees(_ shard.ID, epoch uint64, _ uint32) (*committee.Committee, []*bls.Key, bool) {
	if epoch > w.ctx.Epoch+1 {
		return nil, nil, false
	}
	com, keys := serving(epoch, w.redraw[epoch])
	return com, keys, true
}

// take anchors runs, all of them.
func (w *world) take(runs ...cert.Run) []anchor.Result {
	w.tb.Helper()
	results, err := w.ctx.Apply(&anchor.Anchors{Runs: runs})
	if err != nil {
		w.tb.Fatal(err)
	}
	for _, r := range results {
		if !r.Taken() {
			w.tb.Fatalf("heights %d to %d of shard %d: %s: %s", r.First, r.Last, r.Shard, r.Code, r.Detail)
		}
	}
	return results
}

// state returns what is known of a shard.
func (w *world) state(id shard.ID) *anchor.State {
	w.tb.Helper()
	s, ok := anchor.Read(w.ctx.State, id)
	if !ok {
		w.tb.Fatalf("shard %d is not there", id)
	}
	return &s
}

// replace says that a shard is replaced from an epoch on.
func (w *world) replace(id shard.ID, epoch uint64) {
	s := w.state(id)
	s.Until = epoch
	w.ctx.State.Set(anchor.Key(id), s.Encode())
}

func (w *world) digest() ledger.Hash {
	h := sha256.New()
	for _, c := range w.ctx.State.Changes() {
		_, _ = fmt.Fprintf(h, "%x %x\n", c.Key, c.Value)
	}
	return ledger.Hash(h.Sum(nil))
}

// refused wants a refusal with the code, and the state as it was.
func (w *world) refused(name string, code chain.Code, do func() error) {
	w.tb.Helper()
	before := w.digest()
	if err := do(); !errors.Is(err, code.Err()) {
		w.tb.Errorf("%s: %v, want %s", name, err, code)
	}
	if w.digest() != before {
		w.tb.Errorf("%s: the refusal changed the state", name)
	}
}
