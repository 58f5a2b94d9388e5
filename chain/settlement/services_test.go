package settlement_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/zone"
)

// serviceOf returns a service of the i-th account with two shards in each zone.
func serviceOf(i int, id uint32, name string, zones ...byte) zone.ServiceType {
	s := zone.ServiceType{
		ID: id, Name: name, SpecHash: ledger.HashOf(name), Unit: zone.Unit{Name: "chunk", Size: 1 << 20},
		Shards: 2, CommitteeSize: zone.MinCommittee, Owner: accountOf(i), Version: 1,
	}
	for _, n := range zones {
		s.Zones = append(s.Zones, zone.Zone{Number: n, Policy: zone.DefaultPolicy(fmt.Sprintf("region-%d", n))})
	}
	return s
}

// serviceParams are stakeParams with fees of the registry that accounts can pay.
func serviceParams() settlement.Params {
	p := stakeParams()
	p.Registry = registry.Params{RegisterFee: 1_000, ServiceFee: 7}
	return p
}

// servedGenesis has five validators, of the first five of n accounts, and the
// service 1 of account 5, which all of them serve.
func servedGenesis(p settlement.Params, n int) settlement.Genesis {
	g := stakedGenesis(p, n, 50_000, 40_000, 30_000, 20_000, 10_000)
	g.Services = []zone.ServiceType{serviceOf(5, 1, "content", 0, 1)}
	return g
}

// newServed is newBench with servedGenesis and seven accounts.
func newServed(tb testing.TB) *bench {
	tb.Helper()
	return newServedBy(tb, 5)
}

// newServedBy is newServed with as many validators.
func newServedBy(tb testing.TB, validators int) *bench {
	tb.Helper()
	const n = 7
	b := &bench{t: tb, params: serviceParams(), domain: testDomain, nonces: make([]uint64, n)}
	for i := range n {
		b.keys, b.addrs = append(b.keys, keyOf("account", i)), append(b.addrs, accountOf(i))
	}
	g := servedGenesis(b.params, n)
	g.Validators = g.Validators[:validators]
	changes, err := g.State()
	if err != nil {
		tb.Fatal(err)
	}
	b.view = newState(changes)
	return b
}

func (b *bench) shards() *shard.Map {
	b.t.Helper()
	m, ok := registry.ReadMap(b.view)
	if !ok {
		b.t.Fatal("the chain has no map of shards")
	}
	return m
}

func resharded(kind shard.Kind, id shard.ID) *registry.Reshard {
	return &registry.Reshard{Request: shard.Request{Kind: kind, Shard: id}}
}

// TestRegistryRefusals: each thing that the registry takes, and each that it refuses,
// with what it costs; the API is told the same before.
func TestRegistryRefusals(t *testing.T) {
	t.Parallel()
	content := serviceOf(5, 1, "content", 0, 1)
	service := func(by int, change func(*zone.ServiceType)) *zone.ServiceType {
		s := serviceOf(by, 9, "proxy", 0)
		change(&s)
		return &s
	}
	next := func(change func(*zone.ServiceType)) *zone.ServiceType {
		s := content
		s.Version = 2
		change(&s)
		return &s
	}
	list := newServed(t).shards().Zone(1, 0)
	first, second := list[0].ID, list[1].ID // of which the first has an anchor
	for _, row := range []struct {
		name    string
		by      int
		payload encoder
		fee     ledger.Amount
		code    chain.Code
	}{
		{"a service", 6, service(6, func(*zone.ServiceType) {}), 2_003, chain.CodeOK}, // of two shards
		{"a service of more shards", 6, service(6, func(s *zone.ServiceType) { s.Shards = 3 }), 3_003, chain.CodeOK},
		{"of somebody else", 6, service(5, func(*zone.ServiceType) {}), 3, chain.CodeNotOwner},
		{"with a used id", 6, service(6, func(s *zone.ServiceType) { s.ID = 1 }), 3, chain.CodeServiceUsed},
		{"with a used name", 6, service(6, func(s *zone.ServiceType) { s.Name = "content" }), 3, chain.CodeServiceUsed},
		{"without a specification", 6, service(6, func(s *zone.ServiceType) { s.SpecHash = ledger.Hash{} }), 0, chain.CodeInvalidValue},
		{"without zones", 6, service(6, func(s *zone.ServiceType) { s.Zones = nil }), 0, chain.CodeInvalidValue},
		{"a new version", 5, next(func(s *zone.ServiceType) { s.Name = "media" }), 10, chain.CodeOK},
		{"by a stranger", 6, next(func(*zone.ServiceType) {}), 3, chain.CodeNotOwner},
		{"of nothing", 6, next(func(s *zone.ServiceType) { s.ID = 8 }), 3, chain.CodeUnknownService},
		{"two versions later", 5, next(func(s *zone.ServiceType) { s.Version = 3 }), 3, chain.CodeInvalidValue},
		{"with another unit", 5, next(func(s *zone.ServiceType) { s.Unit.Size = 5 }), 3, chain.CodeInvalidValue},
		{"with a zone more", 5, next(func(s *zone.ServiceType) { s.Zones = serviceOf(5, 1, "content", 0, 1, 5).Zones }), 2_010, chain.CodeOK},
		{"with a zone more by a stranger", 6, next(func(s *zone.ServiceType) { s.Zones = serviceOf(5, 1, "content", 0, 1, 5).Zones }), 3, chain.CodeNotOwner},
		{"with another zone in the place of one", 5, next(func(s *zone.ServiceType) { s.Zones = serviceOf(5, 1, "content", 0, 5).Zones }), 3, chain.CodeInvalidValue},
		{"without a zone", 5, next(func(s *zone.ServiceType) { s.Zones = s.Zones[:1] }), 3, chain.CodeInvalidValue},
		{"serves no longer", 0, &registry.Serve{Service: 1}, 10, chain.CodeOK},
		{"serves already", 0, &registry.Serve{Service: 1, On: true}, 3, chain.CodeStale},
		{"serves what is not there", 0, &registry.Serve{Service: 2, On: true}, 3, chain.CodeUnknownService},
		{"serves without a validator", 6, &registry.Serve{Service: 1, On: true}, 3, chain.CodeNotOperator},
		{"a split", 5, resharded(shard.Split, first), 10, chain.CodeOK},
		{"a split without an anchor", 5, resharded(shard.Split, second), 3, chain.CodeReshardRefused},
		{"a split by a stranger", 6, resharded(shard.Split, first), 3, chain.CodeNotOwner},
		{"a split of nothing", 5, resharded(shard.Split, 77), 3, chain.CodeUnknownShard},
		{"a split into three", 5, resharded(7, first), 0, chain.CodeInvalidValue},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := newServed(t)
			b.ok(4, anchorsOf(b.heights(first, 0, 1, 1)))
			collected := b.totals().Fees
			tx := b.signed(row.by, row.payload)
			full, added := settlement.Fee(b.params, &tx.Tx), ledger.Amount(0)
			if row.name == "with a zone more" {
				added = 2_000 // of two shards, which the state tells
			}
			admitted, err := settlement.Admit(b.view, b.params, b.domain, b.height+1, &tx.Tx)
			if row.code != chain.CodeOK && !errors.Is(err, row.code.Err()) {
				t.Errorf("Admit: %v, want %s", err, row.code)
			}
			before := b.balance(row.by)
			r := b.block(tx).Receipts[0]
			if r.Code != row.code || r.Fee != row.fee || admitted.Code != r.Code || row.code == chain.CodeOK && full+added != r.Fee {
				t.Errorf("%s (%s) for %d, want %s for %d; Admit says %s, Fee %d", r.Code, r.Detail, r.Fee, row.code, row.fee, admitted.Code, full)
			}
			if got := before - b.balance(row.by); got != uint64(row.fee) || b.totals().Fees-collected != row.fee {
				t.Errorf("paid %d, collected %d, want %d", got, b.totals().Fees-collected, row.fee)
			}
			if row.code != chain.CodeOK && r.Detail == "" {
				t.Error("the refusal says nothing")
			}
		})
	}
}

// TestZoneIsAdded: a new version has a zone more, whose shards are paid for, founded and
// served as those of a registration, and takes none away; what cannot be paid is refused.
func TestZoneIsAdded(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	next := serviceOf(5, 1, "content", 0, 1, 5)
	next.Version = 2
	fields := b.fields(5, &next)
	if got, want := settlement.FeeAtMost(b.params, &chain.Tx{Kind: chain.KindUpdateService, Payload: next.Encode()}), ledger.Amount(6_010); got != want {
		t.Errorf("it costs %d at most, want %d: as if all its zones were new", got, want)
	}
	fields.MaxFee = 2_009 // one drop less than it takes
	tx := b.decode(chain.SignTx(b.domain, b.keys[5], fields))
	if r := b.block(tx).Receipts[0]; r.Code != chain.CodeFeeTooLow || r.Fee != b.params.TxFee {
		t.Errorf("%s for %d: %s", r.Code, r.Fee, r.Detail)
	}
	b.ok(5, payTo(b.addrs[0], b.balance(5)-2_000-uint64(b.params.TxFee)))
	if r := b.run(5, &next); r.Code != chain.CodeInsufficientBalance || r.Fee != b.params.TxFee {
		t.Errorf("%s for %d: %s", r.Code, r.Fee, r.Detail)
	}
	b.ok(0, payTo(b.addrs[5], 50_000))
	res := b.took(5, &next)
	if r := &res.Receipts[0]; r.Fee != b.params.TxFee+b.params.Registry.ServiceFee+2*b.params.Registry.RegisterFee {
		t.Errorf("it cost %d", r.Fee)
	}
	if got := len(res.Registry); got != 2 || res.Registry[0].Kind != registry.EventAnnounced || res.Registry[0].Zone != 5 || res.Registry[1].Kind != registry.EventUpdated {
		t.Errorf("events %+v", res.Registry)
	}
	more := next
	more.Version, more.Zones = 3, serviceOf(5, 1, "content", 0, 1, 5, 6).Zones
	last := b.params.Staking.LastBlock(0)
	for b.height+1 < last {
		b.block()
	}
	b.ok(5, &more) // too late for the next pool
	res = b.forward(shard.Notice - 1)
	if got := shardEvents(&res, settlement.ShardFounded); len(got) != 2 || got[0] != b.shards().Zone(1, 5)[0].ID {
		t.Errorf("founded are %d", got)
	}
	if got := len(b.shards().Zone(1, 5)); got != 2 {
		t.Fatalf("zone 5 has %d shards", got)
	}
	for _, s := range b.shards().Zone(1, 5) {
		a, _ := registry.ReadAssignment(b.view, shard.Notice, s.ID)
		if row := b.anchored(s.ID); row.Since != shard.Notice || row.Begins != shard.Notice || len(a.Committee.Members) == 0 {
			t.Errorf("shard %d: %+v, served by %+v", s.ID, row, a)
		}
		b.ok(6, anchorsOf(b.heights(s.ID, shard.Notice, 1, 2)))
	}
	b.forward(shard.Notice)
	if got := len(b.shards().Zone(1, 6)); got != 2 {
		t.Errorf("zone 6 has %d shards", got)
	}
}

// TestShardsArePaidFor: the number of shards of zones that wait to be announced stays as it
// was paid for.
func TestShardsArePaidFor(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	for b.height+1 < b.params.Staking.LastBlock(0) {
		b.block()
	}
	s := serviceOf(6, 9, "proxy", 0)
	wide := s
	wide.Version, wide.Shards = 2, 9
	res := b.block(b.signed(6, &s), b.signed(6, &wide))
	if got := []chain.Code{res.Receipts[0].Code, res.Receipts[1].Code}; !slices.Equal(got, []chain.Code{chain.CodeOK, chain.CodeReshardRefused}) {
		t.Fatalf("%v: %s", got, res.Receipts[1].Detail)
	}
	b.ok(6, &wide)
	for b.shards().Epoch() < 4 {
		b.block()
	}
	if got := len(b.shards().Zone(9, 0)); got != 2 {
		t.Errorf("%d shards, two are paid for", got)
	}
}

// TestRegistryWithoutStaking: a chain whose validators are fixed has no registry, and
// a genesis that wants one anyway is none.
func TestRegistryWithoutStaking(t *testing.T) {
	t.Parallel()
	b := newBench(t, serviceParams(), 3)
	s := serviceOf(0, 9, "proxy", 0)
	if r := b.run(0, &s); r.Code != chain.CodeUnknownKind || r.Fee != b.params.TxFee {
		t.Errorf("%s for %d", r.Code, r.Fee)
	}
	if r := b.run(0, &registry.Serve{Service: 9, On: true}); r.Code != chain.CodeNotOperator {
		t.Errorf("serving: %s", r.Code)
	}
	for range 25 {
		if changes, _ := b.try(); len(changes) != 0 {
			t.Fatalf("block %d changes %d keys", b.height+1, len(changes))
		}
		b.block()
	}
}

// counting counts how often a key of the registry is read.
type counting struct {
	chain.View
	services int
}

func (c *counting) Get(key []byte) []byte {
	if bytes.Equal(key, registry.ServiceKey(1)) {
		c.services++
	}
	return c.View.Get(key)
}

// TestServicesAreReadOnce: a block asks for a service once, however many channels it
// opens, and once for all that it settles, whose homes are told.
func TestServicesAreReadOnce(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	p := b.openParams(1, 500)
	p.Service = 1
	open := &channel.Open{Channels: slices.Repeat([]channel.OpenParams{p}, 20)}
	apply := func(txs ...settlement.BlockTx) int {
		v := &counting{View: b.view}
		changes, res, err := settlement.ApplyBlock(v, b.params, b.domain, settlement.Block{Height: b.height + 1, Txs: txs}, verifySingly)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range res.Receipts {
			if r.Code != chain.CodeOK {
				t.Fatalf("%s: %s", r.Kind, r.Detail)
			}
		}
		b.view.apply(changes)
		b.height++
		return v.services
	}
	if n := apply(b.checked(0, open), b.checked(0, open)); n != 1 {
		t.Errorf("40 opens read the service %d times", n)
	}
	if n := apply(b.checked(1, b.batch(1, b.voucher(b.ref(0), 0, 100), b.voucher(b.ref(1), 0, 100)))); n != 1 {
		t.Errorf("settling reads the service %d times", n)
	}
}

// recomputed draws the committees of the next epoch from what is public: the
// candidates of the election two blocks before the epoch's begin, who said that they
// serve, the seed, the map, and the committees before.
func recomputed(b *bench, pools []shard.Pool) []shard.Assignment {
	epoch := b.params.Staking.Epoch(b.height + 1)
	return shard.Assign(shard.Inputs{
		Seed: staking.Seed(b.view, epoch+1), Map: shard.Apply(b.shards()), Pools: pools,
		Previous: registry.Assignments(b.view, epoch),
	})
}

// TestRegistryInBlocks is a life: a service is registered, validators serve it, two
// epochs later it has shards with committees, which anybody recomputes, one splits.
func TestRegistryInBlocks(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	rules := &b.params.Staking
	if b.shards().Len() != 4 || settlement.NeedsTick(b.view, &b.params, 1) {
		t.Fatalf("%d shards at the start", b.shards().Len())
	}
	s := serviceOf(6, 9, "proxy", 0)
	b.ok(6, &s)
	for i := range 4 {
		b.ok(i, &registry.Serve{Service: 9, On: true})
	}
	splits := b.shards().Zone(1, 1)[1].ID
	b.ok(6, anchorsOf(b.heights(splits, 0, 1, 1)))
	b.ok(5, resharded(shard.Split, splits))
	var pools []shard.Pool // of the last election
	for b.height < 5*rules.EpochBlocks {
		epoch := rules.Epoch(b.height + 1)
		if want := epoch < shard.Notice; settlement.NeedsTick(b.view, &b.params, b.height+1) != want {
			t.Errorf("block %d is needed: %v, want %v", b.height+1, !want, want)
		}
		res := b.block()
		if res.Election != nil {
			pools = nil
			for _, s := range registry.Services(b.view) {
				p := shard.Pool{Service: s.ID, Rules: s.Rules(rules.PowerCapBps)}
				for _, c := range res.Candidates {
					if slices.Contains(registry.Servers(b.view, s.ID), c.Validator) {
						p.Candidates = append(p.Candidates, shard.Candidate{Candidate: c})
					}
				}
				pools = append(pools, p)
			}
		}
		if b.height != rules.LastBlock(epoch) {
			continue
		}
		// The block drew for the epoch after the next one.
		now := b.shards()
		in := registry.Inputs(b.view, epoch+2, shard.Apply(now))
		drawn := registry.Assignments(b.view, epoch+2)
		if err := in.Check(drawn); err != nil {
			t.Errorf("epoch %d: %v", epoch+2, err)
		}
		own := shard.Inputs{Seed: staking.Seed(b.view, epoch+2), Map: shard.Apply(now), Pools: pools, Previous: registry.Assignments(b.view, epoch+1)}
		if err := own.Check(drawn); err != nil {
			t.Errorf("epoch %d from the election: %v", epoch+2, err)
		}
		if _, kept := registry.ReadPool(b.view, epoch, 1); kept {
			t.Errorf("the pool of epoch %d, which is over, is kept", epoch)
		}
		if want := []int{4, 7, 7, 7, 7}[epoch]; now.Len() != want {
			t.Errorf("the map of epoch %d has %d shards, want %d", epoch+1, now.Len(), want)
		}
	}
	for _, sh := range b.shards().Zone(9, 0) {
		a, ok := registry.ReadAssignment(b.view, 3, sh.ID)
		if !ok || len(a.Committee.Members) != zone.MinCommittee || a.Kept {
			t.Errorf("%s is served by %+v", sh, a)
		}
		if _, ok := a.Committee.FindValidator(4); ok {
			t.Errorf("validator 4 serves %s and never said so", sh)
		}
	}
	if len(recomputed(b, pools)) != b.shards().Len() {
		t.Error("the next epoch cannot be recomputed")
	}
}

// TestRegistryProperty: whatever is sent to the registry, among transfers and epochs,
// value is conserved, fees are what the receipts say, two executions are one, and
// every epoch's committees are those that were to be drawn.
func TestRegistryProperty(t *testing.T) {
	t.Parallel()
	worlds := uint64(6)
	if testing.Short() {
		worlds = 2
	}
	codes := map[chain.Code]int{}
	for seed := range worlds {
		b, r := newServed(t), rand.New(rand.NewPCG(seed, 7))
		supply := settlement.Supply(b.view)
		version := map[uint32]uint32{1: 1}
		for b.height < 80 {
			var txs []settlement.BlockTx
			for range r.IntN(4) {
				by, id := r.IntN(7), uint32(1+r.IntN(5))
				var p encoder
				switch r.IntN(6) {
				case 0:
					s := serviceOf(by, id, fmt.Sprintf("service-%d", r.IntN(5)), byte(r.IntN(2)))
					p = &s
				case 1:
					s := serviceOf(5, id, fmt.Sprintf("service-%d", r.IntN(5)), 0, 1, byte(2+r.IntN(2)))
					s.Version = version[id] + 1
					p = &s
				case 2, 3:
					p = &registry.Serve{Service: id, On: r.IntN(2) == 0}
				case 4:
					p = resharded(shard.Kind(1+r.IntN(3)), shard.ID(1+r.IntN(12)))
				default:
					p = payTo(b.addrs[r.IntN(7)], uint64(r.IntN(50)))
				}
				txs = append(txs, b.checked(by, p))
			}
			changes, res := b.try(txs...)
			again, second := b.try(txs...)
			if digestOf(changes, &res) != digestOf(again, &second) {
				t.Fatalf("world %d, block %d: two executions differ", seed, b.height+1)
			}
			before := b.totals()
			b.block(txs...) // audits
			var fees ledger.Amount
			for i, rc := range res.Receipts {
				codes[rc.Code]++
				fees += rc.Fee
				s, err := registry.DecodeService(txs[i].Tx.Payload)
				if err == nil && rc.Kind == chain.KindUpdateService && rc.Code == chain.CodeOK {
					version[s.ID] = s.Version
				}
				if rc.Kind == chain.KindRegisterService && rc.Code == chain.CodeOK && rc.Fee != ledger.Amount(1_000*len(s.Zones)*int(s.Shards)+3) {
					t.Fatalf("world %d: a service for %d", seed, rc.Fee)
				}
			}
			after := b.totals()
			epoch := b.params.Staking.Epoch(b.height)
			if b.height != b.params.Staking.LastBlock(epoch) && after.Fees != before.Fees+fees {
				t.Fatalf("world %d, block %d: fees went from %d to %d, receipts say %d", seed, b.height, before.Fees, after.Fees, fees)
			}
			if settlement.Supply(b.view) != supply+after.Minted || after.Sum() != settlement.Supply(b.view) {
				t.Fatalf("world %d, block %d: %+v of %d", seed, b.height, after, supply)
			}
			present := b.params.Staking.Epoch(b.height + 1)
			for i, m := range []*shard.Map{b.shards(), shard.Apply(b.shards())} {
				e := present + uint64(i)
				if err := registry.Inputs(b.view, e, m).Check(registry.Assignments(b.view, e)); err != nil {
					t.Fatalf("world %d, block %d: epoch %d: %v", seed, b.height, e, err)
				}
			}
		}
	}
	t.Logf("codes: %v", codes)
	for _, c := range []chain.Code{chain.CodeOK, chain.CodeServiceUsed, chain.CodeNotOwner, chain.CodeNotOperator, chain.CodeStale, chain.CodeUnknownService, chain.CodeUnknownShard, chain.CodeInvalidValue} {
		if codes[c] == 0 {
			t.Errorf("no transaction ended with %s", c)
		}
	}
}

// TestRegistryWeight: no transaction of the registry writes more than its weight.
func TestRegistryWeight(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	s, next := serviceOf(6, 9, "proxy", 0, 1, 2, 3), serviceOf(5, 1, "other", 0, 1)
	next.Version = 2
	b.ok(6, anchorsOf(b.heights(b.shards().Zone(1, 0)[0].ID, 0, 1, 1)))
	for _, row := range []struct {
		by      int
		payload encoder
	}{
		{6, &s},
		{5, &next},
		{0, &registry.Serve{Service: 9, On: true}},
		{0, &registry.Serve{Service: 1}},
		{5, resharded(shard.Split, b.shards().Zone(1, 0)[0].ID)},
	} {
		tx := b.checked(row.by, row.payload)
		changes, res := b.try(tx)
		if res.Receipts[0].Code != chain.CodeOK {
			t.Fatalf("%s: %s", tx.Tx.Kind, res.Receipts[0].Detail)
		}
		var wrote int64
		for _, c := range changes {
			wrote += max(int64(len(c.Key)+len(c.Value)+15), 96)
		}
		if weight := settlement.Weight(&tx.Tx); wrote > weight+3*96+100 {
			t.Errorf("%s writes %d, its weight is %d", tx.Tx.Kind, wrote, weight)
		}
		b.block(tx)
	}
}

func TestServedGenesis(t *testing.T) {
	t.Parallel()
	g := servedGenesis(serviceParams(), 7)
	again, err := settlement.DecodeGenesis(g.Encode())
	if err != nil || !bytes.Equal(again.Encode(), g.Encode()) || again.Hash() != g.Hash() || len(again.Services) != 1 {
		t.Fatalf("decoded %+v, %v", again, err)
	}
	changes, err := g.State()
	if err != nil {
		t.Fatal(err)
	}
	v := newState(changes)
	for e := range uint64(2) {
		if got := len(registry.Assignments(v, e)); got != 4 {
			t.Errorf("epoch %d: committees of %d shards, want 4", e, got)
		}
	}
	for name, change := range map[string]func(*settlement.Genesis){
		"services[0]: id":   func(g *settlement.Genesis) { g.Services[0].ID = 0 },
		"services[1]":       func(g *settlement.Genesis) { g.Services = append(g.Services, g.Services[0]) },
		"services has 1 en": func(g *settlement.Genesis) { g.Validators = nil },
		"registry":          func(g *settlement.Genesis) { g.Params.Registry.ServiceFee = 1 << 60 },
	} {
		bad := servedGenesis(serviceParams(), 7)
		change(&bad)
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := settlement.DecodeGenesis(bad.Encode()); err == nil {
			t.Errorf("%s: decodes", name)
		}
	}
	whole := g.Encode()
	for _, cut := range []int{1, 3, 60} {
		if _, err := settlement.DecodeGenesis(whole[:len(whole)-cut]); err == nil {
			t.Errorf("a genesis without its last %d bytes decodes", cut)
		}
	}
}

// TestGoldenRegistry fixes what blocks with the registry do, byte for byte.
func TestGoldenRegistry(t *testing.T) {
	t.Parallel()
	b := newServed(t)
	got := map[string]string{"genesis hash": servedGenesis(b.params, 7).Hash().String(), "state": b.view.digest().String()}
	s := serviceOf(6, 9, "proxy", 0)
	next := serviceOf(5, 1, "media", 0, 1, 4)
	next.Version = 2
	script := map[uint64][]func() settlement.BlockTx{
		1: {func() settlement.BlockTx { return b.signed(6, &s) }, func() settlement.BlockTx { return b.signed(0, &registry.Serve{Service: 9, On: true}) }},
		4: {func() settlement.BlockTx {
			return b.signed(6, anchorsOf(b.heights(b.shards().Zone(1, 0)[1].ID, 0, 1, 1)))
		}},
		5:  {func() settlement.BlockTx { return b.signed(5, resharded(shard.Split, b.shards().Zone(1, 0)[1].ID)) }},
		13: {func() settlement.BlockTx { return b.signed(5, &next) }, func() settlement.BlockTx { return b.signed(0, &registry.Serve{Service: 1}) }},
		14: {func() settlement.BlockTx { return b.signed(6, &next) }},
	}
	for b.height < 45 {
		var txs []settlement.BlockTx
		for _, f := range script[b.height+1] {
			txs = append(txs, f())
		}
		changes, res := b.try(txs...)
		b.block(txs...)
		if len(changes) == 0 {
			continue
		}
		name := fmt.Sprintf("block %02d ", b.height)
		got[name+"state"] = b.view.digest().String()
		for i, r := range res.Receipts {
			got[fmt.Sprintf("%sreceipt %d", name, i)] = r.Code.String()
		}
	}
	golden(t, "registry.json", got)
}
