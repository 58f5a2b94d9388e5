package pay

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// The payee's journal holds, for each lane, its best claim and how much of it
// was redeemed, and of each channel what it needs to know before it hears of it
// again. Every record begins with its kind:
//
//	1 voucher                     a claim
//	2 commitment                  what reveals after it refer to; no claim by itself
//	3 reveal                      a claim on a commitment before it
//	4 channel_id 32 | lane u8 | redeemed u64
//	5 channel_id 32 | expires_at u64
//	6 channel_id 32 | final u64 | until u64    an agreement to close
const (
	recordVoucher    = 1
	recordCommitment = 2
	recordReveal     = 3
	recordRedeemed   = 4
	recordExpiry     = 5
	recordAgreement  = 6

	redeemedSize  = ledger.HashSize + 1 + 8
	expirySize    = ledger.HashSize + 8
	agreementSize = ledger.HashSize + 8 + 8
)

func commitRecord(c *Commitment) []byte { return append([]byte{recordCommitment}, c.Encode()...) }

func redeemedRecord(id ledger.Hash, lane uint8, redeemed ledger.Amount) []byte {
	b := make([]byte, 0, 1+redeemedSize)
	b = append(append(append(b, recordRedeemed), id[:]...), lane)
	return binary.BigEndian.AppendUint64(b, uint64(redeemed))
}

func expiryRecord(id ledger.Hash, expiresAt uint64) []byte {
	b := make([]byte, 0, 1+expirySize)
	return binary.BigEndian.AppendUint64(append(append(b, recordExpiry), id[:]...), expiresAt)
}

func agreementRecord(id ledger.Hash, a agreement) []byte {
	b := make([]byte, 0, 1+agreementSize)
	b = binary.BigEndian.AppendUint64(append(append(b, recordAgreement), id[:]...), uint64(a.final))
	return binary.BigEndian.AppendUint64(b, a.until)
}

// replay applies a record. Only Open calls it, before anybody else has p.
func (p *Payee) replay(record []byte) error {
	kind, body := record[0], record[1:]
	switch kind {
	case recordVoucher:
		v, err := DecodeVoucher(body)
		if err != nil {
			return err
		}
		l := p.replayed(v.ChannelID).makeLane(uint8(v.Lane))
		if v.Cumulative > l.owed || !l.signed && v.Cumulative == l.owed {
			l.setVoucher(&v)
		}
	case recordCommitment:
		c, err := DecodeCommitment(body)
		if err != nil {
			return err
		}
		l := p.replayed(c.ChannelID).makeLane(uint8(c.Lane))
		if c.BaseCumulative >= l.owed {
			l.pending = &c
		}
	case recordReveal:
		r, err := DecodeReveal(body)
		if err != nil {
			return err
		}
		p.replayReveal(&r)
	case recordRedeemed:
		if len(body) != redeemedSize || body[ledger.HashSize] >= channel.Lanes {
			return fmt.Errorf("%w: redeemed mark of %d bytes", ErrEncoding, len(body))
		}
		l := p.replayed(ledger.Hash(body[:ledger.HashSize])).makeLane(body[ledger.HashSize])
		l.redeemed = max(l.redeemed, ledger.Amount(binary.BigEndian.Uint64(body[ledger.HashSize+1:])))
		if l.redeemed > l.owed {
			*l = payeeLane{number: l.number, owed: l.redeemed, redeemed: l.redeemed}
		}
	case recordExpiry:
		if len(body) != expirySize {
			return fmt.Errorf("%w: expiry of %d bytes", ErrEncoding, len(body))
		}
		c := p.replayed(ledger.Hash(body[:ledger.HashSize]))
		c.expiresAt = max(c.expiresAt, binary.BigEndian.Uint64(body[ledger.HashSize:]))
		c.noted = c.expiresAt
	case recordAgreement:
		if len(body) != agreementSize {
			return fmt.Errorf("%w: agreement of %d bytes", ErrEncoding, len(body))
		}
		c := p.replayed(ledger.Hash(body[:ledger.HashSize]))
		a := agreement{
			final: ledger.Amount(binary.BigEndian.Uint64(body[ledger.HashSize:])),
			until: binary.BigEndian.Uint64(body[ledger.HashSize+8:]),
		}
		if a.until >= c.agreed.until { // a later one includes those before it
			c.agreed = a
		}
	default:
		return fmt.Errorf("%w: record kind %d in the journal of a payee", ErrEncoding, kind)
	}
	return nil
}

func (p *Payee) replayReveal(r *Reveal) {
	l := p.replayed(r.ChannelID).makeLane(uint8(r.Lane))
	c, err := l.revealed(r)
	if err != nil {
		return // a later voucher or commitment has replaced it
	}
	if owed, err := c.at(r.Step); err == nil && owed > l.owed {
		l.setReveal(c, r, owed)
	}
}

func (p *Payee) replayed(id ledger.Hash) *payeeChannel {
	channels := p.stripeOf(id).channels
	c, ok := channels[id]
	if !ok {
		c = &payeeChannel{id: id}
		channels[id] = c
	}
	return c
}

// live yields what is still needed.
func (p *Payee) live() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := range p.stripe {
			for _, record := range p.stripe[i].records() {
				if !yield(record) {
					return
				}
			}
		}
	}
}

// records copies what the journal needs of one stripe, so that nobody waits for
// the disk while the stripe is locked.
func (s *stripe) records() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	records := make([][]byte, 0, len(s.channels))
	for _, c := range s.channels {
		if len(c.lanes) > 0 && c.expiresAt != 0 {
			records = append(records, expiryRecord(c.id, c.expiresAt))
		}
		if c.agreed.until != 0 {
			records = append(records, agreementRecord(c.id, c.agreed))
		}
		for i := range c.lanes {
			l := &c.lanes[i]
			if l.signed {
				v := l.voucher(c.id)
				records = append(records, v.Append([]byte{recordVoucher}))
			}
			if h := l.hash; h != nil {
				claim, _ := l.claim(c.id)
				records = append(records, commitRecord(&h.commitment), append([]byte{recordReveal}, claim.Reveal.Encode()...))
			}
			if l.pending != nil { // builds on the claim
				records = append(records, commitRecord(l.pending))
			}
			if l.redeemed > 0 {
				records = append(records, redeemedRecord(c.id, l.number, l.redeemed))
			}
		}
	}
	return records
}
