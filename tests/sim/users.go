package sim

import (
	"cmp"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// lanesUsed is how many lanes of a channel are used.
const lanesUsed = 2

// crowd is how many there are of whom, and how many channels they have at once: soon, and
// at most.
type crowd struct{ payers, payees, relays, soon, most int }

// Keys of the world: payers, payees, relays, the owner of the service.
func (c *crowd) payeeKey(i int) int { return c.payers + i }
func (c *crowd) relayKey(i int) int { return c.payers + c.payees + i }
func (c *crowd) ownerKey() int      { return c.payers + c.payees + c.relays }

// address returns the address of a key.
func (w *World) address(key int) ledger.Address { return w.addresses[key] }

// account is a channel as its payer and payee have it.
type account struct {
	index        uint64
	id           ledger.Hash
	payer, payee int // keys
	deposit      uint64
	expires      uint64
	closing      bool
	due          uint64 // what was booked a round before the payer's request to close, see farewell
	closed       bool
	lanes        [lanesUsed]signed
	booked       [lanesUsed]uint64 // cumulative, as the home shard counted last
	redeemed     [lanesUsed]uint64
}

// signed is what a payer signed on a lane.
type signed struct {
	cumulative, units uint64
	all               []channel.Entry // every voucher, ascending
}

// voucher signs that so much more is owed.
func (w *World) voucher(a *account, lane int, more uint64) {
	l := &a.lanes[lane]
	l.cumulative += more
	l.units += w.rng.Uint64N(3 * more)
	e := channel.Entry{
		Index: a.index, Lane: uint8(lane), Claim: channel.ClaimVoucher, Cumulative: ledger.Amount(l.cumulative), Units: l.units,
	}
	e.Signature = sign(w.public[a.payer], e.Signed(w.net.mainDomain(), a.id))
	l.all = append(l.all, e)
}

// user lets somebody do something.
func (w *World) user() {
	open := w.open()
	if len(open) < w.soon || len(open) < w.most && w.chance(12) {
		w.openChannel()
		return
	}
	a := open[w.pick(len(open))]
	switch n := w.pick(100); {
	case n < 4:
		t := channel.TopUp{Channel: channel.Ref{Index: a.index, ID: a.id}, NewTotal: ledger.Amount(a.deposit + 1 + w.rng.Uint64N(5_000))}
		w.mainTx(a.payer, chain.KindTopUp, t.Encode())
	case n < 7:
		e := channel.Extend{Channel: channel.Ref{Index: a.index, ID: a.id}, NewExpiry: a.expires + w.rng.Uint64N(50)}
		w.mainTx(a.payer, chain.KindExtend, e.Encode())
	case n < 9:
		c := channel.RequestClose{Channel: channel.Ref{Index: a.index, ID: a.id}}
		w.mainTx(a.payer, chain.KindRequestClose, c.Encode())
	case n < 16:
		w.settleDirectly(a)
	default:
		for range 1 + w.pick(3) {
			w.voucher(a, w.pick(lanesUsed), 1+w.rng.Uint64N(400))
		}
		w.book(a)
	}
}

// open returns the channels that main has not closed, in the order in which they
// were opened.
func (w *World) open() (list []*account) {
	for _, a := range w.accounts {
		if !a.closed {
			list = append(list, a)
		}
	}
	return list
}

func (w *World) openChannel() {
	payer, payee := w.pair()
	sigma := settlement.Clock(w.main().view, w.main().height()+1)
	expires := sigma + 400 + w.rng.Uint64N(200)
	if w.chance(15) { // it will end soon
		expires = sigma + 25 + w.rng.Uint64N(30)
	}
	o := channel.Open{Channels: []channel.OpenParams{{
		Payee: w.address(payee), VoucherKey: w.public[payer], Service: serviceID,
		Deposit: ledger.Amount(1_000 + w.rng.Uint64N(9_000)), ExpiresAt: expires, Challenge: 5,
	}}}
	if w.chance(4) { // where no shard could be told what it earned
		o.Channels[0].Payee = ledger.NewAddress(w.shape.zones+byte(w.pick(8)), w.public[payee])
	}
	w.mainTx(payer, chain.KindOpenChannels, o.Encode())
}

// mainTx sends a transaction to main, with a nonce that is free as far as main has
// committed.
func (w *World) mainTx(key int, kind chain.Kind, payload []byte) {
	w.toMain(w.port(w.main()), key, kind, payload)
}

// toMain is mainTx from somewhere in the network.
func (w *World) toMain(from, key int, kind chain.Kind, payload []byte) {
	a, _, _ := settlement.AccountByAddress(w.main().view, w.address(key))
	nonce := a.Nonce
	if w.chaos { // more may be under way
		nonce += w.rng.Uint64N(24)
	}
	for nonce < a.Nonce+chain.NonceWindow && (w.nonces[key][nonce] || a.CheckNonce(nonce) != nil) {
		nonce++
	}
	w.nonces[key][nonce] = true
	raw := signTx(w.net.mainDomain(), w.public[key], chain.TxFields{
		Kind: kind, Zone: w.address(key).Zone(), Nonce: nonce, MaxFee: 1_000_000, Payload: payload,
	})
	it := item{itemTx, raw}
	switch kind {
	case chain.KindAnchor:
		it.kind = itemAnchor
	case chain.KindImport, chain.KindRelist, chain.KindReack:
		it.kind = itemImport
	default:
	}
	w.send(from, w.main(), it)
}

// settleDirectly is a payee that passes its shard by.
func (w *World) settleDirectly(a *account) {
	b := channel.Batch{Payee: w.address(a.payee)}
	for lane := range a.lanes {
		if all := a.lanes[lane].all; len(all) > 0 && w.chance(70) {
			b.Entries = append(b.Entries, all[w.pick(len(all))])
		}
	}
	if len(b.Entries) == 0 {
		return
	}
	if w.chance(20) {
		w.spoil(&b.Entries[0])
	}
	b.Entries[len(b.Entries)-1].Close = w.chance(25)
	w.mainTx(a.payee, chain.KindSettle, b.Encode())
}

// spoil makes a voucher one that its payer did not sign.
func (w *World) spoil(e *channel.Entry) {
	e.Cumulative += 1 + ledger.Amount(w.rng.Uint64N(1_000))
	if w.chance(50) {
		e.Signature[w.pick(len(e.Signature))] ^= 1
	}
}

// book lets the payee of a channel book what it has: of this channel and of others of
// the same zone, mostly the newest vouchers.
func (w *World) book(a *account) {
	zone := w.address(a.payer).Zone()
	var mine []*account
	for _, b := range w.open() {
		if b.payee == a.payee && w.address(b.payer).Zone() == zone && (!w.shape.many() || b.payer == a.payer || w.chance(4)) {
			mine = append(mine, b)
		}
	}
	u := service.Usage{Service: serviceID, Zone: zone, Batch: channel.Batch{Payee: w.address(a.payee)}}
	for _, b := range mine {
		for lane := range b.lanes {
			all := b.lanes[lane].all
			if len(all) == 0 || w.chance(20) {
				continue
			}
			e := all[len(all)-1]
			if w.chance(15) {
				e = all[w.pick(len(all))]
			}
			if w.chance(4) {
				w.spoil(&e)
			}
			u.Batch.Entries = append(u.Batch.Entries, e)
			u.Buckets = append(u.Buckets, w.address(b.payer).Bucket())
		}
	}
	if len(u.Batch.Entries) == 0 {
		return
	}
	w.bookUsage(a, &u)
}

// bookUsage signs a booking, as the payee or as a stranger with its receipt, and sends it
// to the home of the channel, or elsewhere.
func (w *World) bookUsage(a *account, u *service.Usage) {
	signer := a.payee
	if w.chance(20) {
		signer = w.relayKey(0)
		u.Receipt = &service.PayeeReceipt{PayeeKey: w.public[a.payee], ReceivedAt: 1 + w.now}
		r, err := u.Receipted(u.Receipt.ReceivedAt)
		if err != nil {
			w.failf("receipt: %v", err)
		}
		u.Receipt.Signature = sign(w.public[a.payee], r.Signed(w.net.serviceDomain()))
		if w.chance(20) {
			u.Receipt.Signature[0] ^= 1
		}
	}
	raw := signTx(w.net.serviceDomain(), w.public[signer], chain.TxFields{
		Kind: chain.KindBookUsage, Zone: w.address(signer).Zone(), Nonce: w.now, Payload: u.Encode(),
	})
	to := w.ownerOf(place(service.HomeOf(w.address(a.payer))))
	if w.chance(4) {
		to = w.live[w.pick(len(w.live))]
	}
	w.send(w.port(w.main()), to, item{itemTx, raw})
}

// bookEverything books the newest vouchers of a channel once the network is well.
func (w *World) bookEverything() {
	open := w.open()
	slices.SortFunc(open, func(a, b *account) int { return cmp.Compare(a.index, b.index) })
	for _, a := range open {
		u := service.Usage{Service: serviceID, Zone: w.address(a.payer).Zone(), Batch: channel.Batch{Payee: w.address(a.payee)}}
		for lane := range a.lanes {
			if all := a.lanes[lane].all; len(all) > 0 {
				u.Batch.Entries = append(u.Batch.Entries, all[len(all)-1])
				u.Buckets = append(u.Buckets, w.address(a.payer).Bucket())
			}
		}
		if len(u.Batch.Entries) == 0 {
			continue
		}
		raw := signTx(w.net.serviceDomain(), w.public[a.payee], chain.TxFields{
			Kind: chain.KindBookUsage, Zone: w.address(a.payee).Zone(), Nonce: w.now, Payload: u.Encode(),
		})
		w.ownerOf(place(service.HomeOf(w.address(a.payer)))).put(item{itemTx, raw})
	}
}
