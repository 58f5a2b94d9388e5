package main

import "testing"

func TestPartsAreShownInPercent(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"commission from 750 to 900, by at most 100 in an epoch": "commission from 7.5 % to 9 %, by at most 1 % in an epoch",
		"commission 3000, max_commission 2000":                   "commission 30 %, max_commission 20 %",
		"max_commission 20000 and max_change 1, at most 10000":   "max_commission 200 % and max_change 0.01 %, at most 100 %",
		"--commission is 30 %, above 20 %":                       "--commission is 30 %, above 20 %",
		"validator 900 of 12 drops":                              "validator 900 of 12 drops",
		"commission 99999999999999999999999":                     "commission 99999999999999999999999",
	} {
		if got := inPercent(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestInCoins(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"nothing":       {"no such key", "no such key"},
		"one":           {"deposit of 1000000 drops", "deposit of 1 coin"},
		"two":           {"payments of 5 drops, balance is 2500000", "payments of 0.000005 coins, balance is 2.5 coins"},
		"a limit":       {"payment 7 of 90000000 drops exceeds 80000000", "payment 7 of 90 coins exceeds 80 coins"},
		"what is left":  {"3000000 drops, the deposit has 2000000 left", "3 coins, the deposit has 2 coins left"},
		"other numbers": {"3000000 drops for 5 units, 7 more", "3 coins for 5 units, 7 more"},
		"two sentences": {"1000000 drops; channel 5, 2000000 drops", "1 coin; channel 5, 2 coins"},
		"typed":         {`"500drops"`, `"500drops"`},
		"too large":     {"99999999999999999999 drops", "99999999999999999999 drops"},
		"no number":     {"want drops, 5 at most", "want drops, 5 at most"},
		"a hexadecimal": {"row 0a7 drops", "row 0a7 drops"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := inCoins(test.text); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
