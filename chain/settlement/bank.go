package settlement

import (
	"encoding/binary"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
)

// bank moves money in a state and keeps the books of it. It implements
// channel.Bank and staking.Bank. Callers have checked that what they move is there; the check of
// conservation at the end of the block does not trust them.
type bank struct {
	state *chain.Overlay
	books books
	owner func(service uint32) (ledger.Address, bool)
}

// Row returns the row of a's account, which is made if there is none.
func (b *bank) Row(a ledger.Address) uint64 {
	if row, ok := accountRow(b.state, a); ok {
		return row
	}
	row := b.books.rows
	b.books.rows++
	fresh := Account{Address: a}
	b.state.Set(AccountKey(row), fresh.Encode())
	b.state.Set(AccountIndexKey(a), binary.BigEndian.AppendUint64(nil, row))
	return row
}

// Balance returns what the account at row has.
func (b *bank) Balance(row uint64) ledger.Amount { return balanceOf(b.state.Get(AccountKey(row))) }

// Lock moves deposit and rent from the account at row into a channel.
func (b *bank) Lock(row uint64, deposit, rent ledger.Amount) {
	b.take(row, deposit+rent)
	b.books.Escrow += deposit
	b.books.Rent += rent
}

// Pay moves net from channels to the account at row, and burns burned.
func (b *bank) Pay(row uint64, net, burned ledger.Amount) {
	b.books.Escrow -= net + burned
	b.books.Burned += burned
	b.give(row, net)
}

// Earn moves fee from channels to the account of the owner of a service. Services stay, so
// there is an owner; if there were none, the fee would be burned.
func (b *bank) Earn(service uint32, fee ledger.Amount) {
	b.books.Escrow -= fee
	owner, ok := b.owner(service)
	if !ok {
		b.books.Burned += fee
		return
	}
	b.give(b.Row(owner), fee)
}

// Refund moves deposit and rent from a channel back to the account at row.
func (b *bank) Refund(row uint64, deposit, rent ledger.Amount) {
	b.books.Escrow -= deposit
	b.books.Rent -= rent
	b.give(row, deposit+rent)
}

// Bond moves amount from the account at row into the stake.
func (b *bank) Bond(row uint64, amount ledger.Amount) {
	b.take(row, amount)
	b.books.Staked += amount
}

// PayOut moves stake and reward to the account at row.
func (b *bank) PayOut(row uint64, stake, reward ledger.Amount) {
	b.books.Staked -= stake
	b.books.Rewards -= reward
	b.give(row, stake+reward)
}

// Post moves what concerns no account.
func (b *bank) Post(p staking.Posting) {
	k := &b.books
	k.Staked -= p.Burned
	k.Burned += p.Burned
	k.supply += p.Minted
	k.Minted += p.Minted
	k.Fees += p.Minted + p.Returned - p.Allotted
	k.Rewards += p.Allotted - p.Returned
}

// charge moves fee from the account at row to the collected fees.
func (b *bank) charge(row uint64, fee ledger.Amount) {
	b.take(row, fee)
	b.books.Fees += fee
}

// repay is the opposite of charge.
func (b *bank) repay(row uint64, fee ledger.Amount) {
	b.books.Fees -= fee
	b.give(row, fee)
}

func (b *bank) take(row uint64, amount ledger.Amount) {
	b.books.Accounts -= amount
	b.setBalance(row, b.Balance(row)-amount)
}

func (b *bank) give(row uint64, amount ledger.Amount) {
	b.books.Accounts += amount
	b.setBalance(row, b.Balance(row)+amount)
}

func (b *bank) setBalance(row uint64, balance ledger.Amount) {
	key := AccountKey(row)
	patched := append(make([]byte, 0, AccountRowSize), b.state.Get(key)...)
	binary.BigEndian.PutUint64(patched, uint64(balance))
	b.state.Set(key, patched)
}

// useNonce marks nonce of the account at row as used.
func (b *bank) useNonce(row, nonce uint64) {
	a := accountAt(b.state, row)
	a.useNonce(nonce)
	b.state.Set(AccountKey(row), a.Encode())
}

// balanceOf returns the balance in an account's row, which it begins with.
func balanceOf(row []byte) ledger.Amount { return ledger.Amount(binary.BigEndian.Uint64(row)) }
