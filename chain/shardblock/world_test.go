package shardblock_test

import (
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// world is a main chain with two shards of a service: left has the lower buckets of zone
// 1, right the upper ones.
type world struct {
	t           *testing.T
	main        *shardtest.Main
	left, right *shardtest.Shard
	opened      uint64
}

const (
	leftID  = ledger.ChainID(5)
	rightID = ledger.ChainID(6)
)

func newWorld(t *testing.T) *world {
	t.Helper()
	m := shardtest.NewMain(t)
	left, right := shardtest.ShardAt(leftID, 1, 0, 127), shardtest.ShardAt(rightID, 1, 128, 255)
	m.Found(left)
	m.Found(right)
	return &world{t: t, main: m, left: shardtest.Begin(m, m.Genesis(left)), right: shardtest.Begin(m, m.Genesis(right))}
}

// keyIn returns a key whose address in zone 1 has a bucket in the range.
func keyIn(t *testing.T, name string, first, last uint8) ledger.PrivateKey {
	t.Helper()
	for i := range 4_096 {
		k := ledger.NewPrivateKey(ledger.HashOf("shardblock/key", []byte(name), []byte{byte(i >> 8), byte(i)}))
		if b := k.Address(1).Bucket(); b >= first && b <= last {
			return k
		}
	}
	t.Fatal("no such key")
	return ledger.PrivateKey{}
}

// payment is a channel with its keys.
type payment struct {
	index        uint64
	id           ledger.Hash
	payer, payee ledger.PrivateKey
	cumulative   uint64
}

// open sends the notice that a channel was opened, in the next block of main.
func (w *world) open(payer, payee ledger.PrivateKey, deposit ledger.Amount) *payment {
	w.t.Helper()
	p := &payment{index: w.opened, id: ledger.HashOf("shardblock/channel", []byte{byte(w.opened)}), payer: payer, payee: payee}
	w.opened++
	n := channel.OpenedNotice{
		Index: p.index, ID: p.id, Payer: payer.Address(1), Payee: payee.Address(1), VoucherKey: payer.Public(),
		Service: shardtest.Service, Deposit: deposit, ExpiresAt: 1 << 40,
	}
	w.notice(channel.NoticeOpened, payer.Address(1), n.Encode())
	return p
}

func (w *world) notice(kind channel.NoticeKind, payer ledger.Address, payload []byte) {
	w.t.Helper()
	if _, err := w.main.Links().Send(link.Draft{
		Link: link.Link{Dst: placeOf(payer)}, Kind: uint16(kind), Recipient: payer, Lifetime: link.MaxLifetime, Payload: payload,
	}); err != nil {
		w.t.Fatal(err)
	}
}

func placeOf(a ledger.Address) link.Place {
	return link.Place{Service: shardtest.Service, Zone: a.Zone(), Bucket: a.Bucket()}
}

// book returns a record that books amount more on a channel.
func (w *world) book(p *payment, amount uint64) service.BlockTx {
	w.t.Helper()
	p.cumulative += amount
	e := channel.Entry{Index: p.index, Claim: channel.ClaimVoucher, Cumulative: ledger.Amount(p.cumulative), Units: p.cumulative}
	e.Signature = p.payer.Sign(e.Signed(chain.Domain{Network: shardtest.Network(), Chain: ledger.MainChain}, p.id))
	u := service.Usage{
		Service: shardtest.Service, Zone: 1, Buckets: []uint8{p.payer.Address(1).Bucket()},
		Batch: channel.Batch{Payee: p.payee.Address(1), Mode: channel.BestEffort, Entries: []channel.Entry{e}},
	}
	d := service.Domain(shardtest.Network(), shardtest.Service)
	raw := chain.SignTx(d, p.payee, chain.TxFields{Kind: chain.KindBookUsage, Zone: 1, Nonce: p.cumulative, Payload: u.Encode()})
	tx, err := chain.DecodeTx(d, raw)
	if err != nil {
		w.t.Fatal(err)
	}
	return service.BlockTx{Tx: tx}
}

func relays(list ...*shardblock.Relay) []*shardblock.Relay { return list }

func headRelay(list ...cert.Certificate) *shardblock.Relay {
	return &shardblock.Relay{Kind: shardblock.KindHead, News: shardblock.News{Heads: list}}
}

// refused requires that a relay is refused with a code, alone and in a block.
func refused(t *testing.T, s *shardtest.Shard, r *shardblock.Relay, want chain.Code) {
	t.Helper()
	before := s.State.Hash()
	err := shardblock.Check(s.State, s.Height+1, r, shardtest.Verifiers().Certificate)
	if code, ok := chain.CodeOf(err); !ok || code != want {
		t.Errorf("check: %v, want %s", err, want)
	}
	_, _, err = s.Try(relays(r))
	if code, ok := chain.CodeOf(err); !ok || code != want || !shardblock.IsInvalid(err) {
		t.Errorf("block: %v, want %s", err, want)
	}
	if s.State.Hash() != before {
		t.Error("the refusal changed the state")
	}
}
