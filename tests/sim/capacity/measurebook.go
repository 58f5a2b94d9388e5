package main

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

const (
	serviceID    = 7
	benchPayees  = 16
	benchEntries = 64 // of each payee and block
)

// shopper is a channel and its owner's voucher key.
type shopper struct {
	index  uint64
	id     ledger.Hash
	payer  ledger.PrivateKey
	signer ledger.PrivateKey // of vouchers
}

func (s *shopper) entry(cumulative ledger.Amount, signed bool) channel.Entry {
	e := channel.Entry{
		Index: s.index, Claim: channel.ClaimVoucher, Cumulative: cumulative, Units: uint64(cumulative), UsageRoot: ledger.Hash{1},
	}
	if signed {
		e.Signature = s.signer.Sign(e.Signed(chain.Domain{Network: networkID(), Chain: ledger.MainChain}, s.id))
	}
	return e
}

// bookings measures bookings with signatures and without.
func (m meter) bookings(c *Costs) error {
	place := service.Shard{Chain: 2, Service: serviceID, Last: 255}
	g := service.Genesis{Network: networkID(), Shard: place, Params: service.DefaultParams()}
	changes, err := g.State()
	if err != nil {
		return err
	}
	state := table{}
	state.apply(changes)
	shoppers := make([]shopper, benchPayees*benchEntries)
	var in []service.Inbound
	for i := range shoppers {
		s := shopper{index: uint64(i), id: ledger.HashOf("capacity/channel", fmt.Append(nil, i)), payer: keyOf("payer", i%benchEntries), signer: keyOf("voucher", i)}
		shoppers[i] = s
		n := channel.OpenedNotice{
			Index: s.index, ID: s.id, Payer: s.payer.Address(0), Payee: keyOf("payee", i/benchEntries).Address(0), VoucherKey: s.signer.Public(),
			Service: serviceID, Deposit: ledger.MaxAmount, ExpiresAt: 1 << 40,
		}
		in = append(in, service.Inbound{Main: true, To: service.HomeOf(n.Payer), Kind: service.KindOpened, Payload: n.Encode()})
	}
	w := &bookBench{state: state, shoppers: shoppers, domain: g.Domain()}
	w.block.Inbox = in
	if err := w.apply(); err != nil {
		return err
	}
	whole, err := m.each(len(shoppers), func() error { return w.next(true) }, w.apply)
	if err != nil {
		return err
	}
	c.BookBytes = float64(w.size) / float64(len(shoppers))
	c.BookApply, err = m.each(len(shoppers), func() error { return w.next(false) }, w.apply)
	c.BookVerify = max(0, whole-c.BookApply)
	return err
}

type bookBench struct {
	state    table
	shoppers []shopper
	domain   chain.Domain
	height   uint64
	total    ledger.Amount
	block    service.Block
	size     int
}

// next signs the transactions of the next block: one of each payee.
func (w *bookBench) next(signed bool) error {
	w.total += 10
	w.block, w.size = service.Block{}, 0
	for p := range benchPayees {
		key := keyOf("payee", p)
		u := service.Usage{Service: serviceID, Batch: channel.Batch{Payee: key.Address(0)}}
		for i := range benchEntries {
			s := &w.shoppers[p*benchEntries+i]
			u.Batch.Entries = append(u.Batch.Entries, s.entry(w.total, signed))
			u.Buckets = append(u.Buckets, s.payer.Address(0).Bucket())
		}
		raw := chain.SignTx(w.domain, key, chain.TxFields{Kind: chain.KindBookUsage, Nonce: uint64(w.total), Payload: u.Encode()})
		w.size += len(raw)
		tx, err := chain.DecodeTx(w.domain, raw)
		if err != nil {
			return err
		}
		w.block.Txs = append(w.block.Txs, service.BlockTx{Tx: tx, Checked: !signed})
	}
	return nil
}

func (w *bookBench) apply() error {
	w.height++
	w.block.Height = w.height
	// What waits and what moved is looked up in an empty table: Range of a map is slow.
	changes, res, err := service.ApplyBlock(unordered{w.state}, service.DefaultParams(), w.domain, w.block, verifyBatch)
	if err != nil {
		return err
	}
	if len(w.block.Txs) > 0 && len(res.Bookings) != len(w.shoppers) {
		return fmt.Errorf("%d of %d vouchers are booked: %s", len(res.Bookings), len(w.shoppers), res.Receipts[0].Detail)
	}
	w.state.apply(changes)
	return nil
}

// settlements measures entries of a batch on main with signatures and without.
func (m meter) settlements(c *Costs) error {
	w, err := newSettleBench()
	if err != nil {
		return err
	}
	entries := len(w.shoppers)
	whole, err := m.each(entries, func() error { return w.next(true) }, w.apply)
	if err != nil {
		return err
	}
	c.SettleBytes = float64(len(w.tx.Tx.Raw)) / float64(entries)
	c.SettleWeight = float64(settlement.Weight(&w.tx.Tx)) / float64(entries)
	c.Settle, err = m.each(entries, func() error { return w.next(false) }, w.apply)
	c.SettleVerify = max(0, whole-c.Settle)
	return err
}

type settleBench struct {
	state    table
	params   settlement.Params
	domain   chain.Domain
	shoppers []shopper
	payee    ledger.PrivateKey
	nonce    uint64
	height   uint64
	total    ledger.Amount
	tx       settlement.BlockTx
}

// newSettleBench opens as many channels as one transaction can.
func newSettleBench() (*settleBench, error) {
	w := &settleBench{state: table{}, params: settlement.DefaultParams(), payee: keyOf("payee", 0)}
	w.params.Services = []uint32{serviceID}
	w.domain = chain.Domain{Network: networkID(), Chain: ledger.MainChain}
	payer := keyOf("payer", 0)
	g := settlement.Genesis{Name: "capacity", Time: 1, Params: w.params, Accounts: []settlement.GenesisAccount{
		{Address: payer.Address(0), Balance: ledger.MaxAmount / 2}, {Address: w.payee.Address(0), Balance: ledger.MaxAmount / 4},
	}}
	changes, err := g.State()
	if err != nil {
		return nil, err
	}
	w.state.apply(changes)
	var open channel.Open
	for i := range channel.MaxOpens {
		s := shopper{index: uint64(i), payer: payer, signer: keyOf("voucher", i)}
		w.shoppers = append(w.shoppers, s)
		open.Channels = append(open.Channels, channel.OpenParams{
			Payee: w.payee.Address(0), VoucherKey: s.signer.Public(), Service: serviceID, Deposit: 1 << 40,
			ExpiresAt: w.params.MaxLifetime / 2, Challenge: w.params.MinChallenge,
		})
	}
	raw := chain.SignTx(w.domain, payer, chain.TxFields{Kind: chain.KindOpenChannels, MaxFee: 1 << 30, Payload: open.Encode()})
	tx, err := chain.DecodeTx(w.domain, raw)
	if err != nil {
		return nil, err
	}
	w.tx = settlement.BlockTx{Tx: tx}
	if err := w.apply(); err != nil {
		return nil, err
	}
	for i := range w.shoppers {
		ch, ok := settlement.ChannelAt(w.state, uint64(i))
		if !ok {
			return nil, fmt.Errorf("channel %d is not open", i)
		}
		w.shoppers[i].id = ch.ID
	}
	return w, nil
}

func (w *settleBench) next(signed bool) error {
	w.total += 10
	b := channel.Batch{Payee: w.payee.Address(0)}
	for i := range w.shoppers {
		b.Entries = append(b.Entries, w.shoppers[i].entry(w.total, signed))
	}
	raw := chain.SignTx(w.domain, w.payee, chain.TxFields{Kind: chain.KindSettle, Nonce: w.nonce, MaxFee: 1 << 30, Payload: b.Encode()})
	w.nonce++
	tx, err := chain.DecodeTx(w.domain, raw)
	w.tx = settlement.BlockTx{Tx: tx, Checked: !signed}
	return err
}

func (w *settleBench) apply() error {
	w.height++
	changes, res, err := settlement.ApplyBlock(unordered{w.state}, w.params, w.domain, settlement.Block{Height: w.height, Txs: []settlement.BlockTx{w.tx}}, verifyBatch)
	if err != nil {
		return err
	}
	if r := &res.Receipts[0]; r.Code != chain.CodeOK || len(r.Entries) > 0 && !r.Entries[0].Applied() {
		return fmt.Errorf("the transaction has code %s: %s", r.Code, r.Detail)
	}
	w.state.apply(changes)
	return nil
}
