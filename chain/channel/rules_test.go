package channel_test

import (
	"errors"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// TestBurnIsFloor compares Burn with big integers over the whole range.
func TestBurnIsFloor(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		total := rapid.Uint64Range(0, uint64(ledger.MaxAmount)).Draw(rt, "total")
		bps := rapid.Uint32Range(0, ledger.BasisPoints).Draw(rt, "bps")
		want := new(big.Int).SetUint64(total)
		want.Mul(want, big.NewInt(int64(bps))).Div(want, big.NewInt(ledger.BasisPoints))
		r := channel.Rules{BurnBps: bps}
		if got := uint64(r.Burn(ledger.Amount(total))); got != want.Uint64() {
			rt.Fatalf("burn %d bps of %d = %d, want %s", bps, total, got, want)
		}
	})
}

func TestCheckParams(t *testing.T) {
	t.Parallel()
	rules := channel.Rules{
		MinDeposit: 100, Rent: 5, MinChallenge: 10, MaxChallenge: 20, MaxLifetime: 1_000, Services: []uint32{2, 7, 9},
		Registered: func(service uint32) bool { return service == 30 },
		Zone: func(service uint32, number byte) error {
			if service == 30 && number > 1 {
				return errors.New("zone 2: no such zone")
			}
			return nil
		},
	}
	const clock = 50
	payer := key(1).Address(0)
	for _, row := range []struct {
		name   string
		change func(*channel.OpenParams)
		code   chain.Code
	}{
		{"sound", func(*channel.OpenParams) {}, chain.CodeOK},
		{"nobody", func(p *channel.OpenParams) { p.Payee = ledger.Address{} }, chain.CodeInvalidValue},
		{"oneself", func(p *channel.OpenParams) { p.Payee = payer }, chain.CodeSelfPayment},
		{"oneself in another zone is another account", func(p *channel.OpenParams) { p.Payee = key(1).Address(1) }, chain.CodeOK},
		{"least deposit", func(p *channel.OpenParams) { p.Deposit = 100 }, chain.CodeOK},
		{"less", func(p *channel.OpenParams) { p.Deposit = 99 }, chain.CodeDepositTooSmall},
		{"beyond all amounts", func(p *channel.OpenParams) { p.Deposit = ledger.MaxAmount + 1 }, chain.CodeAmountOverflow},
		{"challenge too short", func(p *channel.OpenParams) { p.Challenge = 9 }, chain.CodeChallengeRange},
		{"challenge too long", func(p *channel.OpenParams) { p.Challenge = 21 }, chain.CodeChallengeRange},
		{"three windows", func(p *channel.OpenParams) { p.ExpiresAt = clock + 30 }, chain.CodeOK},
		{"less than three windows", func(p *channel.OpenParams) { p.ExpiresAt = clock + 29 }, chain.CodeExpiryOutOfRange},
		{"as long as may be", func(p *channel.OpenParams) { p.ExpiresAt = clock + 1_000 }, chain.CodeOK},
		{"longer", func(p *channel.OpenParams) { p.ExpiresAt = clock + 1_001 }, chain.CodeExpiryOutOfRange},
		{"for ever", func(p *channel.OpenParams) { p.ExpiresAt = 1<<64 - 1 }, chain.CodeExpiryOutOfRange},
		{"a registered service", func(p *channel.OpenParams) { p.Service = 30 }, chain.CodeOK},
		{"a payee in another zone of it", func(p *channel.OpenParams) { p.Service, p.Payee = 30, key(1).Address(1) }, chain.CodeOK},
		{"a payee in a zone that it lacks", func(p *channel.OpenParams) { p.Service, p.Payee = 30, key(1).Address(2) }, chain.CodePayeeZone},
		{"a payee anywhere, of a service without a registry", func(p *channel.OpenParams) { p.Service, p.Payee = 7, key(1).Address(2) }, chain.CodeOK},
		{"a service nobody registered", func(p *channel.OpenParams) { p.Service = 8 }, chain.CodeUnknownService},
	} {
		p := params()
		p.Challenge, p.ExpiresAt = 10, clock+100
		row.change(&p)
		if code, _ := chain.CodeOf(rules.CheckParams(payer, &p, clock)); code != row.code {
			t.Errorf("%s: %s, want %s", row.name, code, row.code)
		}
	}
}

func TestHashChain(t *testing.T) {
	t.Parallel()
	tip := ledger.HashOf("tip")
	links := channel.HashChain(tip, 1_024)
	if len(links) != 1_025 || links[1_024] != tip {
		t.Fatalf("%d links", len(links))
	}
	for _, k := range []uint16{0, 1, 2, 512, 1_024} {
		if !channel.CheckPreimage(links[0], links[k], k) {
			t.Errorf("w%d does not lead to the root", k)
		}
		if channel.CheckPreimage(links[0], links[k], k+1) || k > 0 && channel.CheckPreimage(links[0], links[k], k-1) {
			t.Errorf("w%d passes for another step", k)
		}
	}
	if channel.HashStep(links[7]) != links[6] {
		t.Error("a step does not lead from w7 to w6")
	}
}

func TestVoucherKeys(t *testing.T) {
	t.Parallel()
	bad := params()
	bad.VoucherKey = ledger.PublicKey{}
	if err := channel.CheckVoucherKeys([]channel.OpenParams{params(), params()}); err != nil {
		t.Error(err)
	}
	err := channel.CheckVoucherKeys([]channel.OpenParams{params(), bad, params(), bad})
	var rule *chain.RuleError
	if !errors.As(err, &rule) || rule.Code != chain.CodeBadKey || len(rule.Positions) != 2 || rule.Positions[0] != 1 || rule.Positions[1] != 3 {
		t.Errorf("two bad keys: %+v", err)
	}
}

// A refusal names its code once, and its entry.
func TestRefusalOfAnEntry(t *testing.T) {
	t.Parallel()
	b := channel.Batch{Entries: []channel.Entry{{Index: 1, Close: true}, {Index: 2, Lane: channel.Lanes, Close: true}}}
	_, err := channel.DecodeBatch(b.Encode())
	var rule *chain.RuleError
	if !errors.As(err, &rule) || rule.Code != chain.CodeLaneLimit || len(rule.Positions) != 1 || rule.Positions[0] != 1 {
		t.Fatalf("a lane too high: %+v", err)
	}
	if want := "entry 1: lane 64, lanes are 0 to 63"; rule.Detail != want {
		t.Errorf("detail %q, want %q", rule.Detail, want)
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	c := channel.Channel{ExpiresAt: 100}
	if c.Closing() || c.Deadline() != 100 {
		t.Errorf("open: %d", c.Deadline())
	}
	c.CloseAt = 60
	if !c.Closing() || c.Deadline() != 60 {
		t.Errorf("closing: %d", c.Deadline())
	}
	c.ExpiresAt = 50
	if c.Deadline() != 50 {
		t.Errorf("closing after its expiry: %d", c.Deadline())
	}
}

// TestIDs: every input of an id changes it.
func TestIDs(t *testing.T) {
	t.Parallel()
	p := params()
	seen := map[ledger.Hash]string{}
	note := func(what string, id ledger.Hash) {
		if before, ok := seen[id]; ok {
			t.Errorf("%s has the id of %s", what, before)
		}
		seen[id] = what
	}
	payer := key(1).Address(0)
	note("the channel", channel.ID(testDomain, payer, 5, 0, &p))
	note("another network", channel.ID(chain.Domain{Chain: 1}, payer, 5, 0, &p))
	note("another chain", channel.ID(chain.Domain{Network: testDomain.Network, Chain: 2}, payer, 5, 0, &p))
	note("another payer", channel.ID(testDomain, key(2).Address(0), 5, 0, &p))
	note("another nonce", channel.ID(testDomain, payer, 6, 0, &p))
	note("another position", channel.ID(testDomain, payer, 5, 1, &p))
	note("a roll-over", channel.RolloverID(ref().ID, &p))
	note("a roll-over of another", channel.RolloverID(ledger.Hash{}, &p))
	for name, change := range map[string]func(*channel.OpenParams){
		"payee": func(p *channel.OpenParams) { p.Payee[0]++ }, "key": func(p *channel.OpenParams) { p.VoucherKey[0]++ },
		"deposit": func(p *channel.OpenParams) { p.Deposit++ }, "expiry": func(p *channel.OpenParams) { p.ExpiresAt++ },
		"challenge": func(p *channel.OpenParams) { p.Challenge++ }, "service": func(p *channel.OpenParams) { p.Service++ },
		"terms": func(p *channel.OpenParams) { p.Terms[0]++ },
	} {
		q := p
		change(&q)
		note("another "+name, channel.ID(testDomain, payer, 5, 0, &q))
		note("a roll-over with another "+name, channel.RolloverID(ref().ID, &q))
	}
}

// TestDirectoryRefuses: one directory has one encoding.
func TestDirectoryRefuses(t *testing.T) {
	t.Parallel()
	place := func(lane uint8) []byte { return []byte{lane, 0, 0, 0, 0, 0, 0, 0, lane} }
	var all channel.Directory
	for lane := uint8(1); lane < channel.Lanes; lane++ {
		all = append(all, channel.Place{Lane: lane, Row: 1 << lane})
	}
	full := all.Encode()
	if d, err := channel.DecodeDirectory(full); err != nil || len(full) != channel.MaxDirectorySize || !slices.Equal(d, all) {
		t.Errorf("all lanes in %d bytes: %v, %v", len(full), d, err)
	}
	for _, row := range []struct {
		name string
		b    []byte
	}{
		{"none", nil},
		{"cut off", place(1)[:8]},
		{"lane 0", place(0)},
		{"lane 64", place(channel.Lanes)},
		{"a lane twice", slices.Concat(place(2), place(2))},
		{"descending", slices.Concat(place(3), place(2))},
		{"too long", append(slices.Clone(full), place(63)...)},
	} {
		if d, err := channel.DecodeDirectory(row.b); err == nil {
			t.Errorf("%s: decoded as %v", row.name, d)
		}
	}
}
