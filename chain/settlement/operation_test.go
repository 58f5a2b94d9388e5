package settlement_test

import (
	"cmp"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

func claimOf(e *channel.Entry) uint64 {
	if e.Claim == channel.ClaimHash {
		return uint64(e.Commit.BaseCumulative) + uint64(e.Step)*uint64(e.Commit.UnitPrice)
	}
	return uint64(e.Cumulative)
}

// operation makes a random transaction.
func (w *world) operation() op {
	o := op{signer: w.addrs[w.src.intn(worldAccounts)], maxFee: plentyFee}
	if w.chance(3) {
		o.signer = w.addrs[w.src.intn(len(w.addrs))]
	}
	switch k := w.src.intn(100); {
	case k < 12 || len(w.chans) == 0:
		o.payload = w.open(&o)
	case k < 20:
		o.payload = w.transfer()
	case k < 28:
		t := w.pick()
		o.payload = &channel.TopUp{Channel: w.refOf(t, &o), NewTotal: ledger.Amount(t.deposit + uint64(w.src.intn(1_000)) - min(50, t.deposit))}
	case k < 33:
		t := w.pick()
		w.asPayer(&o, t)
		o.payload = &channel.Extend{Channel: w.refOf(t, &o), NewExpiry: t.expires + uint64(w.src.intn(25)) - min(2, t.expires)}
	case k < 40:
		t := w.pick()
		w.asPayer(&o, t)
		o.payload = &channel.RequestClose{Channel: w.refOf(t, &o)}
	case k < 46:
		o.payload = w.coop(&o)
	default:
		o.payload = w.batch(&o)
	}
	w.frame(&o)
	return o
}

func (w *world) asPayer(o *op, t *tracker) {
	if w.chance(90) {
		o.signer = t.payer
	}
}

// frame chooses nonce, fee limit and validity.
func (w *world) frame(o *op) {
	if i := w.m.account(o.signer); i >= 0 {
		a := w.m.accounts[i]
		o.nonce = a.floor
		switch k := w.src.intn(100); {
		case k < 6:
			o.nonce += uint64(w.src.intn(8))
		case k < 9:
			o.nonce += 254 + uint64(w.src.intn(3))
		case k < 11:
			o.nonce -= min(a.floor, uint64(1+w.src.intn(4)))
		default:
			for a.used[o.nonce] {
				o.nonce++
			}
		}
	}
	if w.chance(5) {
		o.maxFee = w.m.fee(o) - uint64(w.src.intn(2))
	}
	if w.chance(8) {
		o.validUntil = w.m.height - 1 + uint64(w.src.intn(3))
	}
	o.badTx = w.real && w.chance(3)
}

// pick returns a channel, rather one that lives.
func (w *world) pick() *tracker {
	t := w.chans[w.src.intn(len(w.chans))]
	for range 6 {
		if !t.gone {
			break
		}
		t = w.chans[len(w.chans)-1-w.src.intn(min(len(w.chans), 12))]
	}
	return t
}

func (w *world) refOf(t *tracker, o *op) channel.Ref {
	ref := t.ref
	if w.chance(3) {
		ref.ID[3] ^= 1
		o.wrongID = true
	}
	return ref
}

func (w *world) transfer() *settlement.Transfer {
	t := &settlement.Transfer{}
	for range 1 + w.src.intn(3) {
		amount := 1 + w.src.intn(2_000)
		if w.chance(3) {
			amount = 1 << 40
		}
		t.Payments = append(t.Payments, settlement.Payment{To: w.addrs[w.src.intn(len(w.addrs))], Amount: ledger.Amount(amount)})
	}
	return t
}

func (w *world) params1(o *op) channel.OpenParams {
	challenge := 2 + w.src.intn(7)
	p := channel.OpenParams{
		Payee: w.addrs[w.src.intn(len(w.addrs))], VoucherKey: voucherKey().Public(),
		Deposit: ledger.Amount(100 + w.src.intn(2_000)), Challenge: uint32(challenge),
		ExpiresAt: w.m.sigma + uint64(3*challenge+w.src.intn(20)), Service: []uint32{0, 7, worldService, worldService}[w.src.intn(4)],
	}
	switch w.src.intn(40) {
	case 0:
		p.Deposit = 99
	case 1:
		p.Challenge = uint32(1 + 8*w.src.intn(2))
	case 2:
		p.ExpiresAt = w.m.sigma + uint64(3*challenge) - 1
	case 3:
		p.ExpiresAt = w.m.sigma + w.params.MaxLifetime + uint64(w.src.intn(2))
	case 4:
		p.Service = 1
	case 5:
		p.Deposit = 1 << 40
	case 6:
		p.Payee = ledger.Address{}
	case 7:
		if w.real {
			p.VoucherKey, o.badKey = ledger.PublicKey{}, true
		}
	}
	return p
}

func (w *world) open(o *op) *channel.Open {
	open := &channel.Open{}
	for range 1 + w.src.intn(2) {
		open.Channels = append(open.Channels, w.params1(o))
	}
	return open
}

func (w *world) coop(o *op) *channel.CoopClose {
	t := w.pick()
	c := &channel.CoopClose{Channel: w.refOf(t, o), ValidUntil: w.m.height + uint64(w.src.intn(20)) - min(1, w.m.height)}
	c.Final = ledger.Amount(t.redeemed + uint64(w.src.intn(int(t.deposit-min(t.deposit, t.redeemed))+10)) - min(t.redeemed, 5))
	payer, payee := w.keyOf(t.payer), w.keyOf(t.payee)
	if w.chance(3) {
		o.notPayer = true
		payer = voucherKey()
	}
	if w.chance(3) {
		o.notPayee = true
		payee = voucherKey()
	}
	c.PayerKey, c.PayeeKey = payer.Public(), payee.Public()
	if w.chance(40) {
		p := w.params1(o)
		if w.chance(90) {
			p.Payee = t.payee
		}
		c.Rollover = &p
	}
	if w.real {
		terms := c.Terms()
		c.PayerSig, c.PayeeSig = payer.Sign(terms.Signed(testDomain)), payee.Sign(terms.Signed(testDomain))
		switch w.src.intn(20) {
		case 0:
			c.PayerSig, c.PayeeSig = c.PayeeSig, c.PayerSig
			o.badParty = true
		case 1:
			c.PayeeSig[40] ^= 1
			o.badParty = true
		}
	}
	return c
}

func (w *world) keyOf(a ledger.Address) ledger.PrivateKey { return w.keys[slices.Index(w.addrs, a)] }

// batch settles some channels of one payee, and now and then one of another.
func (w *world) batch(o *op) *channel.Batch {
	first := w.pick()
	b := &channel.Batch{Payee: first.payee, Mode: channel.Mode(w.src.intn(5) / 4)}
	if w.chance(60) {
		o.signer = first.payee
	}
	entries := w.entries(first)
	for range w.src.intn(3) {
		if t := w.pick(); t.payee == first.payee || w.chance(10) {
			entries = append(entries, w.entries(t)...)
		}
	}
	if w.chance(3) {
		entries = append(entries, channel.Entry{Index: uint64(len(w.chans) + w.src.intn(2)), Claim: channel.ClaimVoucher, Cumulative: 5})
	}
	slices.SortStableFunc(entries, func(a, b channel.Entry) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.Lane, b.Lane))
	})
	entries = slices.CompactFunc(entries, func(a, b channel.Entry) bool { return a.Index == b.Index && a.Lane == b.Lane })
	closes := false
	for i := range entries {
		if last := i == len(entries)-1 || entries[i+1].Index != entries[i].Index; last && w.chance(12) {
			entries[i].Close, closes = true, true
			if w.chance(20) {
				entries[i] = channel.Entry{Index: entries[i].Index, Lane: entries[i].Lane, Close: true}
			}
		}
	}
	b.Entries = entries
	if w.real {
		w.spoil(o, entries)
	}
	if closes && (o.signer != b.Payee && w.chance(80) || w.chance(10)) {
		w.authorise(o, b)
	}
	return b
}

// spoil makes some entries bad.
func (w *world) spoil(o *op, entries []channel.Entry) {
	o.badEntries = map[int]chain.Code{}
	for i := range entries {
		e := &entries[i]
		switch {
		case e.Claim == channel.ClaimNone || !w.chance(10):
		case e.Claim == channel.ClaimHash && w.chance(50):
			e.Preimage[0] ^= 1
			o.badEntries[i] = chain.CodeBadPreimage
		default:
			e.Signature[w.src.intn(ledger.SignatureSize)] ^= 1
			o.badEntries[i] = chain.CodeBadSignature
		}
	}
}

func (w *world) authorise(o *op, b *channel.Batch) {
	key := w.keyOf(b.Payee)
	if w.chance(5) {
		key, o.notPayee = voucherKey(), true
	}
	b.Auth = &channel.Authority{PayeeKey: key.Public(), ValidUntil: w.m.height + uint64(w.src.intn(10)) - min(1, w.m.height)}
	if !w.real {
		return
	}
	auth, err := b.CloseAuth()
	if err != nil {
		w.fatalf("%v", err)
	}
	if w.chance(15) {
		o.badAuth = true
		auth.Count++
	}
	b.Auth.Signature = key.Sign(auth.Signed(testDomain))
}

// entries are claims on t: something new, something old, or all there is.
func (w *world) entries(t *tracker) []channel.Entry {
	switch k := w.src.intn(10); {
	case k < 2 && len(t.vouchers) > 0:
		return []channel.Entry{t.vouchers[w.src.intn(len(t.vouchers))]}
	case k < 5:
		var all []channel.Entry
		for slot, e := range t.best {
			if t.highest[slot] > 0 {
				all = append(all, e)
			}
		}
		if all != nil {
			return all
		}
	}
	return []channel.Entry{w.sign(t)}
}

// sign makes a new voucher or hash-lane claim. The payer signs whatever it
// likes, beyond the deposit as well.
func (w *world) sign(t *tracker) channel.Entry {
	slot := max(0, w.src.intn(10)-6)
	e := channel.Entry{Index: t.ref.Index, Lane: lanes()[slot]}
	if w.chance(20) {
		steps := uint16(1 + w.src.intn(20))
		e.Claim = channel.ClaimHash
		e.Step = uint16(1 + w.src.intn(int(steps)))
		e.Commit = channel.HashCommit{
			BaseCumulative: ledger.Amount(t.highest[slot]), BaseUnits: uint64(w.src.intn(100)),
			UnitPrice: ledger.Amount(w.src.intn(20)), UnitSize: 16, Steps: steps, ChainNo: 1,
		}
		if w.real {
			links := channel.HashChain(ledger.HashOf("tip", []byte{byte(w.src.intn(256))}), steps)
			e.Commit.Root, e.Preimage = links[0], links[e.Step]
		}
	} else {
		e.Claim = channel.ClaimVoucher
		e.Cumulative, e.Units = ledger.Amount(t.highest[slot]+uint64(w.src.intn(300))), uint64(w.src.intn(100))
		if w.chance(30) {
			e.UsageRoot = ledger.HashOf("usage", []byte{byte(w.src.intn(256))})
		}
	}
	if w.real {
		e.Signature = voucherKey().Sign(e.Signed(testDomain, t.ref.ID))
	}
	if claim := claimOf(&e); claim > t.highest[slot] {
		t.highest[slot], t.best[slot] = claim, e
	}
	t.vouchers = append(t.vouchers, e)
	return e
}

// track takes note of the channels that o opened according to the model.
func (w *world) track(o *op, opened int) {
	if opened == 0 {
		return
	}
	var params []channel.OpenParams
	var payer ledger.Address
	var id func(i int, p *channel.OpenParams) ledger.Hash
	switch pl := o.payload.(type) {
	case *channel.Open:
		params, payer = pl.Channels, o.signer
		id = func(i int, p *channel.OpenParams) ledger.Hash {
			return channel.ID(testDomain, o.signer, o.nonce, uint16(i), p)
		}
	case *channel.CoopClose:
		params, payer = []channel.OpenParams{*pl.Rollover}, w.chans[pl.Channel.Index].payer
		id = func(_ int, p *channel.OpenParams) ledger.Hash { return channel.RolloverID(pl.Channel.ID, p) }
	}
	for i := range params {
		p := &params[i]
		w.chans = append(w.chans, &tracker{
			ref:   channel.Ref{Index: uint64(len(w.chans)), ID: id(i, p)},
			payer: payer, payee: p.Payee, deposit: uint64(p.Deposit), rent: uint64(w.params.Rent), expires: p.ExpiresAt,
			terms: w.m.service.of(p.Service, payer),
		})
	}
}

// event checks I4 to I10 where a channel changes. o is nil for what the chain
// does by itself.
func (w *world) event(ev *settlement.Event, o *op) {
	w.t.Helper()
	t := w.chans[ev.Index]
	if ev.ID != t.ref.ID || t.gone {
		w.fatalf("event %+v of channel %+v", ev, t)
	}
	switch ev.Kind {
	case settlement.EventOpened:
		if w.ids[ev.ID] {
			w.fatalf("I8: channel id %s opens again", ev.ID)
		}
		w.ids[ev.ID] = true
	case settlement.EventToppedUp:
		t.deposit, t.claimed = uint64(ev.Deposit), [4]uint64{}
	case settlement.EventCloseRequested:
		t.closing = true
		if o.signer != t.payer {
			w.fatalf("%s requested the close of %+v", o.signer, t)
		}
	case settlement.EventPayeeClosed:
		b, ok := o.payload.(*channel.Batch)
		if !ok || o.signer != t.payee && (b.Auth == nil || o.badAuth || o.notPayee) {
			w.fatalf("I9: channel %d closed without its payee", ev.Index)
		}
		w.close(t, ev)
	case settlement.EventCoopClosed:
		if _, ok := o.payload.(*channel.CoopClose); !ok || o.badParty || o.notPayer || o.notPayee {
			w.fatalf("I9: channel %d closed without both parties", ev.Index)
		}
		t.gone = true
		w.closed++
		if uint64(ev.Refunded) != t.deposit-uint64(ev.Redeemed)+t.rent {
			w.fatalf("agreed close %+v of %+v", ev, t)
		}
	case settlement.EventFinalised:
		if o != nil || w.m.height < 1 {
			w.fatalf("I9: channel %d finalised by a transaction", ev.Index)
		}
		w.close(t, ev)
	case settlement.EventRedeemed, settlement.EventExtended:
	}
}

func (w *world) close(t *tracker, ev *settlement.Event) {
	w.t.Helper()
	var signed, claimed uint64
	complete := true
	for slot := range t.highest {
		signed += t.highest[slot]
		claimed += t.claimed[slot]
		complete = complete && t.highest[slot] == t.claimed[slot]
	}
	redeemed := uint64(ev.Redeemed)
	if redeemed != t.redeemed || redeemed > signed || redeemed > t.deposit {
		w.fatalf("I4: %d redeemed of %d signed, receipts say %d: %+v", redeemed, signed, t.redeemed, t)
	}
	if refund := uint64(ev.Refunded) - t.rent; refund+signed < t.deposit || refund != t.deposit-redeemed {
		w.fatalf("I5: %d refunded of %d with %d signed", refund, t.deposit, signed)
	}
	if complete {
		if redeemed != min(signed, t.deposit) {
			w.fatalf("I6: %d redeemed, want the least of %d signed and %d deposited", redeemed, signed, t.deposit)
		}
		w.exact++
	}
	burn, zone, owner := w.m.shares(t.terms, redeemed)
	if t.burned < burn+zone || t.burned > burn+zone && t.terms.zoneFee == 0 || t.ownerFees < owner || t.ownerFees > owner && t.terms.fee == 0 {
		w.fatalf("I10: %d burned and %d for the owner of %d redeemed by %+v", t.burned, t.ownerFees, redeemed, t.terms)
	}
	t.gone = true
	w.closed++
}
