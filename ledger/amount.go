package ledger

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Amount is a sum of money in drops, 0 <= Amount <= MaxAmount. A coin is
// DropsPerCoin drops. Use the checked methods for arithmetic.
type Amount uint64

const (
	// MaxAmount is the largest amount, and the limit of the total supply.
	MaxAmount Amount = 1<<63 - 1
	// DropsPerCoin is the number of drops in a coin.
	DropsPerCoin Amount = 1_000_000
	// BasisPoints is the denominator of ratios in basis points.
	BasisPoints = 10_000
)

// Add returns a+b, or ErrOverflow above MaxAmount.
func (a Amount) Add(b Amount) (Amount, error) {
	sum, carry := bits.Add64(uint64(a), uint64(b), 0)
	if carry != 0 || Amount(sum) > MaxAmount {
		return 0, fmt.Errorf("%d + %d: %w", a, b, ErrOverflow)
	}
	return Amount(sum), nil
}

// Sub returns a-b, or ErrOverflow below zero.
func (a Amount) Sub(b Amount) (Amount, error) {
	if b > a {
		return 0, fmt.Errorf("%d - %d: %w", a, b, ErrOverflow)
	}
	return a - b, nil
}

// Mul returns a*n, or ErrOverflow above MaxAmount.
func (a Amount) Mul(n uint64) (Amount, error) {
	hi, lo := bits.Mul64(uint64(a), n)
	if hi != 0 || Amount(lo) > MaxAmount {
		return 0, fmt.Errorf("%d * %d: %w", a, n, ErrOverflow)
	}
	return Amount(lo), nil
}

// MulDiv returns floor(a*num/den) with a 128-bit intermediate product. It
// returns ErrOverflow if den is zero or the result exceeds MaxAmount.
func (a Amount) MulDiv(num, den uint64) (Amount, error) {
	hi, lo := bits.Mul64(uint64(a), num)
	if den == 0 || hi >= den {
		return 0, fmt.Errorf("%d * %d / %d: %w", a, num, den, ErrOverflow)
	}
	q, _ := bits.Div64(hi, lo, den)
	if Amount(q) > MaxAmount {
		return 0, fmt.Errorf("%d * %d / %d: %w", a, num, den, ErrOverflow)
	}
	return Amount(q), nil
}

// String returns the amount in coins with as many decimals as it needs: "12.5".
func (a Amount) String() string {
	whole, frac := a/DropsPerCoin, a%DropsPerCoin
	if frac == 0 {
		return strconv.FormatUint(uint64(whole), 10)
	}
	return strings.TrimRight(fmt.Sprintf("%d.%06d", whole, frac), "0")
}

// ParseAmount parses coins with up to six decimals ("12.5"), or drops with the
// suffix "drops" ("12500000drops"). Signs, exponents and spaces are refused.
func ParseAmount(s string) (Amount, error) {
	if digits, ok := strings.CutSuffix(s, "drops"); ok {
		return parseDigits(s, digits, 1)
	}
	whole, frac, hasFrac := strings.Cut(s, ".")
	w, err := parseDigits(s, whole, uint64(DropsPerCoin))
	if err != nil || !hasFrac {
		return w, err
	}
	if len(frac) > 6 || frac == "" {
		return 0, fmt.Errorf("parse amount %q: %d decimals, want 1 to 6", s, len(frac))
	}
	f, err := parseDigits(s, frac+strings.Repeat("0", 6-len(frac)), 1)
	if err != nil {
		return 0, err
	}
	return w.Add(f)
}

func parseDigits(s, digits string, unit uint64) (Amount, error) {
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || digits[0] == '+' {
		return 0, fmt.Errorf("parse amount %q: want coins such as 12.5, or drops such as 12500000drops, up to %d drops", s, MaxAmount)
	}
	return Amount(n).Mul(unit)
}
