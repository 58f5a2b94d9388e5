package service_test

import (
	"encoding/binary"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
)

const testService = 7

var (
	testNetwork = ledger.HashOf("test network")
	testDomain  = service.Domain(testNetwork, testService)
	mainDomain  = chain.Domain{Network: testNetwork, Chain: ledger.MainChain}
)

// state is a chain.View in memory.
type state struct {
	rows map[string][]byte
	keys []string // sorted
}

func newState(c chain.Changes) *state {
	s := &state{rows: make(map[string][]byte)}
	s.apply(c)
	return s
}

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
	for _, c := range changes {
		if c.Value == nil {
			delete(s.rows, string(c.Key))
		} else {
			s.rows[string(c.Key)] = c.Value
		}
	}
	s.keys = slices.Sorted(maps.Keys(s.rows))
}

func (s *state) clone() *state { return &state{rows: maps.Clone(s.rows), keys: slices.Clone(s.keys)} }

// keyOf returns a key that role and i determine.
func keyOf(role string, i int) ledger.PrivateKey {
	return ledger.NewPrivateKey([ledger.SeedSize]byte(ledger.HashOf("test/"+role, binary.BigEndian.AppendUint64(nil, uint64(i)))))
}

// keyIn returns the i-th key of role whose bucket is from first to last.
func keyIn(role string, i int, first, last uint8) ledger.PrivateKey {
	for n := i * 10_000; ; n++ {
		k := keyOf(role, n)
		if b := k.Address(0).Bucket(); b >= first && b <= last {
			return k
		}
	}
}

func verify(claims []ledger.Claim) []int {
	var bad []int
	for i := range claims {
		if !ledger.Verify(claims[i].Key, claims[i].Message, claims[i].Signature) {
			bad = append(bad, i)
		}
	}
	return bad
}

func smallParams() service.Params {
	p := service.DefaultParams()
	p.UnitsPerDrop, p.SettleEntries, p.BatchEntries = 2, 6, 4
	return p
}

// shard is one shard under test.
type shard struct {
	t      testing.TB
	params service.Params
	place  service.Shard
	view   *state
	height uint64
}

func newShard(tb testing.TB, p service.Params, place service.Shard) *shard {
	tb.Helper()
	g := service.Genesis{Network: testNetwork, Shard: place, Params: p}
	changes, err := g.State()
	if err != nil {
		tb.Fatal(err)
	}
	return &shard{t: tb, params: p, place: place, view: newState(changes)}
}

// wholeZone is a shard with all buckets of zone.
func wholeZone(zone uint8) service.Shard {
	return service.Shard{Chain: 100 + ledger.ChainID(zone), Service: testService, Zone: zone, Last: 255}
}

// try applies a block and returns its result without keeping the changes.
func (s *shard) try(b service.Block) (chain.Changes, service.Result) {
	s.t.Helper()
	b.Height = s.height + 1
	changes, res, err := service.ApplyBlock(s.view, s.params, testDomain, b, verify)
	if err != nil {
		s.t.Fatal(err)
	}
	return changes, res
}

// block applies a block, keeps it and audits the state.
func (s *shard) block(b service.Block) service.Result {
	s.t.Helper()
	changes, res := s.try(b)
	s.height++
	s.view.apply(changes)
	if _, err := service.Audit(s.view); err != nil {
		s.t.Fatal(err)
	}
	return res
}

// main delivers notices of the main chain and requires that all are taken.
func (s *shard) main(in ...service.Inbound) {
	s.t.Helper()
	for i, r := range s.block(service.Block{Inbox: in}).Imports {
		if !r.Taken() {
			s.t.Fatalf("notice %d: %s: %s", i, r.Code, r.Detail)
		}
	}
}

// account is a channel as payer and payee have it.
type account struct {
	index        uint64
	id           ledger.Hash
	payer, payee ledger.PrivateKey
	voucherKey   ledger.PrivateKey
	zone         uint8
	payeeZone    uint8
	deposit      ledger.Amount
	expires      uint64
}

func newAccount(index uint64, payer, payee ledger.PrivateKey, zone, payeeZone uint8, deposit ledger.Amount) *account {
	return &account{
		index: index, id: ledger.HashOf("test/channel", binary.BigEndian.AppendUint64(nil, index)),
		payer: payer, payee: payee, voucherKey: keyOf("voucher", int(index%8)), zone: zone, payeeZone: payeeZone,
		deposit: deposit, expires: 1_000,
	}
}

func (a *account) payerAddress() ledger.Address { return a.payer.Address(a.zone) }
func (a *account) payeeAddress() ledger.Address { return a.payee.Address(a.payeeZone) }
func (a *account) home() service.Place          { return service.HomeOf(a.payerAddress()) }

func (a *account) opened() service.Inbound {
	n := channel.OpenedNotice{
		Index: a.index, ID: a.id, Payer: a.payerAddress(), Payee: a.payeeAddress(), VoucherKey: a.voucherKey.Public(),
		Service: testService, Deposit: a.deposit, ExpiresAt: a.expires,
	}
	return service.Inbound{Main: true, To: a.home(), Kind: service.KindOpened, Payload: n.Encode()}
}

func (a *account) changed(deposit ledger.Amount, expires uint64) service.Inbound {
	n := channel.ChangedNotice{Payer: a.payerAddress(), Index: a.index, Deposit: deposit, ExpiresAt: expires}
	return service.Inbound{Main: true, To: a.home(), Kind: service.KindChanged, Payload: n.Encode()}
}

// closes is the notice that the payer requested the close.
func (a *account) closes(at uint64) service.Inbound {
	n := channel.ChangedNotice{Payer: a.payerAddress(), Index: a.index, Deposit: a.deposit, ExpiresAt: a.expires, ClosesAt: at}
	return service.Inbound{Main: true, To: a.home(), Kind: service.KindChanged, Payload: n.Encode()}
}

func (a *account) closed() service.Inbound {
	n := channel.ClosedNotice{Payer: a.payerAddress(), Index: a.index, Redeemed: 1}
	return service.Inbound{Main: true, To: a.home(), Kind: service.KindClosed, Payload: n.Encode()}
}

// redeemed is the notice of what the main chain paid on lanes of one home.
func redeemed(home service.Place, lanes ...channel.LaneTotal) service.Inbound {
	slices.SortFunc(lanes, func(a, b channel.LaneTotal) int { return a.Compare(&b) })
	n := channel.RedeemedNotice{Zone: home.Zone, Bucket: home.Bucket, Lanes: lanes}
	return service.Inbound{Main: true, To: home, Kind: service.KindRedeemed, Payload: n.Encode()}
}

// voucher signs a voucher as an entry.
func (a *account) voucher(lane uint8, cumulative ledger.Amount, units uint64) channel.Entry {
	e := channel.Entry{
		Index: a.index, Lane: lane, Claim: channel.ClaimVoucher, Cumulative: cumulative, Units: units,
		UsageRoot: ledger.HashOf("test/log", binary.BigEndian.AppendUint64([]byte{lane}, uint64(cumulative))),
	}
	e.Signature = a.voucherKey.Sign(e.Signed(mainDomain, a.id))
	return e
}

// item is an entry of a booking and the channel that it is of.
type item struct {
	a *account
	e channel.Entry
}

// usageOf puts entries of one payee into the order of a batch.
func usageOf(items ...item) *service.Usage {
	slices.SortStableFunc(items, func(x, y item) int {
		a, b := channel.LaneTotal{Index: x.e.Index, Lane: x.e.Lane}, channel.LaneTotal{Index: y.e.Index, Lane: y.e.Lane}
		return a.Compare(&b)
	})
	u := &service.Usage{Service: testService, Zone: items[0].a.zone, Batch: channel.Batch{Payee: items[0].a.payeeAddress()}}
	for _, x := range items {
		u.Batch.Entries = append(u.Batch.Entries, x.e)
		u.Buckets = append(u.Buckets, x.a.home().Bucket)
	}
	return u
}

// rawTx signs a booking. Nonces make its name unique.
func rawTx(u *service.Usage, signer ledger.PrivateKey, zone uint8, nonce uint64) []byte {
	return chain.SignTx(testDomain, signer, chain.TxFields{Kind: chain.KindBookUsage, Zone: zone, Nonce: nonce, Payload: u.Encode()})
}

func blockTx(tb testing.TB, raw []byte) service.BlockTx {
	tb.Helper()
	tx, err := chain.DecodeTx(testDomain, raw)
	if err != nil {
		var rule *chain.RuleError
		if !errors.As(err, &rule) {
			tb.Fatal(err)
		}
		return service.BlockTx{Tx: chain.Tx{Raw: raw, Hash: chain.TxHash(raw)}, Refused: rule}
	}
	return service.BlockTx{Tx: tx}
}

// booking is a booking that its payee signs.
func booking(tb testing.TB, items ...item) service.BlockTx {
	tb.Helper()
	a := items[0].a
	return blockTx(tb, rawTx(usageOf(items...), a.payee, a.payeeZone, 1))
}

// receipted is a booking that a stranger submits with the payee's receipt.
func receipted(tb testing.TB, items ...item) service.BlockTx {
	tb.Helper()
	u, a := usageOf(items...), items[0].a
	u.Receipt = &service.PayeeReceipt{PayeeKey: a.payee.Public(), ReceivedAt: 1_700_000_000_000}
	r, err := u.Receipted(u.Receipt.ReceivedAt)
	if err != nil {
		tb.Fatal(err)
	}
	u.Receipt.Signature = a.payee.Sign(r.Signed(testDomain))
	return blockTx(tb, rawTx(u, keyOf("stranger", 0), 9, 1))
}
