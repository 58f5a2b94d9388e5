package exec_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/shard/link"
)

// shardNet is a shard on several nodes, of the validators from 100 on, which agree on
// whatever the test says, and its main chain.
type shardNet struct {
	t     *testing.T
	main  *shardtest.Main
	gen   shardblock.Genesis
	nodes []*shardMember
}

// shardMember is one of them.
type shardMember struct {
	t     *testing.T
	gen   *shardblock.Genesis
	row   uint64 // of its validator
	cfg   exec.Config
	exec  *exec.Shard
	store kv.Store
	votes *votes
}

const shardID = 5

// newShardNet makes n nodes. change, if it is not nil, changes what they run with.
func newShardNet(t *testing.T, n int, change func(i int, c *exec.Config)) *shardNet {
	t.Helper()
	net := &shardNet{t: t, main: shardtest.NewMain(t)}
	net.gen = net.main.Genesis(shardtest.ShardAt(shardID, zone, 0, 255))
	for i := range n {
		node := net.bare(i)
		if change != nil {
			change(i, &node.cfg)
		}
		node.open()
		if _, err := node.exec.InitChain(net.gen.Encode()); err != nil {
			t.Fatal(err)
		}
		net.nodes = append(net.nodes, node)
	}
	return net
}

// bare is node i before it has anything.
func (n *shardNet) bare(i int) *shardMember {
	row := uint64(100 + i)
	node := &shardMember{t: n.t, gen: &n.gen, row: row, store: memkv.New(), votes: newVotes()}
	node.cfg = exec.Config{BLS: shardtest.KeyOf(n.t, row).BLS, Extensions: node.votes.extensions}
	return node
}

// open opens the chain as after a crash: nothing is closed.
func (n *shardMember) open() {
	n.t.Helper()
	l, err := layer.New(n.store, layer.Options{})
	if err != nil {
		n.t.Fatal(err)
	}
	if n.exec, err = exec.OpenShard(n.cfg, l, *n.gen, slog.New(slog.DiscardHandler)); err != nil {
		n.t.Fatal(err)
	}
}

// next is the node's next block with these bundles.
func (n *shardMember) next(bundles ...[]byte) exec.Block {
	height, _ := n.exec.Head()
	height++
	hash := sha256.Sum256(number(height))
	for _, raw := range bundles {
		hash = sha256.Sum256(append(hash[:], raw...))
	}
	return exec.Block{Height: height, Time: time.UnixMilli(int64(1_000 * height)), Proposer: make([]byte, 20), Txs: bundles, Hash: hash[:]}
}

// block makes the next block of these bundles on all nodes, which come to the same, and
// certify it.
func (n *shardNet) block(bundles ...[]byte) *exec.ShardBlock {
	n.t.Helper()
	return n.shaken(func(*shardMember) {}, bundles...)
}

// shaken is block with something that may happen to a node after each of its steps.
func (n *shardNet) shaken(shake func(*shardMember), bundles ...[]byte) *exec.ShardBlock {
	n.t.Helper()
	var b exec.Block
	var extensions []exec.VoteExtension
	for _, node := range n.nodes {
		b = node.next(bundles...)
		if err := node.exec.Accept(b); err != nil {
			n.t.Fatalf("accept block %d: %v", b.Height, err)
		}
		shake(node)
		extension, err := node.exec.Extend(b)
		if err != nil {
			n.t.Fatal(err)
		}
		shake(node)
		if extension != nil {
			address := staking.AddressOf(shardtest.KeyOf(n.t, node.row).Member.ConsensusKey)
			extensions = append(extensions, exec.VoteExtension{Validator: address, Data: extension})
		}
	}
	var want []byte
	for _, node := range n.nodes {
		node.votes.set(b.Height, b.Hash, extensions)
		out, err := node.exec.Finalize(b)
		if err != nil {
			n.t.Fatal(err)
		}
		shake(node)
		if height, _ := node.exec.Head(); height+1 == b.Height { // it may have been killed
			if out, err = node.exec.Finalize(b); err != nil {
				n.t.Fatal(err)
			}
		}
		if want == nil {
			want = out.AppHash
		} else if !bytes.Equal(want, out.AppHash) {
			n.t.Fatalf("block %d: validator %d comes to %x, others to %x", b.Height, node.row, out.AppHash, want)
		}
		if _, err := node.exec.Commit(); err != nil {
			n.t.Fatal(err)
		}
		shake(node)
	}
	first, err := n.nodes[0].exec.Block(b.Height)
	if err != nil {
		n.t.Fatal(err)
	}
	return first
}

// certified returns the certificate of a block by a node, after checking that it holds by
// the committee of that epoch.
func (n *shardNet) certified(node *shardMember, height uint64, rows ...uint64) {
	n.t.Helper()
	node.exec.CertifyBlock(height)
	certificate, err := node.exec.Certificate(height)
	if err != nil {
		n.t.Fatalf("block %d: %v", height, err)
	}
	com := shardtest.CommitteeOf(n.t, certificate.Checkpoint.Epoch, rows...)
	keys, err := com.Keys()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := certificate.Verify(shardtest.Network(), shardID, &com, keys); err != nil {
		n.t.Errorf("block %d, certified by validator %d: %v", height, node.row, err)
	}
}

// notices sends a notice that opens a channel from main, and returns its id and the relay
// that brings it.
func (n *shardNet) notices(index uint64, payer, payee ledger.PrivateKey) (id ledger.Hash, relay []byte) {
	n.t.Helper()
	notice := channel.OpenedNotice{
		Index: index, ID: ledger.HashOf("exec/shard/channel", number(index)), Payer: payer.Address(zone), Payee: payee.Address(zone),
		VoucherKey: payer.Public(), Service: shardtest.Service, Deposit: 1_000, ExpiresAt: 1 << 40,
	}
	home := link.Place{Service: shardtest.Service, Zone: zone, Bucket: notice.Payer.Bucket()}
	if _, err := n.main.Links().Send(link.Draft{Link: link.Link{Dst: home}, Kind: uint16(channel.NoticeOpened), Payload: notice.Encode()}); err != nil {
		n.t.Fatal(err)
	}
	n.main.Block()
	return notice.ID, n.main.Notices(n.main.Height(), 0, 0).Encode()
}

// opened makes a channel known and returns its id.
func (n *shardNet) opened(payer, payee ledger.PrivateKey) ledger.Hash {
	n.t.Helper()
	id, relay := n.notices(3, payer, payee)
	n.block(chain.EncodeRelay(relay))
	return id
}

// The committee of a shard changes by what main says, while nodes are killed at any step
// and come back: all come to the same blocks, and each block has a certificate of the
// committee of its time.
func TestShardOverCommitteesAndKills(t *testing.T) {
	t.Parallel()
	n := newShardNet(t, 5, nil)
	payer, payee := keyOf(1), keyOf(2)
	random := rand.New(rand.NewPCG(1, 2))
	kill := func(node *shardMember) {
		if random.IntN(6) == 0 {
			node.open()
		}
	}
	committees := [][]uint64{{100, 101, 102, 103}, {101, 102, 103, 104}}
	total, changed := uint64(0), uint64(0) // height from which the second committee votes
	var id ledger.Hash
	for height := uint64(1); height <= 16; height++ {
		var bundles [][]byte
		switch {
		case height == 1:
			var relay []byte
			id, relay = n.notices(3, payer, payee)
			bundles = append(bundles, chain.EncodeRelay(relay))
		case height == 5:
			n.main.Assign(1, shardID, committees[1]...)
			n.main.To(shardtest.EpochBlocks)
			relay := n.main.EpochRelay(1, shardID)
			bundles = append(bundles, chain.EncodeRelay(relay.Encode()))
			changed = height + shardblock.CommitteeDelay
		case height%3 == 0:
			total += 10
			bundles = append(bundles, chain.EncodeRecords([][]byte{booking(payer, payee, id, total)}))
		}
		b := n.shaken(kill, bundles...)
		for _, r := range b.Receipts {
			if r.Code != chain.CodeOK || r.Booked.Amount != 10 {
				t.Errorf("block %d: receipt %+v", height, r)
			}
		}
	}
	for height := uint64(1); height <= 16; height++ {
		rows := committees[0]
		if height >= changed {
			rows = committees[1]
		}
		for _, node := range n.nodes {
			n.certified(node, height, rows...)
		}
	}
	if e, err := n.nodes[4].exec.Earnings(payee.Address(zone)); err != nil || e.Total.Amount != total {
		t.Errorf("earnings %+v, want %d: %v", e, total, err)
	}
	s, err := n.nodes[0].exec.Standing()
	if err != nil || s.Ended != 0 {
		t.Errorf("standing %+v: %v", s, err)
	}
}

// A train of relays waits in the lane, is proposed as one block by any node, and what is
// left of it after a block of others still applies.
func TestShardTakesTrainsOfRelays(t *testing.T) {
	t.Parallel()
	n := newShardNet(t, 2, nil)
	one, two := n.nodes[0], n.nodes[1]
	var relays [][]byte
	for i := range uint64(3) { // all on one link
		_, relay := n.notices(3+i, keyOf(1), keyOf(2))
		relays = append(relays, chain.EncodeRelay(relay))
	}
	if err := one.exec.Check(relays[1], false); !errors.Is(err, chain.CodeLinkGap.Err()) {
		t.Errorf("the second of a train before the first: %v", err)
	}
	for _, raw := range relays {
		if err := one.exec.Check(raw, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := two.exec.Check(relays[0], false); err != nil {
		t.Fatal(err)
	}
	if got := two.exec.Propose(1, 1<<20, nil); len(got) != 1 {
		t.Fatalf("proposed %d bundles, want the first of the train", len(got))
	}
	n.block(relays[0])
	rest := one.exec.Propose(2, 1<<20, nil)
	if len(rest) != 2 || !bytes.Equal(rest[0], relays[1]) || !bytes.Equal(rest[1], relays[2]) {
		t.Fatalf("proposed %d bundles, want what is left of the train", len(rest))
	}
	if b := n.block(rest...); len(b.Imports) != 2 {
		t.Errorf("block %+v", b)
	}
	for _, node := range n.nodes {
		if s := node.exec.Stats(); s.Relays != 0 {
			t.Errorf("%d relays wait", s.Relays)
		}
	}
	if _, err := one.exec.Channel(ledger.HashOf("exec/shard/channel", number(5))); err != nil {
		t.Error(err)
	}
}

// A node that is newly assigned joins by a snapshot before it serves, and has the channels
// that are known.
func TestShardIsJoinedByASnapshot(t *testing.T) {
	t.Parallel()
	snapshots, err := layer.OpenSnapshots(t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	n := newShardNet(t, 4, func(i int, c *exec.Config) {
		if c.SnapshotStride = 4; i == 0 {
			c.Snapshots = snapshots
		}
	})
	old := n.nodes[0]
	runUntilEnd(t, old.exec.Executor)
	payer, payee := keyOf(1), keyOf(2)
	id := n.opened(payer, payee)
	for total := uint64(1); total < 4; total++ {
		n.block(chain.EncodeRecords([][]byte{booking(payer, payee, id, total)}))
	}
	tick(t, "a snapshot", func() bool { return len(old.exec.Snapshots()) == 1 })
	m := old.exec.Snapshots()[0]
	fresh := n.bare(4)
	fresh.open()
	if err := fresh.exec.OfferSnapshot(m.Encode(), m.State.AppHash[:]); err != nil {
		t.Fatal(err)
	}
	for i := range m.Chunks {
		chunk, err := old.exec.SnapshotChunk(m.State.Height, uint32(i))
		if err != nil {
			t.Fatal(err)
		}
		if err := fresh.exec.ApplySnapshotChunk(uint32(i), chunk); err != nil {
			t.Fatal(err)
		}
	}
	known, err := fresh.exec.Channel(id)
	if err != nil || known.Booked.Amount != 3 {
		t.Errorf("channel %+v: %v", known, err)
	}
	n.nodes = append(n.nodes, fresh)
	n.block(chain.EncodeRecords([][]byte{booking(payer, payee, id, 9)})) // on both, with the same hash
	for _, node := range n.nodes {
		if e, err := node.exec.Earnings(payee.Address(zone)); err != nil || e.Total.Amount != 9 {
			t.Errorf("earnings %+v: %v", e, err)
		}
	}
	n.certified(fresh, 5, 100, 101, 102, 103)
}
