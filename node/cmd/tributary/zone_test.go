package main

import (
	"strings"
	"testing"

	"github.com/tributary-network/tributary/ledger"
)

// TestInZone: names may say in which zone the account of the key is.
func TestInZone(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		who, name string
		zone      byte
		bad       bool
	}{
		{"alice", "alice", 0, false},
		{"alice@0", "alice", 0, false},
		{"alice@1", "alice", 1, false},
		{"alice@255", "alice", 255, false},
		{"alice@256", "", 0, true},
		{"alice@-1", "", 0, true},
		{"alice@", "", 0, true},
		{"alice@eu", "", 0, true},
		{"alice@1@2", "", 0, true},
	} {
		name, zone, err := inZone(row.who)
		if name != row.name || zone != row.zone || (err != nil) != row.bad {
			t.Errorf("%q: %q, %d, %v", row.who, name, zone, err)
		}
	}
}

// TestKeysShowZone: a key has an address in each zone, with the same hash.
func TestKeysShowZone(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.environ = append(s.environ, "TRIBUTARY_PASSPHRASE=correct horse battery")
	s.ok(t, "keys", "add", "anna")
	address := func(args ...string) ledger.Address {
		t.Helper()
		a, err := ledger.ParseAddress(strings.TrimSpace(s.ok(t, append([]string{"keys", "show", "anna", "--address"}, args...)...)))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	zero, one := address(), address("--zone", "1")
	if zero.Zone() != 0 || one.Zone() != 1 || string(zero[1:]) != string(one[1:]) {
		t.Errorf("%x and %x", zero, one)
	}
	if r := s.run(t, "", "keys", "show", "anna", "--zone", "256"); r.code != exitUsage {
		t.Errorf("%+v", r)
	}
}
