package relay_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/relay"
)

// TestFundsAreTold: that the relayer's account lacks coins is a warning that names it, once
// for each time that it begins.
func TestFundsAreTold(t *testing.T) {
	t.Parallel()
	key := ledger.NewPrivateKey([ledger.SeedSize]byte{7})
	a := relay.NewAccount(ledger.NetworkID{1}, key, 2)
	none, poor := relay.ErrNoAccount, relay.ErrPoor
	for _, row := range []struct {
		rounds     []error
		warn, info int
	}{
		{rounds: []error{nil, nil}},
		{rounds: []error{relay.ErrNoNonce}},
		{rounds: []error{none, none, none}, warn: 1},
		{rounds: []error{none, poor, poor}, warn: 2},
		{rounds: []error{poor, relay.ErrNoNonce, poor}, warn: 1, info: 0},
		{rounds: []error{poor, nil, nil, poor, nil}, warn: 2, info: 2},
	} {
		var out bytes.Buffer
		a.Funds(slog.New(slog.NewTextHandler(&out, nil)), row.rounds...)
		warn, info := strings.Count(out.String(), "level=WARN"), strings.Count(out.String(), "level=INFO")
		if warn != row.warn || info != row.info {
			t.Errorf("%v: %d warnings and %d that it is well again, want %d and %d", row.rounds, warn, info, row.warn, row.info)
		}
		for line := range strings.Lines(out.String()) {
			if !strings.Contains(line, fmt.Sprint(key.Address(2))) {
				t.Errorf("the account is not named: %s", line)
			}
		}
		if warn > 0 && !strings.Contains(out.String(), "tributary relayer") {
			t.Error("it is not said how to learn the account")
		}
	}
}
