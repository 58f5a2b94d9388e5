package settlement_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

// stakeParams are smallParams with short epochs and small stakes.
func stakeParams() settlement.Params {
	p := smallParams()
	s := &p.Staking
	s.EpochBlocks, s.Seats, s.PowerCapBps = 10, 3, ledger.BasisPoints
	s.MinStake, s.MinSelfStake, s.MinDelegation = 1_000, 100, 10
	s.UnbondingEpochs, s.EvidenceEpochs, s.MaxEntries = 4, 3, 3
	s.EpochReward, s.MintCap = 1_000, 1<<40
	s.RegisterFee, s.StakeFee = 50, 5
	s.Window, s.MaxMissed, s.MeterBps = 20, 10, 5_000
	return p
}

var blsKeys = func() func(i int) *bls.SecretKey {
	var mu sync.Mutex
	keys := map[int]*bls.SecretKey{}
	return func(i int) *bls.SecretKey {
		mu.Lock()
		defer mu.Unlock()
		if keys[i] == nil {
			h := ledger.HashOf("bls secret", []byte{byte(i)})
			k, err := bls.NewSecretKey(h[:])
			if err != nil {
				panic(err)
			}
			keys[i] = k
		}
		return keys[i]
	}
}()

// registration returns that of the i-th keys, by the i-th account on the test network.
func registration(i int, stake uint64) *staking.Register {
	m := registered(i, stake)
	m.Proof = staking.Prove(blsKeys(i), testDomain.Network, accountOf(i), m.ConsensusKey)
	return m
}

func accountOf(i int) ledger.Address { return keyOf("account", i).Address(byte(i % 3)) }

// registered is registration in a genesis.
func registered(i int, stake uint64) *staking.Register {
	k, consensus := blsKeys(i), keyOf("consensus", i).Public()
	return &staking.Register{
		ConsensusKey: consensus, BLSKey: k.Public(), Proof: staking.Prove(k, ledger.NetworkID{}, accountOf(i), consensus),
		Profile:    staking.Profile{Name: fmt.Sprintf("validator %d", i), Endpoints: []string{fmt.Sprintf("host%d:1", i)}},
		Commission: 1_000, MaxCommission: 3_000, MaxChange: 500, SelfStake: ledger.Amount(stake),
	}
}

// stakedGenesis has n accounts, the first of which operate a validator of each
// of the stakes.
func stakedGenesis(p settlement.Params, n int, stakes ...uint64) settlement.Genesis {
	g := settlement.Genesis{Name: "staked", Time: 1, Params: p}
	for i := range n {
		a := accountOf(i)
		g.Accounts = append(g.Accounts, settlement.GenesisAccount{Address: a, Balance: initialBalance})
		if i < len(stakes) {
			g.Validators = append(g.Validators, settlement.GenesisValidator{Operator: a, Register: *registered(i, stakes[i])})
		}
	}
	return g
}

// newStaked is newBench with validators.
func newStaked(tb testing.TB, p settlement.Params, n int, stakes ...uint64) *bench {
	tb.Helper()
	b := &bench{t: tb, params: p, domain: testDomain, nonces: make([]uint64, n)}
	for i := range n {
		b.keys = append(b.keys, keyOf("account", i))
		b.addrs = append(b.addrs, b.keys[i].Address(byte(i%3)))
	}
	changes, err := stakedGenesis(p, n, stakes...).State()
	if err != nil {
		tb.Fatal(err)
	}
	b.view = newState(changes)
	return b
}

// forward applies empty blocks until an epoch has ended, and returns what the
// last one did.
func (b *bench) forward(epoch uint64) (res settlement.Result) {
	b.t.Helper()
	for b.height < b.params.Staking.LastBlock(epoch) {
		res = b.block()
	}
	return res
}

func (b *bench) totals() settlement.Totals { return settlement.ReadTotals(b.view) }

func (b *bench) votes(absent ...uint64) (list []staking.Vote) {
	c, _ := staking.ReadCommittee(b.view, b.params.Staking.Epoch(b.height+1))
	for _, m := range c.Members {
		list = append(list, staking.Vote{Validator: m.Address(), Signed: !slices.Contains(absent, m.Validator)})
	}
	return list
}

func events(res *settlement.Result, kind staking.EventKind) (list []staking.Event) {
	for _, e := range res.Staking {
		if e.Kind == kind {
			list = append(list, e)
		}
	}
	return list
}

// TestStakingInBlocks is a life: from genesis over a registration, an election,
// rewards out of fees and minting, a slash, and the way out.
func TestStakingInBlocks(t *testing.T) {
	t.Parallel()
	b := newStaked(t, stakeParams(), 5, 50_000, 40_000, 30_000)
	supply := uint64(5*initialBalance + 120_000)
	if got := b.totals(); got.Staked != 120_000 || uint64(settlement.Supply(b.view)) != supply || uint64(got.Accounts) != 5*initialBalance {
		t.Fatalf("totals %+v of %d", got, settlement.Supply(b.view))
	}
	r := b.ok(3, registration(3, 60_000))
	if r.Fee != 53 || b.balance(3) != initialBalance-60_000-53 {
		t.Errorf("a registration costs %d, %d are left", r.Fee, b.balance(3))
	}
	b.ok(4, &staking.Delegate{Validator: 3, Amount: 20_000})
	for b.height < 8 {
		b.block()
	}
	elect := b.block()
	if len(elect.Updates) != 2 || elect.Election == nil || len(elect.Candidates) != 4 || elect.Election.Check(elect.Candidates) != nil {
		t.Fatalf("the election is %+v", elect)
	}
	if e := events(&elect, staking.EventElected); len(e) != 1 || e[0].Validator != 3 || e[0].TxIndex != -1 {
		t.Errorf("events %+v", elect.Staking)
	}
	fees := b.totals().Fees
	end := b.block()
	if e := events(&end, staking.EventEpochEnded); len(e) != 1 || e[0].Amount != 1_000 || e[0].Reward+b.totals().Fees != fees+1_000 {
		t.Errorf("events %+v after fees of %d", end.Staking, fees)
	}
	if got := b.totals(); got.Minted != 1_000 || uint64(settlement.Supply(b.view)) != supply+1_000 || got.Rewards == 0 {
		t.Errorf("totals %+v", got)
	}
	b.forward(1)
	s, _ := staking.StakeOf(b.view, b.params.Staking, b.height+1, 3, b.addrs[4])
	before := b.balance(4)
	r = b.ok(4, &staking.Claim{Validators: []uint64{3}})
	if s.Reward == 0 || r.Paid != s.Reward || r.Fee != 8 || b.balance(4) != before+uint64(s.Reward)-8 {
		t.Errorf("claimed %d of %d for %d", r.Paid, s.Reward, r.Fee)
	}
	v, _ := staking.ReadValidator(b.view, 3)
	b.attach = func(blk *settlement.Block) {
		blk.Evidence = []staking.Evidence{{Kind: staking.DuplicateVote, Validator: v.Address(), Height: b.height}}
	}
	// The slash comes before what would leave in the same block.
	res := b.block(b.checked(4, &staking.Undelegate{Validator: 3}))
	b.attach = nil
	if e := events(&res, staking.EventSlashed); len(e) != 1 || e[0].Amount != 4_000 || b.totals().Burned != 4_000 {
		t.Errorf("events %+v, totals %+v", res.Staking, b.totals())
	}
	if e := events(&res, staking.EventUndelegated); len(e) != 1 || e[0].Amount != 19_000 || e[0].TxIndex != 0 {
		t.Errorf("events %+v", res.Staking)
	}
	before = b.balance(4)
	res = b.forward(b.params.Staking.Epoch(b.height+1) + 4)
	if e := events(&res, staking.EventUnbonded); len(e) != 1 || b.balance(4) != before+19_000 {
		t.Errorf("events %+v, %d paid out", res.Staking, b.balance(4)-before)
	}
	if settlement.ReadTotals(b.view) != b.totals() || uint64(b.totals().Staked) != 120_000+60_000-3_000 {
		t.Errorf("totals %+v", b.totals())
	}
}

// TestStakingFees: every kind has its fee, and what is refused pays the least,
// but for a proof that does not hold.
func TestStakingFees(t *testing.T) {
	t.Parallel()
	bad := registration(3, 5_000)
	bad.Proof = registration(4, 0).Proof
	for _, row := range []struct {
		name    string
		by      int
		payload encoder
		fee     ledger.Amount
		code    chain.Code
	}{
		{"register", 3, registration(3, 5_000), 53, chain.CodeOK},
		{"a proof of another key", 3, bad, 53, chain.CodeBadProof},
		{"a copy of another's registration", 3, registration(7, 5_000), 53, chain.CodeBadProof},
		{"register twice", 0, registration(3, 5_000), 3, chain.CodeOperatorUsed},
		{"edit", 0, &staking.Edit{Profile: staking.Profile{Name: "x"}, Commission: 1_000}, 8, chain.CodeOK},
		{"delegate", 3, &staking.Delegate{Validator: 0, Amount: 10}, 8, chain.CodeOK},
		{"delegate too little", 3, &staking.Delegate{Validator: 0, Amount: 9}, 3, chain.CodeDelegationTooSmall},
		{"redelegate", 0, &staking.Redelegate{From: 0, To: 1, Amount: 10}, 8, chain.CodeOK},
		{"undelegate", 0, &staking.Undelegate{Validator: 0, Amount: 10}, 8, chain.CodeOK},
		{"claim nothing from two", 0, &staking.Claim{Validators: []uint64{0, 1}}, 3, chain.CodeDelegationNotFound},
		{"unjail", 0, &staking.Unjail{Validator: 0}, 3, chain.CodeNotJailed},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := newStaked(t, stakeParams(), 4, 50_000, 40_000)
			tx := b.signed(row.by, row.payload)
			full := settlement.Fee(b.params, &tx.Tx)
			admitted, _ := settlement.Admit(b.view, b.params, b.domain, b.height+1, &tx.Tx)
			r := b.block(tx).Receipts[0]
			if r.Code != row.code || r.Fee != row.fee || admitted.Code != r.Code || row.code == chain.CodeOK && full != r.Fee {
				t.Errorf("%s (%s) for %d, want %s for %d; Admit says %s, Fee %d", r.Code, r.Detail, r.Fee, row.code, row.fee, admitted.Code, full)
			}
			if r.Nonce != 0 || r.Kind != tx.Tx.Kind {
				t.Errorf("receipt %+v", r)
			}
		})
	}
}

// sealsAt are the seals that come with the block at height: those of its epoch, if
// it is the last one of a chain with staking.
func (b *bench) sealsAt(height uint64) (seals [][]byte) {
	rules := &b.params.Staking
	epoch := rules.Epoch(height)
	if staking.ValidatorCount(b.view) == 0 || height != rules.LastBlock(epoch) {
		return nil
	}
	for h := rules.FirstBlock(epoch); h <= height; h++ {
		seals = append(seals, bytes.Repeat([]byte{byte(h)}, bls.SignatureSize))
	}
	return seals
}

// TestEpochsWantAllSeals: an epoch's last block without exactly the seals of its
// epoch is no block, and another block comes with none.
func TestEpochsWantAllSeals(t *testing.T) {
	t.Parallel()
	p := stakeParams()
	last := p.Staking.LastBlock(0)
	b := newStaked(t, p, 3, 50_000, 40_000)
	for b.height < last-1 {
		b.block()
	}
	all := b.sealsAt(last)
	short := slices.Clone(all)
	short[3] = short[3][1:]
	gap := slices.Clone(all)
	gap[3] = nil
	for _, row := range []struct {
		name   string
		height uint64
		seals  [][]byte
		ok     bool
	}{
		{"all", last, all, true},
		{"a block without a seal", last, gap, true},
		{"none", last, nil, false},
		{"one too few", last, all[1:], false},
		{"one too many", last, append(slices.Clone(all), all[0]), false},
		{"one that is too short", last, short, false},
		{"in the next block", last + 1, all, false},
	} {
		block := settlement.Block{Height: row.height, Seals: row.seals}
		changes, _, err := settlement.ApplyBlock(b.view, b.params, b.domain, block, verifySingly)
		if (err == nil) != row.ok || (changes != nil) != row.ok {
			t.Errorf("%s: %d changes, %v", row.name, len(changes), err)
		}
	}
	unstaked := newBench(t, p, 2)
	if _, _, err := settlement.ApplyBlock(unstaked.view, p, unstaked.domain, settlement.Block{Height: last, Seals: all}, verifySingly); err == nil {
		t.Error("a chain without staking takes seals")
	}
}

// TestStakingIsIdle: blocks without records change nothing, whatever votes they
// carry, but at the two ends of an epoch.
func TestStakingIsIdle(t *testing.T) {
	t.Parallel()
	b := newStaked(t, stakeParams(), 3, 50_000, 40_000)
	b.attach = func(blk *settlement.Block) {
		blk.Votes = b.votes(1)
	}
	for b.height < 25 {
		changes, res := b.try()
		if at := b.height + 1; (len(changes) > 0) != b.params.Staking.EpochBlock(at) || len(res.Receipts) != 0 || !res.ResultsRoot.IsZero() {
			t.Errorf("block %d changes %d keys", at, len(changes))
		}
		b.block()
	}
}

// TestTicksCount: on a chain that nothing but ticks keeps going, every second block,
// who is away is not paid in the first epoch, and jailed within the window; and when
// nothing is due any more, ticks change nothing.
func TestTicksCount(t *testing.T) {
	t.Parallel()
	p := stakeParams()
	p.Staking.Seats, p.Staking.JailEpochs = 4, 1
	b := newStaked(t, p, 5, 50_000, 50_000, 50_000, 50_000)
	const away = 1
	b.attach = func(blk *settlement.Block) {
		c, _ := staking.ReadCommittee(b.view, p.Staking.Epoch(blk.Height))
		present := slices.DeleteFunc(slices.Clone(c.Members), func(m committee.Member) bool { return m.Validator == away })
		blk.Proposer, blk.Tick = present[blk.Height%uint64(len(present))].Address(), blk.Height%2 == 0
		blk.Votes = b.votes(away)
	}
	for b.height < 2*p.Staking.EpochBlocks { // nothing is due
		at := b.height + 1
		if changes, _ := b.try(); (len(changes) > 0) != p.Staking.EpochBlock(at) {
			t.Errorf("idle block %d changes %d keys", at, len(changes))
		}
		b.block()
	}
	paid := func() ledger.Amount {
		v, _ := staking.ReadValidator(b.view, away)
		return v.Outstanding + v.Earned
	}
	b.ok(0, &staking.Undelegate{Validator: 0, Amount: 1_000})
	first, began := paid(), b.height
	for v := (staking.Validator{}); !v.Jailed; v, _ = staking.ReadValidator(b.view, away) {
		if b.block(); b.height > began+2*uint64(p.Staking.Window) {
			t.Fatalf("not jailed with block %d", b.height)
		}
	}
	if paid() != first {
		t.Errorf("paid %d for being away", paid()-first)
	}
	for settlement.NeedsTick(b.view, &p, b.height+1) {
		if b.block(); b.height > began+500 {
			t.Fatal("ticks never end")
		}
	}
	for b.height%2 == 0 || p.Staking.EpochBlock(b.height+1) {
		b.block()
	}
	if changes, _ := b.try(); len(changes) > 0 {
		t.Errorf("a tick that nobody needs changes %d keys", len(changes))
	}
}

// TestFreeRecordsDoNotCount: a record that pays nothing does not make the votes of
// its block count, one that fails and pays does.
func TestFreeRecordsDoNotCount(t *testing.T) {
	t.Parallel()
	b := newStaked(t, stakeParams(), 3, 50_000, 40_000)
	b.attach = func(blk *settlement.Block) {
		blk.Votes = b.votes(1)
	}
	missed := func() uint32 { return staking.Missed(b.view, b.params.Staking, 1) }
	free := b.checked(2, &staking.Delegate{Validator: 0, Amount: 10})
	free.Tx.MaxFee = 0
	if r := b.block(free).Receipts[0]; r.Code != chain.CodeFeeTooLow || r.Fee != 0 || missed() != 0 {
		t.Errorf("%s for %d, %d missed", r.Code, r.Fee, missed())
	}
	if r := b.run(2, &staking.Delegate{Validator: 0, Amount: 9}); r.Code != chain.CodeDelegationTooSmall || r.Fee == 0 || missed() != 1 {
		t.Errorf("%s for %d, %d missed", r.Code, r.Fee, missed())
	}
}

// TestBatchesLeaveStakingAlone: an atomic batch that fails and a staking
// transaction after it share a block.
func TestBatchesLeaveStakingAlone(t *testing.T) {
	t.Parallel()
	b := newStaked(t, stakeParams(), 3, 50_000, 40_000)
	ref := b.open(0, 1, 1_000)
	bad := b.batch(1, b.voucher(ref, 0, 5_000))
	bad.Mode = 1
	res := b.block(
		b.checked(2, &staking.Delegate{Validator: 0, Amount: 100}), b.checked(1, bad),
		b.checked(2, &staking.Undelegate{Validator: 0, Amount: 40}), b.checked(1, b.batch(1, b.voucher(ref, 0, 500))),
	)
	for i, want := range []chain.Code{chain.CodeOK, chain.CodeBatchAborted, chain.CodeOK, chain.CodeOK} {
		if res.Receipts[i].Code != want {
			t.Errorf("receipt %d: %s, want %s", i, res.Receipts[i].Code, want)
		}
	}
	if s, _ := staking.StakeOf(b.view, b.params.Staking, b.height+1, 0, b.addrs[2]); s.Worth != 60 {
		t.Errorf("stake %+v", s)
	}
}

// TestStakingViolationHalts: stake and rewards that come from nowhere are found
// in the block that touches them.
func TestStakingViolationHalts(t *testing.T) {
	t.Parallel()
	b := newStaked(t, stakeParams(), 3, 50_000, 40_000)
	b.ok(2, &staking.Delegate{Validator: 0, Amount: 100})
	b.ok(2, &staking.Undelegate{Validator: 0, Amount: 50})
	b.forward(1)
	undelegate := func(b *bench) []settlement.BlockTx {
		return []settlement.BlockTx{b.checked(2, &staking.Undelegate{Validator: 0, Amount: 10})}
	}
	for _, c := range []struct {
		name   string
		key    []byte
		change func([]byte) []byte
	}{
		{"stake above the supply", staking.ValidatorKey(0), func(v []byte) []byte { return add64(24, 1<<62)(add64(0, 1<<62)(v)) }},
		{"books with more stake", settlement.TotalsKey(), add64(40, 1)},
		{"books with more rewards", settlement.TotalsKey(), add64(48, 1)},
		{"books that minted above the supply", settlement.TotalsKey(), add64(56, 1<<62)},
		{"books with more supply", settlement.TotalsKey(), add64(64, 1)},
	} {
		f := b.edit(c.key, c.change)
		_, _, err := settlement.ApplyBlock(f.view, f.params, f.domain, settlement.Block{Height: f.height + 1, Txs: undelegate(f)}, verifySingly)
		if !errors.Is(err, settlement.ErrNotConserved) {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := settlement.Audit(f.view); err == nil && c.key[0] != settlement.TotalsKey()[0] {
			t.Errorf("%s: Audit finds nothing", c.name)
		}
	}
}

// TestStakingWeight: no staking transaction writes more than its weight.
func TestStakingWeight(t *testing.T) {
	t.Parallel()
	b := newStaked(t, stakeParams(), 5, 50_000, 40_000, 30_000)
	b.ok(4, &staking.Delegate{Validator: 0, Amount: 5_000})
	b.ok(4, &staking.Delegate{Validator: 1, Amount: 5_000})
	for range 2 {
		b.ok(4, &staking.Redelegate{From: 0, To: 2, Amount: 500})
		b.ok(4, &staking.Undelegate{Validator: 0, Amount: 100})
		b.forward(b.params.Staking.Epoch(b.height + 1))
	}
	for _, row := range []struct {
		by      int
		payload encoder
	}{
		{3, registration(3, 5_000)},
		{0, &staking.Edit{Profile: staking.Profile{Name: string(bytes.Repeat([]byte("x"), 64))}, Commission: 1_000}},
		{4, &staking.Delegate{Validator: 2, Amount: 10}},
		{4, &staking.Redelegate{From: 1, To: 2, Amount: 10}},
		{4, &staking.Undelegate{Validator: 2, Amount: 600}},
		{4, &staking.Claim{Validators: []uint64{0, 1, 2}}},
	} {
		tx := b.checked(row.by, row.payload)
		changes, res := b.try(tx)
		if res.Receipts[0].Code != chain.CodeOK {
			t.Fatalf("%s: %s", tx.Tx.Kind, res.Receipts[0].Code)
		}
		var wrote int64
		for _, c := range changes {
			wrote += max(int64(len(c.Key)+len(c.Value)+15), 96)
		}
		// The block itself writes its results, the books and what its epoch counts.
		if weight := settlement.Weight(&tx.Tx); wrote > weight+3*96+100 {
			t.Errorf("%s writes %d, its weight is %d", tx.Tx.Kind, wrote, weight)
		}
		b.block(tx)
	}
	tx := b.checked(3, registration(4, 5_000))
	if n := b.params.MaxBlockWeight() / settlement.Weight(&tx.Tx); n > 64 {
		t.Errorf("a block has %d registrations of 2 ms each", n)
	}
}

func TestStakedGenesis(t *testing.T) {
	t.Parallel()
	g := stakedGenesis(stakeParams(), 4, 50_000, 40_000, 30_000, 20_000)
	again, err := settlement.DecodeGenesis(g.Encode())
	if err != nil || !bytes.Equal(again.Encode(), g.Encode()) || again.Hash() != g.Hash() {
		t.Fatalf("decoded %+v, %v", again, err)
	}
	c := g.Committee()
	if len(c.Members) != 3 || c.Epoch != 0 || c.Members[0].Validator != 0 || c.Members[0].Power != 50_000/2_048 {
		t.Errorf("committee %+v", c)
	}
	changes, err := g.State()
	if err != nil {
		t.Fatal(err)
	}
	s := newState(changes)
	if first, ok := staking.ReadCommittee(s, 0); !ok || first.Hash() != c.Hash() {
		t.Errorf("the state has %+v", first)
	}
	if staking.Seed(s, 0) != g.Hash() || staking.Seed(s, 1) != g.Hash() || staking.ValidatorCount(s) != 4 {
		t.Error("the first seeds are not the genesis")
	}
	if totals, err := settlement.Audit(s); err != nil || totals.Staked != 140_000 || settlement.Supply(s) != 4*initialBalance+140_000 {
		t.Errorf("totals %+v, %v", totals, err)
	}
	for name, change := range map[string]func(*settlement.Genesis){
		"validators[1]": func(g *settlement.Genesis) { g.Validators[1].Proof[3]++ },
		"validators[2]": func(g *settlement.Genesis) { g.Validators[2].SelfStake = ledger.MaxAmount },
		"validators[3]": func(g *settlement.Genesis) { g.Validators[3].Operator = g.Validators[0].Operator },
		"validators":    func(g *settlement.Genesis) { g.Validators = make([]settlement.GenesisValidator, 1_001) },
		"staking":       func(g *settlement.Genesis) { g.Params.Staking.Seats = 0 },
	} {
		bad := stakedGenesis(stakeParams(), 4, 50_000, 40_000, 30_000, 20_000)
		change(&bad)
		if err := bad.Validate(); err == nil || !bytes.Contains([]byte(err.Error()), []byte(name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestGoldenStaking fixes what blocks with staking do, byte for byte, and that
// they do it twice.
func TestGoldenStaking(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	b := newStaked(t, stakeParams(), 5, 50_000, 40_000, 30_000)
	genesis := stakedGenesis(stakeParams(), 5, 50_000, 40_000, 30_000).Hash()
	got["genesis hash"] = genesis.String()
	b.attach = func(blk *settlement.Block) {
		blk.Votes = b.votes(blk.Height % 3)
		if blk.Height == 23 {
			v, _ := staking.ReadValidator(b.view, 1)
			blk.Evidence = []staking.Evidence{{Kind: staking.LightClientAttack, Validator: v.Address(), Height: 15}}
		}
	}
	script := map[uint64]func() []settlement.BlockTx{
		1: func() []settlement.BlockTx {
			return []settlement.BlockTx{b.signed(3, registration(3, 45_000)), b.signed(4, &staking.Delegate{Validator: 1, Amount: 7_777})}
		},
		12: func() []settlement.BlockTx {
			return []settlement.BlockTx{
				b.signed(4, &staking.Redelegate{From: 1, To: 0, Amount: 3_333}), b.signed(4, &staking.Undelegate{Validator: 1, Amount: 1_111}),
				b.signed(4, &staking.Redelegate{From: 0, To: 2}),
			}
		},
		22: func() []settlement.BlockTx {
			return []settlement.BlockTx{
				b.signed(0, &staking.Claim{Validators: []uint64{0}}),
				b.signed(0, &staking.Edit{Profile: staking.Profile{Name: "new"}, Commission: 1_500}),
			}
		},
		24: func() []settlement.BlockTx {
			return []settlement.BlockTx{b.signed(4, &staking.Undelegate{Validator: 0})}
		},
	}
	for b.height < 75 {
		var txs []settlement.BlockTx
		if f := script[b.height+1]; f != nil {
			txs = f()
		}
		changes, res := b.try(txs...)
		again, second := b.try(txs...)
		if digestOf(changes, &res) != digestOf(again, &second) {
			t.Fatalf("block %d: two executions differ", b.height+1)
		}
		b.block(txs...)
		if len(changes) == 0 {
			continue
		}
		name := fmt.Sprintf("block %02d ", b.height)
		got[name+"outcome"] = digestOf(changes, &res).String()
		got[name+"state"] = b.view.digest().String()
		for i, r := range res.Receipts {
			got[fmt.Sprintf("%sreceipt %d", name, i)] = r.Code.String()
		}
		for i, e := range res.Staking {
			got[fmt.Sprintf("%sevent %02d", name, i)] = fmt.Sprintf("%s %d", e.Kind, e.Validator)
		}
	}
	golden(t, "staking.json", got)
}
