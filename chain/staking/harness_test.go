package staking_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
)

// state is a View over a map, with its keys sorted.
type state struct {
	rows map[string][]byte
	keys []string
}

func newState() *state { return &state{rows: make(map[string][]byte)} }

func (s *state) Get(key []byte) []byte { return s.rows[string(key)] }

func (s *state) Range(prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		from, _ := slices.BinarySearch(s.keys, string(prefix))
		for _, k := range s.keys[from:] {
			if !strings.HasPrefix(k, string(prefix)) || !yield([]byte(k), s.rows[k]) {
				return
			}
		}
	}
}

func (s *state) apply(changes chain.Changes) {
	moved := false
	for _, c := range changes {
		k := string(c.Key)
		_, had := s.rows[k]
		moved = moved || had != (c.Value != nil)
		if c.Value == nil {
			delete(s.rows, k)
			continue
		}
		s.rows[k] = c.Value
	}
	if moved {
		s.keys = slices.Sorted(maps.Keys(s.rows))
	}
}

func (s *state) clone() *state {
	return &state{rows: maps.Clone(s.rows), keys: slices.Clone(s.keys)}
}

func (s *state) digest() ledger.Hash {
	h := sha256.New()
	for _, k := range s.keys {
		_, _ = fmt.Fprintf(h, "%d %q %x\n", len(k), k, s.rows[k])
	}
	return ledger.Hash(h.Sum(nil))
}

// bank is a Bank that does not trust its caller: it panics when a place would
// hold less than nothing.
type bank struct {
	rows     map[ledger.Address]uint64
	balances []uint64

	staked, rewards, fees, burned, minted uint64

	returned uint64 // of the rewards to the fees
}

func (b *bank) Row(a ledger.Address) uint64 {
	row, ok := b.rows[a]
	if !ok {
		row = uint64(len(b.balances))
		b.rows[a] = row
		b.balances = append(b.balances, 0)
	}
	return row
}

func (b *bank) Balance(row uint64) ledger.Amount { return ledger.Amount(b.balances[row]) }

func less(place *uint64, amount ledger.Amount) {
	if uint64(amount) > *place {
		panic(fmt.Sprintf("%d drops leave a place that has %d", amount, *place))
	}
	*place -= uint64(amount)
}

func (b *bank) Bond(row uint64, amount ledger.Amount) {
	less(&b.balances[row], amount)
	b.staked += uint64(amount)
}

func (b *bank) PayOut(row uint64, stake, reward ledger.Amount) {
	less(&b.staked, stake)
	less(&b.rewards, reward)
	b.balances[row] += uint64(stake + reward)
}

func (b *bank) Post(p staking.Posting) {
	less(&b.staked, p.Burned)
	b.burned += uint64(p.Burned)
	b.minted += uint64(p.Minted)
	b.fees += uint64(p.Minted)
	less(&b.fees, p.Allotted)
	b.rewards += uint64(p.Allotted)
	less(&b.rewards, p.Returned)
	b.fees += uint64(p.Returned)
	b.returned += uint64(p.Returned)
}

func (b *bank) sum() uint64 {
	sum := b.staked + b.rewards + b.fees + b.burned
	for _, x := range b.balances {
		sum += x
	}
	return sum
}

func (b *bank) clone() *bank {
	c := *b
	c.rows, c.balances = maps.Clone(b.rows), slices.Clone(b.balances)
	return &c
}

// world is a chain with staking and nothing else.
type world struct {
	t      testing.TB
	p      staking.Params
	view   *state
	bank   *bank
	height uint64 // of the last block
	supply uint64 // at the start
	events []staking.Event
	out    staking.Outcome // of the last block
	quiet  bool            // do not audit every block
	seals  [][]byte        // of the blocks of the epoch so far
	told   books           // what the events say
}

// books are the stake and the rewards, and what was burned of the one and went back
// to the fees of the other.
type books struct{ staked, rewards, burned, returned uint64 }

// tell adds what events say of money.
func (b *books) tell(list ...staking.Event) {
	for _, e := range list {
		amount, reward := uint64(e.Amount), uint64(e.Reward)
		switch e.Kind {
		case staking.EventRegistered:
			b.staked += amount
		case staking.EventDelegated:
			b.staked, b.rewards = b.staked+amount, b.rewards-reward
		case staking.EventUndelegated, staking.EventRedelegated, staking.EventClaimed:
			b.rewards -= reward
		case staking.EventUnbonded:
			b.staked -= amount
		case staking.EventSlashed:
			b.staked, b.burned = b.staked-amount, b.burned+amount
		case staking.EventForfeited:
			b.staked, b.burned = b.staked-amount, b.burned+amount
			b.rewards, b.returned = b.rewards-reward, b.returned+reward
		case staking.EventEpochEnded:
			b.rewards += reward
		default:
		}
	}
}

// smallParams make every rounding visible and epochs short.
func smallParams() staking.Params {
	return staking.Params{
		EpochBlocks: 10, Seats: 3, PowerCapBps: ledger.BasisPoints,
		MinStake: 1_000, MinSelfStake: 100, MinDelegation: 1,
		UnbondingEpochs: 4, EvidenceEpochs: 3, MaxEntries: 3,
		EpochReward: 1_000, MintCap: 1 << 40, RegisterFee: 50, StakeFee: 5,
		DuplicateVoteBps: 500, LightAttackBps: 2_000, DowntimeBps: 100,
		Window: 20, MaxMissed: 10, JailEpochs: 2, MeterBps: 5_000, MeterEpochs: 3,
	}
}

func addr(name string, i int) ledger.Address {
	h := ledger.HashOf("test address", []byte(name), binary.BigEndian.AppendUint32(nil, uint32(i)))
	var a ledger.Address
	copy(a[:], h[:])
	a[0] = byte(i % 3)
	return a
}

func operator(i int) ledger.Address { return addr("operator", i) }

func user(i int) ledger.Address { return addr("user", i) }

// consensusKey returns a key that exists.
func consensusKey(i int) ledger.PublicKey {
	return ledger.NewPrivateKey(ledger.HashOf("consensus", binary.BigEndian.AppendUint32(nil, uint32(i)))).Public()
}

// validator returns the i-th of a genesis, whose BLS key nobody has.
func validator(i int, stake uint64) staking.GenesisValidator {
	g := staking.GenesisValidator{Operator: operator(i)}
	g.ConsensusKey = consensusKey(i)
	h := ledger.HashOf("bls", binary.BigEndian.AppendUint32(nil, uint32(i)))
	copy(g.BLSKey[:], h[:])
	g.Name, g.Endpoints = fmt.Sprintf("validator %d", i), []string{fmt.Sprintf("host%d:26656", i)}
	g.Commission, g.MaxCommission, g.MaxChange = 1_000, 3_000, 500
	g.SelfStake = ledger.Amount(stake)
	return g
}

const riches = 1_000_000

// newWorld returns a chain with a validator for each stake, and five users and
// all operators with riches.
func newWorld(tb testing.TB, p staking.Params, stakes ...uint64) *world {
	tb.Helper()
	var list []staking.GenesisValidator
	for i, s := range stakes {
		list = append(list, validator(i, s))
	}
	w := &world{t: tb, p: p, view: newState(), bank: &bank{rows: map[ledger.Address]uint64{}}}
	o := chain.NewOverlay(w.view)
	w.bank.staked = uint64(staking.Start(o, &p, ledger.HashOf("genesis"), list))
	w.view.apply(o.Changes())
	for i := range stakes {
		w.fund(operator(i))
	}
	for i := range 5 {
		w.fund(user(i))
	}
	w.supply = w.bank.sum()
	w.told.staked = w.bank.staked
	w.audit()
	return w
}

func (w *world) fund(a ledger.Address) { w.bank.balances[w.bank.Row(a)] += riches }

func (w *world) fork() *world {
	f := *w
	f.view, f.bank, f.events, f.seals = w.view.clone(), w.bank.clone(), nil, slices.Clone(w.seals)
	return &f
}

func (w *world) party(a ledger.Address) staking.Party {
	return staking.Party{Address: a, Row: w.bank.Row(a)}
}

// block is what happens in one.
type block struct {
	evidence []staking.Evidence
	votes    []staking.Vote
	proposer staking.Address // none: the members of the epoch's committee in turn
	seal     []byte
	idle     bool // it has no records
	run      func(c *staking.Context)
}

// apply applies the next block.
func (w *world) apply(b block) staking.Outcome {
	w.t.Helper()
	w.height++
	if w.height == w.p.FirstBlock(w.p.Epoch(w.height)) {
		w.seals = nil
	}
	w.seals = append(w.seals, b.seal)
	o := chain.NewOverlay(w.view)
	c := &staking.Context{State: o, Bank: w.bank, Rules: &w.p, Network: network, Height: w.height}
	w.events = nil
	for i := range b.evidence {
		w.events = append(w.events, c.Punish(&b.evidence[i])...)
	}
	if b.run != nil {
		b.run(c)
	}
	if !b.idle || w.p.EpochBlock(w.height) {
		if b.proposer == (staking.Address{}) {
			all, _ := staking.ReadCommittee(w.view, w.p.Epoch(w.height))
			b.proposer = all.Members[w.height%uint64(len(all.Members))].Address()
		}
		w.events = append(w.events, c.Count(b.proposer, b.votes)...)
	}
	w.out = c.End(staking.Pot{
		Fees: ledger.Amount(w.bank.fees), Minted: ledger.Amount(w.bank.minted), Supply: ledger.Amount(w.bank.sum()),
	}, w.seals)
	w.events = append(w.events, w.out.Events...)
	w.told.tell(w.events...)
	if list := c.Noted(); len(list) != 0 {
		w.t.Errorf("block %d: nobody was told of %+v", w.height, list)
	}
	w.view.apply(o.Changes())
	if !w.quiet {
		w.audit()
	}
	return w.out
}

// audit checks that value is conserved and the state is sound.
func (w *world) audit() {
	w.t.Helper()
	staked, rewards, err := staking.Audit(w.view, &w.p)
	if err != nil {
		w.t.Fatalf("block %d: %v", w.height, err)
	}
	if uint64(staked) != w.bank.staked || uint64(rewards) != w.bank.rewards {
		w.t.Fatalf("block %d: the state holds %d staked and %d of rewards, the books say %d and %d", w.height, staked, rewards, w.bank.staked, w.bank.rewards)
	}
	if have := (books{w.bank.staked, w.bank.rewards, w.bank.burned, w.bank.returned}); w.told != have {
		w.t.Fatalf("block %d: the events tell of %+v, the books of %+v", w.height, w.told, have)
	}
	if got := w.bank.sum(); got != w.supply+w.bank.minted {
		w.t.Fatalf("block %d: %d drops, want %d", w.height, got, w.supply+w.bank.minted)
	}
}

// idle applies blocks without anything up to height to.
func (w *world) idle(to uint64) {
	w.t.Helper()
	for w.height < to {
		w.apply(block{idle: true})
	}
}

func (w *world) epoch() uint64 { return w.p.Epoch(w.height + 1) }

// turn goes to the first block of a later epoch, so that the next block is in it.
func (w *world) turn(epochs uint64) {
	w.t.Helper()
	w.idle(w.p.LastBlock(w.epoch() + epochs - 1))
}

// message is a payload.
type message interface{ Encode() []byte }

// do executes m. Those of its events that are noted come last.
func (w *world) do(c *staking.Context, by ledger.Address, m message) ([]staking.Event, error) {
	events, err := w.execute(c, by, m)
	noted := c.Noted()
	if err != nil {
		if len(noted) != 0 {
			w.t.Errorf("%T was refused (%v) and did %+v", m, err, noted)
		}
		return events, err
	}
	events = append(events, noted...)
	w.told.tell(events...)
	return events, nil
}

func (w *world) execute(c *staking.Context, by ledger.Address, m message) ([]staking.Event, error) {
	one := func(e staking.Event, err error) ([]staking.Event, error) { return []staking.Event{e}, err }
	from := w.party(by)
	switch m := m.(type) {
	case *staking.Register:
		return one(c.Register(from, m))
	case *staking.Edit:
		return one(c.Edit(from, m))
	case *staking.Delegate:
		return one(c.Delegate(from, m))
	case *staking.Redelegate:
		return one(c.Redelegate(from, m))
	case *staking.Undelegate:
		return one(c.Undelegate(from, m))
	case *staking.Unjail:
		return one(c.Unjail(from, m))
	case *staking.Claim:
		return c.Claim(from, m)
	}
	panic("no such message")
}

// try executes m in a block of its own. If it is refused nothing may change.
func (w *world) try(by ledger.Address, m message) (events []staking.Event, code chain.Code) {
	w.t.Helper()
	var err error
	w.apply(block{run: func(c *staking.Context) {
		pending, before := digest(c.State), *w.bank.clone()
		events, err = w.do(c, by, m)
		if err == nil {
			return
		}
		if digest(c.State) != pending || fmt.Sprint(before) != fmt.Sprint(*w.bank) {
			w.t.Errorf("%T was refused (%v) and changed the state", m, err)
		}
	}})
	code, ok := chain.CodeOf(err)
	if !ok {
		w.t.Fatalf("%T: %v is no rule", m, err)
	}
	return events, code
}

func digest(o *chain.Overlay) string {
	h := sha256.New()
	for _, c := range o.Changes() {
		_, _ = fmt.Fprintf(h, "%x %x\n", c.Key, c.Value)
	}
	return string(h.Sum(nil))
}

// ok is try for what must succeed.
func (w *world) ok(by ledger.Address, m message) staking.Event {
	w.t.Helper()
	events, code := w.try(by, m)
	if code != chain.CodeOK {
		w.t.Fatalf("%T %+v: %s", m, m, code)
	}
	return events[0]
}

func (w *world) validator(row uint64) staking.Validator {
	w.t.Helper()
	v, ok := staking.ReadValidator(w.view, row)
	if !ok {
		w.t.Fatalf("no validator %d", row)
	}
	return v
}

// stake returns what a has with a validator; zero if nothing.
func (w *world) stake(row uint64, a ledger.Address) staking.Stake {
	s, _ := staking.StakeOf(w.view, w.p, w.height+1, row, a)
	return s
}

func (w *world) balance(a ledger.Address) uint64 { return uint64(w.bank.Balance(w.bank.Row(a))) }

// members returns the rows of an epoch's committee, in its order.
func (w *world) members(epoch uint64) (rows []uint64) {
	c, _ := staking.ReadCommittee(w.view, epoch)
	for _, m := range c.Members {
		rows = append(rows, m.Validator)
	}
	return rows
}

// votes returns those of the committee of the present epoch, without those of
// the absent rows.
func (w *world) votes(absent ...uint64) (list []staking.Vote) {
	c, _ := staking.ReadCommittee(w.view, w.epoch())
	for _, m := range c.Members {
		list = append(list, staking.Vote{Validator: m.Address(), Signed: !slices.Contains(absent, m.Validator)})
	}
	return list
}

// equivocation is evidence against the validator at row.
func (w *world) equivocation(row, height uint64) staking.Evidence {
	v := w.validator(row)
	return staking.Evidence{Kind: staking.DuplicateVote, Validator: v.Address(), Height: height}
}

func (w *world) find(kind staking.EventKind) (list []staking.Event) {
	for _, e := range w.events {
		if e.Kind == kind {
			list = append(list, e)
		}
	}
	return list
}

var blsKeys = func() func(i int) *bls.SecretKey {
	var mu sync.Mutex
	keys := map[int]*bls.SecretKey{}
	return func(i int) *bls.SecretKey {
		mu.Lock()
		defer mu.Unlock()
		if keys[i] == nil {
			h := ledger.HashOf("bls secret", binary.BigEndian.AppendUint32(nil, uint32(i)))
			k, err := bls.NewSecretKey(h[:])
			if err != nil {
				panic(err)
			}
			keys[i] = k
		}
		return keys[i]
	}
}()

// network is where the worlds are.
var network = ledger.HashOf("test network")

// registration returns one by an account that holds, of the i-th keys.
func registration(by ledger.Address, i int, stake uint64) *staking.Register {
	g := validator(i, stake)
	g.BLSKey = blsKeys(i).Public()
	g.Proof = staking.Prove(blsKeys(i), network, by, g.ConsensusKey)
	return &g.Register
}
