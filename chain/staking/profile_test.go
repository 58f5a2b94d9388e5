package staking_test

import (
	"net"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
)

// TestNames: what is no name is refused by the rules, in a registration and in an
// edit, not only by the command.
func TestNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]chain.Code{
		"validator 1": 0, "Bäcker & Söhne": 0, "節點": 0, "7up": 0, "trib": 0, "x": 0, strings.Repeat("x", 64): 0, strings.Repeat("ab", 20) + "c": 0,
		"": chain.CodeInvalidValue, "\xff": chain.CodeInvalidValue, "a\nb": chain.CodeInvalidValue, "a\u202eb": chain.CodeInvalidValue,
		"a\u200bb": chain.CodeInvalidValue, "a\u00adb": chain.CodeInvalidValue, "\U000e0041": chain.CodeInvalidValue, "a\ufe0f": chain.CodeInvalidValue,
		" a": chain.CodeInvalidValue, "a ": chain.CodeInvalidValue, "a  b": chain.CodeInvalidValue, "a\u3000b": chain.CodeInvalidValue,
		"42": chain.CodeInvalidValue, "trib1me": chain.CodeInvalidValue, strings.Repeat("aB", 20): chain.CodeInvalidValue,
		strings.Repeat("x", 65): chain.CodeMalformed, // longer than the encoding can hold
	} {
		m := validator(0, 5_000).Register
		m.Name = name
		edit := staking.Edit{Profile: m.Profile}
		for kind, err := range map[string]error{"register": second(staking.DecodeRegister(m.Encode())), "edit": second(staking.DecodeEdit(edit.Encode()))} {
			if code, ok := chain.CodeOf(err); !ok || code != want {
				t.Errorf("%s with name %q: %v, want %s", kind, name, err, want)
			}
		}
		if code, _ := chain.CodeOf(staking.CheckName(name)); (code == 0) != (want == 0) {
			t.Errorf("CheckName(%q): %s", name, code)
		}
	}
}

// TestUnseenCharacters: no character of a class that does not show is in a name.
func TestUnseenCharacters(t *testing.T) {
	t.Parallel()
	for c := rune(1); c <= unicode.MaxRune; c++ {
		hidden := unicode.IsControl(c) || unicode.In(c, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Variation_Selector) || unicode.IsSpace(c) && c != ' '
		if hidden && staking.CheckName("a"+string(c)+"b") == nil {
			t.Errorf("%U is in a name", c)
		}
		if unicode.In(c, unicode.L, unicode.Nd, unicode.P) && !unicode.In(c, unicode.Other_Default_Ignorable_Code_Point) && staking.CheckName("a"+string(c)+"b") != nil {
			t.Errorf("%U can be seen and is in no name", c)
		}
	}
}

// TestEqualNames: a name cannot be taken away from others.
func TestEqualNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallParams(), 5_000, 4_000)
	m := registration(user(0), 9, 2_500)
	m.Name = staking.ReadProfile(w.view, 0).Name
	w.ok(user(0), m)
	w.ok(operator(1), w.edit(1, func(e *staking.Edit) { e.Name = m.Name }))
	for row := range uint64(3) {
		if got := staking.ReadProfile(w.view, row).Name; got != m.Name {
			t.Errorf("validator %d is called %q", row, got)
		}
	}
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	for endpoint, good := range map[string]bool{
		"10.0.0.1:1": true, "node-1.example_x:65535": true, "[::1]:9090": true, "[fe80::1:2]:1": true, strings.Repeat("a", 126) + ":1": true,
		"10.0.0.1": false, ":1": false, "a:0": false, "a:01": false, "a:+1": false, "a:65536": false, "a:99999999999999999999": false, "a:http": false, "a:": false,
		"::1:9": false, "[::1:9": false, "[]:9": false, "[a]:9": false, "[::1%eth0]:9": false, "": false, ":": false,
		"https://a:1": false, "a/b:1": false, "a b:1": false, "ä:1": false, "a@b:1": false, strings.Repeat("a", 127) + ":1": false,
	} {
		err := staking.CheckEndpoint(endpoint)
		if code, ok := chain.CodeOf(err); !ok || (err == nil) != good || err != nil && code != chain.CodeInvalidValue {
			t.Errorf("endpoint %q: %v", endpoint, err)
		}
		m := validator(0, 5_000).Register
		m.Endpoints = []string{"a:1", endpoint}
		if _, err := staking.DecodeRegister(m.Encode()); (err == nil) != good {
			t.Errorf("register with endpoint %q: %v", endpoint, err)
		}
	}
}

// FuzzCheckEndpoint: what is taken can be split, and dialled as it is.
func FuzzCheckEndpoint(f *testing.F) {
	for _, seed := range []string{"a:1", "[::1]:2", "10.0.0.1:65535", "a:b:1", "[a:1", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, endpoint string) {
		if staking.CheckEndpoint(endpoint) != nil {
			return
		}
		host, port, err := net.SplitHostPort(endpoint)
		if err != nil || host == "" || net.JoinHostPort(host, port) != endpoint {
			t.Errorf("%q: %q, %q, %v", endpoint, host, port, err)
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			t.Errorf("%q: port %q", endpoint, port)
		}
	})
}

// TestPromisesAreKept: an operator cannot promise more than it has, and so cannot
// put its validator out of the next election by mistake.
func TestPromisesAreKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, smallParams(), 5_000, 4_000)
	w.ok(user(0), &staking.Delegate{Validator: 0, Amount: 1_000}) // of others does not count
	promise := func(amount ledger.Amount) *staking.Edit {
		return w.edit(0, func(e *staking.Edit) { e.MinSelf = amount })
	}
	if _, code := w.try(operator(0), promise(5_001)); code != chain.CodeSelfStakeTooSmall || w.validator(0).MinSelf != 0 {
		t.Errorf("%s, it promises %d", code, w.validator(0).MinSelf)
	}
	w.ok(operator(0), promise(5_000))
	w.ok(operator(0), &staking.Undelegate{Validator: 0, Amount: 1_000})
	// What was promised stays, and an edit that leaves it may change the rest.
	if e := w.ok(operator(0), w.edit(0, func(e *staking.Edit) { e.Name = "new" })); e.Kind != staking.EventEdited || w.validator(0).MinSelf != 5_000 {
		t.Errorf("%+v, it promises %d", e, w.validator(0).MinSelf)
	}
	if _, code := w.try(operator(0), promise(5_001)); code != chain.CodeSelfStakeTooSmall {
		t.Errorf("more than is left: %s", code)
	}
}
