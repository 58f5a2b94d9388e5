package exec_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// verified returns how many signatures f makes each node verify.
func verified(nodes []*node, f func()) []uint64 {
	before := make([]uint64, len(nodes))
	for i, n := range nodes {
		before[i] = n.exec.Stats().SignaturesVerified
	}
	f()
	for i, n := range nodes {
		before[i] = n.exec.Stats().SignaturesVerified - before[i]
	}
	return before
}

func TestEachSignatureIsVerifiedOncePerNode(t *testing.T) {
	t.Parallel()
	gen := genesisOf(4, settlement.LocalParams())
	net := &network{}
	submitter := newNode(t, net, gen, exec.Config{}, true)
	peer := newNode(t, net, gen, exec.Config{}, false)
	deaf := newNode(t, &network{}, gen, exec.Config{}, false) // hears proposals only
	late := newNode(t, &network{}, gen, exec.Config{}, false) // gets agreed blocks only
	nodes := []*node{submitter, peer, deaf, late}

	apply := func(txs [][]byte) {
		t.Helper()
		net.apply(t, txs)
		if err := deaf.exec.Accept(exec.Block{Height: deaf.height() + 1, Txs: txs}); err != nil {
			t.Fatal(err)
		}
		deaf.force(txs)
		late.force(txs)
	}
	const entries = 500
	opened := submitter.openLot(accountOf(0), accountOf(1), entries, 1_000_000)
	for _, txs := range net.blocks {
		deaf.force(txs)
		late.force(txs)
	}

	for _, c := range []struct {
		name    string
		records [][]byte
		want    uint64
	}{
		{"batch", [][]byte{opened.settle(0, entries, 1_000)}, entries + 1},
		{"two batches", [][]byte{opened.settle(0, 250, 1_000), opened.settle(250, 500, 1_000)}, entries + 2},
		{"stale batch with one new entry", [][]byte{func() []byte {
			b := opened.batch(0, 100, 0)
			b.Entries[7] = opened.entry(7, opened.paid[7]+1)
			return opened.payee.tx(opened.domain, chain.KindSettle, b.Encode())
		}()}, 2},
		{"transfer", [][]byte{accountOf(2).transfer(opened.domain, keyOf(3).Address(zone), 5)}, 1},
	} {
		got := verified(nodes, func() {
			for _, raw := range c.records {
				submitter.submit(raw)
				submitter.submit(raw) // a repeat costs nothing
				if _, err := submitter.exec.Simulate(t.Context(), raw); err == nil {
					t.Errorf("%s: Simulate of a pending record succeeds", c.name)
				}
			}
			for submitter.exec.Stats().PoolRecords < len(c.records) {
				<-submitter.arrived
			}
			apply(submitter.propose())
		})
		if want := slices.Repeat([]uint64{c.want}, len(nodes)); !slices.Equal(got, want) {
			t.Errorf("%s: verified %d signatures (submitter, peer, by proposal, by block), want %d", c.name, got, want)
		}
	}
}

func TestStaleEntriesCostNoSignatureWork(t *testing.T) {
	t.Parallel()
	const entries = 9_000
	n := newNode(t, &network{}, genesisOf(2, settlement.LocalParams()), exec.Config{}, true)
	l := n.openLot(accountOf(0), accountOf(1), entries, 1_000_000)
	if s := n.settleAll(l.settle(0, entries, 1_000))[0]; s.Receipt.Code != chain.CodeOK {
		t.Fatalf("first batch: %v", s.Receipt.Code)
	}
	again := l.settle(0, entries, 0) // the same vouchers

	got := verified([]*node{n}, func() {
		_, err := n.exec.Submit(t.Context(), again)
		if code := codeOf(t, err); code != chain.CodeStale {
			t.Errorf("Submit: code %v, want %v", code, chain.CodeStale)
		}
	})
	if got[0] != 0 {
		t.Errorf("Submit verified %d signatures, want 0", got[0])
	}
	got = verified([]*node{n}, func() { n.force([][]byte{chain.EncodeRecords([][]byte{again})}) })
	if got[0] != 1 {
		t.Errorf("a block with it verified %d signatures, want the submitter's", got[0])
	}
	s, _ := n.exec.Status(hashOf(t, l.domain, again))
	if s.Receipt == nil || slices.ContainsFunc(s.Receipt.Entries, func(e settlement.EntryResult) bool { return e.Code != chain.CodeStale }) {
		t.Errorf("the block's receipt does not say that all entries are stale: %+v", s)
	}
}

func TestOneBadSignatureAmongNineThousandIsNamed(t *testing.T) {
	t.Parallel()
	const entries, wrong = 9_000, 6_543
	net := &network{}
	n := newNode(t, net, genesisOf(2, settlement.LocalParams()), exec.Config{}, true)
	l := n.openLot(accountOf(0), accountOf(1), entries, 1_000_000)
	b := l.batch(0, entries, 1_000)
	b.Entries[wrong].Signature[40] ^= 1
	sent := net.broadcasts()
	_, err := n.exec.Submit(t.Context(), l.payee.tx(l.domain, chain.KindSettle, b.Encode()))
	if code := codeOf(t, err); code != chain.CodeBadSignature {
		t.Fatalf("Submit: code %v, want %v", code, chain.CodeBadSignature)
	}
	if rule := ruleOf(t, err); !slices.Equal(rule.Positions, []int{wrong}) {
		t.Errorf("positions %v, want [%d]", rule.Positions, wrong)
	}
	if s := n.exec.Stats(); net.broadcasts() != sent || s.PendingRecords != 0 || s.PoolRecords != 0 {
		t.Errorf("a refused record is sent or kept: %+v", s)
	}
	if failed := n.exec.Stats().SignaturesFailed; failed != 1 {
		t.Errorf("%d signatures failed, want 1", failed)
	}
}

func TestConcurrentSubmitsShareBatches(t *testing.T) {
	t.Parallel()
	const submits = 64
	n := newNode(t, &network{}, genesisOf(submits, settlement.LocalParams()), exec.Config{}, true)
	start := make(chan struct{})
	results := make(chan error, submits)
	for i := range submits {
		raw := accountOf(i).transfer(n.exec.Domain(), keyOf(submits).Address(zone), 1)
		go func() {
			<-start
			_, err := n.exec.Submit(t.Context(), raw)
			results <- err
		}()
	}
	close(start)
	for range submits {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	s := n.exec.Stats()
	if s.SignaturesVerified != submits {
		t.Errorf("verified %d signatures, want %d", s.SignaturesVerified, submits)
	}
	if s.VerifyBatches > submits/2 {
		t.Errorf("%d signatures took %d batches", submits, s.VerifyBatches)
	}
}

func TestAForgedCopyDoesNotStandForTheRecord(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(2, settlement.LocalParams()), exec.Config{}, true)
	a := accountOf(0)
	good := a.transfer(n.exec.Domain(), accountOf(1).addr, 5)
	forged := slices.Clone(good)
	forged[len(forged)-1] ^= 1 // same name, another signature

	if _, err := n.exec.Submit(t.Context(), forged); codeOf(t, err) != chain.CodeBadSignature {
		t.Errorf("Submit of the forged copy: %v", err)
	}
	n.submit(good)
	n.force([][]byte{chain.EncodeRecords([][]byte{forged})}) // a byzantine proposer's block
	hash := hashOf(t, n.exec.Domain(), good)
	if s, err := n.exec.Status(hash); err != nil || s.Stage != exec.StageChecked {
		t.Errorf("after the forged copy's block the record is %v, want CHECKED", s.Stage)
	}
	n.await()
	n.step()
	if s, _ := n.exec.Status(hash); s.Stage != exec.StageFinal || s.Receipt.Code != chain.CodeOK {
		t.Errorf("the record is %v with %+v, want FINAL", s.Stage, s.Receipt)
	}
}

func hashOf(tb testing.TB, d chain.Domain, raw []byte) ledger.Hash {
	tb.Helper()
	tx, err := chain.DecodeTx(d, raw)
	if err != nil {
		tb.Fatal(err)
	}
	return tx.Hash
}

func ruleOf(tb testing.TB, err error) *chain.RuleError {
	tb.Helper()
	var rule *chain.RuleError
	if !errors.As(err, &rule) {
		tb.Fatalf("%v is no refusal by a rule", err)
	}
	return rule
}
