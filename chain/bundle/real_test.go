package bundle_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/bundle"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/lanelog"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/ledger/statetree"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/zone"
)

const (
	realService  = 1
	realZone     = 1
	realAccounts = 40
)

// chains is a main chain and its one shard, run by four validators in this goroutine: the rules,
// the executors, the signatures and the certificates are those of nodes.
type chains struct {
	tb       testing.TB
	gen      settlement.Genesis
	mains    []*exec.Main
	shards   []*exec.Shard
	layers   []*layer.Settlement // of main
	shard    shard.ID
	serves   committee.Committee // the shard
	anchored []cert.Certificate  // heights of the shard
	nonces   map[ledger.Address]uint64
}

func realKey(i int) ledger.PrivateKey { return fakeKey("account", uint64(i)) }

func realGenesis(tb testing.TB) settlement.Genesis {
	tb.Helper()
	params := settlement.LocalParams()
	params.Staking.EpochBlocks = fakeBlocks
	g := settlement.Genesis{Name: "bundle", Time: 1_700_000_000_000, Params: params}
	for i := range realAccounts {
		g.Accounts = append(g.Accounts, settlement.GenesisAccount{Address: realKey(i).Address(realZone), Balance: 1_000_000 * ledger.DropsPerCoin})
	}
	for i := range uint64(4) {
		operator := fakeKey("operator", i)
		g.Accounts = append(g.Accounts, settlement.GenesisAccount{Address: operator.Address(realZone), Balance: 1_000_000 * ledger.DropsPerCoin})
		secret, m := voter(tb, i)
		v := staking.GenesisValidator{Operator: operator.Address(realZone)}
		v.ConsensusKey, v.BLSKey = m.ConsensusKey, m.BLSKey
		v.Proof = staking.Prove(secret, ledger.NetworkID{}, v.Operator, v.ConsensusKey)
		v.Name, v.MaxCommission = fmt.Sprintf("validator-%d", i), 10_000
		v.MinSelf, v.SelfStake = params.Staking.MinSelfStake, 10*params.Staking.MinStake
		g.Validators = append(g.Validators, v)
	}
	g.Services = []zone.ServiceType{{
		ID: realService, Name: "content", SpecHash: ledger.HashOf("content"), Unit: zone.Unit{Name: "chunk", Size: 1 << 20},
		Shards: 1, CommitteeSize: zone.MinCommittee, Owner: realKey(0).Address(realZone), Version: 1,
		Zones: zone.Registry{{Number: realZone, Policy: zone.DefaultPolicy("here")}},
	}}
	if err := g.Validate(); err != nil {
		tb.Fatal(err)
	}
	return g
}

func newChains(tb testing.TB) *chains {
	tb.Helper()
	w := &chains{tb: tb, gen: realGenesis(tb), nonces: map[ledger.Address]uint64{}}
	for i := range uint64(4) {
		l, cfg := w.replica(i, settlement.Tables()...)
		m, err := exec.OpenMain(cfg, l, w.gen, slog.New(slog.DiscardHandler))
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := m.InitChain(w.gen.Encode()); err != nil {
			tb.Fatal(err)
		}
		w.mains, w.layers = append(w.mains, m), append(w.layers, l)
	}
	var g shardblock.Genesis
	w.read(func(v chain.View) (err error) {
		m, _ := registry.ReadMap(v)
		for s := range m.All() {
			w.shard = s.ID
		}
		g, err = shardblock.FromMain(v, w.gen.Hash(), &w.gen.Params.Staking, &w.gen.Params.Anchors, w.shard)
		return err
	})
	w.serves = g.Committee
	for i := range uint64(4) {
		l, cfg := w.replica(i)
		s, err := exec.OpenShard(cfg, l, g, slog.New(slog.DiscardHandler))
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := s.InitChain(g.Encode()); err != nil {
			tb.Fatal(err)
		}
		w.shards = append(w.shards, s)
	}
	return w
}

func (w *chains) replica(i uint64, tables ...chain.Table) (*layer.Settlement, exec.Config) {
	w.tb.Helper()
	l, err := layer.New(memkv.New(), layer.Options{State: statetree.Options{Tables: tables}})
	if err != nil {
		w.tb.Fatal(err)
	}
	secret, _ := voter(w.tb, i)
	return l, exec.Config{BLS: secret, Network: w.gen.Hash()}
}

func (w *chains) read(f func(v chain.View) error) {
	w.tb.Helper()
	if err := w.mains[0].Read(func(v chain.View, _ uint64) error { return f(v) }); err != nil {
		w.tb.Fatal(err)
	}
}

func address(m *committee.Member) staking.Address { return staking.AddressOf(m.ConsensusKey) }

// step makes a block at all executors and returns its checkpoint, but for the roots that are
// not the state's, and the votes of com.
func (w *chains) step(list []*exec.Executor, com *committee.Committee, bundles ...[]byte) (cert.Checkpoint, []cert.Vote) {
	w.tb.Helper()
	head, _ := list[0].Head()
	height := head + 1
	_, by := voter(w.tb, height%4)
	var txs [][]byte
	if proposed := list[height%4].Propose(height, 1<<20, nil); len(proposed) > 0 && proposed[0][0] == 0xB3 {
		txs = proposed[:1] // the seal
	}
	txs = append(txs, bundles...)
	hash := sha256.New()
	hash.Write(number(height))
	hash.Write(number(uint64(list[0].Chain().Chain)))
	for _, tx := range txs {
		sum := sha256.Sum256(tx)
		hash.Write(sum[:])
	}
	proposer := address(&by)
	b := exec.Block{Height: height, Time: time.UnixMilli(w.gen.Time + int64(height)*1_000), Proposer: proposer[:], Txs: txs, Hash: hash.Sum(nil)}
	for i := range com.Members {
		if height > 1 {
			b.LastVotes = append(b.LastVotes, staking.Vote{Validator: address(&com.Members[i]), Signed: true})
		}
	}
	var votes []cert.Vote
	for i, e := range list {
		if err := e.Accept(b); err != nil {
			w.tb.Fatalf("accept block %d: %v", height, err)
		}
		data, err := e.Extend(b)
		if err != nil {
			w.tb.Fatal(err)
		}
		_, m := voter(w.tb, uint64(i))
		member, ok := com.FindAddress(address(&m))
		if !ok || len(data) == 0 {
			w.tb.Fatalf("validator %d does not vote", i)
		}
		v := cert.Vote{Member: member}
		copy(v.Signature[:], data)
		votes = append(votes, v)
	}
	var first []byte
	for _, e := range list {
		out, err := e.Finalize(b)
		if err != nil {
			w.tb.Fatal(err)
		}
		if _, err := e.Commit(); err != nil {
			w.tb.Fatal(err)
		}
		if first == nil {
			first = out.AppHash
		} else if !bytes.Equal(first, out.AppHash) {
			w.tb.Fatalf("block %d: executors differ", height)
		}
	}
	return cert.Checkpoint{
		Network: w.gen.Hash(), Chain: list[0].Chain().Chain, Height: height, Epoch: com.Epoch, BlockHash: ledger.Hash(b.Hash),
		StateRoot: ledger.Hash(first), CommitteeHash: com.Hash(),
	}, votes
}

// assemble makes a certificate of votes.
func (w *chains) assemble(p cert.Checkpoint, com *committee.Committee, votes []cert.Vote) cert.Certificate {
	w.tb.Helper()
	keys, err := com.Keys()
	if err != nil {
		w.tb.Fatal(err)
	}
	c, bad, err := cert.Assemble(p, com, keys, votes)
	if err != nil || bad != nil {
		w.tb.Fatalf("certificate of block %d of chain %d: bad %v, %v", p.Height, p.Chain, bad, err)
	}
	return c
}

// block makes a block of main of records that are executed, and returns its certificate.
func (w *chains) block(records ...[]byte) cert.Certificate {
	w.tb.Helper()
	var list []*exec.Executor
	for _, m := range w.mains {
		list = append(list, m.Executor)
	}
	height, _ := list[0].Head()
	com := w.committee(w.gen.Params.Staking.Epoch(height + 1))
	var bundles [][]byte
	if len(records) > 0 {
		bundles = append(bundles, chain.EncodeRecords(records))
	}
	p, votes := w.step(list, &com, bundles...)
	res, err := w.mains[0].BlockResult(p.Height)
	if err != nil {
		w.tb.Fatal(err)
	}
	for i := range res.Receipts {
		r := &res.Receipts[i]
		for j := range r.Entries {
			if c := r.Entries[j].Code; c != chain.CodeOK {
				w.tb.Fatalf("block %d of main: entry %d: %v", p.Height, j, c)
			}
		}
		if r.Code != chain.CodeOK {
			w.tb.Fatalf("block %d of main: %s: %v", p.Height, r.Kind, r.Code)
		}
	}
	if len(res.Receipts) != len(records) {
		w.tb.Fatalf("block %d of main has %d records, want %d", p.Height, len(res.Receipts), len(records))
	}
	box, err := w.mains[0].Outbox(p.Height)
	if err != nil {
		w.tb.Fatal(err)
	}
	p.ResultsRoot, p.OutboxRoot = res.ResultsRoot, box.Root()
	return w.assemble(p, &com, votes)
}

// shardBlock makes a block of the shard.
func (w *chains) shardBlock(txs []byte) *exec.ShardBlock {
	w.tb.Helper()
	var list []*exec.Executor
	for _, s := range w.shards {
		list = append(list, s.Executor)
	}
	p, votes := w.step(list, &w.serves, txs)
	b, err := w.shards[0].Block(p.Height)
	if err != nil {
		w.tb.Fatal(err)
	}
	p.ResultsRoot, p.OutboxRoot, p.UsageRoot = b.ResultsRoot, b.OutboxRoot, b.UsageRoot
	w.anchored = append(w.anchored, w.assemble(p, &w.serves, votes))
	return b
}

func (w *chains) committee(epoch uint64) (c committee.Committee) {
	w.tb.Helper()
	w.read(func(v chain.View) error {
		var ok bool
		if c, ok = staking.ReadCommittee(v, epoch); !ok {
			return fmt.Errorf("no committee of epoch %d", epoch)
		}
		return nil
	})
	return c
}

func (w *chains) domain() chain.Domain {
	return chain.Domain{Network: w.gen.Hash(), Chain: ledger.MainChain}
}

func (w *chains) tx(key ledger.PrivateKey, kind chain.Kind, payload []byte) []byte {
	a := key.Address(realZone)
	w.nonces[a]++
	return chain.SignTx(w.domain(), key, chain.TxFields{
		Kind: kind, Zone: realZone, Nonce: w.nonces[a] - 1, MaxFee: ledger.DropsPerCoin, Payload: payload,
	})
}

func (w *chains) prove(key []byte) *stateproof.Statement {
	w.tb.Helper()
	s, err := w.layers[0].Prove(key)
	if err != nil {
		w.tb.Fatal(err)
	}
	return s
}

// anchor returns the record that anchors the last heights of the shard.
func (w *chains) anchor(from int) []byte {
	w.tb.Helper()
	run, err := cert.Join(w.anchored[from:])
	if err != nil {
		w.tb.Fatal(err)
	}
	return w.tx(realKey(30), chain.KindAnchor, (&anchor.Anchors{Runs: []cert.Run{run}}).Encode())
}

// traffic is a channel with the logs of two of its lanes.
type traffic struct {
	*chains

	payer, payee ledger.PrivateKey
	index        uint64
	id           ledger.Hash
	logs         map[uint8]*book
}

// open opens some channels in a block of main, of which the shard is told, and returns one.
func (w *chains) open() *traffic {
	w.tb.Helper()
	t := &traffic{chains: w, payer: realKey(1), payee: realKey(2), logs: map[uint8]*book{}}
	var records [][]byte
	for i := 3; i < 30; i++ {
		records = append(records, w.opening(realKey(i), realKey(2)))
	}
	records = append(records, w.opening(t.payer, t.payee))
	c := w.block(records...)
	box, err := w.mains[0].Outbox(c.Checkpoint.Height)
	if err != nil {
		w.tb.Fatal(err)
	}
	in, err := box.Import(ledger.MainChain, c.Checkpoint.Height, 0, len(box.Leaves()))
	if err != nil {
		w.tb.Fatal(err)
	}
	relay := shardblock.Relay{Kind: shardblock.KindImport, News: shardblock.News{Heads: []cert.Certificate{c}}, Import: &shardblock.Import{Link: in}}
	w.shardBlock(chain.EncodeRelay(relay.Encode()))
	w.read(func(v chain.View) error {
		for i := range settlement.ChannelCount(v) {
			if ch, ok := settlement.ChannelAt(v, i); ok && ch.Payer == t.payer.Address(realZone) {
				t.index, t.id = i, ch.ID
			}
		}
		return nil
	})
	for _, lane := range []uint8{0, 7} {
		t.logs[lane] = write(w.tb, lanelog.ID{Channel: t.id, Lane: uint16(lane)}, 2_100, 1<<30)
	}
	return t
}

func (w *chains) opening(payer, payee ledger.PrivateKey) []byte {
	o := channel.Open{Channels: []channel.OpenParams{{
		Payee: payee.Address(realZone), VoucherKey: payer.Public(), Service: realService, Deposit: 100 * ledger.DropsPerCoin,
		ExpiresAt: 50_000, Challenge: w.gen.Params.DefaultChallenge,
	}}}
	return w.tx(payer, chain.KindOpenChannels, o.Encode())
}

// voucher returns the payer's voucher for a lane whose log has so many entries.
func (t *traffic) voucher(lane uint8, size int) channel.Entry {
	root := t.logs[lane].root(size)
	e := channel.Entry{Index: t.index, Lane: lane, Claim: channel.ClaimVoucher, Cumulative: root.Amount, Units: root.Units, UsageRoot: root.Hash()}
	e.Signature = t.payer.Sign(e.Signed(t.domain(), t.id))
	return e
}

// book books vouchers in a block of the shard.
func (t *traffic) book(entries ...channel.Entry) *exec.ShardBlock {
	t.tb.Helper()
	u := service.Usage{Service: realService, Zone: realZone, Batch: channel.Batch{Payee: t.payee.Address(realZone), Entries: entries}}
	for range entries {
		u.Buckets = append(u.Buckets, t.payer.Address(realZone).Bucket())
	}
	raw := chain.SignTx(service.Domain(t.gen.Hash(), realService), t.payee, chain.TxFields{
		Kind: chain.KindBookUsage, Zone: realZone, Nonce: uint64(len(t.anchored)), Payload: u.Encode(),
	})
	b := t.shardBlock(chain.EncodeRecords([][]byte{raw}))
	if len(b.Bookings) != len(entries) {
		t.tb.Fatalf("%d of %d vouchers are booked: %+v", len(b.Bookings), len(entries), b.Receipts)
	}
	return b
}

// settle returns the record by which the payee redeems a voucher on main.
func (t *traffic) settle(e channel.Entry) []byte {
	b := channel.Batch{Payee: t.payee.Address(realZone), Entries: []channel.Entry{e}}
	return t.tx(t.payee, chain.KindSettle, b.Encode())
}

// parts returns the parts of a bundle for an entry of a lane, as of the head of main, whose
// certificate c is: main has paid the voucher, and the shard's block at a height booked what
// the log had with so many entries.
func (t *traffic) parts(c cert.Certificate, e channel.Entry, settled, seq int, height uint64, booked int) *bundle.Parts {
	t.tb.Helper()
	log := t.logs[e.Lane]
	p := &bundle.Parts{
		Committee: t.committee(c.Checkpoint.Epoch), Certificate: c, Channel: t.prove(channel.Key(t.index)),
		Voucher: e.Voucher(t.id), Signature: e.Signature, Entry: log.proof(seq, settled), Anchor: t.prove(anchor.Key(t.shard)),
	}
	if e.Lane != 0 {
		t.read(func(v chain.View) error {
			d, err := channel.DecodeDirectory(v.Get(channel.DirectoryKey(t.index)))
			if err != nil {
				return err
			}
			row, _ := d.Find(e.Lane)
			p.Directory, p.LaneRow = t.prove(channel.DirectoryKey(t.index)), t.prove(channel.LaneRows().Key(row))
			return nil
		})
	}
	if settled != booked {
		p.Booked = log.other(settled, booked)
	}
	p.Block = t.proveBlock(height, t.heights())
	b, err := t.shards[0].Block(height)
	if err != nil {
		t.tb.Fatal(err)
	}
	for i := range b.Bookings {
		if b.Bookings[i].Lane == e.Lane {
			if p.Booking, err = service.ProveBooking(b.Bookings, i); err != nil {
				t.tb.Fatal(err)
			}
		}
	}
	return p
}

// heights is how many heights of the shard main has anchored.
func (w *chains) heights() (n int) {
	w.tb.Helper()
	w.read(func(v chain.View) error {
		s, _ := anchor.Read(v, w.shard)
		n = int(s.Height())
		return nil
	})
	return n
}

// proveBlock proves a height of the shard among the first ones that are anchored.
func (w *chains) proveBlock(height uint64, anchored int) anchor.Proof {
	w.tb.Helper()
	var list []cert.Checkpoint
	for i := range w.anchored[:anchored] {
		list = append(list, w.anchored[i].Checkpoint)
	}
	p, err := anchor.Prove(list, height)
	if err != nil {
		w.tb.Fatal(err)
	}
	return p
}
