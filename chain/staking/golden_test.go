package staking_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

var update = flag.Bool("update", false, "rewrite the golden vectors")

func goldenValidator() staking.Validator {
	g := validator(1, 5_000)
	return staking.Validator{
		Operator: g.Operator, ConsensusKey: g.ConsensusKey, BLSKey: g.BLSKey,
		Pool: staking.Pool{Tokens: 4_750, Shares: 5_000}, SelfShares: 3_000, MinSelf: 1_000,
		Index: staking.Index{Whole: 3, Fraction: 1 << 63}, Outstanding: 77, Earned: 5,
		Commission: 1_000, MaxCommission: 3_000, MaxChange: 500, Changed: 9, Before: 1_250,
		Registered: 12, JailedUntil: 14, Jailed: true, Tombstoned: true, Slashes: 2,
		Last: staking.Mistake{Until: 19, Cost: 250}, Earlier: staking.Mistake{Until: 17, Cost: 300},
	}
}

func goldenDelegation() staking.Delegation {
	return staking.Delegation{Shares: 500, Index: staking.Index{Whole: 1, Fraction: 2}, Liabilities: []staking.Liability{
		{Source: 3, Begun: 7, Shares: 100, Seen: 1}, {Source: 1 << 40, Begun: 8, Shares: 1 << 50},
	}, Fresh: []staking.Fresh{{From: 9, Shares: 44}, {From: 10, Shares: 1 << 40}}}
}

func goldenMessages() map[string]message {
	r := validator(2, 5_000).Register
	r.MinSelf = 70
	copy(r.Proof[:], bytes.Repeat([]byte{7}, 48))
	return map[string]message{
		"register":   &r,
		"edit":       &staking.Edit{Validator: 5, Profile: staking.Profile{Name: "Zoë's", Endpoints: []string{"a:1", "b:2"}}, Commission: 250, MinSelf: 9},
		"delegate":   &staking.Delegate{Validator: 1, Amount: 1 << 40},
		"redelegate": &staking.Redelegate{From: 1, To: 2, Amount: 3},
		"undelegate": &staking.Undelegate{Validator: 1 << 33, Amount: 0},
		"claim":      &staking.Claim{Validators: []uint64{0, 1, 1 << 60}},
		"unjail":     &staking.Unjail{Validator: 4},
	}
}

// TestGoldenEncodings: a difference is a fork of every network that runs.
func TestGoldenEncodings(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	put := func(name string, b []byte) { got[name] = hex.EncodeToString(b) }
	for name, m := range goldenMessages() {
		put(name, m.Encode())
	}
	for name, p := range map[string]staking.Params{"default": staking.DefaultParams(), "local": staking.LocalParams()} {
		w := codec.NewWriter(128)
		p.Append(w)
		put(name+" params", w.Bytes())
	}
	v, d := goldenValidator(), goldenDelegation()
	put("validator row", v.Encode())
	put("delegation", d.Encode())
	u := staking.Unbonding{Shares: 5, Liabilities: d.Liabilities[:1]}
	put("unbonding", u.Encode())
	address := v.Address()
	put("consensus address", address[:])
	put("validator key", staking.ValidatorKey(258))
	put("committee key", staking.CommitteeKey(258))
	put("seed key", staking.SeedKey(258))
	put("delegation key", staking.DelegationKey(258, v.Operator))

	w := goldenWorld(t)
	for _, k := range w.view.keys {
		put("state "+hex.EncodeToString([]byte(k)), w.view.rows[k])
	}
	text, err := json.MarshalIndent(got, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	const path = "testdata/encodings.json"
	if *update {
		if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: %s", path, diff)
	}
}

// goldenWorld has something of everything in its state.
func goldenWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, smallParams(), 50_000, 40_000, 30_000)
	w.ok(user(0), registration(user(0), 9, 20_000))
	w.ok(user(1), &staking.Delegate{Validator: 0, Amount: 10_001})
	w.ok(user(2), &staking.Delegate{Validator: 1, Amount: 7_777})
	w.turn(2)
	w.ok(user(1), &staking.Redelegate{From: 0, To: 2, Amount: 3_333})
	w.ok(user(2), &staking.Undelegate{Validator: 1, Amount: 1_234})
	w.miss(3, 2)
	w.apply(block{seal: bytes.Repeat([]byte{9}, 48), evidence: []staking.Evidence{w.equivocation(0, w.height)}})
	w.ok(user(1), &staking.Undelegate{Validator: 2, Amount: 1_000})
	return w
}

// TestRowsSurvive: what is written is read as it was.
func TestRowsSurvive(t *testing.T) {
	t.Parallel()
	v, d := goldenValidator(), goldenDelegation()
	if got, err := staking.DecodeValidator(v.Encode()); err != nil || got != v {
		t.Errorf("validator %+v, %v", got, err)
	}
	if got, err := staking.DecodeDelegation(d.Encode()); err != nil || !reflect.DeepEqual(got, d) {
		t.Errorf("delegation %+v, %v", got, err)
	}
	for _, p := range []staking.Params{staking.DefaultParams(), staking.LocalParams(), smallParams()} {
		w := codec.NewWriter(128)
		p.Append(w)
		var got staking.Params
		r := codec.NewReader(w.Bytes())
		if got.Read(r); r.Done() != nil || got != p {
			t.Errorf("params %+v, %v", got, r.Done())
		}
		if err := p.Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestParamsNames(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		field  string
		change func(*staking.Params)
	}{
		{"epoch_blocks", func(p *staking.Params) { p.EpochBlocks = 9 }},
		{"epoch_blocks", func(p *staking.Params) { p.EpochBlocks = 1 << 30 }},
		{"seats", func(p *staking.Params) { p.Seats = 0 }},
		{"seats", func(p *staking.Params) { p.Seats = 1_001 }},
		{"power_cap_bps", func(p *staking.Params) { p.PowerCapBps = 10_001 }},
		{"min_stake", func(p *staking.Params) { p.MinStake = 0 }},
		{"min_self_stake", func(p *staking.Params) { p.MinSelfStake = 0 }},
		{"min_self_stake", func(p *staking.Params) { p.MinSelfStake = p.MinStake + 1 }},
		{"min_delegation", func(p *staking.Params) { p.MinDelegation = 0 }},
		{"unbonding_epochs", func(p *staking.Params) { p.UnbondingEpochs = p.EvidenceEpochs }},
		{"unbonding_epochs", func(p *staking.Params) { p.UnbondingEpochs = 1 << 20 }},
		{"evidence_epochs", func(p *staking.Params) { p.EvidenceEpochs = 0 }},
		{"max_entries", func(p *staking.Params) { p.MaxEntries = 0 }},
		{"max_entries", func(p *staking.Params) { p.MaxEntries = 17 }},
		{"epoch_reward", func(p *staking.Params) { p.EpochReward = 1 << 61 }},
		{"mint_cap", func(p *staking.Params) { p.MintCap = 1 << 63 }},
		{"register_fee", func(p *staking.Params) { p.RegisterFee = 1 << 41 }},
		{"stake_fee", func(p *staking.Params) { p.StakeFee = 1 << 41 }},
		{"duplicate_vote_bps", func(p *staking.Params) { p.DuplicateVoteBps = 10_001 }},
		{"light_attack_bps", func(p *staking.Params) { p.LightAttackBps = 10_001 }},
		{"downtime_bps", func(p *staking.Params) { p.DowntimeBps = 1_001 }},
		{"window", func(p *staking.Params) { p.Window = 9 }},
		{"window is 100, at least seats 101", func(p *staking.Params) { p.Seats = 101 }},
		{"max_missed", func(p *staking.Params) { p.MaxMissed = p.Window }},
		{"max_missed", func(p *staking.Params) { p.MaxMissed = 0 }},
		{"jail_epochs", func(p *staking.Params) { p.JailEpochs = 0 }},
		{"meter_bps", func(p *staking.Params) { p.MeterBps = 10_001 }},
		{"meter_epochs", func(p *staking.Params) { p.MeterEpochs = 0 }},
	} {
		p := staking.DefaultParams()
		row.change(&p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), row.field) {
			t.Errorf("Validate: %v, want it to name %s", err, row.field)
		}
	}
}

// TestDecodersRefuse: payloads that cannot be are refused by their own code.
func TestDecodersRefuse(t *testing.T) {
	t.Parallel()
	change := func(f func(*staking.Register)) []byte {
		m := validator(0, 5_000).Register
		f(&m)
		return m.Encode()
	}
	long := strings.Repeat("x", staking.MaxName+1)
	for _, row := range []struct {
		name string
		err  error
		want chain.Code
	}{
		{"a commission above its maximum", second(staking.DecodeRegister(change(func(m *staking.Register) { m.Commission = 3_001 }))), chain.CodeCommissionTooHigh},
		{"a maximum above all", second(staking.DecodeRegister(change(func(m *staking.Register) { m.MaxCommission = 10_001 }))), chain.CodeInvalidValue},
		{"a change above all", second(staking.DecodeRegister(change(func(m *staking.Register) { m.MaxChange = 10_001 }))), chain.CodeInvalidValue},
		{"no name", second(staking.DecodeRegister(change(func(m *staking.Register) { m.Name = "" }))), chain.CodeInvalidValue},
		{"a long name", second(staking.DecodeRegister(change(func(m *staking.Register) { m.Name = long }))), chain.CodeMalformed},
		{"a name of two lines", second(staking.DecodeRegister(change(func(m *staking.Register) { m.Name = "a\nb" }))), chain.CodeInvalidValue},
		{"a name that is no text", second(staking.DecodeRegister(change(func(m *staking.Register) { m.Name = "a\xff" }))), chain.CodeInvalidValue},
		{"an empty endpoint", second(staking.DecodeRegister(change(func(m *staking.Register) { m.Endpoints = []string{""} }))), chain.CodeInvalidValue},
		{"an endpoint with a space", second(staking.DecodeRegister(change(func(m *staking.Register) { m.Endpoints = []string{"a b"} }))), chain.CodeInvalidValue},
		{"many endpoints", second(staking.DecodeRegister(change(func(m *staking.Register) { m.Endpoints = make([]string, 5) }))), chain.CodeMalformed},
		{"stake above all", second(staking.DecodeRegister(change(func(m *staking.Register) { m.SelfStake = 1 << 63 }))), chain.CodeAmountOverflow},
		{"a register that is cut off", second(staking.DecodeRegister(change(func(*staking.Register) {})[1:])), chain.CodeMalformed},
		{"an edit without a name", second(staking.DecodeEdit((&staking.Edit{}).Encode())), chain.CodeInvalidValue},
		{"an edit that promises above all", second(staking.DecodeEdit((&staking.Edit{Profile: staking.Profile{Name: "x"}, MinSelf: 1 << 63}).Encode())), chain.CodeAmountOverflow},
		{"a delegation above all", second(staking.DecodeDelegate((&staking.Delegate{Amount: 1 << 63}).Encode())), chain.CodeAmountOverflow},
		{"a redelegation above all", second(staking.DecodeRedelegate((&staking.Redelegate{To: 1, Amount: 1 << 63}).Encode())), chain.CodeAmountOverflow},
		{"a redelegation to itself", second(staking.DecodeRedelegate((&staking.Redelegate{From: 1, To: 1}).Encode())), chain.CodeSameValidator},
		{"an undelegation above all", second(staking.DecodeUndelegate((&staking.Undelegate{Amount: 1 << 63}).Encode())), chain.CodeAmountOverflow},
		{"an empty claim", second(staking.DecodeClaim([]byte{0})), chain.CodeTooLarge},
		{"a claim of too many", second(staking.DecodeClaim((&staking.Claim{Validators: make([]uint64, 65)}).Encode())), chain.CodeTooLarge},
		{"a claim out of order", second(staking.DecodeClaim((&staking.Claim{Validators: []uint64{2, 1}}).Encode())), chain.CodeBadOrder},
		{"a claim twice from one", second(staking.DecodeClaim((&staking.Claim{Validators: []uint64{2, 2}}).Encode())), chain.CodeBadOrder},
		{"a claim of nothing", second(staking.DecodeClaim(nil)), chain.CodeMalformed},
		{"an unjail with more", second(staking.DecodeUnjail(make([]byte, 9))), chain.CodeMalformed},
	} {
		if code, ok := chain.CodeOf(row.err); !ok || code != row.want {
			t.Errorf("%s: %v, want %s", row.name, row.err, row.want)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestGenesisRefuses(t *testing.T) {
	t.Parallel()
	p := smallParams()
	sound := func() []staking.GenesisValidator {
		var list []staking.GenesisValidator
		for i := range 3 {
			g := staking.GenesisValidator{Operator: operator(i), Register: *registration(operator(i), i, 5_000)}
			g.Proof = staking.Prove(blsKeys(i), ledger.NetworkID{}, g.Operator, g.ConsensusKey)
			list = append(list, g)
		}
		return list
	}
	if err := staking.ValidateGenesis(&p, sound()); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name   string
		change func([]staking.GenesisValidator)
		want   string
	}{
		{"one operator twice", func(l []staking.GenesisValidator) { l[1].Operator = l[0].Operator }, "OPERATOR_USED"},
		{"no operator", func(l []staking.GenesisValidator) { l[1].Operator = ledger.Address{} }, "zero address"},
		{"one consensus key twice", func(l []staking.GenesisValidator) { l[1].ConsensusKey = l[0].ConsensusKey }, "KEY_USED"},
		{"one BLS key twice", func(l []staking.GenesisValidator) { l[1].BLSKey, l[1].Proof = l[0].BLSKey, l[0].Proof }, "KEY_USED"},
		{"a proof of another key", func(l []staking.GenesisValidator) { l[1].Proof = l[0].Proof }, "BAD_PROOF"},
		{"a proof for a network", func(l []staking.GenesisValidator) { l[1].Proof = registration(operator(1), 1, 0).Proof }, "BAD_PROOF"},
		{"a proof of another operator", func(l []staking.GenesisValidator) { l[1].Operator = user(0) }, "BAD_PROOF"},
		{"a proof beside another consensus key", func(l []staking.GenesisValidator) { l[1].ConsensusKey = consensusKey(7) }, "BAD_PROOF"},
		{"a bad consensus key", func(l []staking.GenesisValidator) { l[1].ConsensusKey = ledger.PublicKey{} }, "KEY"},
		{"too little stake", func(l []staking.GenesisValidator) { l[1].SelfStake = 999 }, "min_stake"},
		{"less than promised", func(l []staking.GenesisValidator) { l[1].MinSelf = 5_001 }, "SELF_STAKE"},
		{"no name", func(l []staking.GenesisValidator) { l[1].Name = "" }, "INVALID_VALUE"},
	} {
		list := sound()
		row.change(list)
		if err := staking.ValidateGenesis(&p, list); err == nil || !strings.Contains(err.Error(), "validators[1]") || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

func TestGenesisCommittee(t *testing.T) {
	t.Parallel()
	p := smallParams()
	seed := ledger.HashOf("genesis")
	list := []staking.GenesisValidator{validator(0, 5_000), validator(1, 9_000), validator(2, 7_000), validator(3, 8_000)}
	c := staking.GenesisCommittee(&p, seed, list)
	w := newWorld(t, p, 5_000, 9_000, 7_000, 8_000)
	first, _ := staking.ReadCommittee(w.view, 0)
	if len(c.Members) != 3 || c.Members[0].Validator != 1 || c.Hash() != first.Hash() {
		t.Errorf("committee %+v, in the state %+v", c, first)
	}
	if none := staking.GenesisCommittee(&p, seed, nil); len(none.Members) != 0 {
		t.Errorf("committee %+v of nobody", none)
	}
}
