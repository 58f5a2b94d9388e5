package settlement_test

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/zone"
)

// state is a View over a map, with its keys sorted.
type state struct {
	rows map[string][]byte
	keys []string
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
	fresh := 0
	for _, c := range changes {
		k := string(c.Key)
		_, had := s.rows[k]
		switch {
		case c.Value == nil && had:
			delete(s.rows, k)
			i, _ := slices.BinarySearch(s.keys[:len(s.keys)-fresh], k)
			s.keys = slices.Delete(s.keys, i, i+1)
		case c.Value != nil && !had:
			s.keys = append(s.keys, k)
			fresh++
			s.rows[k] = c.Value
		case c.Value != nil:
			s.rows[k] = c.Value
		}
	}
	if fresh > 0 {
		slices.Sort(s.keys)
	}
}

func (s *state) clone() *state {
	return &state{rows: maps.Clone(s.rows), keys: slices.Clone(s.keys)}
}

func (s *state) digest() ledger.Hash {
	h := sha256.New()
	for _, k := range s.keys {
		writePart(h, []byte(k))
		writePart(h, s.rows[k])
	}
	return ledger.Hash(h.Sum(nil))
}

func writePart(h interface{ Write([]byte) (int, error) }, b []byte) {
	_, _ = h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(b))))
	_, _ = h.Write(b)
}

// digestOf is a digest of changes and results, Detail left out.
func digestOf(changes chain.Changes, res *settlement.Result) ledger.Hash {
	h := sha256.New()
	for _, c := range changes {
		writePart(h, c.Key)
		if c.Value == nil {
			writePart(h, []byte("deleted"))
			continue
		}
		writePart(h, c.Value)
	}
	for i := range res.Receipts {
		writePart(h, res.Receipts[i].Encode())
	}
	for _, e := range res.Events {
		writePart(h, settlement.FinalisedLeaf(&e))
		writePart(h, []byte{byte(e.Kind), byte(e.TxIndex), byte(e.Deadline)})
	}
	for _, e := range res.Staking {
		writePart(h, fmt.Appendf(nil, "%+v", e))
	}
	for _, u := range res.Updates {
		writePart(h, fmt.Appendf(nil, "%+v", u))
	}
	writePart(h, res.ResultsRoot[:])
	return ledger.Hash(h.Sum(nil))
}

// smallParams make deadlines near and every rounding visible.
func smallParams() settlement.Params {
	p := settlement.DefaultParams()
	p.TxFee, p.OpenFee, p.EntryFee, p.StepFee = 3, 2, 1, 1
	p.Rent, p.MinDeposit = 5, 100
	p.MinChallenge, p.DefaultChallenge, p.MaxChallenge = 2, 4, 8
	p.MaxLifetime = 60
	p.Services = []uint32{0, 7}
	return p
}

var testDomain = chain.Domain{Network: ledger.HashOf("test network"), Chain: ledger.MainChain}

func keyOf(name string, i int) ledger.PrivateKey {
	return ledger.NewPrivateKey(ledger.HashOf("test key", []byte(name), []byte{byte(i >> 8), byte(i)}))
}

// bench is a chain with some accounts, driven block by block.
type bench struct {
	t      testing.TB
	params settlement.Params
	domain chain.Domain
	keys   []ledger.PrivateKey
	addrs  []ledger.Address
	nonces []uint64
	view   *state
	height uint64
	by     int // signer of the last transaction

	attach func(*settlement.Block) // what consensus adds to blocks; may be nil
}

const initialBalance = 1_000_000

// newBench returns a chain with n accounts of initialBalance drops.
func newBench(tb testing.TB, p settlement.Params, n int) *bench {
	tb.Helper()
	b := &bench{t: tb, params: p, domain: testDomain, nonces: make([]uint64, n)}
	g := settlement.Genesis{Name: "test", Time: 1, Params: p}
	for i := range n {
		key := keyOf("account", i)
		b.keys = append(b.keys, key)
		b.addrs = append(b.addrs, key.Address(byte(i%3)))
		g.Accounts = append(g.Accounts, settlement.GenesisAccount{Address: b.addrs[i], Balance: initialBalance})
	}
	changes, err := g.State()
	if err != nil {
		tb.Fatal(err)
	}
	b.view = newState(changes)
	return b
}

// encoder is a payload.
type encoder interface{ Encode() []byte }

func kindOf(p encoder) chain.Kind {
	switch p := p.(type) {
	case *settlement.Transfer:
		return chain.KindTransfer
	case *channel.Open:
		return chain.KindOpenChannels
	case *channel.TopUp:
		return chain.KindTopUp
	case *channel.Extend:
		return chain.KindExtend
	case *channel.Batch:
		return chain.KindSettle
	case *channel.RequestClose:
		return chain.KindRequestClose
	case *channel.CoopClose:
		return chain.KindCoopClose
	case *staking.Register:
		return chain.KindRegisterValidator
	case *staking.Edit:
		return chain.KindEditValidator
	case *staking.Delegate:
		return chain.KindDelegate
	case *staking.Redelegate:
		return chain.KindRedelegate
	case *staking.Undelegate:
		return chain.KindUndelegate
	case *staking.Claim:
		return chain.KindClaimRewards
	case *staking.Unjail:
		return chain.KindUnjail
	case *registry.Serve:
		return chain.KindServe
	case *registry.Reshard:
		return chain.KindReshard
	case *zone.ServiceType:
		if p.Version == 1 {
			return chain.KindRegisterService
		}
		return chain.KindUpdateService
	case *anchor.Anchors:
		return chain.KindAnchor
	case *anchor.Conflict:
		return chain.KindAnchorConflict
	case *settlement.Delivery:
		return chain.KindImport
	case relist:
		return chain.KindRelist
	case reack:
		return chain.KindReack
	default:
		panic(fmt.Sprintf("a payload of no kind: %T", p))
	}
}

type (
	relist struct{ link.Link }
	reack  struct{ link.Link }
)

const plentyFee = 1 << 40

// fields returns those of a transaction of account by, with its next nonce.
func (b *bench) fields(by int, payload encoder) chain.TxFields {
	b.nonces[by]++
	b.by = by
	return chain.TxFields{
		Kind: kindOf(payload), Zone: b.addrs[by].Zone(), Nonce: b.nonces[by] - 1,
		MaxFee: plentyFee, Payload: payload.Encode(),
	}
}

// signed returns a transaction of account by, signed.
func (b *bench) signed(by int, payload encoder) settlement.BlockTx {
	return b.decode(chain.SignTx(b.domain, b.keys[by], b.fields(by, payload)))
}

// checked returns a transaction of account by whose signatures count as verified.
func (b *bench) checked(by int, payload encoder) settlement.BlockTx {
	unsigned := chain.UnsignedTx(b.domain, b.keys[by].Public(), b.fields(by, payload))
	tx := b.decode(chain.AttachSignature(unsigned, ledger.Signature{}))
	tx.Checked = true
	return tx
}

func (b *bench) decode(raw []byte) settlement.BlockTx {
	tx, err := chain.DecodeTx(b.domain, raw)
	if err != nil {
		var refused *chain.RuleError
		if !errors.As(err, &refused) {
			b.t.Fatalf("decode: %v", err)
		}
		return settlement.BlockTx{Tx: chain.Tx{Raw: raw, Hash: chain.TxHash(raw)}, Refused: refused}
	}
	return settlement.BlockTx{Tx: tx}
}

// try applies the next block without keeping it.
func (b *bench) try(txs ...settlement.BlockTx) (chain.Changes, settlement.Result) {
	b.t.Helper()
	block := settlement.Block{Height: b.height + 1, Txs: txs, Seals: b.sealsAt(b.height + 1)}
	if b.attach != nil {
		b.attach(&block)
	}
	changes, res, err := settlement.ApplyBlock(b.view, b.params, b.domain, block, verifySingly)
	if err != nil {
		b.t.Fatalf("block %d: %v", block.Height, err)
	}
	return changes, res
}

// block applies the next block and audits the state.
func (b *bench) block(txs ...settlement.BlockTx) settlement.Result {
	b.t.Helper()
	changes, res := b.try(txs...)
	b.view.apply(changes)
	b.height++
	if _, err := settlement.Audit(b.view); err != nil {
		b.t.Fatalf("after block %d: %v", b.height, err)
	}
	return res
}

// run applies one transaction in a block of its own and returns its receipt.
func (b *bench) run(by int, payload encoder) settlement.Receipt {
	b.t.Helper()
	return b.block(b.checked(by, payload)).Receipts[0]
}

// ok is run for what must succeed.
func (b *bench) ok(by int, payload encoder) settlement.Receipt {
	b.t.Helper()
	r := b.run(by, payload)
	if r.Code != chain.CodeOK {
		b.t.Fatalf("%s: %s: %s", r.Kind, r.Code, r.Detail)
	}
	return r
}

// idle applies empty blocks until sigma of the next block is clock.
func (b *bench) idle(clock uint64) {
	b.t.Helper()
	for settlement.Clock(b.view, b.height+1) < clock {
		b.block()
	}
}

func (b *bench) clock() uint64 { return settlement.Clock(b.view, b.height+1) }

func (b *bench) balance(of int) uint64 {
	a, _, _ := settlement.AccountByAddress(b.view, b.addrs[of])
	return uint64(a.Balance)
}

// open opens a channel of account payer to payee and returns its reference.
func (b *bench) open(payer, payee int, deposit uint64, change ...func(*channel.OpenParams)) channel.Ref {
	b.t.Helper()
	p := b.openParams(payee, deposit)
	for _, f := range change {
		f(&p)
	}
	r := b.ok(payer, &channel.Open{Channels: []channel.OpenParams{p}})
	return b.ref(r.FirstChannel)
}

func (b *bench) openParams(payee int, deposit uint64) channel.OpenParams {
	return channel.OpenParams{
		Payee: b.addrs[payee], VoucherKey: voucherKey().Public(), Deposit: ledger.Amount(deposit),
		ExpiresAt: b.clock() + 50, Challenge: 4, Service: 7, Terms: ledger.HashOf("terms"),
	}
}

var voucherKey = sync.OnceValue(func() ledger.PrivateKey { return keyOf("voucher", 0) })

func (b *bench) ref(index uint64) channel.Ref {
	c, ok := settlement.ChannelAt(b.view, index)
	if !ok {
		b.t.Fatalf("no channel %d", index)
	}
	return channel.Ref{Index: index, ID: c.ID}
}

// voucher returns a signed entry.
func (b *bench) voucher(ref channel.Ref, lane uint8, cumulative uint64) channel.Entry {
	e := channel.Entry{
		Index: ref.Index, Lane: lane, Claim: channel.ClaimVoucher,
		Cumulative: ledger.Amount(cumulative), Units: cumulative / 10,
	}
	e.Signature = voucherKey().Sign(e.Signed(b.domain, ref.ID))
	return e
}

func (b *bench) batch(payee int, entries ...channel.Entry) *channel.Batch {
	return &channel.Batch{Payee: b.addrs[payee], Entries: entries}
}

func closing(e channel.Entry) channel.Entry {
	e.Close = true
	return e
}

// verifySingly is a Verifier without batches.
func verifySingly(claims []ledger.Claim) (bad []int) {
	for i := range claims {
		if !ledger.Verify(claims[i].Key, claims[i].Message, claims[i].Signature) {
			bad = append(bad, i)
		}
	}
	return bad
}
