package staking

import (
	"fmt"
	"math/bits"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// Index is a cumulative reward for each share, in drops, with 64 binary digits
// after the point. It only grows.
type Index struct {
	Whole    uint64 // drops
	Fraction uint64 // 2^-64 drops
}

const indexSize = 16

// plus returns x and the reward for each of shares, rounded down, and ok=false
// if there are no shares or the index would leave its range.
func (x Index) plus(reward ledger.Amount, shares uint64) (sum Index, ok bool) {
	if shares == 0 {
		return x, false
	}
	whole, rest := uint64(reward)/shares, uint64(reward)%shares
	fraction, _ := bits.Div64(rest, 0, shares)
	var carry uint64
	sum.Fraction, carry = bits.Add64(x.Fraction, fraction, 0)
	sum.Whole, carry = bits.Add64(x.Whole, whole, carry)
	if carry != 0 {
		return x, false
	}
	return sum, true
}

// since returns what shares earned while the index grew from y to x, rounded
// down. It panics if y is above x or the result is no amount: a validator's
// outstanding rewards bound it, so that would be a mistake of the rules.
func (x Index) since(y Index, shares uint64) ledger.Amount {
	fraction, borrow := bits.Sub64(x.Fraction, y.Fraction, 0)
	whole, borrow := bits.Sub64(x.Whole, y.Whole, borrow)
	over, drops := bits.Mul64(whole, shares)
	parts, _ := bits.Mul64(fraction, shares)
	drops, carry := bits.Add64(drops, parts, 0)
	if borrow|over|carry != 0 || ledger.Amount(drops) > ledger.MaxAmount {
		panic(fmt.Errorf("reward of %d shares from index %v to %v is no amount", shares, y, x))
	}
	return ledger.Amount(drops)
}

func (x Index) append(w *codec.Writer) {
	w.Uint64(x.Whole)
	w.Uint64(x.Fraction)
}

func readIndex(r *codec.Reader) Index { return Index{Whole: r.Uint64(), Fraction: r.Uint64()} }

// Pool is stake that belongs to whoever holds its shares. There are never fewer
// shares than tokens: a share is a drop at first, and slashes only lower what it
// is worth. So no rounding loses more than one drop.
type Pool struct {
	Tokens ledger.Amount
	Shares uint64
}

// maxShares is the largest number of shares of a pool.
const maxShares = uint64(ledger.MaxAmount)

// Worth returns what shares, which are part of the pool, are worth, rounded down.
func (p *Pool) Worth(shares uint64) ledger.Amount {
	if p.Shares == 0 {
		return 0
	}
	return ledger.Amount(mulDiv(shares, uint64(p.Tokens), p.Shares))
}

// issue adds amount to the pool and returns the shares for it, rounded down. ok
// is false, and nothing changes, if shares are worth nothing or so little that
// their number would leave its range.
func (p *Pool) issue(amount ledger.Amount) (shares uint64, ok bool) {
	shares = uint64(amount)
	if p.Shares != 0 {
		hi, lo := bits.Mul64(uint64(amount), p.Shares)
		if hi >= uint64(p.Tokens) {
			return 0, false
		}
		shares, _ = bits.Div64(hi, lo, uint64(p.Tokens))
	}
	tokens, err := p.Tokens.Add(amount)
	if err != nil || shares > maxShares-p.Shares {
		return 0, false
	}
	p.Tokens, p.Shares = tokens, p.Shares+shares
	return shares, true
}

// price returns how many shares must go for amount, which is at most Tokens,
// rounded up.
func (p *Pool) price(amount ledger.Amount) uint64 {
	if amount == 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(amount), p.Shares)
	shares, rest := bits.Div64(hi, lo, uint64(p.Tokens)) // hi < Tokens, since amount is at most Tokens
	if rest != 0 {
		shares++
	}
	return shares
}

// redeem takes shares and their worth out of the pool.
func (p *Pool) redeem(shares uint64) ledger.Amount {
	amount := p.Worth(shares)
	p.Tokens, p.Shares = p.Tokens-amount, p.Shares-shares
	return amount
}

// mulDiv returns a*b/c rounded down; the result must fit.
func mulDiv(a, b, c uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	q, _ := bits.Div64(hi, lo, c)
	return q
}

// bps returns that many basis points of amount, at most all of it, rounded down.
func bps(amount ledger.Amount, points uint32) ledger.Amount {
	return ledger.Amount(mulDiv(uint64(amount), uint64(min(points, ledger.BasisPoints)), ledger.BasisPoints))
}
