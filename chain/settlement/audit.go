package settlement

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/staking"
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
		if !holds(c.Key) {
			continue
		}
		if err := was.count(c.Key, v.Get(c.Key), before.supply); err != nil {
			return err
		}
		if err := is.count(c.Key, c.Value, after.supply); err != nil {
			return err
		}
	}
	for _, place := range []struct {
		name                 string
		was, is, from, after ledger.Amount
	}{
		{"accounts", was.Accounts, is.Accounts, before.Accounts, after.Accounts},
		{"channels", was.Escrow, is.Escrow, before.Escrow, after.Escrow},
		{"rents", was.Rent, is.Rent, before.Rent, after.Rent},
		{"stake", was.Staked, is.Staked, before.Staked, after.Staked},
		{"rewards", was.Rewards, is.Rewards, before.Rewards, after.Rewards},
	} {
		// Differences, which may be negative, are compared modulo 2^64.
		if got, want := place.is-place.was, place.after-place.from; got != want {
			return fmt.Errorf("%w: rows of %s changed by %d drops, the books by %d", ErrNotConserved, place.name, int64(got), int64(want))
		}
	}
	if after.Burned < before.Burned {
		return fmt.Errorf("%w: burned fell from %d to %d drops", ErrNotConserved, uint64(before.Burned), uint64(after.Burned))
	}
	if minted := after.Minted - before.Minted; after.Minted < before.Minted || after.supply != before.supply+minted || after.supply > ledger.MaxAmount {
		return fmt.Errorf("%w: minted went from %d to %d drops, the supply from %d to %d", ErrNotConserved,
			uint64(before.Minted), uint64(after.Minted), uint64(before.supply), uint64(after.supply))
	}
	return after.check()
}

// holds reports whether the key is one of those under which money lies.
func holds(key []byte) bool {
	switch key[0] {
	case prefixAccount, channel.PrefixChannel, staking.PrefixValidator, staking.PrefixPool:
		return true
	default:
		return false
	}
}

// count adds what a key under which money lies holds; a nil row holds nothing.
func (t *Totals) count(key, row []byte, supply ledger.Amount) error {
	if row == nil {
		return nil
	}
	if key[0] == prefixAccount {
		balance := balanceOf(row)
		t.Accounts += balance
		if balance > supply {
			return exceeds(key, balance, supply)
		}
		return nil
	}
	var escrow, rent, staked, rewards ledger.Amount
	if key[0] == channel.PrefixChannel {
		escrow, rent = channel.Held(row)
	} else {
		staked, rewards = staking.Held(key, row)
	}
	t.Escrow, t.Rent, t.Staked, t.Rewards = t.Escrow+escrow, t.Rent+rent, t.Staked+staked, t.Rewards+rewards
	if most := max(escrow, rent, staked, rewards); most > supply {
		return exceeds(key, most, supply)
	}
	return nil
}

// exceeds says that a row lost more than it had, which makes it enormous.
func exceeds(key []byte, amount, supply ledger.Amount) error {
	return fmt.Errorf("%w: row %x holds %d drops, the supply is %d", ErrNotConserved, key, uint64(amount), uint64(supply))
}

// check reports whether the books add up to the supply.
func (b *books) check() error {
	for _, a := range []ledger.Amount{b.Accounts, b.Escrow, b.Rent, b.Burned, b.Fees, b.Staked, b.Rewards, b.Minted} {
		if a > b.supply {
			return fmt.Errorf("%w: a total of %d drops exceeds the supply of %d", ErrNotConserved, uint64(a), uint64(b.supply))
		}
	}
	if sum := b.Sum(); sum != b.supply {
		return fmt.Errorf("%w: totals add up to %d drops, the supply is %d", ErrNotConserved, uint64(sum), uint64(b.supply))
	}
	return nil
}

// Audit recounts every account, channel and lane, every validator, delegation and
// unbonding in v, and compares the result with the books. It takes time proportional to the state.
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
	params, err := ReadParams(v)
	if err != nil {
		return Totals{}, err
	}
	if found.Staked, found.Rewards, err = staking.Audit(v, &params.Staking); err != nil {
		return Totals{}, err
	}
	found.Escrow, found.Rent, found.Burned, found.Fees, found.Minted = escrow, rent, b.Burned, b.Fees, b.Minted
	if found != b.Totals || rows != b.rows {
		return found, fmt.Errorf("%w: found %+v in %d accounts, the books say %+v in %d", ErrNotConserved, found, rows, b.Totals, b.rows)
	}
	return found, b.check()
}
