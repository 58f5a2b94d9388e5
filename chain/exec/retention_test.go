package exec_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
)

// past is a chain with something of everything in each of its blocks.
type past struct {
	net    *network
	people []*account
	lots   []*lot
	hashes map[uint64][]ledger.Hash // of the records, by height
	closed []uint64                 // rows
}

// live makes blocks on all nodes of net: transfers, openings, settlements that
// close channels.
func (h *past) live(t *testing.T, blocks int) {
	t.Helper()
	n := h.net.nodes[0]
	d := n.exec.Domain()
	for range blocks {
		i := len(h.net.blocks)
		payer, payee := h.people[i%2], h.people[2+i%2]
		records := [][]byte{payer.transfer(d, h.people[4].addr, ledger.Amount(i+1)), h.people[5].transfer(d, payer.addr, 1)}
		height := n.height() + 1
		switch i % 4 {
		case 0:
			var open channel.Open
			for range 3 {
				open.Channels = append(open.Channels, channel.OpenParams{
					Payee: payee.addr, VoucherKey: keyOf(1 << 20).Public(), Deposit: 1_000_000,
					ExpiresAt: height + n.exec.Params().MaxLifetime/2, Challenge: n.exec.Params().DefaultChallenge,
				})
			}
			l := &lot{domain: d, payer: payer, payee: payee, key: keyOf(1 << 20), paid: make([]ledger.Amount, 3)}
			for j := range open.Channels {
				l.ids = append(l.ids, channel.ID(d, payer.addr, payer.nonce, uint16(j), &open.Channels[j]))
			}
			h.lots = append(h.lots, l)
			records = append(records, payer.tx(d, chain.KindOpenChannels, open.Encode()))
		case 2:
			l := h.lots[len(h.lots)-1]
			b := l.batch(0, 3, 10)
			if len(h.lots)%3 != 0 { // a third of the channels stay
				for j := range b.Entries {
					b.Entries[j].Close = true
					h.closed = append(h.closed, b.Entries[j].Index)
				}
			}
			records = append(records, l.payee.tx(d, chain.KindSettle, b.Encode()))
		}
		h.apply(t, records)
		if i%4 == 0 {
			l := h.lots[len(h.lots)-1]
			index, ok := n.exec.ChannelIndex(l.ids[0])
			if !ok {
				t.Fatalf("block %d opened no channel", height)
			}
			l.first = index
		}
	}
}

func (h *past) apply(t *testing.T, records [][]byte) {
	t.Helper()
	height := h.net.nodes[0].height() + 1
	var txs [][]byte
	for some := range slices.Chunk(records, chain.BundleRecords) {
		txs = append(txs, chain.EncodeRecords(some))
	}
	h.net.apply(t, txs)
	b, err := h.net.nodes[0].exec.BlockResult(height)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b.Receipts {
		if code := b.Receipts[i].Code; code != chain.CodeOK {
			t.Fatalf("record %d of block %d: %v", i, height, code)
		}
		h.hashes[height] = append(h.hashes[height], b.Receipts[i].Hash)
	}
}

func newPast(t *testing.T, configs ...exec.Config) *past {
	t.Helper()
	h := &past{net: &network{}, hashes: make(map[uint64][]ledger.Hash)}
	for i := range 6 {
		h.people = append(h.people, accountOf(i))
	}
	for _, c := range configs {
		newNode(t, h.net, genesisOf(6, settlement.LocalParams()), c, false)
	}
	return h
}

// prune removes what is old and returns how many steps it took.
func (n *node) prune() int {
	n.t.Helper()
	for steps := 1; ; steps++ {
		more, err := n.exec.PruneIndex()
		if err != nil {
			n.t.Fatal(err)
		}
		if !more {
			return steps
		}
	}
}

// content returns the keys of the index.
func content(t *testing.T, store kv.Store) map[string]string {
	t.Helper()
	all := make(map[string]string)
	if err := kv.Scan(store, []byte("i/"), func(key, value []byte) error {
		all[string(key)] = string(value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRetention(t *testing.T) {
	t.Parallel()
	const keep = 10
	few := exec.Config{KeepBlocks: 5, KeepReceipts: keep, RecentBlocks: 1}
	all := exec.Config{KeepBlocks: exec.KeepAll, KeepReceipts: exec.KeepAll, RecentBlocks: 1}
	h := newPast(t, few, all)
	h.live(t, 60)
	n, archive := h.net.nodes[0], h.net.nodes[1]
	n.prune()
	if archive.prune() != 1 || archive.exec.KeptFrom() != 1 {
		t.Error("a node that keeps everything removed something")
	}
	first := n.height() - keep + 1
	if got := n.exec.KeptFrom(); got != first {
		t.Fatalf("kept from %d, want %d", got, first)
	}
	for height := uint64(1); height <= n.height(); height++ {
		h.checkHeight(t, height, height < first)
	}
	for _, who := range h.people {
		for _, paid := range []bool{false, true} {
			h.checkList(t, exec.TxFilter{Account: who.addr, Paid: paid}, first)
		}
	}
	// What is kept is what the archive has; the rest are channels that exist.
	have, want := content(t, n.store), content(t, archive.store)
	for key, value := range have {
		if want[key] != value && key != "i/l" {
			t.Errorf("the index has %x under %x, the archive %x", value, key, want[key])
		}
	}
	if most := len(want)*(keep+5)/60 + 6*len(h.lots); len(have) > most {
		t.Errorf("%d entries are left of %d, want at most %d", len(have), len(want), most)
	}
	h.checkChannels(t, first)

	s := n.exec.Subscribe(2)
	var gap *exec.GapError
	if _, err := s.Next(t.Context()); !errors.As(err, &gap) || gap.From != 2 || gap.To != first-1 {
		t.Errorf("a subscription from block 2: %v", err)
	}
	if b, err := s.Next(t.Context()); err != nil || b.Height != first {
		t.Errorf("after the gap: %v", err)
	}
}

func (h *past) checkHeight(t *testing.T, height uint64, pruned bool) {
	t.Helper()
	n := h.net.nodes[0]
	b, err := n.exec.BlockResult(height)
	var gone *exec.PrunedError
	switch {
	case !pruned && err != nil:
		t.Errorf("block %d: %v", height, err)
	case pruned && (!errors.As(err, &gone) || !errors.Is(err, exec.ErrPruned) || gone.KeptFrom != n.exec.KeptFrom()):
		t.Errorf("block %d: %v, want that it is pruned", height, err)
	case !pruned && len(b.Receipts) != len(h.hashes[height]):
		t.Errorf("block %d has %d receipts", height, len(b.Receipts))
	}
	for _, hash := range h.hashes[height] {
		if s, err := n.exec.Status(hash); errors.Is(err, exec.ErrUnknown) != pruned || !pruned && (err != nil || s.Height != height) {
			t.Errorf("status of a record of block %d: %v, %+v", height, err, s)
		}
		if _, err := n.exec.Proof(hash); (err == nil) == pruned {
			t.Errorf("proof of a record of block %d: %v", height, err)
		}
	}
}

// checkList wants a list to have just what the archive has from first on.
func (h *past) checkList(t *testing.T, f exec.TxFilter, first uint64) {
	t.Helper()
	page, next, err := h.net.nodes[0].exec.ListTxs(f, nil, exec.MaxPage)
	if err != nil || next != nil {
		t.Fatal(next, err)
	}
	want, _, err := h.net.nodes[1].exec.ListTxs(f, nil, exec.MaxPage)
	if err != nil {
		t.Fatal(err)
	}
	for len(want) > 0 && want[len(want)-1].Height < first {
		want = want[:len(want)-1]
	}
	if len(page) != len(want) {
		t.Errorf("%d records are listed, want %d", len(page), len(want))
	}
}

// checkChannels wants every open channel, and those closed since first, to be
// found and listed, and no others.
func (h *past) checkChannels(t *testing.T, first uint64) {
	t.Helper()
	n, archive := h.net.nodes[0], h.net.nodes[1]
	for _, f := range []exec.ChannelFilter{
		{},
		{Payer: h.people[0].addr},
		{Payer: h.people[1].addr},
		{Payee: h.people[2].addr},
		{Payee: h.people[3].addr},
	} {
		got, _, err := n.exec.ListChannels(f, 0, exec.MaxPage)
		if err != nil {
			t.Fatal(err)
		}
		all, _, err := archive.exec.ListChannels(f, 0, exec.MaxPage)
		if err != nil {
			t.Fatal(err)
		}
		rows := make(map[uint64]bool)
		for i := range got {
			rows[got[i].Index] = true
		}
		for i := range all {
			gone := all[i].Closed != nil && all[i].Closed.Height < first
			if _, ok := n.exec.ChannelIndex(all[i].ID); ok == gone {
				t.Errorf("channel %d: found %v", all[i].Index, ok)
			}
			if rows[all[i].Index] == gone {
				t.Errorf("channel %d: listed %v", all[i].Index, rows[all[i].Index])
			}
		}
	}
}

// TestRetentionSurvivesCrashes ends the process after every step of removing, in
// the middle of blocks too, and wants the same in the end.
func TestRetentionSurvivesCrashes(t *testing.T) {
	t.Parallel()
	cfg := exec.Config{KeepReceipts: 3, RecentBlocks: 1}
	h := newPast(t, cfg, cfg)
	h.live(t, 30)
	d := h.net.nodes[0].exec.Domain()
	var crowd [][]byte // a block of more records than one step removes
	for range 300 {
		crowd = append(crowd, h.people[5].transfer(d, h.people[0].addr, 1))
	}
	h.apply(t, crowd)
	h.live(t, 10)
	n, other := h.net.nodes[0], h.net.nodes[1]
	if other.prune() < 3 {
		t.Error("300 records were removed at once")
	}
	for more := true; more; {
		var err error
		if more, err = n.exec.PruneIndex(); err != nil {
			t.Fatal(err)
		}
		store, ok := n.store.(*memkv.Store)
		if !ok {
			t.Fatal("not in memory")
		}
		n.store = store.Clone()
		n.open(cfg)
		if got := n.exec.KeptFrom(); got != n.height()-2 {
			t.Fatalf("kept from %d at height %d", got, n.height())
		}
	}
	got, want := content(t, n.store), content(t, other.store)
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%x under %x, want %x", got[key], key, value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d entries, want %d", len(got), len(want))
	}
	// Keeping more later does not bring anything back.
	n.open(exec.Config{KeepReceipts: 1_000})
	if got := n.exec.KeptFrom(); got != n.height()-2 {
		t.Errorf("kept from %d at height %d", got, n.height())
	}
}

// TestRetentionWithoutRun wants commits to keep up where nobody calls Run, and
// Run to do it where somebody does; blocks are let go of likewise.
func TestRetentionWithoutRun(t *testing.T) {
	t.Parallel()
	h := newPast(t, exec.Config{KeepBlocks: 7, KeepReceipts: 1})
	n := h.net.nodes[0]
	var retain uint64
	for range 600 {
		block := blockAt(&n.gen, n.height()+1, nil)
		if _, err := n.exec.Finalize(block); err != nil {
			t.Fatal(err)
		}
		var err error
		if retain, err = n.exec.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if retain != 594 {
		t.Errorf("blocks below %d may go, want 594", retain)
	}
	blocks := func() (n int) {
		for key := range content(t, h.net.nodes[0].store) {
			if bytes.HasPrefix([]byte(key), []byte("i/b")) {
				n++
			}
		}
		return n
	}
	if left := blocks(); left > 300 {
		t.Errorf("%d blocks are in the index", left)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.exec.Run(ctx, n.broadcast) }()
	for blocks() > 1 {
		if t.Context().Err() != nil {
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
