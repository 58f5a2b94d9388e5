package settlement

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// Account is what the chain knows of an address.
type Account struct {
	Address ledger.Address
	Balance ledger.Amount
	// Nonce is the lowest nonce that was not used. Those from it up to
	// Nonce+chain.NonceWindow-1 may be used, each once and in any order.
	Nonce uint64
	// Window has bit i (of word i/64, from the lowest) set if nonce Nonce+i was
	// used. Bit 0 is never set.
	Window [chain.NonceWindow / 64]uint64
}

// AccountRowSize is the length of an encoded Account in bytes.
const AccountRowSize = 8 + 8 + chain.NonceWindow/8 + ledger.AddressSize

// Encode returns the row of the account:
//
//	balance u64 | nonce u64 | window 4 x u64 | address 21
func (a *Account) Encode() []byte {
	w := codec.NewWriter(AccountRowSize)
	w.Uint64(uint64(a.Balance))
	w.Uint64(a.Nonce)
	for _, word := range a.Window {
		w.Uint64(word)
	}
	w.Fixed(a.Address[:])
	return w.Bytes()
}

// DecodeAccount reads a row written by Encode.
func DecodeAccount(row []byte) (Account, error) {
	var a Account
	r := codec.NewReader(row)
	a.Balance, a.Nonce = ledger.Amount(r.Uint64()), r.Uint64()
	for i := range a.Window {
		a.Window[i] = r.Uint64()
	}
	r.Into(a.Address[:])
	if err := r.Done(); err != nil {
		return Account{}, fmt.Errorf("decode account: %w", err)
	}
	return a, nil
}

// NonceUsed reports whether nonce was used.
func (a *Account) NonceUsed(nonce uint64) bool {
	if nonce < a.Nonce {
		return true
	}
	off := nonce - a.Nonce
	return off < chain.NonceWindow && a.Window[off/64]>>(off%64)&1 == 1
}

// CheckNonce returns why nonce cannot be used now, or nil.
func (a *Account) CheckNonce(nonce uint64) error {
	switch {
	case a.NonceUsed(nonce):
		return chain.Refuse(chain.CodeNonceUsed, "nonce %d was used; the lowest unused is %d", nonce, a.Nonce)
	case nonce-a.Nonce >= chain.NonceWindow || nonce == math.MaxUint64:
		return chain.Refuse(chain.CodeNonceTooHigh, "nonce %d, at most %d", nonce, a.Nonce+chain.NonceWindow-1)
	}
	return nil
}

// useNonce marks nonce, which CheckNonce allows, as used.
func (a *Account) useNonce(nonce uint64) {
	off := nonce - a.Nonce
	a.Window[off/64] |= 1 << (off % 64)
	for a.Window[0]&1 == 1 {
		n := bits.TrailingZeros64(^a.Window[0])
		a.Nonce += uint64(n)
		for i := range a.Window {
			a.Window[i] >>= n
			if i+1 < len(a.Window) {
				a.Window[i] |= a.Window[i+1] << (64 - n)
			}
		}
	}
}

// AccountKey returns the state key of the account at row.
func AccountKey(row uint64) []byte { return accounts().Key(row) }

// AccountIndexKey returns the state key of the row of addr's account. Its value
// is the row as u64.
func AccountIndexKey(addr ledger.Address) []byte {
	return append([]byte{prefixAccountRow}, addr[:]...)
}

func accounts() chain.Table { return chain.Table{Prefix: prefixAccount, RowSize: AccountRowSize} }

// AccountByAddress returns the account of addr and its row, and ok=false if
// there is none. It panics if the state cannot be decoded.
func AccountByAddress(v chain.View, addr ledger.Address) (a Account, row uint64, ok bool) {
	row, ok = accountRow(v, addr)
	if !ok {
		return Account{}, 0, false
	}
	return accountAt(v, row), row, true
}

func accountRow(v chain.View, addr ledger.Address) (row uint64, ok bool) {
	b := v.Get(AccountIndexKey(addr))
	if b == nil {
		return 0, false
	}
	if len(b) != 8 {
		panic(fmt.Errorf("row of account %s: %d bytes, want 8", addr, len(b)))
	}
	return binary.BigEndian.Uint64(b), true
}

// accountAt panics unless there is an account at row.
func accountAt(v chain.View, row uint64) Account {
	a, err := DecodeAccount(v.Get(AccountKey(row)))
	if err != nil {
		panic(fmt.Errorf("account row %d: %w", row, err))
	}
	return a
}
