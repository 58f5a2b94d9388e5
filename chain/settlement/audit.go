package settlement

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// ErrNotConserved means that money appeared or vanished. The chain must halt.
var ErrNotConserved = errors.New("value is not conserved")

// conserved checks a block in time proportional to its changes: what the rows of
// accounts and channels gained and lost must be what the books say, no row may
// hold more than there is, and the books must add up to the supply. It trusts
// neither.
func conserved(v chain.View, changes chain.Changes, before, after *books) error {
	var was, is Totals
	for i := range changes {
		c := &changes[i]
		switch c.Key[0] {
		case prefixAccount:
			if old := v.Get(c.Key); old != nil {
				was.Accounts += balanceOf(old)
			}
			balance := balanceOf(c.Value)
			if balance > before.supply {
				return exceeds(c.Key, balance, before.supply)
			}
			is.Accounts += balance
		case channel.Channels().Prefix:
			escrow, rent := channel.Held(v.Get(c.Key))
			was.Escrow, was.Rent = was.Escrow+escrow, was.Rent+rent
			escrow, rent = channel.Held(c.Value)
			if max(escrow, rent) > before.supply {
				return exceeds(c.Key, max(escrow, rent), before.supply)
			}
			is.Escrow, is.Rent = is.Escrow+escrow, is.Rent+rent
		}
	}
	for _, place := range []struct {
		name                 string
		was, is, from, after ledger.Amount
	}{
		{"accounts", was.Accounts, is.Accounts, before.Accounts, after.Accounts},
		{"channels", was.Escrow, is.Escrow, before.Escrow, after.Escrow},
		{"rents", was.Rent, is.Rent, before.Rent, after.Rent},
	} {
		// Differences, which may be negative, are compared modulo 2^64.
		if got, want := place.is-place.was, place.after-place.from; got != want {
			return fmt.Errorf("%w: rows of %s changed by %d drops, the books by %d", ErrNotConserved, place.name, int64(got), int64(want))
		}
	}
	if after.Burned < before.Burned {
		return fmt.Errorf("%w: burned fell from %d to %d drops", ErrNotConserved, uint64(before.Burned), uint64(after.Burned))
	}
	return after.check()
}

// exceeds says that a row lost more than it had, which makes it enormous.
func exceeds(key []byte, amount, supply ledger.Amount) error {
	return fmt.Errorf("%w: row %x holds %d drops, the supply is %d", ErrNotConserved, key, uint64(amount), uint64(supply))
}

// check reports whether the books add up to the supply.
func (b *books) check() error {
	for _, a := range []ledger.Amount{b.Accounts, b.Escrow, b.Rent, b.Burned, b.Fees} {
		if a > b.supply {
			return fmt.Errorf("%w: a total of %d drops exceeds the supply of %d", ErrNotConserved, uint64(a), uint64(b.supply))
		}
	}
	if sum := b.Sum(); sum != b.supply {
		return fmt.Errorf("%w: totals add up to %d drops, the supply is %d", ErrNotConserved, uint64(sum), uint64(b.supply))
	}
	return nil
}

// Audit recounts every account, channel and lane in v and compares the result
// with the books. It takes time proportional to the state.
func Audit(v chain.View) (Totals, error) {
	b := readBooks(v)
	var found Totals
	rows := uint64(0)
	for key, encoded := range v.Range([]byte{prefixAccount}) {
		a, err := DecodeAccount(encoded)
		if err != nil {
			return Totals{}, fmt.Errorf("account row %x: %w", key[1:], err)
		}
		if row, ok := accountRow(v, a.Address); !ok || string(AccountKey(row)) != string(key) {
			return Totals{}, fmt.Errorf("account %s is not found at its row %x", a.Address, key[1:])
		}
		if a.Balance > b.supply {
			return Totals{}, exceeds(key, a.Balance, b.supply)
		}
		found.Accounts += a.Balance
		rows++
	}
	escrow, rent, err := channel.Audit(v)
	if err != nil {
		return Totals{}, err
	}
	found.Escrow, found.Rent, found.Burned, found.Fees = escrow, rent, b.Burned, b.Fees
	if found != b.Totals || rows != b.rows {
		return found, fmt.Errorf("%w: found %+v in %d accounts, the books say %+v in %d", ErrNotConserved, found, rows, b.Totals, b.rows)
	}
	return found, b.check()
}
