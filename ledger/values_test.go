package ledger_test

import (
	"errors"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/ledger"
)

func TestAmountAgreesWithBigInt(t *testing.T) {
	t.Parallel()
	limit := new(big.Int).SetUint64(uint64(ledger.MaxAmount))
	amount := rapid.OneOf(rapid.Uint64Range(0, uint64(ledger.MaxAmount)), rapid.Uint64Range(0, 1000))
	rapid.Check(t, func(rt *rapid.T) {
		a, b := amount.Draw(rt, "a"), amount.Draw(rt, "b")
		num, den := rapid.Uint64().Draw(rt, "num"), rapid.Uint64().Draw(rt, "den")
		x, y := new(big.Int).SetUint64(a), new(big.Int).SetUint64(b)
		check := func(name string, got ledger.Amount, err error, want *big.Int) {
			inRange := want.Sign() >= 0 && want.Cmp(limit) <= 0
			if inRange != (err == nil) {
				rt.Fatalf("%s: error %v, want value %v", name, err, want)
			}
			if err == nil && new(big.Int).SetUint64(uint64(got)).Cmp(want) != 0 {
				rt.Fatalf("%s = %d, want %v", name, got, want)
			}
			if err != nil && !errors.Is(err, ledger.ErrOverflow) {
				rt.Fatalf("%s: %v is not ErrOverflow", name, err)
			}
		}
		sum, err := ledger.Amount(a).Add(ledger.Amount(b))
		check("add", sum, err, new(big.Int).Add(x, y))
		diff, err := ledger.Amount(a).Sub(ledger.Amount(b))
		check("sub", diff, err, new(big.Int).Sub(x, y))
		prod, err := ledger.Amount(a).Mul(num)
		check("mul", prod, err, new(big.Int).Mul(x, new(big.Int).SetUint64(num)))
		quot, err := ledger.Amount(a).MulDiv(num, den)
		want := big.NewInt(-1)
		if den != 0 {
			want.Mul(x, new(big.Int).SetUint64(num))
			want.Quo(want, new(big.Int).SetUint64(den))
		}
		check("muldiv", quot, err, want)
	})
}

func TestParseAmount(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		in   string
		want ledger.Amount
	}{
		{"0", 0},
		{"12.5", 12_500_000},
		{"0.000001", 1},
		{"12500000drops", 12_500_000},
		{"9223372036854.775807", ledger.MaxAmount},
	} {
		if got, err := ledger.ParseAmount(row.in); err != nil || got != row.want {
			t.Errorf("ParseAmount(%q) = %d, %v; want %d", row.in, got, err, row.want)
		}
	}
	for _, in := range []string{
		"", ".", "1.", ".5", "-1", "+1", "1e3", " 1", "1 ", "1.0000001", "1.-5", "1.+5", "drops", "-1drops", "+1drops",
		"9223372036854.775808", "9223372036855", "9223372036854775808drops", "1,5", "0x10", "1_000",
	} {
		if got, err := ledger.ParseAmount(in); err == nil {
			t.Errorf("ParseAmount(%q) = %d, want an error", in, got)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		a := ledger.Amount(rapid.Uint64Range(0, uint64(ledger.MaxAmount)).Draw(rt, "a"))
		if got, err := ledger.ParseAmount(a.String()); err != nil || got != a {
			rt.Fatalf("ParseAmount(%q) = %d, %v; want %d", a.String(), got, err, a)
		}
	})
}

func TestAddress(t *testing.T) {
	t.Parallel()
	a := key(1).Address(7)
	if want := "trib1qun2cv2w7vf02hmwgjr45qwsnx085z8fncvhp2ck"; a.String() != want {
		t.Errorf("address %s, want %s", a, want)
	}
	if a.Zone() != 7 || a == key(1).Address(8) || a == key(2).Address(7) {
		t.Error("an address must depend on zone and key")
	}
	if got, err := ledger.ParseAddress(strings.ToUpper(a.String())); err != nil || got != a {
		t.Errorf("upper case: %v, %v", got, err)
	}
	s := a.String()
	for _, bad := range []string{
		"", "trib1", s[:len(s)-1], s + "q", strings.Replace(s, "trib", "cosmos", 1), s[:10] + strings.ToUpper(s[10:]),
		"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
	} {
		if got, err := ledger.ParseAddress(bad); err == nil {
			t.Errorf("ParseAddress(%q) = %v, want an error", bad, got)
		}
	}
}

// Every single wrong character must be found: that is what the checksum is for.
func TestAddressFindsTypos(t *testing.T) {
	t.Parallel()
	s := key(3).Address(0).String()
	for i := len("trib1"); i < len(s); i++ {
		for _, c := range "qpzry9x8gf2tvdw0s3jn54khce6mua7l" {
			typo := s[:i] + string(c) + s[i+1:]
			if typo == s {
				continue
			}
			if _, err := ledger.ParseAddress(typo); err == nil {
				t.Fatalf("typo at %d accepted: %s", i, typo)
			}
		}
	}
}

func TestHashOfSeparatesDomains(t *testing.T) {
	t.Parallel()
	if ledger.HashOf("a", []byte("b")) == ledger.HashOf("ab") {
		t.Error("a tag and data collide")
	}
	h := ledger.HashOf("x")
	got, err := ledger.ParseHash(h.String())
	if err != nil || got != h {
		t.Errorf("ParseHash(%s) = %v, %v", h, got, err)
	}
	if _, err := ledger.ParseHash("zz" + h.String()[2:]); err == nil {
		t.Error("a non-hexadecimal hash is accepted")
	}
	if _, err := ledger.ParseHash(h.String()[2:]); err == nil {
		t.Error("a short hash is accepted")
	}
}

func FuzzParseAddress(f *testing.F) {
	f.Add(key(1).Address(0).String())
	f.Add("trib1")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ledger.ParseAddress(s)
		if err == nil && !strings.EqualFold(a.String(), s) {
			t.Errorf("%q parses to %s", s, a)
		}
	})
}
