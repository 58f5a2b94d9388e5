package sharded_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/tests/sim"
	"github.com/tributary-network/tributary/zone"
)

// town is a main chain and the shards of some services, without anybody who verifies
// a signature: blocks are made by the test, and so is what they carry to each other.
type town struct {
	t       *testing.T
	rng     *rand.Rand
	gen     settlement.Genesis
	view    *sim.State
	height  uint64
	txs     []settlement.BlockTx
	nonces  map[int]uint64
	homes   map[shard.ID]*homeShard
	boxes   map[uint64]*link.Outbox // of main
	owed    map[[2]uint64]uint64    // by channel and lane: what was signed last
	waited  int                     // blocks after which something waited for room
	refused int                     // opens and top-ups that had no room
	told    map[channel.NoticeKind]int
	keys    map[bls.PublicKey]*bls.Key
}

// homeShard is a shard of a town.
type homeShard struct {
	id     shard.ID
	epoch  uint64 // of the committee of main that it knows
	view   *sim.State
	height uint64
	next   uint64 // block of main that it is told of next
	certs  []cert.Head
	boxes  map[uint64]*link.Outbox
	done   uint64 // height up to which main was told what it says
}

// townAccounts are the payers and payees; the account after them owns services.
const townAccounts = 6

func newTown(t *testing.T, seed uint64, keys map[bls.PublicKey]*bls.Key) *town {
	t.Helper()
	w := &town{
		t: t, rng: rand.New(rand.NewPCG(seed, 3)), nonces: map[int]uint64{}, homes: map[shard.ID]*homeShard{},
		boxes: map[uint64]*link.Outbox{}, owed: map[[2]uint64]uint64{}, told: map[channel.NoticeKind]int{}, keys: keys,
	}
	w.gen = genesisOf(t, 4, 0, uint8(1+w.rng.IntN(4)), 10)
	w.gen.Accounts = nil
	w.gen.Params.Services = []uint32{0, 500}
	w.gen.Params.MinChallenge, w.gen.Params.DefaultChallenge = 2, 4
	for i := range townAccounts + 1 {
		w.gen.Accounts = append(w.gen.Accounts, settlement.GenesisAccount{Address: townAddress(i), Balance: fortune})
	}
	w.gen.Services[0] = w.service(serviceID, 1)
	changes, err := w.gen.State()
	if err != nil {
		t.Fatal(err)
	}
	w.view = sim.NewState(changes)
	return w
}

func townAddress(i int) ledger.Address { return keyOf(i).Address(byte(1 + i%2)) }

// service returns a service with one zone or both.
func (w *town) service(id uint32, version uint32) zone.ServiceType {
	s := zone.ServiceType{
		ID: id, Name: fmt.Sprint("service-", id), SpecHash: ledger.HashOf("spec"), Unit: zone.Unit{Name: "chunk", Size: 1},
		Shards: uint8(1 + w.rng.IntN(4)), CommitteeSize: zone.MinCommittee, Owner: townAddress(townAccounts), Version: version,
	}
	for n := byte(1); n <= byte(1+w.rng.IntN(2)); n++ {
		s.Zones = append(s.Zones, zone.Zone{Number: n, Policy: zone.DefaultPolicy("here")})
	}
	return s
}

func (w *town) domain() chain.Domain {
	return chain.Domain{Network: w.gen.Hash(), Chain: ledger.MainChain}
}

// send puts a transaction into the next block of main.
func (w *town) send(by int, kind chain.Kind, payload []byte) {
	w.t.Helper()
	raw := chain.AttachSignature(chain.UnsignedTx(w.domain(), keyOf(by).Public(), chain.TxFields{
		Kind: kind, Zone: townAddress(by).Zone(), Nonce: w.nonces[by], MaxFee: 1000 * ledger.DropsPerCoin, Payload: payload,
	}), ledger.Signature{})
	w.nonces[by]++
	tx, err := chain.DecodeTx(w.domain(), raw)
	if err != nil {
		w.t.Fatal(err)
	}
	w.txs = append(w.txs, settlement.BlockTx{Tx: tx})
}

// block makes a block of main, and begins shards that it founds.
func (w *town) block() {
	w.t.Helper()
	w.height++
	p := w.gen.Params
	b := settlement.Block{
		Height: w.height, Txs: w.txs, Proved: func(ledger.Hash) bool { return true },
		Keys: w.keysOf,
	}
	if w.height == p.Staking.LastBlock(p.Staking.Epoch(w.height)) {
		b.Seals = make([][]byte, p.Staking.EpochBlocks)
	}
	changes, res, err := settlement.ApplyBlock(w.view, p, w.domain(), b, func([]ledger.Claim) []int { return nil })
	if err != nil {
		w.t.Fatal(err)
	}
	w.view.Apply(changes)
	w.txs, w.boxes[w.height] = nil, res.Outbox
	for i := range res.Receipts {
		switch r := &res.Receipts[i]; {
		case r.Code == chain.CodeLinkFull:
			w.refused++
		case r.Code != chain.CodeOK && (r.Kind == chain.KindAnchor || r.Kind == chain.KindImport):
			w.t.Fatalf("block %d: %s: %s: %s", w.height, r.Kind, r.Code, r.Detail)
		default:
			w.notePaid(r)
		}
	}
	for _, l := range res.Outbox.Leaves() {
		if l.Message != nil {
			w.told[channel.NoticeKind(l.Message.Kind)]++
		}
	}
	places, _ := registry.ReadMap(w.view)
	for s := range places.All() {
		if w.homes[s.ID] == nil {
			w.begin(s.ID)
		}
		for bucket := s.Buckets.First; ; bucket++ {
			if settlement.Waiting(w.view, link.Place{Service: s.Service, Zone: s.Zone, Bucket: uint8(bucket)}) > 0 {
				w.waited++
			}
			if bucket == s.Buckets.Last {
				break
			}
		}
	}
}

// notePaid lets vouchers go on from what was paid.
func (w *town) notePaid(r *settlement.Receipt) {
	for _, e := range r.Entries {
		if e.Applied() {
			at := [2]uint64{e.Index, uint64(e.Lane)}
			w.owed[at] = max(w.owed[at], uint64(e.Redeemed))
		}
	}
}

// keysOf decodes the keys of a committee, each once.
func (w *town) keysOf(c *committee.Committee) (list []*bls.Key, err error) {
	for i := range c.Members {
		raw := c.Members[i].BLSKey
		if w.keys[raw] == nil {
			if w.keys[raw], err = bls.ParseKey(raw); err != nil {
				return nil, err
			}
		}
		list = append(list, w.keys[raw])
	}
	return list, nil
}

// begin lets a shard begin, once its epoch is there. It believes every certificate of main
// that says to be of its first epoch.
func (w *town) begin(id shard.ID) {
	w.t.Helper()
	g, err := shardblock.FromMain(w.view, w.gen.Hash(), &w.gen.Params.Staking, &w.gen.Params.Anchors, id)
	if err != nil {
		return // its first epoch has no record yet
	}
	g.EpochBlocks = 0
	changes, err := g.State()
	if err != nil {
		w.t.Fatal(err)
	}
	w.homes[id] = &homeShard{id: id, epoch: g.Main.Epoch, view: sim.NewState(changes), next: 1, boxes: map[uint64]*link.Outbox{}}
}

// tell brings a shard what blocks of main say to it, up to some blocks, in a block of its
// own for each.
func (w *town) tell(h *homeShard, blocks int) {
	w.t.Helper()
	s := service.ReadShard(h.view)
	first := link.Place{Service: s.Service, Zone: s.Zone, Bucket: s.First}
	last := first
	last.Bucket = s.Last
	main, _ := shardblock.MainCommittee(h.view, h.epoch)
	for ; h.next <= w.height && blocks > 0; h.next++ {
		box := w.boxes[h.next]
		begin, end := box.Span(first, last)
		if begin == end {
			continue
		}
		blocks--
		in, err := box.Import(ledger.MainChain, h.next, begin, end)
		if err != nil {
			w.t.Fatal(err)
		}
		head := cert.Certificate{Checkpoint: cert.Checkpoint{
			Network: w.gen.Hash(), Chain: ledger.MainChain, Height: h.next, Epoch: h.epoch, CommitteeHash: main.Hash(), OutboxRoot: box.Root(),
		}, Bitmap: []byte{1}}
		r := &shardblock.Relay{Kind: shardblock.KindImport, Import: &shardblock.Import{Link: in}}
		r.News.Heads = []cert.Certificate{head}
		h.height++
		changes, res, err := shardblock.Apply(h.view, shardblock.Block{Height: h.height, Relays: []*shardblock.Relay{r}}, shardblock.Verifiers{
			Claims:      func([]ledger.Claim) []int { return nil },
			Certificate: func(*cert.Certificate, *committee.Committee) error { return nil },
		})
		if err != nil {
			w.t.Fatalf("shard %d, block %d of main: %v", h.id, h.next, err)
		}
		h.view.Apply(changes)
		h.boxes[h.height] = res.Outbox
		h.certs = append(h.certs, cert.Head{BlockHash: ledger.Hash{1}, StateRoot: ledger.Hash{2}, OutboxRoot: res.Outbox.Root()})
	}
}

// answer brings main what a shard says: its heights, and then what acknowledges notices or
// sends them back.
func (w *town) answer(h *homeShard) {
	w.t.Helper()
	epoch := w.gen.Params.Staking.Epoch(w.height + 1)
	a, ok := registry.ReadAssignment(w.view, epoch, h.id)
	if !ok || len(h.certs) == 0 {
		return
	}
	for len(h.certs) > 0 {
		list := h.certs[:min(len(h.certs), cert.MaxRun)]
		h.certs = h.certs[len(list):]
		row, _ := anchor.Read(w.view, h.id)
		set := cert.SignerSet{Epoch: epoch, CommitteeHash: a.Committee.Hash(), Bitmap: []byte{1<<len(a.Committee.Members) - 1}}
		run := cert.Run{Network: w.gen.Hash(), Chain: h.id, First: row.Height() + 1, Sets: []cert.SignerSet{set}, Heads: list}
		anchors := anchor.Anchors{Runs: []cert.Run{run}}
		w.send(townAccounts, chain.KindAnchor, anchors.Encode())
		if w.block(); w.gen.Params.Staking.Epoch(w.height+1) != epoch {
			break // the rest is of another committee
		}
	}
	row, _ := anchor.Read(w.view, h.id)
	for h.done < row.Height() {
		h.done++
		if leaves := len(h.boxes[h.done].Leaves()); leaves > 0 && h.done+anchor.Window > row.Height() {
			in, err := h.boxes[h.done].Import(h.id, h.done, 0, leaves)
			if err != nil {
				w.t.Fatal(err)
			}
			d := settlement.Delivery{Import: in}
			w.send(townAccounts, chain.KindImport, d.Encode())
		}
	}
	w.block()
}

// open opens channels, which name services that are there, or are not.
func (w *town) open() {
	names := []uint32{0, serviceID, serviceID, serviceID, 2, 3, 500, 77}
	w.openAs(w.rng.IntN(townAccounts), names[w.rng.IntN(len(names))], 1+w.rng.IntN(3))
}

// openAs opens channels of a payer that name a service.
func (w *town) openAs(payer int, name uint32, count int) {
	o := channel.Open{}
	for range count {
		o.Channels = append(o.Channels, channel.OpenParams{
			Payee: townAddress((payer + 1 + w.rng.IntN(townAccounts-1)) % townAccounts), VoucherKey: keyOf(payer).Public(), Service: name,
			Deposit: ledger.Amount(2_000 + w.rng.IntN(9_000)), ExpiresAt: settlement.Clock(w.view, w.height+1) + 100 + w.rng.Uint64N(900), Challenge: 2,
		})
	}
	w.send(payer, chain.KindOpenChannels, o.Encode())
}

// use does something with a channel.
func (w *town) use(index uint64) {
	c, ok := settlement.ChannelAt(w.view, index)
	if !ok {
		return
	}
	by := func(a ledger.Address) int {
		for i := range townAccounts {
			if townAddress(i) == a {
				return i
			}
		}
		return 0
	}
	ref := channel.Ref{Index: index, ID: c.ID}
	switch k := w.rng.IntN(10); {
	case k < 2:
		m := channel.TopUp{Channel: ref, NewTotal: c.Deposit + ledger.Amount(1+w.rng.IntN(500))}
		w.send(by(c.Payer), chain.KindTopUp, m.Encode())
	case k < 4:
		m := channel.Extend{Channel: ref, NewExpiry: c.ExpiresAt + 1 + w.rng.Uint64N(50)}
		w.send(by(c.Payer), chain.KindExtend, m.Encode())
	case k < 5:
		m := channel.RequestClose{Channel: ref}
		w.send(by(c.Payer), chain.KindRequestClose, m.Encode())
	default:
		b := channel.Batch{Payee: c.Payee}
		for range 1 + w.rng.IntN(2) {
			lane := uint8(w.rng.IntN(3))
			b.Entries = append(b.Entries, channel.Entry{
				Index: index, Lane: lane, Claim: channel.ClaimVoucher, Cumulative: ledger.Amount(w.owed[[2]uint64{index, uint64(lane)}] + 1 + w.rng.Uint64N(300)),
			})
		}
		b.Entries[0].Close = w.rng.IntN(8) == 0
		w.send(by(c.Payee), chain.KindSettle, b.Encode())
	}
}

// services registers and updates services.
func (w *town) services() {
	id := uint32(2 + w.rng.IntN(2))
	s, ok := registry.ReadService(w.view, id)
	if !ok {
		s = w.service(id, 1)
		w.send(townAccounts, chain.KindRegisterService, s.Encode())
		return
	}
	s.Version, s.Name = s.Version+1, fmt.Sprint("service-", id, "-version-", s.Version+1)
	w.send(townAccounts, chain.KindUpdateService, s.Encode())
}

// agrees fails the test unless every home knows of every channel what main does, and of no
// others.
func (w *town) agrees() {
	w.t.Helper()
	places, _ := registry.ReadMap(w.view)
	known := map[shard.ID]uint64{}
	for index := range settlement.ChannelCount(w.view) {
		c, open := settlement.ChannelAt(w.view, index)
		id, has := places.Home(c.Service, c.Payer)
		if !open || !has || w.homes[id] == nil {
			continue
		}
		known[id]++
		home := w.homes[id]
		got, ok := service.ChannelAt(home.view, c.Payer.Bucket(), index)
		if !ok || got.Deposit != c.Deposit || got.ExpiresAt != c.ExpiresAt || got.Payee != c.Payee || got.ID != c.ID {
			w.t.Fatalf("channel %d: its home knows %t, %+v; main has %+v", index, ok, got, c)
		}
		for lane := range uint8(3) {
			here, _ := settlement.LaneAt(w.view, index, lane)
			if there := service.LaneOf(home.view, &got, index, lane); there.Redeemed != here.Redeemed {
				w.t.Fatalf("lane %d of channel %d is redeemed up to %d, its home thinks %d", lane, index, here.Redeemed, there.Redeemed)
			}
		}
	}
	for id, h := range w.homes {
		if got := service.ReadTotals(h.view).Channels; got != known[id] {
			w.t.Errorf("shard %d knows %d channels, want %d", id, got, known[id])
		}
	}
}

// TestHomesKnowWhatMainKnows: whatever happens to channels and services, the homes of
// channels know in the end what main knows, also when so much happened that it was told
// together.
func TestHomesKnowWhatMainKnows(t *testing.T) {
	t.Parallel()
	keys := map[bls.PublicKey]*bls.Key{}
	waited, refused, told := 0, 0, map[channel.NoticeKind]int{}
	for seed := range uint64(24) {
		w := newTown(t, seed, keys)
		crowded := seed%4 == 0
		w.block()
		for round := range 60 {
			for range w.rng.IntN(4) {
				w.open()
			}
			if crowded && round < 3 { // as much as a home can be told at once
				w.openAs(0, serviceID, 1_000)
			}
			if n := settlement.ChannelCount(w.view); n > 0 {
				for range w.rng.IntN(8) {
					w.use(w.rng.Uint64N(n))
				}
			}
			if w.rng.IntN(10) == 0 {
				w.services()
			}
			w.block()
			for _, h := range w.homes {
				if w.rng.IntN(12) == 0 && (!crowded || round > 40) {
					w.tell(h, 1+w.rng.IntN(20))
					w.answer(h)
				}
			}
		}
		for range 12 {
			for range 10 {
				w.block()
			}
			for _, h := range w.homes {
				w.tell(h, 1<<20)
				w.answer(h)
			}
		}
		for _, h := range w.homes {
			w.tell(h, 1<<20)
		}
		w.agrees()
		waited, refused = waited+w.waited, refused+w.refused
		for k, n := range w.told {
			told[k] += n
		}
	}
	t.Logf("told %v; after %d blocks something waited, %d were refused", told, waited, refused)
	if waited < 20 || refused < 20 || told[channel.NoticeOpened]*told[channel.NoticeChanged]*told[channel.NoticeClosed]*told[channel.NoticeRedeemed] == 0 {
		t.Error("too little happened")
	}
}
