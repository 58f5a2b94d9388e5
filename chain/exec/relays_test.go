package exec_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/shard/link"
)

func relayBundle(stream byte, n uint64) []byte { return chain.EncodeRelay(carried(stream, n)) }

// Relays wait in the order in which they came, each tried after those before it.
func TestRelaysWaitInOrder(t *testing.T) {
	t.Parallel()
	n := newTallyNode(t, exec.Config{})
	for _, row := range []struct {
		name   string
		stream byte
		number uint64
		want   chain.Code
	}{
		{"first", 'a', 0, chain.CodeOK},
		{"the same again", 'a', 0, chain.CodeOK},
		{"after what waits", 'a', 1, chain.CodeOK},
		{"a gap", 'a', 3, chain.CodeLinkGap},
		{"another stream", 'b', 0, chain.CodeOK},
	} {
		err := n.exec.Check(relayBundle(row.stream, row.number), false)
		if code, _ := chain.CodeOf(err); code != row.want {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
	}
	if err := n.exec.Check(chain.EncodeRelay([]byte("no relay")), false); !errors.Is(err, chain.CodeMalformed.Err()) {
		t.Errorf("a malformed relay: %v", err)
	}
	want := [][]byte{relayBundle('a', 0), relayBundle('a', 1), relayBundle('b', 0)}
	block := n.exec.Propose(1, 1<<20, nil)
	if !slices.EqualFunc(block, want, bytes.Equal) {
		t.Fatalf("proposed %x, want %x", block, want)
	}
	if s := n.exec.Stats(); s.Relays != 3 {
		t.Errorf("%d relays wait, want 3", s.Relays)
	}
	// A block of somebody else brings one of them, and a relay that makes another stale.
	n.agree(relayBundle('b', 0), relayBundle('a', 0))
	for _, row := range []struct {
		raw  []byte
		want bool
	}{{relayBundle('a', 1), true}, {relayBundle('a', 0), false}, {relayBundle('b', 0), false}} {
		if err := n.exec.Check(row.raw, true); (err == nil) != row.want {
			t.Errorf("recheck of %x: %v", row.raw, err)
		}
	}
	n.agree(relayBundle('a', 1))
	if s := n.exec.Stats(); s.Relays != 0 || s.RelayBytes != 0 {
		t.Errorf("%d relays wait, %d bytes, want none", s.Relays, s.RelayBytes)
	}
	b, err := n.exec.Committed(1)
	if err != nil || b.Relays != 2 || len(b.Receipts) != 0 || b.UsageRoot.IsZero() {
		t.Errorf("block 1: %+v, %v", b, err)
	}
}

// What a block made useless is dropped when the lane is used next.
func TestStaleRelaysAreDropped(t *testing.T) {
	t.Parallel()
	n := newTallyNode(t, exec.Config{})
	for i := range uint64(4) {
		if err := n.exec.Check(relayBundle('a', i), false); err != nil {
			t.Fatal(err)
		}
	}
	other := chain.EncodeRelay(carried('a', 0)) // the same bytes: they leave, the others stay
	n.agree(other, relayBundle('a', 1))
	if got := n.exec.Propose(2, 1<<20, nil); len(got) != 2 {
		t.Errorf("proposed %x, want the two that are left", got)
	}
	// A gap before them makes both stale.
	n2 := newTallyNode(t, exec.Config{})
	for _, raw := range [][]byte{relayBundle('a', 0), relayBundle('a', 1)} {
		if err := n2.exec.Check(raw, false); err != nil {
			t.Fatal(err)
		}
	}
	for range exec.RelayAge {
		n2.agree()
	}
	if got := n2.exec.Propose(n2.height()+1, 1<<20, nil); got != nil {
		t.Errorf("proposed %x, which waited for too long", got)
	}
	if s := n2.exec.Stats(); s.RelaysDropped != 2 {
		t.Errorf("%d relays dropped, want 2", s.RelaysDropped)
	}
}

// A block that does not apply is not voted for, and not proposed again in its height.
func TestStrictBlocks(t *testing.T) {
	t.Parallel()
	n := newTallyNode(t, exec.Config{})
	a := accountOf(0)
	for _, row := range []struct { //nolint:paralleltest // the node they share goes on after them
		name string
		txs  [][]byte
		want bool
	}{
		{"empty", nil, true},
		{"relays and records", [][]byte{relayBundle('a', 0), n.record(a)}, true},
		{"a gap", [][]byte{relayBundle('a', 1)}, false},
		{"a repeat", [][]byte{relayBundle('a', 0), relayBundle('b', 0), relayBundle('a', 0)}, false},
		{"relays after records", [][]byte{n.record(a), relayBundle('a', 0)}, false},
		{"no relay", [][]byte{chain.EncodeRelay([]byte("no relay"))}, false},
		{"a relay of nothing", [][]byte{{0xB4}}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := n.exec.Accept(n.blockWith(row.txs...)); (err == nil) != row.want {
				t.Errorf("Accept: %v", err)
			}
		})
	}
	wrong := n.blockWith()
	wrong.Height = 5
	if err := n.exec.Accept(wrong); err == nil {
		t.Error("a block above the next is accepted, which cannot be known to apply")
	}

	// A good relay in a bad block is left out of what this node proposes next, and comes
	// back with the next height.
	if err := n.exec.Check(relayBundle('a', 0), false); err != nil {
		t.Fatal(err)
	}
	if err := n.exec.Accept(n.blockWith(relayBundle('a', 0), relayBundle('b', 7))); err == nil {
		t.Fatal("a gap is accepted")
	}
	if got := n.exec.Propose(1, 1<<20, nil); got != nil {
		t.Errorf("proposed %x after the block with it did not apply", got)
	}
	n.agree()
	if got := n.exec.Propose(2, 1<<20, nil); len(got) != 1 {
		t.Errorf("proposed %x, want the relay", got)
	}
	// Nothing of the bad blocks halted anything; agreed on, one does.
	if _, err := n.exec.Finalize(n.blockWith(relayBundle('a', 3))); err == nil || n.exec.HaltError() == nil {
		t.Error("an agreed block that does not apply does not halt the chain")
	}
}

// A chain that is full takes relays and no records.
func TestFullChainTakesNoRecords(t *testing.T) {
	t.Parallel()
	n := newTallyNode(t, exec.Config{})
	a := accountOf(0)
	if err := n.exec.Check(n.record(a), false); err != nil {
		t.Fatal(err)
	}
	n.agree(relayBundle('f', 0))
	if err := n.exec.Check(n.record(a), false); !errors.Is(err, chain.CodeNotDue.Err()) {
		t.Errorf("a full chain takes a record: %v", err)
	}
	if err := n.exec.Check(relayBundle('f', 1), false); err != nil {
		t.Fatal(err)
	}
	block := n.exec.Propose(2, 1<<20, nil)
	if len(block) != 1 || !chain.IsRelay(block[0]) {
		t.Fatalf("proposed %x, want the relay only", block)
	}
	if err := n.exec.Accept(n.blockWith(n.record(a))); !errors.Is(err, chain.CodeNotDue.Err()) {
		t.Errorf("a full chain accepts a block with a record: %v", err)
	}
	n.agree(block...)
	if block = n.exec.Propose(3, 1<<20, nil); len(block) != 1 || chain.IsRelay(block[0]) {
		t.Errorf("proposed %x, want the record that waited", block)
	}
	n.agree(block...)
}

// Relays that a node submits reach consensus, one by one and once each.
func TestSubmitRelay(t *testing.T) {
	t.Parallel()
	n := newTallyNode(t, exec.Config{})
	if err := n.exec.SubmitRelay(t.Context(), carried('a', 0)); !errors.Is(err, exec.ErrNotRunning) {
		t.Errorf("before Run: %v", err)
	}
	sent := make(chan []byte, 10)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.exec.Run(ctx, func(b []byte) error { sent <- b; return n.exec.Check(b, false) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for errors.Is(n.exec.SubmitRelay(ctx, carried('a', 0)), exec.ErrNotRunning) {
	}
	for _, row := range []struct {
		payload []byte
		want    chain.Code
	}{
		{carried('a', 0), chain.CodeOK}, // again
		{carried('a', 1), chain.CodeOK},
		{carried('a', 5), chain.CodeLinkGap},
		{nil, chain.CodeMalformed},
		{make([]byte, chain.MaxTxSize+1), chain.CodeMalformed},
	} {
		err := n.exec.SubmitRelay(ctx, row.payload)
		if code, _ := chain.CodeOf(err); code != row.want {
			t.Errorf("SubmitRelay(%.10x): %v, want %v", row.payload, err, row.want)
		}
	}
	for i := range uint64(2) {
		select {
		case b := <-sent:
			if !bytes.Equal(b, relayBundle('a', i)) {
				t.Errorf("sent %x, want relay %d", b, i)
			}
		case <-time.After(hangs):
			t.Fatal("nothing is sent")
		}
	}
	n.agree(relayBundle('a', 0), relayBundle('a', 1))
	if err := n.exec.SubmitRelay(ctx, carried('a', 1)); !errors.Is(err, chain.CodeLinkRepeat.Err()) {
		t.Errorf("a relay that is in a block: %v", err)
	}
	if len(sent) > 0 {
		t.Errorf("sent %x as well", <-sent)
	}
}

// The lane is bounded, and a lane that is full says when to come again.
func TestRelayLaneIsBounded(t *testing.T) {
	t.Parallel()
	n := newTallyNode(t, exec.Config{})
	var err error
	taken := uint64(0)
	for err == nil && taken < 10_000 {
		if err = n.exec.Check(relayBundle('a', taken), false); err == nil {
			taken++
		}
	}
	busy, ok := errors.AsType[*exec.BusyError](err)
	if !ok || busy.RetryAfter <= 0 || taken == 0 {
		t.Fatalf("after %d relays: %v", taken, err)
	}
	n.agree(relayBundle('a', 0))
	if err := n.exec.Check(relayBundle('a', taken), false); err != nil {
		t.Errorf("after a block took one: %v", err)
	}
}

// The main chain takes no relays, and a block with one is refused.
func TestMainTakesNoRelays(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(1, settlement.LocalParams()), exec.Config{}, true)
	raw := relayBundle('a', 0)
	if err := n.exec.Check(raw, false); !errors.Is(err, chain.CodeMalformed.Err()) {
		t.Errorf("Check: %v", err)
	}
	if err := n.exec.SubmitRelay(t.Context(), carried('a', 0)); !errors.Is(err, chain.CodeInvalidValue.Err()) {
		t.Errorf("SubmitRelay: %v", err)
	}
	if err := n.exec.Accept(blockAt(&n.gen, 1, [][]byte{raw})); !errors.Is(err, chain.CodeMalformed.Err()) {
		t.Errorf("Accept: %v", err)
	}
	if out := n.force([][]byte{raw}); out.Results[0].Code != uint32(chain.CodeMalformed) {
		t.Errorf("a relay in a block has code %d", out.Results[0].Code)
	}
}

// The outbox of a block can be read while its receipts can, after a restart too.
func TestOutbox(t *testing.T) {
	t.Parallel()
	n := newTallyNode(t, exec.Config{KeepReceipts: 3, RecentBlocks: 1})
	a := accountOf(0)
	n.agree(n.record(a), n.record(a))
	n.agree()
	n.agree(n.record(a))
	check := func(height uint64, leaves int) {
		t.Helper()
		box, err := n.exec.Outbox(height)
		if err != nil || len(box.Leaves()) != leaves {
			t.Fatalf("outbox of block %d: %v", height, err)
		}
		b, err := n.exec.Committed(height)
		if err != nil || b.OutboxRoot != box.Root() || b.Outbox != leaves {
			t.Errorf("block %d: %+v, %v, its outbox has root %s", height, b, err, box.Root())
		}
		if leaves == 0 {
			return
		}
		if in, err := box.Import(tallyChain, height, 0, leaves); err != nil || in.Leaves[0].Message == nil {
			t.Errorf("import of block %d: %v", height, err)
		}
	}
	for range 2 {
		check(1, 2)
		check(2, 0)
		check(3, 1)
		n.open()
	}
	if _, err := n.exec.Outbox(4); !errors.Is(err, exec.ErrPruned) {
		t.Errorf("outbox of a block that is not there: %v", err)
	}
	n.agree()
	for more := true; more; {
		var err error
		if more, err = n.exec.PruneIndex(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.exec.Outbox(1); !errors.Is(err, exec.ErrPruned) {
		t.Errorf("outbox of a block that was removed: %v", err)
	}
	check(3, 1)
}

func FuzzDecodeOutbox(f *testing.F) {
	box, err := link.OutboxOf([]link.Leaf{{Ack: &link.Ack{Link: link.Link{Dst: link.Place{Service: 1}}, Next: 3}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(exec.EncodeOutbox(box))
	f.Add([]byte{0, 0, 0, 1, 2})
	f.Fuzz(func(t *testing.T, raw []byte) {
		box, err := exec.DecodeOutbox(raw)
		if err != nil {
			return
		}
		if again := exec.EncodeOutbox(box); !bytes.Equal(again, raw) {
			t.Errorf("%x encodes back to %x", raw, again)
		}
	})
}
