package exec_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/merkle"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// anchorsOf are anchors of so many heights of a shard.
func anchorsOf(heights int) []byte {
	r := cert.Run{Chain: shard.FirstID, First: 1, Sets: []cert.SignerSet{{Epoch: 1, Bitmap: []byte{0xff}}}, Heads: make([]cert.Head, heights)}
	return (&anchor.Anchors{Runs: []cert.Run{r}}).Encode()
}

// fromShard is the link on which a shard tells main something.
func fromShard() link.Link { return link.Link{Src: link.Place{Service: 1, Zone: zone}} }

func toShard() link.Link { return fromShard().Reverse() }

func encodedLink() []byte {
	l := toShard()
	return l.Encode()
}

func delivery(leaves ...link.Leaf) []byte {
	return (&settlement.Delivery{Import: link.Import{Shard: shard.FirstID, Height: 1, Range: merkle.Range{Size: uint64(len(leaves))}, Leaves: leaves}}).Encode()
}

// acked is a delivery of an acknowledgement, told of one of a message of so many bytes.
func acked() []byte { return delivery(link.Leaf{Ack: &link.Ack{Link: toShard(), Next: 1}}) }

func told(size int) []byte {
	return delivery(link.Leaf{Message: &link.Message{Link: fromShard(), Kind: 1, Expiry: 1, Payload: make([]byte, size)}})
}

// closes is a batch that closes so many channels.
func closes(payee *account, d chain.Domain, count int) []byte {
	b := channel.Batch{Payee: payee.addr}
	for i := range count {
		b.Entries = append(b.Entries, channel.Entry{Index: uint64(i), Close: true})
	}
	return payee.tx(d, chain.KindSettle, b.Encode())
}

// has reports whether bundle is one of list.
func has(list [][]byte, bundle []byte) bool {
	return slices.ContainsFunc(list, func(b []byte) bool { return bytes.Equal(b, bundle) })
}

// TestProposalsLeaveAThirdToShards: what shards wait for is in the block although users
// pay more, and has a third of it at most while they wait.
func TestProposalsLeaveAThirdToShards(t *testing.T) {
	t.Parallel()
	params := settlement.LocalParams()
	params.MaxBlockBytes = chain.MaxBundleSize
	weights := params.MaxBlockWeight()
	for _, row := range []struct {
		name     string
		maxBytes int64 // of the block
		kind     chain.Kind
		payload  []byte
		heavy    bool // the block is full by weight
	}{
		{"anchors", 48 << 10, chain.KindAnchor, anchorsOf(2), false},
		{"deliveries", 48 << 10, chain.KindImport, told(2 << 10), false},
		{"relists, by weight", unlimited, chain.KindRelist, encodedLink(), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, &network{}, genesisOf(64, params), exec.Config{}, true)
			d := n.exec.Domain()
			l := n.openLot(accountOf(0), accountOf(1), 60, 1_000_000)
			n = newPeer(n)
			var users, shards [][]byte
			for i := range 60 {
				if row.heavy {
					users = append(users, n.bundleOf(closes(accountOf(2+i), d, 40)))
					continue
				}
				users = append(users, n.bundleOf(l.settle(i, i+1, 1_000)))
				payer := accountOf(2 + i)
				for range 16 {
					users = append(users, n.bundleOf(payer.transfer(d, addrOf(0), 1)))
				}
			}
			full := func(txs [][]byte) bool {
				size, weight := int64(0), weightOf(t, d, txs)
				for _, b := range txs {
					size += int64(len(b) + 6)
				}
				if size > row.maxBytes || weight > weights {
					t.Fatalf("a proposal of %d bytes and weight %d", size, weight)
				}
				return size > row.maxBytes-4_096 || weight > weights-weights/10
			}
			before := n.exec.Propose(n.height()+1, row.maxBytes, nil)
			if !full(before) {
				t.Error("users do not fill a block")
			}
			carrier := accountOf(63)
			for range 40 {
				shards = append(shards, n.bundleOf(carrier.tx(d, row.kind, row.payload)))
			}
			got := n.exec.Propose(n.height()+1, row.maxBytes, nil)
			var taken [][]byte
			size := int64(0)
			for _, b := range got {
				if has(shards, b) {
					taken, size = append(taken, b), size+int64(len(b)+6)
				}
			}
			weight, one := weightOf(t, d, taken), weightOf(t, d, shards[:1])
			if size > row.maxBytes/3 || weight > weights/3 {
				t.Errorf("%d bytes and a weight of %d are for shards: more than a third", size, weight)
			}
			if size+int64(len(shards[0])+6) <= row.maxBytes/3 && weight+one <= weights/3 {
				t.Errorf("%d of %d are in the block: there is room for another", len(taken), len(shards))
			}
			if !full(got) || !slices.EqualFunc(got[:len(taken)], taken, bytes.Equal) {
				t.Errorf("%d for shards are not the first of %d, or the block is not full", len(taken), len(got))
			}
			for _, b := range got[len(taken):] {
				if !has(users, b) || !has(before, b) {
					t.Error("users' records are not those that pay most")
				}
			}
		})
	}
}

// newPeer returns a node with the chain of n that runs no bundler.
func newPeer(n *node) *node {
	n.t.Helper()
	peer := newNode(n.t, &network{}, n.gen, exec.Config{}, false)
	for _, txs := range n.net.blocks {
		peer.force(txs)
	}
	return peer
}

// TestProposalsHaveClassesInOrder: what brings or frees something comes before what may use
// it, and a stranger cannot hold it up by bundling it with his own.
func TestProposalsHaveClassesInOrder(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(8, settlement.LocalParams()), exec.Config{}, false)
	d := n.exec.Domain()
	held := accountOf(4).tx(d, chain.KindAnchor, anchorsOf(1))
	user := n.bundleOf(accountOf(0).transfer(d, addrOf(1), 1))
	inbound := n.bundleOf(accountOf(1).tx(d, chain.KindImport, told(10)))
	stranger := accountOf(5).transfer(d, addrOf(1), 1)
	n.bundleOf(stranger, held)
	evidence := n.bundleOf(held)
	back := n.bundleOf(accountOf(3).tx(d, chain.KindImport, acked()))
	want := [][]byte{back, evidence, inbound, chain.EncodeRecords([][]byte{stranger}), user}
	got := n.propose()
	if len(got) != len(want) || !slices.EqualFunc(got[:3], want[:3], bytes.Equal) || !has(got, want[3]) || !has(got, user) {
		t.Errorf("proposed %v, want what comes back, anchors, what comes in, and users' records", names(got, want))
	}
}

// TestAFullPoolTakesWhatShardsWaitFor, and keeps half of its reserve from it.
func TestAFullPoolTakesWhatShardsWaitFor(t *testing.T) {
	t.Parallel()
	const places = 32
	n := newNode(t, &network{}, genesisOf(64, settlement.LocalParams()), exec.Config{PoolBundles: places, PendingRecords: places}, false)
	d := n.exec.Domain()
	fill := func(what string, want int, next func(i int) []byte) {
		t.Helper()
		taken := 0
		for i := range places {
			switch err := n.receive(chain.EncodeRecords([][]byte{next(i)})); {
			case err == nil:
				taken++
			case !errors.Is(err, exec.ErrPoolFull):
				t.Fatalf("Check of %s: %v", what, err)
			}
		}
		if taken != want {
			t.Errorf("%d of %s were taken, want %d", taken, what, want)
		}
	}
	pays := func(amount ledger.Amount) func(int) []byte {
		return func(i int) []byte { return accountOf(i).transfer(d, addrOf(0), amount) }
	}
	fill("users' records", places*3/4, pays(1))
	fill("anchors", places/8, func(i int) []byte { return accountOf(32+i).tx(d, chain.KindAnchor, anchorsOf(1)) })
	fill("more users' records", 0, pays(2))
}

// TestSubmitTakesWhatShardsWaitFor: a node full of users' records looks at anchors.
func TestSubmitTakesWhatShardsWaitFor(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(64, settlement.LocalParams()), exec.Config{PoolBundles: 32, PendingRecords: 32}, true)
	d := n.exec.Domain()
	for i := range 24 {
		n.submit(accountOf(i).transfer(d, addrOf(0), 1))
	}
	if _, err := n.exec.Submit(t.Context(), accountOf(30).transfer(d, addrOf(0), 1)); !errors.Is(err, exec.ErrPoolFull) {
		t.Errorf("Submit of one transfer more: %v", err)
	}
	// Nothing is founded here, so the refusal is of the rules: they were asked.
	if _, err := n.exec.Submit(t.Context(), accountOf(31).tx(d, chain.KindAnchor, anchorsOf(1))); err == nil || errors.Is(err, exec.ErrPoolFull) {
		t.Errorf("Submit of anchors: %v", err)
	}
}

// TestALargeRecordForAShard: one that is more than the third of the block by itself is in
// the block although users pay more, once it is the first that came, and not before.
func TestALargeRecordForAShard(t *testing.T) {
	t.Parallel()
	params := settlement.LocalParams()
	params.MaxBlockBytes = chain.MaxBundleSize
	const block = 48 << 10
	for _, first := range []bool{true, false} {
		n := newNode(t, &network{}, genesisOf(64, params), exec.Config{}, true)
		d := n.exec.Domain()
		l := n.openLot(accountOf(0), accountOf(1), 60, 1_000_000)
		n = newPeer(n)
		carrier := accountOf(63)
		if !first {
			n.bundleOf(carrier.tx(d, chain.KindAnchor, anchorsOf(2)))
		}
		large := n.bundleOf(carrier.tx(d, chain.KindImport, told(block/2)))
		for i := range 60 {
			n.bundleOf(l.settle(i, i+1, 1_000))
			for range 16 {
				n.bundleOf(accountOf(2+i).transfer(d, addrOf(0), 1))
			}
		}
		for range 20 {
			n.bundleOf(carrier.tx(d, chain.KindAnchor, anchorsOf(2)))
		}
		if got := has(n.exec.Propose(n.height()+1, block, nil), large); got != first {
			t.Errorf("it came first is %t, and it is in the block %t", first, got)
		}
	}
}
