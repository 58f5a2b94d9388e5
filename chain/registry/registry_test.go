package registry_test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/zone"
)

var update = flag.Bool("update", false, "rewrite the golden vectors")

type nothing struct{}

func (nothing) Get([]byte) []byte                      { return nil }
func (nothing) Range([]byte) iter.Seq2[[]byte, []byte] { return func(func([]byte, []byte) bool) {} }

// address returns the account of person n.
func address(n byte) ledger.Address {
	return ledger.NewAddress(0, ledger.NewPrivateKey([32]byte{n, 1}).Public())
}

// operator returns the account that operates validator n.
func operator(n byte) ledger.Address { return address(100 + n) }

// service returns a service of person 1 with some zones, two shards in each.
func service(id uint32, name string, zones ...byte) zone.ServiceType {
	s := zone.ServiceType{
		ID: id, Name: name, SpecHash: ledger.HashOf(name), Unit: zone.Unit{Name: "chunk", Size: 1 << 20},
		Shards: 2, CommitteeSize: zone.MinCommittee, Owner: address(1), Version: 1,
	}
	for _, n := range zones {
		s.Zones = append(s.Zones, zone.Zone{Number: n, Policy: zone.DefaultPolicy(fmt.Sprintf("region-%d", n))})
	}
	return s
}

// world is a main chain's registry, block by block.
type world struct {
	t     *testing.T
	ctx   registry.Context
	rules staking.Params
}

// newWorld begins with validators of one coin and more each.
func newWorld(t *testing.T, validators int, services ...zone.ServiceType) *world {
	t.Helper()
	w := &world{t: t, rules: staking.LocalParams()}
	w.rules.EpochBlocks = 10
	if err := registry.ValidateGenesis(services); err != nil {
		t.Fatal(err)
	}
	o := chain.NewOverlay(nothing{})
	var list []staking.GenesisValidator
	for i := range validators {
		g := staking.GenesisValidator{Operator: operator(byte(i))}
		g.ConsensusKey, g.BLSKey = ledger.PublicKey{byte(i + 1)}, bls.PublicKey{byte(i + 1)}
		g.Name, g.SelfStake = fmt.Sprintf("v%d", i), w.rules.MinStake+ledger.Amount(i)*ledger.DropsPerCoin
		list = append(list, g)
	}
	staking.Start(o, &w.rules, ledger.HashOf("genesis"), list)
	p := registry.LocalParams()
	registry.Start(o, &p, &w.rules, services)
	w.ctx = registry.Context{State: o, Rules: &p, Epochs: &w.rules, Height: 1}
	return w
}

// next ends the block; in the last two of an epoch staking says who could serve, and
// closes a seed.
func (w *world) next() {
	epoch := w.rules.Epoch(w.ctx.Height)
	switch w.ctx.Height {
	case w.rules.LastBlock(epoch) - 1:
		w.ctx.End(staking.Candidates(w.ctx.State))
	case w.rules.LastBlock(epoch):
		seed := ledger.HashOf("seed", fmt.Append(nil, epoch))
		w.ctx.State.Set(staking.SeedKey(epoch+2), seed[:])
		w.ctx.End(nil)
	default:
		before := w.digest()
		w.ctx.End(nil)
		if w.digest() != before {
			w.t.Fatalf("block %d in the middle of an epoch changed the state", w.ctx.Height)
		}
	}
	w.ctx.Height++
}

// epoch goes on to the first block of an epoch.
func (w *world) epoch(e uint64) {
	w.t.Helper()
	for w.ctx.Height < w.rules.FirstBlock(e) {
		w.next()
	}
}

func (w *world) digest() ledger.Hash {
	h := sha256.New()
	for _, c := range w.ctx.State.Changes() {
		_, _ = fmt.Fprintf(h, "%x %x\n", c.Key, c.Value)
	}
	return ledger.Hash(h.Sum(nil))
}

func (w *world) shards() *shard.Map {
	w.t.Helper()
	m, ok := registry.ReadMap(w.ctx.State)
	if !ok {
		w.t.Fatal("no map")
	}
	return m
}

// finish anchors a shard to its end, and so founds its heirs.
func (w *world) finish(id shard.ID) {
	w.t.Helper()
	s, ok := anchor.Read(w.ctx.State, id)
	if !ok || s.Until == 0 {
		w.t.Fatalf("shard %d is not replaced", id)
	}
	s.End = s.Height() + 1
	w.push(id, &s, s.Until)
	anchor.Sync(w.ctx.State, w.shards(), w.ctx.Height)
}

// push anchors the next height of a shard, whose row is s.
func (w *world) push(id shard.ID, s *anchor.State, epoch uint64) {
	s.Last = cert.Checkpoint{Chain: id, Height: s.Height() + 1, Epoch: epoch}
	s.Tree.Push(s.Last.Encode())
	s.Outboxes = append(s.Outboxes, ledger.Hash{})
	w.ctx.State.Set(anchor.Key(id), s.Encode())
}

// anchored anchors the first height of shards that have none; of all that are founded if
// none is named.
func (w *world) anchored(ids ...shard.ID) {
	w.t.Helper()
	if len(ids) == 0 {
		for id := range anchor.All(w.ctx.State) {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		s, ok := anchor.Read(w.ctx.State, id)
		if !ok {
			w.t.Fatalf("shard %d is not founded", id)
		}
		if s.Height() == 0 {
			w.push(id, &s, s.Begins)
		}
	}
}

// refused wants an error of the code, and the state as it was.
func (w *world) refused(name string, code chain.Code, do func() error) {
	w.t.Helper()
	before := w.digest()
	if err := do(); !errors.Is(err, code.Err()) {
		w.t.Errorf("%s: %v, want %s", name, err, code)
	}
	if w.digest() != before {
		w.t.Errorf("%s: the refusal changed the state", name)
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestServiceComesUp: a service that is registered in epoch 1 has its shards, with
// committees of those who serve it, from epoch 3 on, and anybody draws the same.
func TestServiceComesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 6, service(1, "content", 0, 1))
	if got := w.shards().Len(); got != 4 {
		t.Fatalf("%d shards at the start, want 4", got)
	}
	w.epoch(1)
	s := service(9, "proxy", 0)
	w.must(w.ctx.Register(address(1), &s))
	for i := range byte(5) {
		w.must(w.ctx.Serve(operator(i), &registry.Serve{Service: 9, On: true}))
	}
	for e := uint64(1); e < 4; e++ {
		w.epoch(e)
		want := 4
		if e >= 3 {
			want = 6
		}
		if got := w.shards().Len(); got != want {
			t.Errorf("epoch %d: %d shards, want %d", e, got, want)
		}
		for _, a := range registry.Assignments(w.ctx.State, e) {
			if len(a.Committee.Members) != zone.MinCommittee || a.Committee.Epoch != e || a.Kept {
				t.Errorf("epoch %d: shard %d has %d members of epoch %d", e, a.Shard, len(a.Committee.Members), a.Committee.Epoch)
			}
		}
		if got := len(registry.Assignments(w.ctx.State, e)); got != want {
			t.Errorf("epoch %d: committees of %d shards, want %d", e, got, want)
		}
		// The next block will draw for e+2; what is drawn already is for e+1.
		if err := registry.Inputs(w.ctx.State, e+1, shard.Apply(w.shards())).Check(registry.Assignments(w.ctx.State, e+1)); err != nil {
			t.Errorf("epoch %d: %v", e+1, err)
		}
		if err := registry.Inputs(w.ctx.State, e, w.shards()).Check(registry.Assignments(w.ctx.State, e)); err != nil {
			t.Errorf("the present epoch %d: %v", e, err)
		}
	}
	for _, sh := range w.shards().Zone(9, 0) {
		a, ok := registry.ReadAssignment(w.ctx.State, 3, sh.ID)
		if !ok {
			t.Fatalf("nobody serves %s", sh)
		}
		for _, m := range a.Committee.Members {
			if m.Validator == 5 {
				t.Errorf("validator 5 serves %s and never said so", sh)
			}
		}
	}
}

// TestServing: who stops serving is drawn no more, and who begins may be.
func TestServing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5, service(1, "content", 0))
	w.must(w.ctx.Serve(operator(0), &registry.Serve{Service: 1}))
	if got := registry.Servers(w.ctx.State, 1); !slices.Equal(got, []uint64{1, 2, 3, 4}) {
		t.Errorf("served by %d", got)
	}
	w.epoch(6) // by rotation it takes some epochs
	for _, a := range registry.Assignments(w.ctx.State, 6) {
		for _, m := range a.Committee.Members {
			if m.Validator == 0 {
				t.Errorf("validator 0 still serves shard %d", a.Shard)
			}
		}
	}
	w.must(w.ctx.Serve(operator(0), &registry.Serve{Service: 1, On: true}))
	w.epoch(7)
	if p, _ := registry.ReadPool(w.ctx.State, 8, 1); len(p.Candidates) != 5 {
		t.Errorf("%d candidates, want 5", len(p.Candidates))
	}
}

// TestReshard: the owner has a shard split, and its halves merged again.
func TestReshard(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5, service(1, "content", 0))
	first := w.shards().Zone(1, 0)[0]
	w.refused("a split of a shard without an anchor", chain.CodeReshardRefused, func() error {
		return w.ctx.Reshard(address(1), &registry.Reshard{Request: shard.Request{Kind: shard.Split, Shard: first.ID}})
	})
	w.anchored()
	w.must(w.ctx.Reshard(address(1), &registry.Reshard{Request: shard.Request{Kind: shard.Split, Shard: first.ID}}))
	w.epoch(1)
	if got := w.shards().Announced(); len(got) != 1 || got[0].At != 2 || len(registry.Requests(w.ctx.State)) != 0 {
		t.Errorf("announced %v, %d requests left", got, len(registry.Requests(w.ctx.State)))
	}
	w.epoch(2)
	heirs := w.shards().Heirs(first.ID)
	if len(heirs) != 2 || w.shards().Len() != 3 {
		t.Fatalf("heirs %v of %d shards", heirs, w.shards().Len())
	}
	before, _ := registry.ReadAssignment(w.ctx.State, 1, first.ID)
	for _, h := range heirs {
		a, ok := registry.ReadAssignment(w.ctx.State, 2, h.ID)
		kept := 0
		for _, m := range a.Committee.Members {
			if _, was := before.Committee.FindValidator(m.Validator); was {
				kept++
			}
		}
		if !ok || kept < zone.MinCommittee-1 {
			t.Errorf("%s: %d members hold the state of %d", h, kept, first.ID)
		}
	}
	merge := func(id shard.ID) *registry.Reshard {
		return &registry.Reshard{Request: shard.Request{Kind: shard.Merge, Shard: id}}
	}
	w.refused("a merge of heirs that have not begun", chain.CodeUnknownShard, func() error { return w.ctx.Reshard(address(1), merge(heirs[0].ID)) })
	w.finish(first.ID)
	w.refused("a merge of an heir without an anchor", chain.CodeReshardRefused, func() error { return w.ctx.Reshard(address(1), merge(heirs[0].ID)) })
	w.anchored(heirs[0].ID)
	w.refused("a merge too soon", chain.CodeReshardRefused, func() error { return w.ctx.Reshard(address(1), merge(heirs[0].ID)) })
	w.epoch(2 + shard.Cooldown)
	w.must(w.ctx.Reshard(address(1), merge(heirs[0].ID)))
	w.refused("a merge with an heir without an anchor", chain.CodeReshardRefused, func() error { return w.ctx.Reshard(address(1), merge(heirs[1].ID)) })
	w.anchored(heirs[1].ID)
	w.must(w.ctx.Reshard(address(1), merge(heirs[1].ID)))
	w.epoch(2 + shard.Cooldown + shard.Notice)
	if got := w.shards().Zone(1, 0); len(got) != 2 || got[0].Buckets != first.Buckets || got[0].ID == first.ID {
		t.Errorf("after the merge: %v", got)
	}
}

// TestRefusals: each has its code, and none changes the state.
func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4, service(1, "content", 0))
	change := func(id uint32, f func(*zone.ServiceType)) *zone.ServiceType {
		s := service(id, "other", 0)
		f(&s)
		return &s
	}
	register := func(s *zone.ServiceType) func() error { return func() error { return w.ctx.Register(address(1), s) } }
	w.refused("another owner", chain.CodeNotOwner, register(change(2, func(s *zone.ServiceType) { s.Owner = address(2) })))
	w.refused("version 2", chain.CodeInvalidValue, register(change(2, func(s *zone.ServiceType) { s.Version = 2 })))
	w.refused("a used id", chain.CodeServiceUsed, register(change(1, func(*zone.ServiceType) {})))
	w.refused("a used name", chain.CodeServiceUsed, register(change(2, func(s *zone.ServiceType) { s.Name = "content" })))

	next := service(1, "content", 0)
	next.Version = 2
	modify := func(from byte, f func(*zone.ServiceType)) func() error {
		s := next
		f(&s)
		return func() error { return w.ctx.Update(address(from), &s) }
	}
	w.refused("an update by a stranger", chain.CodeNotOwner, modify(2, func(*zone.ServiceType) {}))
	w.refused("an update of nothing", chain.CodeUnknownService, modify(1, func(s *zone.ServiceType) { s.ID = 7 }))
	w.refused("another zone in the place of one", chain.CodeInvalidValue, modify(1, func(s *zone.ServiceType) { s.Zones = service(1, "content", 2).Zones }))
	w.refused("the same version", chain.CodeInvalidValue, modify(1, func(s *zone.ServiceType) { s.Version = 1 }))
	w.refused("another unit", chain.CodeInvalidValue, modify(1, func(s *zone.ServiceType) { s.Unit.Size = 1 }))

	w.refused("a stranger serves", chain.CodeNotOperator, func() error {
		return w.ctx.Serve(address(1), &registry.Serve{Service: 1, On: true})
	})
	w.refused("an unknown service is served", chain.CodeUnknownService, func() error {
		return w.ctx.Serve(operator(0), &registry.Serve{Service: 5, On: true})
	})
	w.refused("served already", chain.CodeStale, func() error { return w.ctx.Serve(operator(0), &registry.Serve{Service: 1, On: true}) })

	split := func(from byte, id shard.ID, kind shard.Kind) func() error {
		return func() error {
			return w.ctx.Reshard(address(from), &registry.Reshard{Request: shard.Request{Kind: kind, Shard: id}})
		}
	}
	id := w.shards().Zone(1, 0)[0].ID
	w.refused("a split by a stranger", chain.CodeNotOwner, split(2, id, shard.Split))
	w.refused("a split of nothing", chain.CodeUnknownShard, split(1, 99, shard.Split))

	w.must(w.ctx.Update(address(1), &next))
	if s, _ := registry.ReadService(w.ctx.State, 1); s.Version != 2 || len(w.shards().Announced()) != 0 {
		t.Errorf("version %d, announced %v", s.Version, w.shards().Announced())
	}
	last := next
	last.Version, last.Name, last.Owner = 3, "media", address(2)
	w.must(w.ctx.Update(address(1), &last))
	w.refused("an update by the former owner", chain.CodeNotOwner, func() error { return w.ctx.Update(address(1), &last) })
	free := service(2, "content", 0)
	w.must(w.ctx.Register(address(1), &free)) // the name is free again
	if got, _ := registry.ServiceByName(w.ctx.State, "media"); got != 1 {
		t.Errorf("media is service %d", got)
	}
}

// TestNoStaking: a chain without validators in its genesis has no registry.
func TestNoStaking(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	s := service(1, "content", 0)
	w.refused("a service", chain.CodeUnknownKind, func() error { return w.ctx.Register(address(1), &s) })
	w.refused("a split", chain.CodeUnknownKind, func() error {
		return w.ctx.Reshard(address(1), &registry.Reshard{Request: shard.Request{Kind: shard.Split, Shard: 2}})
	})
	before := w.digest()
	for range 25 {
		w.ctx.End(nil)
		w.ctx.Height++
	}
	if w.ctx.On() || w.digest() != before {
		t.Error("it has one")
	}
}

// TestForgets: assignments are kept as long as committees.
func TestForgets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4, service(1, "content", 0))
	last := w.rules.Kept() + 6
	w.epoch(last)
	for e := range last + 2 {
		want := e+w.rules.Kept() >= last+1
		if got := len(registry.Assignments(w.ctx.State, e)) > 0; got != want {
			t.Errorf("epoch %d in epoch %d: kept is %v, want %v", e, last, got, want)
		}
	}
}

func TestGenesisRefused(t *testing.T) {
	t.Parallel()
	for name, list := range map[string][]zone.ServiceType{
		"ids that do not ascend": {service(2, "a", 0), service(1, "b", 0)},
		"one name twice":         {service(1, "a", 0), service(2, "a", 0)},
		"no zones":               {service(1, "a")},
		"version 2":              {func() zone.ServiceType { s := service(1, "a", 0); s.Version = 2; return s }()},
		"too many":               slices.Repeat([]zone.ServiceType{service(1, "a", 0)}, registry.MaxServices+1),
	} {
		if err := registry.ValidateGenesis(list); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestParams(t *testing.T) {
	t.Parallel()
	p := registry.DefaultParams()
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
	for _, f := range []func(*registry.Params){
		func(p *registry.Params) { p.RegisterFee = 1 << 60 }, func(p *registry.Params) { p.ServiceFee = 1 << 60 },
	} {
		p := registry.DefaultParams()
		f(&p)
		if err := p.Validate(); err == nil {
			t.Errorf("%+v is valid", p)
		}
	}
}

func FuzzDecodeServe(f *testing.F) {
	f.Add((&registry.Serve{Service: 7, On: true}).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := registry.DecodeServe(b); err == nil && !slices.Equal(m.Encode(), b) {
			t.Errorf("%x is read as %+v", b, m)
		}
	})
}

func FuzzDecodeReshard(f *testing.F) {
	f.Add((&registry.Reshard{Request: shard.Request{Kind: shard.Split, Shard: 5}}).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := registry.DecodeReshard(b); err == nil && !slices.Equal(m.Encode(), b) {
			t.Errorf("%x is read as %+v", b, m)
		}
	})
}

// TestGolden pins the encodings and what the rules make of them.
func TestGolden(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5, service(1, "content", 0, 1), service(2, "storage", 0))
	got := map[string]string{
		"serve":   fmt.Sprintf("%x", (&registry.Serve{Service: 7, On: true}).Encode()),
		"reshard": fmt.Sprintf("%x", (&registry.Reshard{Request: shard.Request{Kind: shard.Merge, Shard: 5}}).Encode()),
		"genesis": w.digest().String(),
	}
	w.anchored()
	w.must(w.ctx.Reshard(address(1), &registry.Reshard{Request: shard.Request{Kind: shard.Split, Shard: w.shards().Zone(1, 0)[0].ID}}))
	for e := uint64(1); e < 5; e++ {
		w.epoch(e)
		got[fmt.Sprintf("epoch %d", e)] = w.digest().String()
	}
	if !w.ctx.Redraw(w.shards().Zone(2, 0)[0].ID, 1) {
		t.Fatal("there is nobody else")
	}
	got["others are drawn"] = w.digest().String()
	path := filepath.Join("testdata", "registry.json")
	if *update {
		b, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(b, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("-want +got:\n%s", cmp.Diff(want, got))
	}
}
