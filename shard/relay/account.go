package relay

import (
	"fmt"
	"maps"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// lifetime is for how many blocks of main a record of the relayer is valid: until then
// nothing is sent in its place, since both might be paid for.
const lifetime = 16

// account signs records for main. It hands out each nonce of its window to one record
// until the record's time is up, so that as many are under way and none stands in the
// way of another. It is owned by one goroutine.
type account struct {
	key    ledger.PrivateKey
	self   ledger.Address
	domain chain.Domain
	busy   map[uint64]pending // by nonce
}

// pending is a record that may still execute, up to a height, and costs a fee then.
type pending struct {
	until uint64
	fee   ledger.Amount
}

func newAccount(network ledger.NetworkID, key ledger.PrivateKey, zone byte) *account {
	return &account{
		key: key, self: key.Address(zone), domain: chain.Domain{Network: network, Chain: ledger.MainChain},
		busy: make(map[uint64]pending),
	}
}

// signed is a record that is ready to be sent.
type signed struct {
	raw   []byte
	nonce uint64
	fee   ledger.Amount
}

// sign returns a record of the account with a free nonce, by the state of main in v,
// whose last block is at height. The fee is the one that main takes.
func (a *account) sign(v chain.View, p *settlement.Params, height uint64, kind chain.Kind, payload []byte) (signed, error) {
	row, _, ok := settlement.AccountByAddress(v, a.self)
	if !ok {
		return signed{}, errNoAccount
	}
	a.tidy(&row, height)
	nonce, ok := a.free(&row)
	if !ok {
		return signed{}, errNoNonce
	}
	f := chain.TxFields{Kind: kind, Zone: a.self.Zone(), Nonce: nonce, ValidUntil: height + lifetime, Payload: payload}
	tx, err := chain.DecodeTx(a.domain, chain.SignTx(a.domain, a.key, f))
	if err != nil {
		return signed{}, fmt.Errorf("sign a %s: %w", kind, err)
	}
	f.MaxFee = settlement.Fee(*p, &tx)
	if row.Balance < a.owes()+f.MaxFee {
		return signed{}, errPoor
	}
	return signed{raw: chain.SignTx(a.domain, a.key, f), nonce: nonce, fee: f.MaxFee}, nil
}

// tidy forgets records that cannot execute any more.
func (a *account) tidy(row *settlement.Account, height uint64) {
	maps.DeleteFunc(a.busy, func(nonce uint64, p pending) bool { return row.NonceUsed(nonce) || p.until < height+1 })
}

// owes returns the fees of all records that may still execute.
func (a *account) owes() (sum ledger.Amount) {
	for _, p := range a.busy {
		sum += p.fee // of at most chain.NonceWindow records, each below the supply
	}
	return sum
}

// spares reports whether the account, whose row is given, can pay a fee that nobody pays
// back and still go on with what has to be done.
func (a *account) spares(row *settlement.Account, fee ledger.Amount) bool {
	return row.Balance >= a.owes()+fee+SettleReserve
}

func (a *account) free(row *settlement.Account) (nonce uint64, ok bool) {
	for nonce = row.Nonce; nonce < row.Nonce+chain.NonceWindow; nonce++ {
		if _, busy := a.busy[nonce]; !busy && !row.NonceUsed(nonce) {
			return nonce, true
		}
	}
	return 0, false
}

// waits reports whether a record that was sent may still execute.
func (a *account) waits(row *settlement.Account, nonce uint64) bool {
	_, busy := a.busy[nonce]
	return busy && !row.NonceUsed(nonce)
}

// use notes that a record was sent while main's last block was at height.
func (a *account) use(s *signed, height uint64) {
	a.busy[s.nonce] = pending{until: height + lifetime, fee: s.fee}
}
