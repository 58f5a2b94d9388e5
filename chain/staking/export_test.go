package staking

import "github.com/tributary-network/tributary/ledger"

// What follows lets the tests of the package see its arithmetic.

func (x Index) Plus(reward ledger.Amount, shares uint64) (Index, bool) { return x.plus(reward, shares) }

func (x Index) Since(y Index, shares uint64) ledger.Amount { return x.since(y, shares) }

func (p *Pool) Issue(amount ledger.Amount) (uint64, bool) { return p.issue(amount) }

func (p *Pool) Price(amount ledger.Amount) uint64 { return p.price(amount) }

func (p *Pool) Redeem(shares uint64) ledger.Amount { return p.redeem(shares) }

// MissedKey, ProgressKey and the others are keys that tests damage.
func MissedKey() []byte   { return missedKey() }
func ProgressKey() []byte { return progressKey() }

func PoolKey(row, due uint64) []byte { return poolKey(row, due) }

func QueueKey(due, row uint64, a ledger.Address) []byte { return queueKey(due, row, a) }

func EntriesKey(a ledger.Address, row uint64) []byte { return entriesKey(a, row) }

func DelegatorKey(a ledger.Address, row uint64) []byte { return delegatorKey(a, row) }

func MovedKey(due, row uint64) []byte { return movedKey(due, row) }

func MoveKey(row, due uint64, a ledger.Address, to uint64) []byte { return moveKey(due, row, a, to) }

func ProfileKey(row uint64) []byte { return profileKey(row) }

func OperatorKey(a ledger.Address) []byte { return operatorKey(a) }

func ElectableKey(row uint64) []byte { return electableKey(row) }

func SeatsKey(epoch uint64) []byte { return seatsKey(epoch) }
