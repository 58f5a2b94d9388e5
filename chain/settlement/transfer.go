package settlement

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// MaxPayments is the largest number of payments of one transfer.
const MaxPayments = 1024

// Payment is money for one account.
type Payment struct {
	To     ledger.Address
	Amount ledger.Amount // at least 1
}

// Transfer is the payload of chain.KindTransfer: the signer pays. Accounts that
// do not exist are made.
//
//	count u16 | count x (to 21 | amount u64)
type Transfer struct {
	Payments []Payment // 1 to MaxPayments
}

const paymentSize = ledger.AddressSize + 8

// Encode returns the payload.
func (t *Transfer) Encode() []byte {
	w := codec.NewWriter(2 + len(t.Payments)*paymentSize)
	w.Uint16(uint16(len(t.Payments)))
	for i := range t.Payments {
		w.Fixed(t.Payments[i].To[:])
		w.Uint64(uint64(t.Payments[i].Amount))
	}
	return w.Bytes()
}

// DecodeTransfer reads the payload of a transfer.
func DecodeTransfer(payload []byte) (Transfer, error) {
	r := codec.NewReader(payload)
	n := int(r.Uint16())
	if n == 0 || n > MaxPayments {
		return Transfer{}, chain.Refuse(chain.CodeTooLarge, "%d payments in one transaction, want 1 to %d", n, MaxPayments)
	}
	if want := 2 + n*paymentSize; len(payload) != want {
		return Transfer{}, chain.Refuse(chain.CodeMalformed, "transfer of %d payments has %d bytes, want %d", n, len(payload), want)
	}
	t := Transfer{Payments: make([]Payment, n)}
	for i := range t.Payments {
		p := &t.Payments[i]
		r.Into(p.To[:])
		p.Amount = ledger.Amount(r.Uint64())
		switch {
		case p.To.IsZero():
			return Transfer{}, chain.Refuse(chain.CodeInvalidValue, "payment %d goes to the zero address", i)
		case p.Amount == 0:
			return Transfer{}, chain.Refuse(chain.CodeInvalidValue, "payment %d is of nothing", i)
		case p.Amount > ledger.MaxAmount:
			return Transfer{}, chain.Refuse(chain.CodeAmountOverflow, "payment %d of %d drops exceeds %d", i, uint64(p.Amount), uint64(ledger.MaxAmount))
		}
	}
	if err := r.Done(); err != nil {
		return Transfer{}, chain.Refuse(chain.CodeMalformed, "transfer: %v", err)
	}
	return t, nil
}

// transfer moves the payments from the account at row.
func (b *bank) transfer(row uint64, t *Transfer) (paid ledger.Amount, err error) {
	for i := range t.Payments {
		if paid, err = paid.Add(t.Payments[i].Amount); err != nil {
			return 0, chain.Refuse(chain.CodeAmountOverflow, "payments: %v", err)
		}
	}
	if have := b.Balance(row); have < paid {
		return 0, chain.Refuse(chain.CodeInsufficientBalance, "payments of %d drops, balance is %d", uint64(paid), uint64(have))
	}
	b.take(row, paid)
	for i := range t.Payments {
		b.give(b.Row(t.Payments[i].To), t.Payments[i].Amount)
	}
	return paid, nil
}
