// Package shardtest is a main chain for tests of shards: blocks with a state that proves
// its rows, committees with keys that sign, and an outbox. It has no rules; a test sets
// the rows that a shard is to see. Nothing outside of tests uses it.
package shardtest

import (
	"bytes"
	"fmt"
	"iter"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/statetree"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

const (
	// Members is how many members a committee of the main chain or of a shard has.
	Members = 4
	// EpochBlocks is how many blocks an epoch has.
	EpochBlocks = 10
	// Service is the service of the shards of ShardAt.
	Service = 7
)

// Network is the network of all tests.
func Network() ledger.NetworkID { return ledger.HashOf("shardtest/network") }

// Key is a validator: what it votes and signs with.
type Key struct {
	BLS    *bls.SecretKey
	Member committee.Member
}

// KeyOf returns the key of a validator, always the same.
func KeyOf(tb testing.TB, row uint64) Key {
	tb.Helper()
	seed := ledger.HashOf("shardtest/validator", []byte{byte(row >> 8), byte(row)})
	secret, err := bls.NewSecretKey(seed[:])
	if err != nil {
		tb.Fatal(err)
	}
	return Key{BLS: secret, Member: committee.Member{
		Validator: row, ConsensusKey: ledger.NewPrivateKey(seed).Public(), BLSKey: secret.Public(), Power: 10,
	}}
}

// CommitteeOf returns the committee of validators in an epoch.
func CommitteeOf(tb testing.TB, epoch uint64, rows ...uint64) committee.Committee {
	tb.Helper()
	c := committee.Committee{Epoch: epoch}
	for _, row := range rows {
		c.Members = append(c.Members, KeyOf(tb, row).Member)
	}
	return c
}

// Certify returns the certificate of a checkpoint by some members of its committee, all of
// them if none is named.
func Certify(tb testing.TB, com *committee.Committee, p cert.Checkpoint, members ...int) cert.Certificate {
	tb.Helper()
	p.CommitteeHash, p.Epoch = com.Hash(), com.Epoch
	if len(members) == 0 {
		for i := range com.Members {
			members = append(members, i)
		}
	}
	c := cert.Certificate{Checkpoint: p}
	signatures := make([]bls.Signature, 0, len(members))
	for _, i := range members {
		for len(c.Bitmap) <= i/8 {
			c.Bitmap = append(c.Bitmap, 0)
		}
		c.Bitmap[i/8] |= 1 << (i % 8)
		signatures = append(signatures, KeyOf(tb, com.Members[i].Validator).BLS.Sign(p.Message()))
	}
	sum, err := bls.Aggregate(signatures)
	if err != nil {
		tb.Fatal(err)
	}
	c.Signature = sum
	return c
}

// Main is a main chain. It is owned by the test's goroutine.
type Main struct {
	tb      testing.TB
	store   kv.Store
	tree    *statetree.Tree
	pending *chain.Overlay
	height  uint64

	Committees map[uint64]committee.Committee // by epoch
	Heads      map[uint64]cert.Certificate    // by height
	Boxes      map[uint64]*link.Outbox        // by height
	assigned   map[string][]byte              // encoded committees of shards, by the keys of their assignments
}

// NewMain returns a main chain of no blocks. The committee of epoch e has the validators
// e to e+Members-1; that of the present one and of the next is in the state.
func NewMain(tb testing.TB) *Main {
	tb.Helper()
	m := &Main{tb: tb, store: memkv.New(), Committees: map[uint64]committee.Committee{}, Heads: map[uint64]cert.Certificate{}, Boxes: map[uint64]*link.Outbox{}, assigned: map[string][]byte{}}
	var err error
	if m.tree, err = statetree.Open(m.store, statetree.Options{}); err != nil {
		tb.Fatal(err)
	}
	m.pending = chain.NewOverlay(m)
	m.elect(0)
	m.elect(1)
	return m
}

// Get is that of chain.View, of the last block.
func (m *Main) Get(key []byte) (value []byte) {
	m.read(func(v chain.View) { value = bytes.Clone(v.Get(key)) })
	return value
}

// Range is that of chain.View, of the last block.
func (m *Main) Range(prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		m.read(func(v chain.View) {
			for k, b := range v.Range(prefix) {
				if !yield(bytes.Clone(k), bytes.Clone(b)) {
					return
				}
			}
		})
	}
}

func (m *Main) read(f func(v chain.View)) {
	if err := m.tree.Read(func(v chain.View) error { f(v); return nil }); err != nil {
		m.tb.Fatal(err)
	}
}

// Height returns the height of the last block.
func (m *Main) Height() uint64 { return m.height }

// Epoch returns the epoch of the block at a height.
func Epoch(height uint64) uint64 {
	p := staking.Params{EpochBlocks: EpochBlocks}
	return p.Epoch(height)
}

// elect puts the committee of an epoch into the state.
func (m *Main) elect(epoch uint64) {
	rows := make([]uint64, Members)
	for i := range rows {
		rows[i] = epoch + uint64(i)
	}
	c := CommitteeOf(m.tb, epoch, rows...)
	m.Committees[epoch] = c
	rec := committee.Record{Committee: c}
	m.Set(staking.CommitteeKey(epoch), rec.Encode())
	e := registry.EpochRecord{Epoch: epoch, Sigma: epoch * 100, First: epoch*EpochBlocks + 1}
	if epoch == 0 {
		m.Set(registry.EpochKey(epoch), e.Encode())
	}
}

// Set puts a row into the state of the next block.
func (m *Main) Set(key, value []byte) { m.pending.Set(key, value) }

// Links returns where messages of the next block are sent.
func (m *Main) Links() *link.Context {
	return &link.Context{
		State: m.pending, Here: func(p link.Place) bool { return p == link.Place{} }, Height: m.height + 1, Clock: m.height + 1,
	}
}

// Block makes the next block of what was set and sent, and returns its certificate.
func (m *Main) Block() cert.Certificate {
	m.tb.Helper()
	m.height++
	p := staking.Params{EpochBlocks: EpochBlocks}
	epoch := p.Epoch(m.height)
	if m.height == p.LastBlock(epoch)-1 {
		m.elect(epoch + 1)
	}
	if m.height == p.LastBlock(epoch) {
		e := registry.EpochRecord{Epoch: epoch + 1, Sigma: (epoch + 1) * 100, First: m.height + 1}
		m.Set(registry.EpochKey(epoch+1), e.Encode())
	}
	changes := m.pending.Changes()
	box, err := link.NewOutbox(changes)
	if err != nil {
		m.tb.Fatal(err)
	}
	root, err := m.tree.Prepare(m.height, changes)
	if err != nil {
		m.tb.Fatal(err)
	}
	b := m.store.NewBatch()
	if err := m.tree.WriteTo(b); err != nil {
		m.tb.Fatal(err)
	}
	if err := b.Commit(true); err != nil {
		m.tb.Fatal(err)
	}
	if err := m.tree.Apply(); err != nil {
		m.tb.Fatal(err)
	}
	com := m.Committees[epoch]
	c := Certify(m.tb, &com, cert.Checkpoint{
		Network: Network(), Chain: ledger.MainChain, Height: m.height, StateRoot: root, OutboxRoot: box.Root(),
		BlockHash: ledger.HashOf("shardtest/block", fmt.Append(nil, m.height)),
	})
	m.Heads[m.height], m.Boxes[m.height] = c, box
	m.pending = chain.NewOverlay(m)
	return c
}

// To makes blocks up to a height.
func (m *Main) To(height uint64) {
	m.tb.Helper()
	for m.height < height {
		m.Block()
	}
}

// Row proves what the state has under a key after the last block.
func (m *Main) Row(key []byte) shardblock.Row {
	m.tb.Helper()
	s, err := m.tree.Prove(key)
	if err != nil {
		m.tb.Fatal(err)
	}
	r, err := shardblock.RowOf(s)
	if err != nil {
		m.tb.Fatal(err)
	}
	return r
}

// Handover returns the hand-over to the committee of the next epoch. The last block is one
// of the last two of its epoch.
func (m *Main) Handover() shardblock.Handover {
	m.tb.Helper()
	next := Epoch(m.height) + 1
	return shardblock.Handover{Certificate: m.Heads[m.height], Record: m.Row(staking.CommitteeKey(next))}
}

// Assign writes who serves a shard in an epoch.
func (m *Main) Assign(epoch uint64, id shard.ID, rows ...uint64) {
	m.assign(shard.Assignment{Shard: id, Committee: CommitteeOf(m.tb, epoch, rows...)})
}

// AssignLast is Assign for the epoch in which a shard's heirs begin.
func (m *Main) AssignLast(epoch uint64, id shard.ID, rows ...uint64) {
	m.assign(shard.Assignment{Shard: id, Committee: CommitteeOf(m.tb, epoch, rows...), Last: true})
}

func (m *Main) assign(a shard.Assignment) {
	row, key := a.Short(), registry.AssignmentKey(a.Committee.Epoch, a.Shard)
	m.Set(key, row.Encode())
	m.assigned[string(key)] = a.Committee.Encode()
}

// EpochRelay returns the relay of an epoch, proved by the last block.
func (m *Main) EpochRelay(epoch uint64, id shard.ID) *shardblock.Relay {
	m.tb.Helper()
	key := registry.AssignmentKey(epoch, id)
	return &shardblock.Relay{
		Kind: shardblock.KindEpoch, News: shardblock.News{Heads: []cert.Certificate{m.Heads[m.height]}},
		Epoch: &shardblock.Epoch{
			Epoch: epoch, Record: m.Row(registry.EpochKey(epoch)), Assignment: m.Row(key), Committee: m.assigned[string(key)],
		},
	}
}

// Notices returns the relay that brings the leaves begin to end-1 of the outbox at a
// height, all of them if end is 0.
func (m *Main) Notices(height uint64, begin, end int) *shardblock.Relay {
	m.tb.Helper()
	box := m.Boxes[height]
	if end == 0 {
		end = len(box.Leaves())
	}
	in, err := box.Import(ledger.MainChain, height, begin, end)
	if err != nil {
		m.tb.Fatal(err)
	}
	return &shardblock.Relay{
		Kind: shardblock.KindImport, News: shardblock.News{Heads: []cert.Certificate{m.Heads[height]}}, Import: &shardblock.Import{Link: in},
	}
}

// ShardAt returns a shard with some buckets of a zone of Service.
func ShardAt(id shard.ID, zone, first, last uint8) service.Shard {
	return service.Shard{Chain: id, Service: Service, Zone: zone, First: first, Last: last}
}

// Genesis returns the genesis of a shard that begins in epoch 0 with the validators 100 to
// 103, and trusts the first committee of m.
func (m *Main) Genesis(s service.Shard) shardblock.Genesis {
	m.tb.Helper()
	return shardblock.Genesis{
		Service:     service.Genesis{Network: Network(), Shard: s, Params: service.DefaultParams()},
		EpochBlocks: EpochBlocks, Params: shardblock.DefaultParams(),
		Main: m.Committees[0], Committee: CommitteeOf(m.tb, 0, 100, 101, 102, 103),
	}
}

// Found writes the row of anchors of a shard.
func (m *Main) Found(s service.Shard) {
	row := anchor.State{
		Service: s.Service, Zone: s.Zone, Buckets: shard.Range{First: shard.Bucket(s.First), Last: shard.Bucket(s.Last)},
	}
	m.Set(anchor.Key(s.Chain), row.Encode())
}
