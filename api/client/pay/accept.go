package pay

import (
	"context"
	"crypto/rand"

	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// MaxBatch is how many vouchers AcceptBatch takes at once.
const MaxBatch = ledger.BatchSize

// Accepted is the outcome of a payment.
type Accepted struct {
	Delta ledger.Amount // newly owed
	// Unredeemed is what the channel owes and has not been redeemed.
	Unredeemed ledger.Amount
	// Exposure is what this payee has accepted on all channels and would lose if
	// its machine failed now, because it is not on disk yet.
	Exposure ledger.Amount
	// RedeemRecommended says that the policy wants the channel redeemed.
	RedeemRecommended bool
	// Seq numbers the payment in the journal; see Wait.
	Seq uint64
}

// Offer is a voucher and the least it must pay.
type Offer struct {
	Voucher Voucher
	Price   ledger.Amount // drops; 0 asks for anything at all
}

// Result is what became of an Offer. Err is nil, a *RefusalError, or the failure of
// the journal.
type Result struct {
	Accepted

	Err error
}

// Accept checks a voucher and keeps it: the channel is known, open by a recent
// view of the chain and not about to expire; the voucher is signed by its key
// and pays at least price more than the lane owes; and what all lanes owe stays
// within the deposit. Otherwise it returns a *RefusalError and nothing has changed.
//
// After a nil error the money is safe as far as PayeeConfig.Durable promises.
// The ctx is used for the journal and for reading a channel whose lanes are not
// known.
func (p *Payee) Accept(ctx context.Context, v Voucher, price ledger.Amount) (Accepted, error) {
	var buf [channel.VoucherSize]byte
	key, err := p.admit(ctx, v.ChannelID, v.Lane)
	if err != nil {
		return Accepted{}, err
	}
	if !ledger.Verify(key, p.domain.appendSigned(buf[:0], &v.Voucher), v.Signature) {
		return Accepted{}, refuse(BadSignature, "voucher on lane %d of channel %s", v.Lane, v.ChannelID)
	}
	a, err := p.book(&v, price)
	if err != nil {
		return Accepted{}, err
	}
	return a, p.settle(ctx, a.Seq)
}

// AcceptBatch accepts up to MaxBatch vouchers with one check of all signatures,
// which costs half of checking them one by one. Vouchers of one lane are
// accepted in the order given. Results are in the order of offers; one that is
// refused does not affect the others.
func (p *Payee) AcceptBatch(ctx context.Context, offers []Offer) []Result {
	results := make([]Result, len(offers))
	claims := make([]ledger.Claim, 0, len(offers))
	positions := make([]int, 0, len(offers))
	messages := make([]byte, 0, len(offers)*channel.VoucherSize)
	for i := range offers {
		v := &offers[i].Voucher
		key, err := p.admit(ctx, v.ChannelID, v.Lane)
		if err != nil {
			results[i].Err = err
			continue
		}
		from := len(messages)
		messages = p.domain.appendSigned(messages, &v.Voucher)
		claims = append(claims, ledger.Claim{Key: key, Signature: v.Signature, Message: messages[from:]})
		positions = append(positions, i)
	}
	for _, bad := range ledger.VerifyBatch(rand.Reader, claims) {
		v := &offers[positions[bad]].Voucher
		results[positions[bad]].Err = refuse(BadSignature, "voucher on lane %d of channel %s", v.Lane, v.ChannelID)
	}
	var seq uint64
	for i := range offers {
		r := &results[i]
		if r.Err == nil {
			r.Accepted, r.Err = p.book(&offers[i].Voucher, offers[i].Price)
			seq = max(seq, r.Seq)
		}
	}
	if err := p.settle(ctx, seq); err != nil {
		for i := range results {
			if results[i].Err == nil {
				results[i].Err = err
			}
		}
	}
	return results
}

// AcceptCommitment checks a commitment and keeps it, so that AcceptReveal can
// follow. It must build on what the lane owes. It pays nothing yet: the lane's
// claim remains what it was until the first reveal is accepted.
func (p *Payee) AcceptCommitment(ctx context.Context, c Commitment) error {
	key, err := p.admit(ctx, c.ChannelID, c.Lane)
	if err != nil {
		return err
	}
	if _, err := c.at(c.Steps); err != nil || c.Steps == 0 || c.Steps > channel.MaxHashSteps {
		return refuse(InvalidAmount, "hash lane of %d steps at %d drops", c.Steps, uint64(c.UnitPrice))
	}
	if !ledger.Verify(key, c.Signed(p.domain.Domain), c.Signature) {
		return refuse(BadSignature, "commitment on lane %d of channel %s", c.Lane, c.ChannelID)
	}
	s := p.stripeOf(c.ChannelID)
	s.mu.Lock()
	defer s.mu.Unlock()
	ch, ok := s.channels[c.ChannelID]
	if !ok {
		return unknown(c.ChannelID)
	}
	if err := ch.accepts(p.View()); err != nil { // it may have changed since admit
		return err
	}
	l := ch.makeLane(uint8(c.Lane))
	if c.BaseCumulative < l.owed {
		return outOfDate(ch, l)
	}
	l.pending = &c
	_, err = p.append(commitRecord(&c), 0)
	return err
}

// AcceptReveal checks the next payment of a hash lane and keeps it, for the cost
// of one hash for each step. It refuses like Accept; BadLane means that the
// commitment is not known, so the payer must send it again.
func (p *Payee) AcceptReveal(ctx context.Context, r Reveal, price ledger.Amount) (Accepted, error) {
	if _, err := p.admit(ctx, r.ChannelID, r.Lane); err != nil {
		return Accepted{}, err
	}
	a, err := p.bookReveal(&r, price)
	if err != nil {
		return Accepted{}, err
	}
	return a, p.settle(ctx, a.Seq)
}

// Wait returns when the payment numbered seq is on disk.
func (p *Payee) Wait(ctx context.Context, seq uint64) error {
	if p.journal == nil {
		return nil
	}
	return p.journal.Wait(ctx, seq)
}

// settle waits for the disk if the payee is durable.
func (p *Payee) settle(ctx context.Context, seq uint64) error {
	if !p.cfg.Durable || seq == 0 {
		return nil
	}
	return p.journal.Wait(ctx, seq)
}

// admit returns the key that signs the channel's vouchers, if payments on it may
// be accepted at all.
func (p *Payee) admit(ctx context.Context, id ledger.Hash, lane uint16) (ledger.PublicKey, error) {
	if lane >= channel.Lanes {
		return ledger.PublicKey{}, badLane(uint64(lane))
	}
	view, err := p.freshView()
	if err != nil {
		return ledger.PublicKey{}, err
	}
	key, forgotten, err := p.lookUp(id, view.View)
	if err != nil || !forgotten || p.cfg.Chain == nil {
		return key, err
	}
	// The chain has paid out claims that this payee does not have. Without
	// knowing on which lanes it could accept what was redeemed already.
	if err := p.Refresh(ctx, id); err != nil {
		return ledger.PublicKey{}, err
	}
	key, _, err = p.lookUp(id, view.View)
	return key, err
}

func (p *Payee) freshView() (*viewAt, error) {
	v := p.view.Load()
	switch age := p.now().Sub(v.at); {
	case !v.listed:
		return nil, refuse(StaleView, "the channels have not been listed yet")
	case age > MaxViewAge:
		return nil, refuse(StaleView, "no news from the chain for %s, at most %s", age, MaxViewAge)
	case v.Lag > MaxLag:
		return nil, refuse(StaleView, "the node is %d blocks behind, at most %d", v.Lag, MaxLag)
	}
	return v, nil
}

func (p *Payee) lookUp(id ledger.Hash, view View) (key ledger.PublicKey, forgotten bool, err error) {
	s := p.stripeOf(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.channels[id]
	if !ok {
		return key, false, unknown(id)
	}
	return c.key, c.unexplained() > 0, c.accepts(view)
}

func unknown(id ledger.Hash) error { return refuse(UnknownChannel, "channel %s", id) }

// accepts returns why no payment may be accepted by view, or nil.
func (c *payeeChannel) accepts(view View) error {
	switch {
	case !c.known || c.presence != present:
		return unknown(c.id)
	case c.agreed.holds(&view):
		return refuse(Closing, "channel %s may be closed as agreed up to block %d", c.id, c.agreed.until)
	case c.closeAt != 0:
		return refuse(Closing, "channel %s closes at %d", c.id, min(c.closeAt, c.expiresAt))
	case c.expiring(view.Clock):
		return refuse(Expiring, "channel %s expires at %d, it is %d now, and redeeming wants %d", c.id, c.expiresAt, view.Clock, SafeWindows*uint64(c.challenge))
	}
	return nil
}

// book makes a voucher whose signature holds the claim of its lane.
func (p *Payee) book(v *Voucher, price ledger.Amount) (Accepted, error) {
	view := p.View()
	s := p.stripeOf(v.ChannelID)
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.channels[v.ChannelID]
	if !ok {
		return Accepted{}, unknown(v.ChannelID)
	}
	if err := c.accepts(view); err != nil { // it may have changed since admit
		return Accepted{}, err
	}
	l := c.makeLane(uint8(v.Lane))
	delta, err := c.afford(l, v.Cumulative, price)
	if err != nil {
		return Accepted{}, err
	}
	l.setVoucher(v)
	var buf [1 + VoucherSize]byte
	return p.booked(c, delta, v.Append(append(buf[:0], recordVoucher)))
}

// bookReveal makes a reveal the claim of its lane.
func (p *Payee) bookReveal(r *Reveal, price ledger.Amount) (Accepted, error) {
	view := p.View()
	s := p.stripeOf(r.ChannelID)
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.channels[r.ChannelID]
	if !ok {
		return Accepted{}, unknown(r.ChannelID)
	}
	if err := c.accepts(view); err != nil {
		return Accepted{}, err
	}
	l := c.lane(uint8(r.Lane))
	if l == nil {
		return Accepted{}, refuse(BadLane, "no commitment on lane %d", r.Lane)
	}
	commitment, err := l.revealed(r)
	if err != nil {
		return Accepted{}, err
	}
	owed, err := commitment.at(r.Step)
	if err != nil {
		return Accepted{}, refuse(InvalidAmount, "%v", err)
	}
	delta, err := c.afford(l, owed, price)
	if err != nil {
		return Accepted{}, err
	}
	l.setReveal(commitment, r, owed)
	return p.booked(c, delta, append([]byte{recordReveal}, r.Encode()...))
}

// afford returns by how much owed exceeds what the lane owes, if that is at
// least price and within the deposit.
func (c *payeeChannel) afford(l *payeeLane, owed, price ledger.Amount) (ledger.Amount, error) {
	if owed > ledger.MaxAmount {
		return 0, refuse(InvalidAmount, "%d drops", uint64(owed))
	}
	if owed <= l.owed {
		return 0, outOfDate(c, l)
	}
	delta := owed - l.owed
	if delta < price {
		return 0, refuse(BelowPrice, "%d drops, the price is %d", uint64(delta), uint64(price))
	}
	if available := c.available(); delta > available {
		return 0, refuse(Underfunded, "%d drops, the deposit has %d left", uint64(delta), uint64(available))
	}
	return delta, nil
}

// outOfDate tells a payer what its lane owes already. The payment was signed by
// the payer or follows from what was, so it may see its own claim.
func outOfDate(c *payeeChannel, l *payeeLane) error {
	r := refuse(OutOfDate, "lane %d owes %d already", l.number, uint64(l.owed))
	r.Owed = l.owed
	if best, ok := l.claim(c.id); ok {
		if best.Commitment != nil { // it changes as more is revealed
			commitment := *best.Commitment
			best.Commitment = &commitment
		}
		r.Best = &best
	}
	return r
}

// booked finishes a payment of delta on c, whose stripe the caller holds.
func (p *Payee) booked(c *payeeChannel, delta ledger.Amount, record []byte) (Accepted, error) {
	c.owed += delta
	if c.since == 0 {
		c.since = p.now().UnixNano()
	}
	if c.noted != c.expiresAt { // so that it is known before the channel is listed again
		c.noted = c.expiresAt
		if _, err := p.append(expiryRecord(c.id, c.expiresAt), 0); err != nil {
			return Accepted{}, err
		}
	}
	seq, err := p.append(record, delta)
	if err != nil {
		return Accepted{}, err
	}
	a := Accepted{Delta: delta, Unredeemed: c.unredeemed(), Seq: seq}
	if p.journal != nil {
		a.Exposure = ledger.Amount(p.journal.Exposed())
	} else {
		a.Exposure = a.Unredeemed
	}
	if p.cfg.Redeem.wants(c) {
		a.RedeemRecommended = true
		p.due.push(c.id, false)
	}
	return a, nil
}

func (p *Payee) append(record []byte, weight ledger.Amount) (uint64, error) {
	if p.journal == nil {
		return 0, nil
	}
	return p.journal.Append(record, uint64(weight))
}
