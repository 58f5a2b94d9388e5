package exec_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// tally counts the receipts of the last block that have an effect, and others.
func (n *node) tally() (ok, dead int) {
	n.t.Helper()
	block, err := n.exec.BlockResult(n.height())
	if err != nil {
		n.t.Fatal(err)
	}
	for i := range block.Receipts {
		if block.Receipts[i].Fee > 0 {
			ok++
		} else {
			dead++
		}
	}
	return ok, dead
}

// TestOthersRecordsFillNoBlock: whoever adds one record of his own to 255 that
// are pending gets a place for that one.
func TestOthersRecordsFillNoBlock(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(6, settlement.LocalParams()), exec.Config{}, false)
	d := n.exec.Domain()
	victim, attacker := accountOf(0), accountOf(1)
	var theirs [][]byte
	for range 255 {
		theirs = append(theirs, victim.transfer(d, addrOf(2), 1))
	}
	n.bundleOf(theirs...)
	for i := range 20 {
		stuffed := chain.EncodeRecords(append(theirs[:255:255], attacker.transfer(d, attacker.addr, 1)))
		if err := n.receive(stuffed); !errors.Is(err, chain.CodeDuplicate.Err()) {
			t.Fatalf("bundle %d: %v, want DUPLICATE", i, err)
		}
	}
	half := append(theirs[:128:128], make([][]byte, 128)...)
	for i := range 128 {
		half[128+i] = attacker.transfer(d, attacker.addr, 1)
	}
	n.bundleOf(half...)
	n.step()
	if ok, dead := n.tally(); ok != 255+20+128 || dead != 0 {
		t.Errorf("%d records had an effect and %d had none, want %d and 0", ok, dead, 255+20+128)
	}
	if s := n.exec.Stats(); s.PoolBundles != 0 {
		t.Errorf("%d bundles of %d records are left", s.PoolBundles, s.PoolRecords)
	}
}

// TestExecutedRecordsAreNotProposedAgain: of a bundle whose records came into a
// block by another, only the rest is proposed.
func TestExecutedRecordsAreNotProposedAgain(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(3, settlement.LocalParams()), exec.Config{}, false)
	d := n.exec.Domain()
	var records [][]byte
	for range 8 {
		records = append(records, accountOf(0).txAt(d, uint64(len(records)), chain.KindTransfer, transfer(addrOf(1), 1)))
	}
	n.bundleOf(records...)
	n.force([][]byte{chain.EncodeRecords(records[:7])})
	n.step()
	if ok, dead := n.tally(); ok != 1 || dead != 0 {
		t.Errorf("%d records had an effect and %d had none, want 1 and 0", ok, dead)
	}
	if s := n.exec.Stats(); s.PoolBundles != 0 {
		t.Errorf("%d bundles are left", s.PoolBundles)
	}
}

// TestARecordHasOneTurn: one that a block took to no effect is not proposed again,
// though the block did not have its bundle as a whole.
func TestARecordHasOneTurn(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(3, settlement.LocalParams()), exec.Config{}, false)
	d := n.exec.Domain()
	rich, poor := accountOf(0), accountOf(9)
	n.force([][]byte{chain.EncodeRecords([][]byte{rich.transfer(d, poor.addr, 100)})})
	paid, unpaid := rich.transfer(d, addrOf(1), 1), poor.transfer(d, addrOf(1), 1)
	n.bundleOf(paid, unpaid)
	n.force([][]byte{chain.EncodeRecords([][]byte{paid, poor.transfer(d, addrOf(1), 75)})}) // which leaves less than a fee
	n.step()
	if ok, dead := n.tally(); ok != 0 || dead != 1 {
		t.Fatalf("%d records had an effect and %d had none, want 0 and 1", ok, dead)
	}
	if s := n.exec.Stats(); s.PoolBundles != 0 || len(n.propose()) != 0 {
		t.Errorf("%d bundles are left", s.PoolBundles)
	}
}

// TestABundleCannotRepeatItself: neither a record, nor a nonce, nor money.
func TestABundleCannotRepeatItself(t *testing.T) {
	t.Parallel()
	gen := genesisOf(3, settlement.LocalParams())
	fee := ledger.Amount(0)
	one := accountOf(2).txAt(chain.Domain{Network: gen.Hash(), Chain: ledger.MainChain}, 0, chain.KindTransfer, transfer(addrOf(0), 1))
	if tx, err := chain.DecodeTx(chain.Domain{Network: gen.Hash(), Chain: ledger.MainChain}, one); err != nil {
		t.Fatal(err)
	} else {
		fee = settlement.Fee(gen.Params, &tx)
	}
	gen.Accounts[2].Balance = fee
	n := newNode(t, &network{}, gen, exec.Config{}, false)
	d := n.exec.Domain()
	var same, rivals, broke [][]byte
	same = append(same, accountOf(0).txAt(d, 0, chain.KindTransfer, transfer(addrOf(1), 1)))
	same = append(same, same[0], same[0])
	for i := range 3 {
		rivals = append(rivals, accountOf(1).txAt(d, 0, chain.KindTransfer, transfer(addrOf(0), ledger.Amount(i+1))))
		broke = append(broke, accountOf(2).txAt(d, uint64(i), chain.KindTransfer, transfer(addrOf(0), 1)))
	}
	for _, c := range []struct {
		name    string
		records [][]byte
		want    chain.Code
	}{
		{"a record", same, chain.CodeNonceUsed},
		{"a nonce", rivals, chain.CodeNonceUsed},
		{"the money for one fee", broke, chain.CodeInsufficientBalance},
	} {
		if err := n.exec.Check(chain.EncodeRecords(c.records), false); !errors.Is(err, c.want.Err()) {
			t.Errorf("%s three times: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestARecordInManyBundlesOwesOneFee: others cannot use up an account's credit
// by sending its record again.
func TestARecordInManyBundlesOwesOneFee(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(4, settlement.LocalParams()), exec.Config{}, false)
	d := n.exec.Domain()
	rich, poor := accountOf(0), accountOf(9)
	n.force([][]byte{chain.EncodeRecords([][]byte{rich.transfer(d, poor.addr, 100)})})
	victim := poor.transfer(d, rich.addr, 1)
	for range 12 {
		n.bundleOf(victim, rich.transfer(d, rich.addr, 1))
	}
	n.bundleOf(poor.transfer(d, rich.addr, 1))
	n.step()
	if ok, dead := n.tally(); ok != 14 || dead != 0 {
		t.Errorf("%d records had an effect and %d had none, want 14 and 0", ok, dead)
	}
	// Nothing is owed any more.
	n.bundleOf(poor.transfer(d, rich.addr, 1))
}

// TestAnUrgentRecordLeavesASlowBundle: a stranger cannot keep a record out of the
// reserved lane by bundling it with others first.
func TestAnUrgentRecordLeavesASlowBundle(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(4, settlement.LocalParams()), exec.Config{}, true)
	l := n.openLot(accountOf(0), accountOf(1), 1, 1_000_000)
	n.settleAll(l.payer.tx(l.domain, chain.KindRequestClose, (&channel.RequestClose{Channel: channel.Ref{Index: l.first, ID: l.ids[0]}}).Encode()))
	peer := newNode(t, &network{}, n.gen, exec.Config{}, false)
	for _, txs := range n.net.blocks {
		peer.force(txs)
	}
	d := peer.exec.Domain()
	urgent, slow := l.settle(0, 1, 1_000), accountOf(2).transfer(d, addrOf(0), 1)
	peer.bundleOf(slow, urgent)
	peer.bundleOf(urgent)
	if got, want := peer.propose(), [][]byte{chain.EncodeRecords([][]byte{urgent}), chain.EncodeRecords([][]byte{slow})}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("proposed %v, want the urgent record first and each once", names(got, want))
	}
}

// TestEveryRecordIsIncluded: whatever reaches one validator comes into a block
// although bundles get lost on the way, come twice, and strangers pack the
// records of others anew; and no block has records without effect.
func TestEveryRecordIsIncluded(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			testInclusion(t, rand.New(rand.NewPCG(seed, 1)))
		})
	}
}

func testInclusion(t *testing.T, rng *rand.Rand) {
	t.Helper()
	const nodes, users, rounds = 4, 6, 12
	net := &network{}
	for range nodes {
		newNode(t, net, genesisOf(users+1, settlement.LocalParams()), exec.Config{}, false)
	}
	d := net.nodes[0].exec.Domain()
	signers := make([]*account, users+1)
	for i := range signers {
		signers[i] = accountOf(i)
	}
	attacker := signers[users]
	var gossip [][]byte // all records of users so far
	send := func(records [][]byte) {
		bundle := chain.EncodeRecords(records)
		for _, i := range rng.Perm(nodes)[:1+rng.IntN(nodes)] {
			_ = net.nodes[i].receive(bundle)
		}
	}
	some := func(of [][]byte, n int) (records [][]byte) {
		for _, i := range rng.Perm(len(of))[:min(n, len(of))] {
			records = append(records, of[i])
		}
		return records
	}
	block := func(i int) {
		n := net.nodes[i%nodes]
		n.mu.Lock()
		txs := n.exec.Propose(n.height()+1, 12_000, n.mempool)
		n.mu.Unlock()
		if net.apply(t, txs); len(txs) == 0 {
			return
		}
		if ok, dead := n.tally(); 2*dead >= ok+dead {
			t.Fatalf("block %d: %d records had an effect, %d had none", n.height(), ok, dead)
		}
	}
	for round := range rounds {
		old := len(gossip)
		for range 1 + rng.IntN(4) {
			var fresh [][]byte
			for range 1 + rng.IntN(12) {
				fresh = append(fresh, signers[rng.IntN(users)].transfer(d, addrOf(rng.IntN(users)), 1))
			}
			// One validator takes it, perhaps with others that it has already; who
			// else does is chance.
			mixed := append(some(gossip[old:], rng.IntN(30)), fresh...)
			if err := net.nodes[rng.IntN(nodes)].receive(chain.EncodeRecords(mixed)); err != nil && !errors.Is(err, chain.CodeDuplicate.Err()) {
				t.Fatalf("a validator refuses new records: %v", err)
			}
			gossip = append(gossip, fresh...)
			if rng.IntN(2) == 0 {
				send(fresh)
			}
			if half := some(fresh, len(fresh)/2); len(half) > 0 {
				send(half) // sent again
			}
		}
		for range rng.IntN(8) {
			records := some(gossip[max(0, len(gossip)-40):], rng.IntN(30))
			for range 1 + rng.IntN(3) {
				records = append(records, attacker.transfer(d, attacker.addr, 1))
			}
			rng.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
			send(records)
		}
		block(round)
	}
	for i := range 3 * nodes {
		block(rounds + i)
	}
	for i, raw := range gossip {
		s, err := net.nodes[0].exec.Status(chain.TxHash(raw))
		if err != nil || s.Stage != exec.StageFinal || s.Receipt.Code != chain.CodeOK {
			t.Fatalf("record %d of %d: %+v", i, len(gossip), s)
		}
	}
	for i, n := range net.nodes {
		if s := n.exec.Stats(); s.PoolRecords != 0 {
			t.Errorf("node %d has %d records left", i, s.PoolRecords)
		}
	}
}

// TestTheRestOfABundleIsSentOn: what is new in a refused bundle reaches the peers.
func TestTheRestOfABundleIsSentOn(t *testing.T) {
	t.Parallel()
	net := &network{}
	gen := genesisOf(2, settlement.LocalParams())
	n, peer := newNode(t, net, gen, exec.Config{}, true), newNode(t, net, gen, exec.Config{}, false)
	d := n.exec.Domain()
	a, b, c := accountOf(0).transfer(d, addrOf(1), 1), accountOf(0).txAt(d, 1, chain.KindTransfer, transfer(addrOf(1), 2)), accountOf(1).transfer(d, addrOf(0), 1)
	n.bundleOf(a, b)
	if err := n.receive(chain.EncodeRecords([][]byte{a, b, c})); !errors.Is(err, chain.CodeDuplicate.Err()) {
		t.Fatalf("a bundle most of which is pending: %v", err)
	}
	peer.await()
	if got := peer.propose(); len(got) != 1 || string(got[0]) != string(chain.EncodeRecords([][]byte{c})) {
		t.Errorf("the peer proposes %d bundles, want the one of the new record", len(got))
	}
}
