package exec_test

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/shard/link"
)

// shardNode is a shard on one node, whose committee nobody asks.
type shardNode struct {
	t     *testing.T
	main  *shardtest.Main
	exec  *exec.Shard
	store *memkv.Store
	gen   shardblock.Genesis

	height uint64
	keep   uint64 // receipts; 0 keeps as many as nodes do
}

func newShardNode(t *testing.T) *shardNode {
	t.Helper()
	n := &shardNode{t: t, main: shardtest.NewMain(t), store: memkv.New()}
	n.gen = n.main.Genesis(shardtest.ShardAt(5, zone, 0, 255))
	n.open()
	if _, err := n.exec.InitChain(n.gen.Encode()); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *shardNode) open() {
	n.t.Helper()
	l, err := layer.New(n.store, layer.Options{})
	if err != nil {
		n.t.Fatal(err)
	}
	if n.exec, err = exec.OpenShard(exec.Config{Network: shardtest.Network(), KeepReceipts: n.keep}, l, n.gen, slog.New(slog.DiscardHandler)); err != nil {
		n.t.Fatal(err)
	}
}

// block makes the next block of these bundles.
func (n *shardNode) block(bundles ...[]byte) *exec.ShardBlock {
	n.t.Helper()
	n.height++
	b := exec.Block{Height: n.height, Time: time.UnixMilli(int64(1_000 * n.height)), Proposer: make([]byte, 20), Txs: bundles, Hash: make([]byte, 32)}
	if err := n.exec.Accept(b); err != nil {
		n.t.Fatalf("accept block %d: %v", n.height, err)
	}
	if _, err := n.exec.Finalize(b); err != nil {
		n.t.Fatal(err)
	}
	if _, err := n.exec.Commit(); err != nil {
		n.t.Fatal(err)
	}
	out, err := n.exec.Block(n.height)
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

// opened makes a channel known and returns its id.
func (n *shardNode) opened(payer, payee ledger.PrivateKey) ledger.Hash {
	n.t.Helper()
	notice := channel.OpenedNotice{
		Index: 3, ID: ledger.HashOf("exec/shard/channel"), Payer: payer.Address(zone), Payee: payee.Address(zone), VoucherKey: payer.Public(),
		Service: shardtest.Service, Deposit: 1_000, ExpiresAt: 1 << 40,
	}
	home := link.Place{Service: shardtest.Service, Zone: zone, Bucket: notice.Payer.Bucket()}
	if _, err := n.main.Links().Send(link.Draft{Link: link.Link{Dst: home}, Kind: uint16(channel.NoticeOpened), Payload: notice.Encode()}); err != nil {
		n.t.Fatal(err)
	}
	n.main.Block()
	n.block(chain.EncodeRelay(n.main.Notices(n.main.Height(), 0, 0).Encode()))
	return notice.ID
}

// booking returns a record that books up to a total.
func booking(payer, payee ledger.PrivateKey, id ledger.Hash, total uint64) []byte {
	e := channel.Entry{Index: 3, Claim: channel.ClaimVoucher, Cumulative: ledger.Amount(total), Units: total}
	e.Signature = payer.Sign(e.Signed(chain.Domain{Network: shardtest.Network(), Chain: ledger.MainChain}, id))
	u := service.Usage{
		Service: shardtest.Service, Zone: zone, Buckets: []uint8{payer.Address(zone).Bucket()},
		Batch: channel.Batch{Payee: payee.Address(zone), Mode: channel.BestEffort, Entries: []channel.Entry{e}},
	}
	d := service.Domain(shardtest.Network(), shardtest.Service)
	return chain.SignTx(d, payee, chain.TxFields{Kind: chain.KindBookUsage, Zone: zone, Nonce: total, Payload: u.Encode()})
}

// TestShard: relays and records of a shard go through the executor, and what they did is
// found again, also by a node that starts anew.
func TestShard(t *testing.T) {
	t.Parallel()
	n := newShardNode(t)
	payer, payee := keyOf(1), keyOf(2)
	id := n.opened(payer, payee)
	first, second := booking(payer, payee, id, 40), booking(payer, payee, id, 42)
	b := n.block(chain.EncodeRecords([][]byte{first, second}))
	if len(b.Bookings) != 2 || b.Receipts[0].Code != chain.CodeOK || b.UsageRoot.IsZero() || b.Outbox != 0 {
		t.Fatalf("block %+v", b)
	}
	check := func() {
		t.Helper()
		s, err := n.exec.Status(chain.TxHash(second))
		if err != nil || s.Stage != exec.StageFinal || s.Receipt.Booked.Amount != 2 {
			t.Errorf("status %+v: %v", s, err)
		}
		known, err := n.exec.Channel(id)
		if err != nil || known.Booked.Amount != 42 || len(known.Lanes) != 1 || known.Index != 3 {
			t.Errorf("channel %+v: %v", known, err)
		}
		list, err := n.exec.Bookings(id, 0, 2, 10)
		if err != nil || len(list) != 1 || list[0].Cumulative != 42 || list[0].Height != 2 || list[0].Leaf != 1 {
			t.Errorf("bookings %+v: %v", list, err)
		}
		p, height, err := n.exec.ProveBooking(id, 0, 2)
		if err != nil || height != 2 || p.Verify(b.UsageRoot) != nil {
			t.Errorf("proof %+v: %v", p, err)
		}
		if e, err := n.exec.Earnings(payee.Address(zone)); err != nil || e.Total.Amount != 42 {
			t.Errorf("earnings %+v: %v", e, err)
		}
		if proof, err := n.exec.Proof(chain.TxHash(first)); err != nil || proof.Leaves != 2 {
			t.Errorf("proof of a record %+v: %v", proof, err)
		}
		again, err := n.exec.Block(2)
		if err != nil || len(again.Bookings) != 2 || again.Bookings[1] != b.Bookings[1] || again.UsageRoot != b.UsageRoot || again.Totals != b.Totals ||
			len(again.Receipts) != 2 || again.Epoch != 0 {
			t.Errorf("block %+v: %v", again, err)
		}
		imported, err := n.exec.Block(1)
		if err != nil || len(imported.Imports) != 1 || imported.Imports[0].Result != link.Executed || len(imported.Codes) != 1 || imported.Relays != 1 || imported.Outbox != 1 {
			t.Errorf("block %+v: %v", imported, err)
		}
	}
	check()
	n.open()
	check()
	if _, err := n.exec.Channel(ledger.Hash{1}); !errors.Is(err, exec.ErrUnknown) {
		t.Errorf("a channel that nobody opened: %v", err)
	}
}

// TestTook: the block that took in a message is found as long as its outbox is kept, however
// many came after it, and no other one ever instead.
func TestTook(t *testing.T) {
	t.Parallel()
	n := newShardNode(t)
	payer, payee := keyOf(1), keyOf(2)
	way := link.Link{Dst: link.Place{Service: shardtest.Service, Zone: zone, Bucket: payer.Address(zone).Bucket()}}
	send := func(index uint64) {
		notice := channel.OpenedNotice{
			Index: index, ID: ledger.HashOf("exec/shard/took", []byte{byte(index)}), Payer: payer.Address(zone), Payee: payee.Address(zone),
			VoucherKey: payer.Public(), Service: shardtest.Service, Deposit: 1_000, ExpiresAt: 1 << 40,
		}
		if _, err := n.main.Links().Send(link.Draft{Link: way, Kind: uint16(channel.NoticeOpened), Payload: notice.Encode()}); err != nil {
			t.Fatal(err)
		}
	}
	take := func() {
		n.main.Block()
		n.block(chain.EncodeRelay(n.main.Notices(n.main.Height(), 0, 0).Encode()))
	}
	check := func(want ...uint64) {
		t.Helper()
		for seq, height := range want {
			at, ok, err := n.exec.Took(way, uint64(seq))
			if err != nil || ok != (height > 0) || ok && at != height {
				t.Errorf("message %d was taken in by block %d, %v, %v, want %d", seq, at, ok, err, height)
			}
		}
	}
	check(0)
	send(3)
	send(4)
	take()
	send(5)
	take()
	check(1, 1, 2, 0)
	if _, ok, err := n.exec.Took(way.Reverse(), 0); ok || err != nil {
		t.Errorf("a link of which nothing came: %v, %v", ok, err)
	}
	if _, ok, err := n.exec.Took(way, 1<<64-1); ok || err != nil {
		t.Errorf("the last number there is: %v, %v", ok, err)
	}
	n.keep = 2
	n.open()
	check(1, 1, 2, 0)
	rows := func() (count int) {
		it := n.exec.Index().Iterate([]byte{'a'}, []byte{'b'}, false)
		for it.Next() {
			count++
		}
		if err := it.Close(); err != nil {
			t.Fatal(err)
		}
		return count
	}
	for height, left := range [][]uint64{{0, 0, 2, 0}, {0, 0, 0, 0}} {
		n.block()
		for more := true; more; {
			var err error
			if more, err = n.exec.PruneIndex(); err != nil {
				t.Fatal(err)
			}
		}
		check(left...)
		if got := rows(); got != 1-height {
			t.Errorf("%d entries of messages are left, want %d", got, 1-height)
		}
	}
}

// TestShardRefuses: a block with a relay that does not apply is not voted for.
func TestShardRefuses(t *testing.T) {
	t.Parallel()
	n := newShardNode(t)
	n.opened(keyOf(1), keyOf(2))
	notices := n.main.Notices(1, 0, 0).Encode()
	b := exec.Block{Height: 2, Time: time.UnixMilli(9_000), Proposer: make([]byte, 20), Txs: [][]byte{chain.EncodeRelay(notices)}, Hash: make([]byte, 32)}
	if code, ok := chain.CodeOf(n.exec.Accept(b)); !ok || code != chain.CodeLinkRepeat {
		t.Errorf("the block is refused with %s", code)
	}
	if code, ok := chain.CodeOf(n.exec.Check(chain.EncodeRelay(notices), false)); !ok || code != chain.CodeLinkRepeat {
		t.Errorf("the relay is refused with %s", code)
	}
	raw := booking(keyOf(1), keyOf(2), ledger.HashOf("exec/shard/channel"), 7)
	b.Hash = bytes.Repeat([]byte{1}, 32)
	b.Txs = [][]byte{chain.EncodeRecords([][]byte{raw}), chain.EncodeRelay(headOf(n).Encode())}
	if code, ok := chain.CodeOf(n.exec.Accept(b)); !ok || code != chain.CodeBadOrder {
		t.Errorf("a relay behind a record is refused with %s", code)
	}
}

// headOf returns the relay of a new head of main.
func headOf(n *shardNode) *shardblock.Relay {
	return &shardblock.Relay{Kind: shardblock.KindHead, News: shardblock.News{Heads: []cert.Certificate{n.main.Block()}}}
}

// TestShardProposes: what was submitted is in the block that the node proposes, relays
// first, until the shard is congested.
func TestShardProposes(t *testing.T) {
	t.Parallel()
	n := newShardNode(t)
	id := n.opened(keyOf(1), keyOf(2))
	if err := n.exec.Check(chain.EncodeRecords([][]byte{booking(keyOf(1), keyOf(2), id, 40)}), false); err != nil {
		t.Fatal(err)
	}
	if err := n.exec.Check(chain.EncodeRelay(headOf(n).Encode()), false); err != nil {
		t.Fatal(err)
	}
	bundles := n.exec.Propose(2, 1<<20, nil)
	if len(bundles) != 2 {
		t.Fatalf("%d bundles, want the relay and the record", len(bundles))
	}
	if first, err := chain.DecodeBundle(bundles[0]); err != nil || first.Relay == nil {
		t.Errorf("the first bundle is no relay: %v", err)
	}
	if b := n.block(bundles...); len(b.Bookings) != 1 || b.Relays != 1 {
		t.Errorf("block %+v", b)
	}
	if level, backlog, err := n.exec.Congestion(); err != nil || level != 0 || backlog.Outbox != 0 {
		t.Errorf("level %s, backlog %+v: %v", level, backlog, err)
	}
}
