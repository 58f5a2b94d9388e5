package exec_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/merkle"
)

func TestARecordGoesThroughItsStages(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(2, settlement.LocalParams()), exec.Config{}, true)
	raw := accountOf(0).transfer(n.exec.Domain(), accountOf(1).addr, 1_000)
	s := n.submit(raw)
	if s.Stage != exec.StageChecked {
		t.Fatalf("after Submit: %v", s.Stage)
	}
	included, final := make(chan exec.Status, 1), make(chan exec.Status, 1)
	for stage, c := range map[exec.Stage]chan exec.Status{exec.StageIncluded: included, exec.StageFinal: final} {
		go func() {
			s, err := n.exec.Wait(t.Context(), s.Hash, stage)
			if err != nil {
				t.Error(err)
			}
			c <- s
		}()
	}
	n.await()
	block := blockAt(&n.gen, 1, n.propose())
	if _, err := n.exec.Finalize(block); err != nil {
		t.Fatal(err)
	}
	if s := <-included; s.Stage != exec.StageIncluded || s.Height != 1 {
		t.Errorf("Wait for INCLUDED: %+v", s)
	}
	select {
	case s := <-final:
		t.Errorf("FINAL before the commit: %+v", s)
	default:
	}
	if _, err := n.exec.Commit(); err != nil {
		t.Fatal(err)
	}
	if s := <-final; s.Stage != exec.StageFinal || s.Receipt.Paid != 1_000 || s.Receipt.Code != chain.CodeOK {
		t.Errorf("Wait for FINAL: %+v", s)
	}
	again := n.submit(raw)
	if again.Stage != exec.StageFinal {
		t.Errorf("Submit of a final record: %v", again.Stage)
	}
	if stats := n.exec.Stats(); stats.PendingRecords != 0 || stats.PoolBundles != 0 {
		t.Errorf("something is pending after the commit: %+v", stats)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(2, settlement.LocalParams()), exec.Config{}, true)
	s := n.submit(accountOf(0).transfer(n.exec.Domain(), accountOf(1).addr, 1))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if s, err := n.exec.Wait(ctx, s.Hash, exec.StageFinal); err != nil || s.Stage != exec.StageChecked {
		t.Errorf("Wait = %v, %v, want the present stage and no error", s.Stage, err)
	}
	if _, err := n.exec.Wait(t.Context(), ledger.Hash{1}, exec.StageFinal); !errors.Is(err, exec.ErrUnknown) {
		t.Errorf("Wait for an unknown record: %v", err)
	}
}

func TestTheIndexKeepsWhatBlocksDid(t *testing.T) {
	t.Parallel()
	gen := genesisOf(4, settlement.LocalParams())
	n := newNode(t, &network{}, gen, exec.Config{}, true)
	d := n.exec.Domain()
	var live []*exec.BlockResult
	sub := n.exec.Subscribe(1)
	payer, payee := accountOf(0), accountOf(1)
	l := n.openLot(payer, payee, 20, 1_000_000)
	b := l.batch(0, 10, 5_000)
	b.Entries[9].Close = true
	statuses := n.settleAll(
		accountOf(2).transfer(d, accountOf(3).addr, 77),
		payee.tx(d, chain.KindSettle, b.Encode()),
		l.settle(10, 20, 1),
		payer.tx(d, chain.KindRequestClose, (&channel.RequestClose{Channel: channel.Ref{Index: l.first + 1, ID: l.ids[1]}}).Encode()),
	)
	for range n.height() {
		got, err := sub.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		live = append(live, got)
	}
	for i, s := range statuses {
		if s.Receipt.Code != chain.CodeOK {
			t.Fatalf("record %d: %v", i, s.Receipt.Code)
		}
	}

	reopened := &node{t: t, net: n.net, store: n.store, gen: gen}
	reopened.open(exec.Config{})
	sub = reopened.exec.Subscribe(1)
	for _, want := range live {
		for i := range want.Receipts {
			want.Receipts[i].Detail = ""
		}
		got, err := sub.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("block %d from the index (-live +index):\n%s", want.Height, diff)
		}
	}
	for i, want := range statuses {
		want.Receipt.Detail = ""
		got, err := reopened.exec.Status(want.Hash)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("status %d (-live +index):\n%s", i, diff)
		}
	}
	closed, ok, err := reopened.exec.Channel(l.first + 9)
	if err != nil || !ok || closed.State != exec.ChannelClosed || closed.Redeemed != 5_000 || closed.ID != l.ids[9] {
		t.Errorf("closed channel: %+v, %v, %v", closed, ok, err)
	}
	if row, ok := reopened.exec.ChannelIndex(l.ids[4]); !ok || row != l.first+4 {
		t.Errorf("ChannelIndex = %d, %v", row, ok)
	}
}

func TestListChannelsPages(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(5, settlement.LocalParams()), exec.Config{}, true)
	a := n.openLot(accountOf(0), accountOf(1), 7, 100_000)
	b := n.openLot(accountOf(2), accountOf(1), 5, 100_000)
	c := n.openLot(a.payer, accountOf(3), 3, 100_000)
	closing := n.settleAll(a.payer.tx(a.domain, chain.KindRequestClose, (&channel.RequestClose{Channel: channel.Ref{Index: a.first + 2, ID: a.ids[2]}}).Encode()))
	if closing[0].Receipt.Code != chain.CodeOK {
		t.Fatal(closing[0].Receipt.Code)
	}
	rows := func(l *lot) (all []uint64) {
		for i := range l.ids {
			all = append(all, l.first+uint64(i))
		}
		return all
	}
	for _, c := range []struct {
		name   string
		filter exec.ChannelFilter
		want   []uint64
	}{
		{"all", exec.ChannelFilter{}, slices.Concat(rows(a), rows(b), rows(c))},
		{"payer", exec.ChannelFilter{Payer: a.payer.addr}, slices.Concat(rows(a), rows(c))},
		{"payee", exec.ChannelFilter{Payee: a.payee.addr}, slices.Concat(rows(a), rows(b))},
		{"payer and payee", exec.ChannelFilter{Payer: a.payer.addr, Payee: a.payee.addr}, rows(a)},
		{"closing", exec.ChannelFilter{State: exec.ChannelClosing}, []uint64{a.first + 2}},
		{"nobody's", exec.ChannelFilter{Payee: accountOf(4).addr}, nil},
	} {
		for _, limit := range []int{1, 4, 100} {
			var got []uint64
			for from, more := uint64(0), true; more; {
				page, next, err := n.exec.ListChannels(c.filter, from, limit)
				if err != nil {
					t.Fatal(err)
				}
				if len(page) > limit {
					t.Fatalf("%s: page of %d, limit %d", c.name, len(page), limit)
				}
				for _, info := range page {
					got = append(got, info.Index)
				}
				from, more = next, next != 0
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s by %d: rows %v, want %v", c.name, limit, got, c.want)
			}
		}
	}
}

func TestListTxsPagesNewestFirst(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(3, settlement.LocalParams()), exec.Config{}, true)
	a, b := accountOf(0), accountOf(1)
	var want []ledger.Hash
	for range 3 {
		var records [][]byte
		for range 4 {
			records = append(records, a.transfer(n.exec.Domain(), b.addr, 1))
		}
		for _, s := range n.settleAll(records...) {
			want = append(want, s.Hash)
		}
	}
	for _, f := range []exec.TxFilter{{Account: a.addr}, {Account: b.addr, Paid: true}} {
		for _, limit := range []int{1, 5, 12, 50} {
			seen := map[ledger.Hash]bool{}
			var last *exec.Status
			for before, more := (*exec.Cursor)(nil), true; more; {
				page, next, err := n.exec.ListTxs(f, before, limit)
				if err != nil {
					t.Fatal(err)
				}
				for i := range page {
					seen[page[i].Hash] = true
					if last != nil && (page[i].Height > last.Height || page[i].Height == last.Height && page[i].TxIndex >= last.TxIndex) {
						t.Fatalf("limit %d: %d/%d follows %d/%d", limit, page[i].Height, page[i].TxIndex, last.Height, last.TxIndex)
					}
					last = &page[i]
				}
				before, more = next, next != nil
			}
			if len(seen) != len(want) || !seen[want[0]] || !seen[want[11]] {
				t.Errorf("limit %d: %d records, want %d", limit, len(seen), len(want))
			}
		}
	}
}

func TestARepeatedRecordKeepsItsFirstOutcome(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(2, settlement.LocalParams()), exec.Config{}, false)
	d, a := n.exec.Domain(), accountOf(0)
	raw, other := a.transfer(d, accountOf(1).addr, 5), a.transfer(d, accountOf(1).addr, 6)
	n.force([][]byte{
		chain.EncodeRecords([][]byte{raw, raw}),
		chain.EncodeRecords([][]byte{other, raw}),
	})
	n.force([][]byte{chain.EncodeRecords([][]byte{raw})})
	first, err := n.exec.BlockResult(1)
	if err != nil {
		t.Fatal(err)
	}
	var codes []chain.Code
	for _, r := range first.Receipts {
		codes = append(codes, r.Code)
	}
	if want := []chain.Code{chain.CodeOK, chain.CodeNonceUsed, chain.CodeOK, chain.CodeNonceUsed}; !slices.Equal(codes, want) {
		t.Errorf("codes %v, want %v", codes, want)
	}
	s, err := n.exec.Status(hashOf(t, d, raw))
	if err != nil || s.Height != 1 || s.TxIndex != 0 || s.Receipt.Code != chain.CodeOK {
		t.Errorf("status %+v, want that of the first execution", s)
	}
}

func TestAWrongRecordHasTheSameCodeAtSubmitAndInABlock(t *testing.T) {
	t.Parallel()
	params := settlement.LocalParams()
	n := newNode(t, &network{}, genesisOf(6, params), exec.Config{}, true)
	l := n.openLot(accountOf(0), accountOf(1), 4, 100_000)
	n.settleAll(l.settle(0, 1, 500))
	d := n.exec.Domain()
	elsewhere := d
	elsewhere.Network[0] ^= 1
	otherChain := d
	otherChain.Chain++
	poor := accountOf(99)
	stranger := accountOf(3)
	batch := func(change func(b *channel.Batch)) []byte {
		b := &channel.Batch{Payee: l.payee.addr, Entries: []channel.Entry{l.entry(1, 700), l.entry(2, 700)}}
		change(b)
		return b.Encode()
	}
	cut := stranger.txAt(d, 0, chain.KindTransfer, transfer(poor.addr, 1))

	for _, c := range []struct {
		name string
		raw  []byte
		want chain.Code
		// entry is the position that has the code in a block, where the record as
		// a whole is OK; -1 if the record has the code.
		entry int
	}{
		{"cut off", cut[:len(cut)-1], chain.CodeMalformed, -1},
		{"another network", stranger.txAt(elsewhere, 0, chain.KindTransfer, transfer(poor.addr, 1)), chain.CodeWrongNetwork, -1},
		{"another chain", stranger.txAt(otherChain, 0, chain.KindTransfer, transfer(poor.addr, 1)), chain.CodeWrongChain, -1},
		{"unknown kind", stranger.txAt(d, 0, 99, nil), chain.CodeUnknownKind, -1},
		{"malformed payload", stranger.txAt(d, 1, chain.KindTransfer, []byte{0, 1}), chain.CodeMalformed, -1},
		{"signer's signature", flip(stranger.txAt(d, 2, chain.KindTransfer, transfer(poor.addr, 1)), -1), chain.CodeBadSignature, -1},
		{"nonce too high", stranger.txAt(d, 999, chain.KindTransfer, transfer(poor.addr, 1)), chain.CodeNonceTooHigh, -1},
		{"nonce used", l.payer.txAt(d, 0, chain.KindTransfer, transfer(poor.addr, 1)), chain.CodeNonceUsed, -1},
		{"no payments", stranger.txAt(d, 3, chain.KindTransfer, []byte{0, 0}), chain.CodeTooLarge, -1},
		{"no money", poor.txAt(d, 0, chain.KindTransfer, transfer(stranger.addr, 1)), chain.CodeAccountNotFound, -1},
		{"too much money", stranger.txAt(d, 4, chain.KindTransfer, transfer(poor.addr, fortune+1)), chain.CodeInsufficientBalance, -1},
		{"expired", chain.SignTx(d, stranger.key, chain.TxFields{Kind: chain.KindTransfer, Zone: zone, Nonce: 5, MaxFee: fortune, ValidUntil: 1, Payload: transfer(poor.addr, 1)}), chain.CodeExpired, -1},
		{"fee above the limit", chain.SignTx(d, stranger.key, chain.TxFields{Kind: chain.KindTransfer, Zone: zone, Nonce: 5, MaxFee: 1, Payload: transfer(poor.addr, 1)}), chain.CodeFeeTooLow, -1},
		{"unsorted entries", stranger.txAt(d, 5, chain.KindSettle, batch(func(b *channel.Batch) { slices.Reverse(b.Entries) })), chain.CodeBadOrder, -1},
		{"doubled entry", stranger.txAt(d, 6, chain.KindSettle, batch(func(b *channel.Batch) { b.Entries[1] = b.Entries[0] })), chain.CodeBadOrder, -1},
		{"lane 64", stranger.txAt(d, 7, chain.KindSettle, batch(func(b *channel.Batch) { b.Entries[1].Lane = 64 })), chain.CodeLaneLimit, -1},
		{"entry's signature", stranger.txAt(d, 8, chain.KindSettle, batch(func(b *channel.Batch) { b.Entries[1].Signature[3] ^= 1 })), chain.CodeBadSignature, 1},
		{"all entries stale", stranger.txAt(d, 9, chain.KindSettle, batch(func(b *channel.Batch) { b.Entries = []channel.Entry{l.entry(0, 500)} })), chain.CodeStale, 0},
		{"only an unknown channel", stranger.txAt(d, 10, chain.KindSettle, batch(func(b *channel.Batch) { b.Entries = b.Entries[:1]; b.Entries[0].Index = 1 << 40 })), chain.CodeChannelNotFound, 0},
		{"only another payee's channel", stranger.txAt(d, 11, chain.KindSettle, batch(func(b *channel.Batch) { b.Payee = poor.addr; b.Entries = b.Entries[:1] })), chain.CodeNotPayee, 0},
		{"request close of a stranger", stranger.txAt(d, 12, chain.KindRequestClose, (&channel.RequestClose{Channel: channel.Ref{Index: l.first, ID: l.ids[0]}}).Encode()), chain.CodeNotPayer, -1},
		{"wrong channel id", stranger.txAt(d, 13, chain.KindRequestClose, (&channel.RequestClose{Channel: channel.Ref{Index: l.first, ID: l.ids[1]}}).Encode()), chain.CodeChannelMismatch, -1},
	} {
		_, err := n.exec.Submit(t.Context(), c.raw)
		if code, ok := chain.CodeOf(err); !ok || code != c.want {
			t.Errorf("%s: Submit: %v, want %v", c.name, err, c.want)
		}
		n.force([][]byte{chain.EncodeRecords([][]byte{c.raw})})
		b, err := n.exec.BlockResult(n.height())
		if err != nil {
			t.Fatal(err)
		}
		code := b.Receipts[0].Code
		if c.entry >= 0 {
			if code != chain.CodeOK {
				t.Errorf("%s: in a block the record has code %v", c.name, code)
				continue
			}
			code = b.Receipts[0].Entries[c.entry].Code
		}
		if code != c.want {
			t.Errorf("%s: in a block: %v, want %v", c.name, code, c.want)
		}
	}
	if err := n.exec.Read(func(v chain.View, _ uint64) error {
		_, err := settlement.Audit(v)
		return err
	}); err != nil {
		t.Errorf("the money does not add up: %v", err)
	}
}

// flip returns raw with a bit of one byte changed; at counts from the end if
// negative.
func flip(raw []byte, at int) []byte {
	raw = slices.Clone(raw)
	at = (at + len(raw)) % len(raw)
	raw[at] ^= 1
	return raw
}

func TestProofsOfOldReceiptsVerify(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(2, settlement.LocalParams()), exec.Config{}, true)
	a := accountOf(0)
	var hashes []ledger.Hash
	roots := map[uint64][]byte{}
	for range 5 {
		var records [][]byte
		for range 3 {
			records = append(records, a.transfer(n.exec.Domain(), accountOf(1).addr, 1))
		}
		for _, s := range n.settleAll(records...) {
			hashes = append(hashes, s.Hash)
		}
		height, root := n.exec.Head()
		roots[height] = bytes.Clone(root)
	}
	check := func(n *node) { checkProofs(t, n, hashes, roots) }
	check(n) // the last one is of the head
	reopened := &node{t: t, net: n.net, store: n.store, gen: n.gen}
	reopened.open(exec.Config{})
	check(reopened)
	reopened.force(nil)
	check(reopened)
}

func checkProofs(t *testing.T, n *node, hashes []ledger.Hash, roots map[uint64][]byte) {
	t.Helper()
	schema := n.layer.Schema()
	for _, hash := range hashes {
		p, err := n.exec.Proof(hash)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.VerifyStatement(p.State); err != nil {
			t.Errorf("state proof of %s: %v", hash, err)
		}
		if p.State.Height != p.Height || roots[p.Height] != nil && !bytes.Equal(p.State.Root[:], roots[p.Height]) {
			t.Errorf("%s is of block %d with root %x, the proof of %d with %s", hash, p.Height, roots[p.Height], p.State.Height, p.State.Root)
		}
		if err := merkle.Verify(p.Results.Root, p.Receipt.Leaf(), uint64(p.TxIndex), p.Leaves, p.Path); err != nil {
			t.Errorf("path of %s: %v", hash, err)
		}
	}
}
