package api_test

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
	nodev1 "github.com/tributary-network/tributary/proto/tributary/node/v1"
	stakingv1 "github.com/tributary-network/tributary/proto/tributary/staking/v1"
)

// refusing is a Pool that refuses everything for one reason.
type refusing struct {
	api.Pool

	code chain.Code
}

func (r refusing) Submit(context.Context, []byte) (exec.Status, error) {
	return exec.Status{}, chain.Refuse(r.code, "as the test says")
}

// TestEveryRefusalOfStaking submits what each rule refuses and looks at the answer,
// and that nothing has changed.
func TestEveryRefusalOfStaking(t *testing.T) {
	t.Parallel()
	s := newStakeWorld(t, 4, func(s *stakeWorld, _ *exec.Config) {
		s.gen.Params.Staking.MeterBps, s.gen.Params.Staking.MaxEntries = ledger.BasisPoints, 1
	})
	for number := range uint64(2) {
		m := staking.Delegate{Validator: number, Amount: 100 * coin}
		s.do(s.payer, chain.KindDelegate, m.Encode())
	}
	bound := staking.Redelegate{From: 0, To: 1, Amount: 40 * coin}
	s.do(s.payer, chain.KindRedelegate, bound.Encode())
	leaving := staking.Undelegate{Validator: 0, Amount: coin}
	s.do(s.payer, chain.KindUndelegate, leaving.Encode())
	s.jail(2)
	s.accuse(3)
	s.nextEpoch()
	s.jail(1)
	first := register(ledger.NetworkID{}, s.operators[0].addr, 0, 0)
	edited := staking.Edit{Validator: 0, Profile: first.Profile, Commission: 550, MinSelf: 10 * coin}
	s.do(s.operators[0], chain.KindEditValidator, edited.Encode())
	claim := staking.Claim{Validators: []uint64{0}}
	s.do(s.payer, chain.KindClaimRewards, claim.Encode())

	type refusal struct {
		name    string
		by      *account
		kind    chain.Kind
		payload []byte
		code    codes.Code
		reason  chain.Code
		field   string
		about   string // metadata "name"
	}
	changed := func(change func(*staking.Register)) []byte {
		m := register(s.domain.Network, s.other.addr, 7, 200*coin)
		change(&m)
		return m.Encode()
	}
	edit := func(change func(*staking.Edit)) []byte {
		m := edited
		change(&m)
		return m.Encode()
	}
	del := func(validator uint64, amount ledger.Amount) []byte {
		m := staking.Delegate{Validator: validator, Amount: amount}
		return m.Encode()
	}
	red := func(from, to uint64, amount ledger.Amount) []byte {
		m := staking.Redelegate{From: from, To: to, Amount: amount}
		return m.Encode()
	}
	und := func(validator uint64, amount ledger.Amount) []byte {
		m := staking.Undelegate{Validator: validator, Amount: amount}
		return m.Encode()
	}
	cl := func(validators ...uint64) []byte {
		m := staking.Claim{Validators: validators}
		return m.Encode()
	}
	unjail := func(validator uint64) []byte {
		m := staking.Unjail{Validator: validator}
		return m.Encode()
	}
	const (
		invalid, missing, state = codes.InvalidArgument, codes.NotFound, codes.FailedPrecondition
		regist, del1, red1      = chain.KindRegisterValidator, chain.KindDelegate, chain.KindRedelegate
		und1, cl1, unj, edi     = chain.KindUndelegate, chain.KindClaimRewards, chain.KindUnjail, chain.KindEditValidator
	)
	rows := []refusal{
		{"to nobody", s.payer, del1, del(99, coin), missing, chain.CodeValidatorNotFound, "", ""},
		{"from nobody", s.payer, red1, red(99, 0, coin), missing, chain.CodeValidatorNotFound, "", ""},
		{"to a jailed one", s.payer, del1, del(2, coin), state, chain.CodeValidatorJailed, "", "validators/2"},
		{"moved to a jailed one", s.payer, red1, red(0, 2, coin), state, chain.CodeValidatorJailed, "", "validators/2"},
		{"to a tombstoned one", s.payer, del1, del(3, coin), state, chain.CodeTombstoned, "", "validators/3"},
		{"edited by another", s.payer, edi, edit(func(*staking.Edit) {}), codes.PermissionDenied, chain.CodeNotOperator, "", "validators/0"},
		{"unjailed by another", s.payer, unj, unjail(2), codes.PermissionDenied, chain.CodeNotOperator, "", "validators/2"},
		{"a used consensus key", s.other, regist, changed(func(m *staking.Register) { m.ConsensusKey = first.ConsensusKey }), codes.AlreadyExists, chain.CodeKeyUsed, "", ""},
		{"a used BLS key", s.other, regist, changed(func(m *staking.Register) { m.BLSKey, m.Proof = first.BLSKey, first.Proof }), codes.AlreadyExists, chain.CodeKeyUsed, "", ""},
		{"a used operator", s.operators[0], regist, changed(func(*staking.Register) {}), codes.AlreadyExists, chain.CodeOperatorUsed, "", ""},
		{"a wrong proof", s.other, regist, changed(func(m *staking.Register) {
			m.Proof = staking.Prove(blsOf(8), s.domain.Network, s.other.addr, m.ConsensusKey)
		}), invalid, chain.CodeBadProof, "bls_proof", ""},
		{"a copy of another's", s.payer, regist, changed(func(*staking.Register) {}), invalid, chain.CodeBadProof, "bls_proof", ""},
		{"no BLS key", s.other, regist, changed(func(m *staking.Register) { m.BLSKey = bls.PublicKey{1} }), invalid, chain.CodeBadKey, "", ""},
		{"too little of its own", s.other, regist, changed(func(m *staking.Register) { m.SelfStake = 5 * coin }), state, chain.CodeSelfStakeTooSmall, "", ""},
		{"a commission above its maximum", s.other, regist, changed(func(m *staking.Register) { m.Commission = 2_001 }), invalid, chain.CodeCommissionTooHigh, "commission_bps", ""},
		{"raised above its maximum", s.operators[0], edi, edit(func(m *staking.Edit) { m.Commission = 2_001 }), invalid, chain.CodeCommissionTooHigh, "commission_bps", ""},
		{"a commission's jump", s.operators[0], edi, edit(func(m *staking.Edit) { m.Commission = 651 }), state, chain.CodeCommissionJump, "", "validators/0"},
		{"twice in an epoch", s.operators[0], edi, edit(func(m *staking.Edit) { m.Commission = 560 }), state, chain.CodeCommissionJump, "", "validators/0"},
		{"a promise taken back", s.operators[0], edi, edit(func(m *staking.Edit) { m.MinSelf = coin }), invalid, chain.CodeInvalidValue, "", ""},
		{"too little", s.payer, del1, del(0, coin-1), invalid, chain.CodeDelegationTooSmall, "amount", ""},
		{"more than there is", s.payer, del1, del(0, 2*fortune), state, chain.CodeInsufficientBalance, "", ""},
		{"of nothing", s.other, und1, und(0, coin), missing, chain.CodeDelegationNotFound, "", "validators/0"},
		{"claimed of nothing", s.other, cl1, cl(0), missing, chain.CodeDelegationNotFound, "", "validators/0"},
		{"more than delegated", s.payer, und1, und(0, 500*coin), state, chain.CodeMoreThanDelegated, "", "validators/0"},
		{"moving on", s.payer, red1, red(1, 0, 120*coin), state, chain.CodeRedelegating, "", "validators/1"},
		{"too many unbondings", s.payer, und1, und(0, coin), state, chain.CodeTooManyEntries, "", "validators/0"},
		{"not jailed", s.operators[0], unj, unjail(0), state, chain.CodeNotJailed, "", "validators/0"},
		{"jailed still", s.operators[1], unj, unjail(1), state, chain.CodeJailNotOver, "", "validators/1"},
		{"nothing earned", s.payer, cl1, cl(0), state, chain.CodeNothingToClaim, "", "validators/0"},
		{"to itself", s.payer, red1, red(1, 1, coin), invalid, chain.CodeSameValidator, "to_validator", ""},
		{"no order", s.payer, cl1, cl(1, 0), invalid, chain.CodeBadOrder, "validators", ""},
		{"garbage", s.payer, unj, []byte{1, 2, 3}, invalid, chain.CodeMalformed, "", ""},
	}
	_, before := s.exec.Head()
	for _, row := range rows {
		raw := s.tx(row.by, row.kind, row.payload)
		row.by.nonce-- // it is not used
		_, err := s.nodes().SubmitTransaction(s.ctx(), &nodev1.SubmitTransactionRequest{SignedTx: raw})
		if err == nil {
			t.Errorf("%s: taken", row.name)
			continue
		}
		p := wantProblem(t, err, row.code, row.reason.String())
		if row.field != "" && (len(p.fields) != 1 || p.fields[0] != row.field) {
			t.Errorf("%s: fields %v, want %s", row.name, p.fields, row.field)
		}
		if got := p.info.GetMetadata()["name"]; got != row.about {
			t.Errorf("%s: about %q, want %q", row.name, got, row.about)
		}
		if (p.precondition != nil) != (row.code == codes.FailedPrecondition) {
			t.Errorf("%s: precondition %v", row.name, p.precondition)
		}
	}
	if _, after := s.exec.Head(); string(after) != string(before) {
		t.Error("refusals changed the state")
	}
	seen := map[chain.Code]bool{chain.CodeValidatorWorthless: true} // which takes slashes beyond counting
	for _, row := range rows {
		seen[row.reason] = true
	}
	for c := chain.CodeValidatorNotFound; c <= chain.CodeValidatorWorthless; c++ {
		if c.Known() && !seen[c] {
			t.Errorf("%v has no row", c)
		}
	}
}

// What nothing here leads to is explained like the rest.
func TestARefusalThatIsSeldom(t *testing.T) {
	t.Parallel()
	s := newStakeChain(t, 1)
	s.open(func(c *api.Config) { c.Pool = refusing{c.Pool, chain.CodeValidatorWorthless} })
	m := staking.Delegate{Validator: 0, Amount: coin}
	_, err := s.staking().Delegate(s.ctx(), &stakingv1.DelegateRequest{
		Transaction: &stakingv1.DelegateRequest_SignedTx{SignedTx: s.tx(s.payer, chain.KindDelegate, m.Encode())},
	})
	p := wantProblem(t, err, codes.FailedPrecondition, "VALIDATOR_WORTHLESS")
	if p.info.GetMetadata()["name"] != "validators/0" || p.info.GetMetadata()["epoch"] != "0" {
		t.Errorf("metadata %v", p.info.GetMetadata())
	}
}

// TestFieldsThatTheEncodingCannotHold names the field that is wrong.
func TestFieldsThatTheEncodingCannotHold(t *testing.T) {
	t.Parallel()
	s := newStakeWorld(t, 1)
	m := register(s.domain.Network, s.other.addr, 7, 200*coin)
	good := func() *stakingv1.RegisterValidator { return s.registerFields(s.other, m) }
	const much = 1 << 63
	registers := map[string]func(r *stakingv1.RegisterValidator){
		"register.consensus_key":      func(r *stakingv1.RegisterValidator) { r.ConsensusKey = r.GetConsensusKey()[1:] },
		"register.bls_key":            func(r *stakingv1.RegisterValidator) { r.BlsKey = nil },
		"register.bls_proof":          func(r *stakingv1.RegisterValidator) { r.BlsProof = append(r.GetBlsProof(), 0) },
		"register.moniker":            func(r *stakingv1.RegisterValidator) { r.Moniker = string(make([]byte, 65)) },
		"register.endpoints":          func(r *stakingv1.RegisterValidator) { r.Endpoints = make([]string, 5) },
		"register.endpoints[1]":       func(r *stakingv1.RegisterValidator) { r.Endpoints = []string{"a:1", ""} },
		"register.stake":              func(r *stakingv1.RegisterValidator) { r.Stake = much },
		"register.min_self_stake":     func(r *stakingv1.RegisterValidator) { r.MinSelfStake = much },
		"register.envelope":           func(r *stakingv1.RegisterValidator) { r.Envelope = nil },
		"register.envelope.signature": func(r *stakingv1.RegisterValidator) { r.Envelope.Signature = nil },
	}
	for field, change := range registers {
		r := good()
		change(r)
		_, err := s.staking().RegisterValidator(s.ctx(), &stakingv1.RegisterValidatorRequest{Transaction: &stakingv1.RegisterValidatorRequest_Register{Register: r}})
		wantBadField(t, err, field)
	}
	_, err := s.staking().EditValidator(s.ctx(), &stakingv1.EditValidatorRequest{Transaction: &stakingv1.EditValidatorRequest_Edit{Edit: &stakingv1.EditValidator{Validator: "validators/"}}})
	wantBadField(t, err, "edit.validator")
	_, err = s.staking().EditValidator(s.ctx(), &stakingv1.EditValidatorRequest{Transaction: &stakingv1.EditValidatorRequest_Edit{Edit: &stakingv1.EditValidator{Validator: "validators/0"}}})
	wantBadField(t, err, "edit.moniker")
	_, err = s.staking().EditValidator(s.ctx(), &stakingv1.EditValidatorRequest{Transaction: &stakingv1.EditValidatorRequest_Edit{Edit: &stakingv1.EditValidator{Validator: "validators/0", Moniker: "a", MinSelfStake: much}}})
	wantBadField(t, err, "edit.min_self_stake")
	_, err = s.staking().Delegate(s.ctx(), &stakingv1.DelegateRequest{Transaction: &stakingv1.DelegateRequest_Delegate{Delegate: &stakingv1.Delegate{Validator: "0"}}})
	wantBadField(t, err, "delegate.validator")
	_, err = s.staking().Delegate(s.ctx(), &stakingv1.DelegateRequest{Transaction: &stakingv1.DelegateRequest_Delegate{Delegate: &stakingv1.Delegate{Validator: "validators/0", Amount: much}}})
	wantBadField(t, err, "delegate.amount")
	_, err = s.staking().Redelegate(s.ctx(), &stakingv1.RedelegateRequest{Transaction: &stakingv1.RedelegateRequest_Redelegate{Redelegate: &stakingv1.Redelegate{}}})
	wantBadField(t, err, "redelegate.from_validator")
	_, err = s.staking().Redelegate(s.ctx(), &stakingv1.RedelegateRequest{Transaction: &stakingv1.RedelegateRequest_Redelegate{Redelegate: &stakingv1.Redelegate{FromValidator: "validators/0"}}})
	wantBadField(t, err, "redelegate.to_validator")
	_, err = s.staking().Undelegate(s.ctx(), &stakingv1.UndelegateRequest{Transaction: &stakingv1.UndelegateRequest_Undelegate{Undelegate: &stakingv1.Undelegate{Validator: "validators/0", Amount: much}}})
	wantBadField(t, err, "undelegate.amount")
	_, err = s.staking().ClaimRewards(s.ctx(), &stakingv1.ClaimRewardsRequest{Transaction: &stakingv1.ClaimRewardsRequest_Claim{Claim: &stakingv1.ClaimRewards{}}})
	wantBadField(t, err, "claim.validators")
	_, err = s.staking().ClaimRewards(s.ctx(), &stakingv1.ClaimRewardsRequest{Transaction: &stakingv1.ClaimRewardsRequest_Claim{Claim: &stakingv1.ClaimRewards{Validators: []string{"validators/0", "x"}}}})
	wantBadField(t, err, "claim.validators[1]")
	_, err = s.staking().ClaimRewards(s.ctx(), &stakingv1.ClaimRewardsRequest{Transaction: &stakingv1.ClaimRewardsRequest_Claim{Claim: &stakingv1.ClaimRewards{Validators: make([]string, 65)}}})
	wantBadField(t, err, "claim.validators")
	_, err = s.staking().Unjail(s.ctx(), &stakingv1.UnjailRequest{Transaction: &stakingv1.UnjailRequest_Unjail{Unjail: &stakingv1.Unjail{Validator: "validators/00"}}})
	wantBadField(t, err, "unjail.validator")
	_, err = s.staking().ListValidators(s.ctx(), &stakingv1.ListValidatorsRequest{State: 77})
	wantBadField(t, err, "state")
	_, err = s.staking().ListValidators(s.ctx(), &stakingv1.ListValidatorsRequest{PageSize: -1})
	wantBadField(t, err, "page_size")
	_, err = s.staking().GetDelegation(s.ctx(), &stakingv1.GetDelegationRequest{Validator: "validators/0"})
	wantBadField(t, err, "delegator")
}

// wantBadField fails unless err says that one field is wrong.
func wantBadField(tb testing.TB, err error, field string) {
	tb.Helper()
	if err == nil {
		tb.Errorf("%s: taken", field)
		return
	}
	p := &problem{}
	for _, code := range []string{api.ReasonInvalidField, "TOO_LARGE", "INVALID_VALUE", "AMOUNT_OVERFLOW"} {
		if reasonOf(err) == code {
			p = wantProblem(tb, err, codes.InvalidArgument, code)
		}
	}
	if len(p.fields) != 1 || p.fields[0] != field {
		tb.Errorf("fields %v of %v, want %s", p.fields, err, field)
	}
}
