package exec_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// handedOver verifies a hand-over as somebody does who knows the committee before,
// and returns the next.
func handedOver(t *testing.T, e *exec.Main, known committee.Committee) committee.Committee {
	t.Helper()
	epoch := known.Epoch + 1
	h, err := e.Handover(epoch)
	if err != nil {
		t.Fatalf("hand-over to epoch %d: %v", epoch, err)
	}
	keys, err := known.Keys()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Certificate.Verify(e.Domain().Network, e.Domain().Chain, &known, keys); err != nil {
		t.Fatalf("hand-over to epoch %d: %v", epoch, err)
	}
	schema, err := stateproof.NewSchema(settlement.Tables())
	if err != nil {
		t.Fatal(err)
	}
	if h.Record.Root != h.Certificate.Checkpoint.StateRoot || h.Record.Height != h.Certificate.Checkpoint.Height ||
		string(h.Record.Key) != string(staking.CommitteeKey(epoch)) {
		t.Fatalf("hand-over to epoch %d: %+v for %+v", epoch, h.Record, h.Certificate.Checkpoint)
	}
	if err := schema.VerifyStatement(h.Record); err != nil {
		t.Fatalf("hand-over to epoch %d: %v", epoch, err)
	}
	record, err := committee.DecodeRecord(h.Record.Value)
	if err != nil || record.Committee.Epoch != epoch {
		t.Fatalf("hand-over to epoch %d: %+v, %v", epoch, record, err)
	}
	candidates, err := e.Candidates(epoch)
	if err != nil || record.Check(candidates) != nil {
		t.Errorf("election of epoch %d by %d candidates: %v, %v", epoch, len(candidates), record.Check(candidates), err)
	}
	return record.Committee
}

// TestCommitteesAreHandedOver goes through epochs in which the certificate of one of
// the two blocks at the end, or of both, does not come about.
func TestCommitteesAreHandedOver(t *testing.T) {
	t.Parallel()
	const epoch = 10
	c := newValidators(t, 4, epoch)
	seen := newVotes()
	cfg := exec.Config{BLS: blsOf(0), Extensions: seen.extensions, CertifyDelay: time.Millisecond, KeepReceipts: 12}
	n := newNode(t, &network{}, c.gen, cfg, true)
	mute := map[uint64]bool{2*epoch - 1: true, 3 * epoch: true, 5*epoch - 1: true, 5 * epoch: true}
	for height := uint64(1); height <= 6*epoch; height++ {
		b := c.next()
		right := c.vote(t, b)
		c.agree(t, b, right)
		if mute[height] {
			right = right[:1]
		}
		seen.set(height, b.Hash, right)
		n.decide(b)
		if !mute[height] {
			awaitCertifier(t, n.exec)
		}
	}
	known := c.gen.Committee()
	if err := committeeZero(n.exec, &known); err != nil {
		t.Error(err)
	}
	check := func(e *exec.Main) {
		t.Helper()
		known := known
		for want, height := range map[uint64]uint64{1: epoch - 1, 2: 2 * epoch, 3: 3*epoch - 1, 4: 4*epoch - 1} {
			if h, err := e.Handover(want); err != nil || h.Certificate.Checkpoint.Height != height {
				t.Errorf("hand-over to epoch %d is by %+v, want block %d: %v", want, h, height, err)
			}
		}
		for known.Epoch < 4 {
			known = handedOver(t, e, known)
		}
		for _, none := range []uint64{0, 5, 7, 99} {
			if _, err := e.Handover(none); !errors.Is(err, exec.ErrNoHandover) {
				t.Errorf("hand-over to epoch %d: %v", none, err)
			}
		}
	}
	check(n.exec)
	for _, other := range c.nodes { // with all certificates
		known := known
		for known.Epoch < 6 {
			known = handedOver(t, other.exec, known)
		}
	}
	n.open(cfg)
	check(n.exec)
	if _, err := n.exec.Candidates(7); !errors.Is(err, exec.ErrPruned) {
		t.Errorf("candidates of an election to come: %v", err)
	}
}

// committeeZero recomputes the committee of the genesis.
func committeeZero(e *exec.Main, known *committee.Committee) error {
	candidates, err := e.Candidates(0)
	if err != nil {
		return err
	}
	return e.Read(func(v chain.View, _ uint64) error {
		record, ok := staking.ReadElection(v, 0)
		if !ok || record.Committee.Hash() != known.Hash() {
			return errors.New("the state has another committee of epoch 0")
		}
		return record.Check(candidates)
	})
}

// Candidates go with the committees that the state forgets.
func TestOldCandidatesGo(t *testing.T) {
	t.Parallel()
	params := settlement.LocalParams()
	params.Staking.EpochBlocks, params.Staking.UnbondingEpochs, params.Staking.EvidenceEpochs = 10, 2, 1
	gen := withValidators(genesisOf(2, params), 2)
	n := newNode(t, &network{}, gen, exec.Config{}, false)
	all := newNode(t, &network{}, gen, exec.Config{KeepReceipts: exec.KeepAll}, false)
	for range 12 * 10 {
		b := sealedAt(&gen, n.exec.Domain(), n.height()+1, nil)
		n.decide(b)
		all.decide(b)
	}
	const last, kept = 12, 2 + 1 + 2
	for epoch := uint64(1); epoch <= last; epoch++ {
		_, err := n.exec.Candidates(epoch)
		if gone := epoch < last-kept; gone != errors.Is(err, exec.ErrPruned) {
			t.Errorf("candidates of epoch %d: %v", epoch, err)
		}
		inState := false
		if err := n.exec.Read(func(v chain.View, _ uint64) error { _, inState = staking.ReadElection(v, epoch); return nil }); err != nil {
			t.Fatal(err)
		}
		if inState != (err == nil) {
			t.Errorf("epoch %d: in the state %v, candidates %v", epoch, inState, err)
		}
		if list, err := all.exec.Candidates(epoch); err != nil || len(list) != 2 {
			t.Errorf("candidates of epoch %d where all is kept: %v, %v", epoch, list, err)
		}
	}
}

// TestStakingIsIndexed compares what subscribers are told with what the index says
// of the same blocks later, and sees it go.
func TestStakingIsIndexed(t *testing.T) {
	t.Parallel()
	params := settlement.LocalParams()
	params.Staking.EpochBlocks = 10
	gen := withValidators(genesisOf(4, params), 3)
	n := newNode(t, &network{}, gen, exec.Config{KeepReceipts: 25}, false)
	d := n.exec.Domain()
	people := []*account{accountOf(0), accountOf(1), accountOf(2)}
	told := map[uint64]*exec.BlockResult{}
	subscription := n.exec.Subscribe(1)
	delegate := staking.Delegate{Validator: 1, Amount: 50 * ledger.DropsPerCoin}
	redelegate := staking.Redelegate{From: 1, To: 2, Amount: 5 * ledger.DropsPerCoin}
	undelegate := staking.Undelegate{Validator: 1, Amount: ledger.DropsPerCoin}
	for height := uint64(1); height <= 40; height++ {
		var records [][]byte
		switch height % 4 {
		case 1:
			for _, a := range people {
				records = append(records, a.tx(d, chain.KindDelegate, delegate.Encode()))
			}
		case 2:
			if height == 2 {
				records = append(records, people[0].tx(d, chain.KindRedelegate, redelegate.Encode()))
			}
		case 3:
			if height > 20 {
				records = append(records, people[1].tx(d, chain.KindUndelegate, undelegate.Encode()))
			}
		default:
		}
		var txs [][]byte
		if records != nil {
			txs = append(txs, chain.EncodeRecords(records))
		}
		b := sealedAt(&gen, d, height, txs)
		if height == 30 {
			b.Evidence = []staking.Evidence{{Kind: staking.DuplicateVote, Validator: consensusOf(2), Height: 29}}
		}
		n.decide(b)
		result, err := subscription.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		told[height] = result
	}
	n.open(exec.Config{KeepReceipts: 25}) // nothing is in memory
	n.prune()
	kinds := map[staking.EventKind]bool{}
	for height := n.exec.KeptFrom(); height <= 40; height++ {
		b, err := n.exec.BlockResult(height)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(told[height].Staking, b.Staking); diff != "" {
			t.Errorf("block %d (-told +indexed):\n%s", height, diff)
		}
		if b.Totals != told[height].Totals || b.Totals.Staked == 0 || b.Totals.Minted == 0 {
			t.Errorf("block %d: totals %+v, told %+v", height, b.Totals, told[height].Totals)
		}
		for _, e := range b.Staking {
			kinds[e.Kind] = true
		}
	}
	for _, want := range []staking.EventKind{
		staking.EventDelegated, staking.EventUndelegated, staking.EventSlashed, staking.EventTombstoned, staking.EventLeft, staking.EventEpochEnded,
	} {
		if !kinds[want] {
			t.Errorf("no block has %v", want)
		}
	}
	kept := 0
	for key := range content(t, n.store) {
		switch {
		case key[2] != 'e':
		case key[len(key)-1] < byte(n.exec.KeptFrom()):
			t.Errorf("the index still has %x", key)
		default:
			kept++
		}
	}
	if kept == 0 {
		t.Error("the index has no events at all")
	}
}

func FuzzStakingEvents(f *testing.F) {
	f.Add([]byte{0})
	f.Add([]byte{255, 255, 1})
	f.Add(exec.EncodeStaking([]staking.Event{
		{Kind: staking.EventRedelegated, TxIndex: 3, Validator: 1, To: 2, Delegator: keyOf(1).Address(zone), Amount: 5, Reward: 6, Epoch: 7},
		{Kind: staking.EventEvidenceIgnored, TxIndex: -1, Validator: 1 << 40, Height: 8, Fault: staking.FaultDuplicateVote, Code: chain.CodeEvidenceKnown},
	}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		events, err := exec.DecodeStaking(raw)
		if err != nil {
			return
		}
		again, err := exec.DecodeStaking(exec.EncodeStaking(events))
		if diff := cmp.Diff(events, again); diff != "" || err != nil {
			t.Errorf("%v (-first +second)\n%s", err, diff)
		}
	})
}

// A certificate can only be kept for its own block.
func TestHandoversAreOfTheirOwnBlocks(t *testing.T) {
	t.Parallel()
	c := newValidators(t, 1, 10)
	for range 9 {
		b := c.next()
		c.agree(t, b, c.vote(t, b))
	}
	awaitCertifier(t, c.nodes[0].exec)
	h, err := c.nodes[0].exec.Handover(1)
	if err != nil {
		t.Fatal(err)
	}
	if certificate, err := c.nodes[0].exec.Certificate(9); err != nil || !cmp.Equal(certificate, h.Certificate) || h.Certificate.Checkpoint == (cert.Checkpoint{}) {
		t.Errorf("certificate %+v, %v; hand-over %+v", certificate, err, h.Certificate)
	}
}
