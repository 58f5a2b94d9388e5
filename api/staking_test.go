package api_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	stakingv1 "github.com/tributary-network/tributary/proto/tributary/staking/v1"
)

const coin = ledger.DropsPerCoin

// submission is how a staking request is sent: as fields or as signed bytes.
type stakeCall func(ctx context.Context, s *stakeWorld, a *account) (*chainv1.Transaction, error)

// answered is what all responses to submissions have.
type answered interface {
	GetTransaction() *chainv1.Transaction
}

// sent returns the transaction of a response.
func sent[R answered](resp R, err error) (*chainv1.Transaction, error) {
	if err != nil {
		return nil, err
	}
	return resp.GetTransaction(), nil
}

const final = chainv1.Stage_STAGE_FINAL

func (s *stakeWorld) registerFields(a *account, m staking.Register) *stakingv1.RegisterValidator {
	return &stakingv1.RegisterValidator{
		Envelope: s.envelope(a, chain.KindRegisterValidator, m.Encode()), ConsensusKey: m.ConsensusKey[:], BlsKey: m.BLSKey[:], BlsProof: m.Proof[:],
		Moniker: m.Name, Endpoints: m.Endpoints, CommissionBps: m.Commission, MaxCommissionBps: m.MaxCommission,
		MaxCommissionChangeBps: m.MaxChange, MinSelfStake: uint64(m.MinSelf), Stake: uint64(m.SelfStake),
	}
}

// TestStakeMovesByFields sends every kind of submission as fields, which must make
// the bytes that were signed, and looks at what it did.
func TestStakeMovesByFields(t *testing.T) {
	t.Parallel()
	s := newStakeWorld(t, 2)
	operator := s.other
	m := register(s.domain.Network, s.other.addr, 2, 2_000*coin)
	m.MinSelf = 0
	edit := staking.Edit{Validator: 2, Profile: staking.Profile{Name: "renamed"}, Commission: 600, MinSelf: 20 * coin}
	delegate := staking.Delegate{Validator: 2, Amount: 300 * coin}
	redelegate := staking.Redelegate{From: 2, To: 1, Amount: 100 * coin}
	undelegate := staking.Undelegate{Validator: 2}
	names := func(numbers ...uint64) (list []string) {
		for _, n := range numbers {
			list = append(list, api.ValidatorName(n))
		}
		return list
	}
	for _, row := range []struct {
		name string
		call stakeCall
		by   *account
		kind chainv1.Kind
	}{
		{"register", func(ctx context.Context, s *stakeWorld, a *account) (*chainv1.Transaction, error) {
			return sent(s.staking().RegisterValidator(ctx, &stakingv1.RegisterValidatorRequest{
				Transaction: &stakingv1.RegisterValidatorRequest_Register{Register: s.registerFields(a, m)}, WaitFor: final,
			}))
		}, operator, chainv1.Kind_KIND_REGISTER_VALIDATOR},
		{"edit", func(ctx context.Context, s *stakeWorld, a *account) (*chainv1.Transaction, error) {
			return sent(s.staking().EditValidator(ctx, &stakingv1.EditValidatorRequest{WaitFor: final, Transaction: &stakingv1.EditValidatorRequest_Edit{
				Edit: &stakingv1.EditValidator{
					Envelope: s.envelope(a, chain.KindEditValidator, edit.Encode()), Validator: names(2)[0], Moniker: "renamed",
					CommissionBps: 600, MinSelfStake: uint64(edit.MinSelf),
				},
			}}))
		}, operator, chainv1.Kind_KIND_EDIT_VALIDATOR},
		{"delegate", func(ctx context.Context, s *stakeWorld, a *account) (*chainv1.Transaction, error) {
			return sent(s.staking().Delegate(ctx, &stakingv1.DelegateRequest{WaitFor: final, Transaction: &stakingv1.DelegateRequest_Delegate{
				Delegate: &stakingv1.Delegate{
					Envelope: s.envelope(a, chain.KindDelegate, delegate.Encode()), Validator: names(2)[0], Amount: uint64(delegate.Amount),
				},
			}}))
		}, s.payer, chainv1.Kind_KIND_DELEGATE},
		{"redelegate", func(ctx context.Context, s *stakeWorld, a *account) (*chainv1.Transaction, error) {
			return sent(s.staking().Redelegate(ctx, &stakingv1.RedelegateRequest{WaitFor: final, Transaction: &stakingv1.RedelegateRequest_Redelegate{
				Redelegate: &stakingv1.Redelegate{
					Envelope:      s.envelope(a, chain.KindRedelegate, redelegate.Encode()),
					FromValidator: names(2)[0], ToValidator: names(1)[0], Amount: uint64(redelegate.Amount),
				},
			}}))
		}, s.payer, chainv1.Kind_KIND_REDELEGATE},
		{"undelegate", func(ctx context.Context, s *stakeWorld, a *account) (*chainv1.Transaction, error) {
			return sent(s.staking().Undelegate(ctx, &stakingv1.UndelegateRequest{WaitFor: final, Transaction: &stakingv1.UndelegateRequest_Undelegate{
				Undelegate: &stakingv1.Undelegate{Envelope: s.envelope(a, chain.KindUndelegate, undelegate.Encode()), Validator: names(2)[0]},
			}}))
		}, s.payer, chainv1.Kind_KIND_UNDELEGATE},
		{"claim", func(ctx context.Context, s *stakeWorld, a *account) (*chainv1.Transaction, error) {
			s.nextEpoch()
			claim := staking.Claim{Validators: []uint64{0}}
			return sent(s.staking().ClaimRewards(ctx, &stakingv1.ClaimRewardsRequest{WaitFor: final, Transaction: &stakingv1.ClaimRewardsRequest_Claim{
				Claim: &stakingv1.ClaimRewards{Envelope: s.envelope(a, chain.KindClaimRewards, claim.Encode()), Validators: names(0)},
			}}))
		}, s.operators[0], chainv1.Kind_KIND_CLAIM_REWARDS},
		{"unjail", func(ctx context.Context, s *stakeWorld, a *account) (*chainv1.Transaction, error) {
			s.jail(1)
			s.nextEpoch()
			s.nextEpoch()
			unjail := staking.Unjail{Validator: 1}
			return sent(s.staking().Unjail(ctx, &stakingv1.UnjailRequest{WaitFor: final, Transaction: &stakingv1.UnjailRequest_Unjail{
				Unjail: &stakingv1.Unjail{Envelope: s.envelope(a, chain.KindUnjail, unjail.Encode()), Validator: names(1)[0]},
			}}))
		}, s.operators[1], chainv1.Kind_KIND_UNJAIL},
	} {
		tx, err := row.call(s.ctx(), s, row.by)
		if err != nil || tx.GetStage() != final || tx.GetCode() != chainv1.Code_CODE_OK || tx.GetKind() != row.kind {
			t.Fatalf("%s: %v, %v", row.name, tx, err)
		}
	}
	v := s.validator(2)
	if v.GetMoniker() != "renamed" || v.GetCommissionBps() != 600 || v.GetMinSelfStake() != 20_000_000 || v.GetRegisteredHeight() == 0 ||
		v.GetStake() != uint64(m.SelfStake) || v.GetSelfStake() != uint64(m.SelfStake) || len(v.GetEndpoints()) != 0 {
		t.Errorf("the validator: %v", v)
	}
	d, err := s.staking().GetDelegation(s.ctx(), &stakingv1.GetDelegationRequest{Validator: api.ValidatorName(1), Delegator: s.payer.addr.String()})
	if err != nil || d.GetDelegation().GetBound() != d.GetDelegation().GetStake() || d.GetDelegation().GetStake() == 0 {
		t.Errorf("what was redelegated: %v, %v", d, err)
	}
	un, err := s.staking().ListUnbondings(s.ctx(), &stakingv1.ListUnbondingsRequest{Delegator: s.payer.addr.String()})
	if list := un.GetUnbondings(); err != nil || len(list) != 1 || list[0].GetAmount() != 200_000_000 || list[0].GetMaturesHeight() != (list[0].GetMaturesEpoch()+1)*epochBlocks {
		t.Errorf("what was undelegated: %v, %v", un, err)
	}
}

// jail makes a validator miss blocks until it is jailed.
func (s *stakeWorld) jail(i int) {
	s.t.Helper()
	s.votes.Lock()
	s.absent[i] = true
	s.votes.Unlock()
	for s.validator(uint64(i)).GetState() != stakingv1.ValidatorState_VALIDATOR_STATE_JAILED {
		if s.reach(s.height() + 1); s.height() > 1_000 {
			s.t.Fatal("it is not jailed")
		}
	}
	s.votes.Lock()
	delete(s.absent, i)
	s.votes.Unlock()
}

// accuse makes the next block carry evidence against a validator.
func (s *stakeWorld) accuse(i int) {
	s.t.Helper()
	s.votes.Lock()
	s.evidence = append(s.evidence, staking.Evidence{
		Kind: staking.DuplicateVote, Validator: staking.AddressOf(keyOf(firstOperator + i).Public()), Height: s.height(),
	})
	s.votes.Unlock()
	s.reach(s.height() + 1)
}

// manyStates is a world with a validator in every state: 0 and 1 active, 2 jailed,
// 3 tombstoned, 4 a candidate, 5 understaked.
func manyStates(t *testing.T) *stakeWorld {
	t.Helper()
	s := newStakeWorld(t, 4, func(s *stakeWorld, _ *exec.Config) { s.gen.Params.Staking.MeterBps = ledger.BasisPoints })
	s.jail(2)
	s.accuse(3)
	s.nextEpoch()
	candidate, poor := register(s.domain.Network, s.payee.addr, 4, 150*coin), register(s.domain.Network, s.other.addr, 5, 50*coin)
	s.do(s.payee, chain.KindRegisterValidator, candidate.Encode())
	s.do(s.other, chain.KindRegisterValidator, poor.Encode())
	return s
}

func TestValidatorsAreListed(t *testing.T) {
	t.Parallel()
	s := manyStates(t)
	const (
		active, jailed = stakingv1.ValidatorState_VALIDATOR_STATE_ACTIVE, stakingv1.ValidatorState_VALIDATOR_STATE_JAILED
		out, candidate = stakingv1.ValidatorState_VALIDATOR_STATE_TOMBSTONED, stakingv1.ValidatorState_VALIDATOR_STATE_CANDIDATE
		poor, all      = stakingv1.ValidatorState_VALIDATOR_STATE_UNDERSTAKED, stakingv1.ValidatorState_VALIDATOR_STATE_UNSPECIFIED
	)
	for _, row := range []struct {
		state stakingv1.ValidatorState
		size  int32
		want  []stakingv1.ValidatorState
	}{
		{all, 0, []stakingv1.ValidatorState{active, active, jailed, out, candidate, poor}},
		{all, 1, []stakingv1.ValidatorState{active, active, jailed, out, candidate, poor}},
		{all, 4, []stakingv1.ValidatorState{active, active, jailed, out, candidate, poor}},
		{active, 1, []stakingv1.ValidatorState{active, active}},
		{jailed, 0, []stakingv1.ValidatorState{jailed}},
		{out, 5, []stakingv1.ValidatorState{out}},
		{candidate, 0, []stakingv1.ValidatorState{candidate}},
		{poor, 2, []stakingv1.ValidatorState{poor}},
	} {
		req := &stakingv1.ListValidatorsRequest{State: row.state, PageSize: row.size}
		var got []stakingv1.ValidatorState
		for pages := 0; ; pages++ {
			resp, err := s.staking().ListValidators(s.ctx(), req)
			if err != nil || pages > 6 {
				t.Fatalf("page %d of %v: %v", pages, req, err)
			}
			if resp.GetHeight() != s.height() || resp.GetEpoch() != s.epoch() || resp.GetTotalPower() == 0 {
				t.Errorf("page %v of height %d, epoch %d", resp, s.height(), s.epoch())
			}
			for _, v := range resp.GetValidators() {
				got = append(got, v.GetState())
				if (v.GetPower() > 0) != (v.GetState() == active) {
					t.Errorf("%s is %v with power %d", v.GetName(), v.GetState(), v.GetPower())
				}
			}
			if req.PageToken = resp.GetNextPageToken(); req.GetPageToken() == "" {
				break
			}
		}
		if len(got) != len(row.want) {
			t.Errorf("%v by %d: %v, want %v", row.state, row.size, got, row.want)
			continue
		}
		for i := range got {
			if got[i] != row.want[i] {
				t.Errorf("%v by %d: %v, want %v", row.state, row.size, got, row.want)
				break
			}
		}
	}
	s.node.mu.Lock()
	s.node.turnout = api.Turnout{Blocks: 90, To: 95, Of: map[staking.Address]api.Attendance{
		staking.AddressOf(keyOf(firstOperator + 1).Public()): {Blocks: 10, Signed: 7},
	}}
	s.node.mu.Unlock()
	list, err := s.staking().ListValidators(s.ctx(), &stakingv1.ListValidatorsRequest{})
	if err != nil || list.GetUptimeWindow() != 90 || list.GetUptimeToHeight() != 95 {
		t.Errorf("uptime of %d blocks to %d, %v", list.GetUptimeWindow(), list.GetUptimeToHeight(), err)
	}
	one, err := s.staking().GetValidator(s.ctx(), &stakingv1.GetValidatorRequest{Name: api.ValidatorName(1)})
	if err != nil || one.GetUptimeWindow() != 90 || one.GetUptimeToHeight() != 95 {
		t.Errorf("uptime of %d blocks to %d, %v", one.GetUptimeWindow(), one.GetUptimeToHeight(), err)
	}
	for _, v := range append(list.GetValidators(), one.GetValidator()) {
		blocks, signed := uint32(0), uint32(0)
		if v.GetNumber() == 1 {
			blocks, signed = 10, 7
		}
		if v.GetUptimeBlocks() != blocks || v.GetUptimeSigned() != signed {
			t.Errorf("%s signed %d of %d blocks, want %d of %d", v.GetName(), v.GetUptimeSigned(), v.GetUptimeBlocks(), signed, blocks)
		}
	}
	if v := s.validator(2); v.GetJailedUntilEpoch() == 0 || v.GetWindowBlocks() != 10 {
		t.Errorf("jailed: %v", v)
	}
	first, err := s.staking().ListValidators(s.ctx(), &stakingv1.ListValidatorsRequest{PageSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.staking().ListValidators(s.ctx(), &stakingv1.ListValidatorsRequest{State: active, PageToken: first.GetNextPageToken()})
	wantProblem(t, err, codes.InvalidArgument, api.ReasonInvalidPageToken)
}

func TestAValidatorHasThreeNamesAndAProof(t *testing.T) {
	t.Parallel()
	s := newStakeWorld(t, 2)
	want := s.validator(1)
	address := staking.AddressOf(keyOf(firstOperator + 1).Public())
	for _, id := range []string{"1", hexOf(address[:]), s.operators[1].addr.String()} {
		resp, err := s.staking().GetValidator(s.ctx(), &stakingv1.GetValidatorRequest{Name: "validators/" + id, WithProof: true})
		if err != nil || resp.GetValidator().GetNumber() != 1 || resp.GetValidator().GetMoniker() != want.GetMoniker() {
			t.Fatalf("%s: %v, %v", id, resp, err)
		}
		proved, err := staking.DecodeValidator(resp.GetProof().GetValue())
		if err != nil || proved.ConsensusKey != keyOf(firstOperator+1).Public() || resp.GetProof().GetHeight() != resp.GetHeight() {
			t.Errorf("%s: proof %v, %v", id, resp.GetProof(), err)
		}
	}
	for name, row := range map[string]struct {
		code   codes.Code
		reason string
	}{
		"validators/2":                          {codes.NotFound, "VALIDATOR_NOT_FOUND"},
		"validators/" + hexOf(make([]byte, 20)): {codes.NotFound, "VALIDATOR_NOT_FOUND"},
		"validators/" + s.payer.addr.String():   {codes.NotFound, "VALIDATOR_NOT_FOUND"},
		"validators/":                           {codes.InvalidArgument, api.ReasonInvalidField},
		"validators/01":                         {codes.InvalidArgument, api.ReasonInvalidField},
		"validators/-1":                         {codes.InvalidArgument, api.ReasonInvalidField},
		"validators/trib1x":                     {codes.InvalidArgument, api.ReasonInvalidField},
		"validators/" + strings.ToUpper(hexOf(address[:])): {codes.InvalidArgument, api.ReasonInvalidField},
		"validators/" + strings.Repeat("g", 40):            {codes.InvalidArgument, api.ReasonInvalidField},
		"validator/1":                                      {codes.InvalidArgument, api.ReasonInvalidField},
		"1":                                                {codes.InvalidArgument, api.ReasonInvalidField},
		"validators/" + strings.Repeat("9", 30):            {codes.InvalidArgument, api.ReasonInvalidField},
		"validators/" + strings.Repeat("x", 100_000):       {codes.InvalidArgument, api.ReasonInvalidField},
		"": {codes.InvalidArgument, api.ReasonInvalidField},
	} {
		_, err := s.staking().GetValidator(s.ctx(), &stakingv1.GetValidatorRequest{Name: name})
		p := wantProblem(t, err, row.code, row.reason)
		if row.code == codes.InvalidArgument && (len(p.fields) != 1 || p.fields[0] != "name") {
			t.Errorf("%.40q: fields %v", name, p.fields)
		}
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var out strings.Builder
	for _, c := range b {
		out.WriteByte(digits[c>>4])
		out.WriteByte(digits[c&15])
	}
	return out.String()
}

// What was there at an epoch's election earns in it; what came after is fresh until the
// next one; and nothing earns with a validator that is jailed.
func TestDelegationsTellWhatEarns(t *testing.T) {
	t.Parallel()
	s := newStakeWorld(t, 3)
	const amount = 50 * coin
	check := func(when string, earning, fresh, from uint64) {
		t.Helper()
		one, err := s.staking().GetDelegation(s.ctx(), &stakingv1.GetDelegationRequest{Validator: api.ValidatorName(1), Delegator: s.payer.addr.String()})
		if err != nil {
			t.Fatal(err)
		}
		list, err := s.staking().ListDelegations(s.ctx(), &stakingv1.ListDelegationsRequest{Delegator: s.payer.addr.String()})
		if err != nil || len(list.GetDelegations()) != 1 {
			t.Fatal(list, err)
		}
		for _, d := range []*stakingv1.Delegation{one.GetDelegation(), list.GetDelegations()[0]} {
			if d.GetEarningStake() != earning || d.GetFreshStake() != fresh || d.GetFreshFromEpoch() != from {
				t.Errorf("%s: %v earns and %v is fresh until epoch %d, want %d, %d and %d", when, d.GetEarningStake(), d.GetFreshStake(), d.GetFreshFromEpoch(), earning, fresh, from)
			}
		}
	}
	m := staking.Delegate{Validator: 1, Amount: amount}
	s.do(s.payer, chain.KindDelegate, m.Encode())
	check("just delegated", 0, uint64(amount), s.epoch()+1)
	s.nextEpoch()
	check("elected", uint64(amount), 0, 0)
	s.do(s.payer, chain.KindDelegate, m.Encode())
	check("more of it", uint64(amount), uint64(amount), s.epoch()+1)
	s.nextEpoch()
	check("both elected", 2*uint64(amount), 0, 0)
	s.jail(1)
	check("jailed", 0, 0, 0)
}

func TestDelegationsAreListedBothWays(t *testing.T) {
	t.Parallel()
	s := newStakeWorld(t, 3)
	const people = 230 // more than one read of the state, and than a page
	crowd := make([]*account, people)
	var records [][]byte
	for i := range crowd {
		crowd[i] = accountOf(2_000 + i)
		records = append(records, s.transfer(s.payer, crowd[i].addr, 10*coin))
	}
	s.block(records...)
	records = nil
	for _, a := range crowd {
		m := staking.Delegate{Validator: 1, Amount: 2 * coin}
		records = append(records, s.tx(a, chain.KindDelegate, m.Encode()))
	}
	s.block(records...)
	for _, size := range []int32{0, 7, 100, 230, 231, 500} {
		seen := map[string]bool{}
		req := &stakingv1.ListDelegationsRequest{Validator: api.ValidatorName(1), PageSize: size}
		for {
			resp, err := s.staking().ListDelegations(s.ctx(), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range resp.GetDelegations() {
				if seen[d.GetDelegator()] || d.GetValidator() != req.GetValidator() || d.GetStake() < 2_000_000 {
					t.Fatalf("delegation %v comes again or is wrong", d)
				}
				seen[d.GetDelegator()] = true
			}
			if req.PageToken = resp.GetNextPageToken(); req.GetPageToken() == "" {
				break
			}
		}
		if len(seen) != people+1 { // and the operator
			t.Errorf("by %d: %d delegations, want %d", size, len(seen), people+1)
		}
	}
	for _, number := range []uint64{0, 2} {
		m := staking.Delegate{Validator: number, Amount: 3 * coin}
		s.do(crowd[0], chain.KindDelegate, m.Encode())
	}
	var got []string
	req := &stakingv1.ListDelegationsRequest{Delegator: crowd[0].addr.String(), PageSize: 2}
	for {
		resp, err := s.staking().ListDelegations(s.ctx(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range resp.GetDelegations() {
			got = append(got, d.GetValidator())
		}
		if req.PageToken = resp.GetNextPageToken(); req.GetPageToken() == "" {
			break
		}
	}
	if strings.Join(got, " ") != "validators/0 validators/1 validators/2" {
		t.Errorf("of one delegator: %v", got)
	}
	for _, req := range []*stakingv1.ListDelegationsRequest{
		{}, {Validator: "validators/0", Delegator: crowd[0].addr.String()}, {Validator: "validators/x"}, {Delegator: "nobody"},
	} {
		_, err := s.staking().ListDelegations(s.ctx(), req)
		wantProblem(t, err, codes.InvalidArgument, api.ReasonInvalidField)
	}
	_, err := s.staking().ListDelegations(s.ctx(), &stakingv1.ListDelegationsRequest{Validator: "validators/9"})
	wantProblem(t, err, codes.NotFound, "VALIDATOR_NOT_FOUND")
}

func TestUnbondingsArePaged(t *testing.T) {
	t.Parallel()
	s := newStakeWorld(t, 3)
	for number := range uint64(3) {
		m := staking.Delegate{Validator: number, Amount: 100 * coin}
		s.do(s.payer, chain.KindDelegate, m.Encode())
	}
	for range 3 {
		for number := range uint64(3) {
			m := staking.Undelegate{Validator: number, Amount: coin}
			s.do(s.payer, chain.KindUndelegate, m.Encode())
		}
		s.nextEpoch()
	}
	for _, size := range []int32{1, 2, 4, 9, 10} {
		req := &stakingv1.ListUnbondingsRequest{Delegator: s.payer.addr.String(), PageSize: size}
		type key struct {
			validator string
			epoch     uint64
		}
		seen := map[key]bool{}
		for {
			resp, err := s.staking().ListUnbondings(s.ctx(), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range resp.GetUnbondings() {
				k := key{u.GetValidator(), u.GetMaturesEpoch()}
				if seen[k] || u.GetAmount() != 1_000_000 {
					t.Errorf("by %d: %v", size, u)
				}
				seen[k] = true
			}
			if req.PageToken = resp.GetNextPageToken(); req.GetPageToken() == "" {
				break
			}
		}
		if len(seen) != 9 {
			t.Errorf("by %d: %d unbondings, want 9", size, len(seen))
		}
	}
	_, err := s.staking().ListUnbondings(s.ctx(), &stakingv1.ListUnbondingsRequest{Delegator: "x"})
	wantProblem(t, err, codes.InvalidArgument, api.ReasonInvalidField)
}

func TestStakingParams(t *testing.T) {
	t.Parallel()
	s := newStakeWorld(t, 3)
	resp, err := s.staking().GetStakingParams(s.ctx(), &stakingv1.GetStakingParamsRequest{})
	if err != nil || !resp.GetEnabled() || resp.GetParams().GetEpochBlocks() != epochBlocks || resp.GetEpoch() != s.epoch() ||
		resp.GetEpochEndHeight() != (s.epoch()+1)*epochBlocks || resp.GetValidators() != 3 || resp.GetMembers() != 3 ||
		resp.GetStaked() != uint64(12_000*coin) || resp.GetTotalPower() == 0 {
		t.Errorf("%v, %v", resp, err)
	}
	s.nextEpoch()
	if resp, err = s.staking().GetStakingParams(s.ctx(), &stakingv1.GetStakingParamsRequest{}); err != nil ||
		resp.GetMinted() == 0 || resp.GetRewards() == 0 || resp.GetEpoch() != s.epoch() {
		t.Errorf("after an epoch: %v, %v", resp, err)
	}
	without := newWorld(t)
	resp, err = stakingv1.NewStakingServiceClient(without.conn).GetStakingParams(without.ctx(), &stakingv1.GetStakingParamsRequest{})
	if err != nil || resp.GetEnabled() || resp.GetValidators() != 0 {
		t.Errorf("without staking: %v, %v", resp, err)
	}
}

func TestStakingSubmissionsAreLikeAllOthers(t *testing.T) {
	t.Parallel()
	s := newStakeWorld(t, 1)
	m := staking.Delegate{Validator: 0, Amount: 2 * coin}
	raw := s.tx(s.payer, chain.KindDelegate, m.Encode())
	signedTx := &stakingv1.DelegateRequest_SignedTx{SignedTx: raw}
	dry, err := s.staking().Delegate(s.ctx(), &stakingv1.DelegateRequest{Transaction: signedTx, ValidateOnly: true})
	if err != nil || dry.GetTransaction().GetStage() != chainv1.Stage_STAGE_UNSPECIFIED || dry.GetTransaction().GetCode() != chainv1.Code_CODE_OK {
		t.Errorf("a dry run: %v, %v", dry, err)
	}
	id := newID()
	req := &stakingv1.DelegateRequest{Transaction: signedTx, RequestId: id, WaitFor: final}
	for range 2 {
		if resp, err := s.staking().Delegate(s.ctx(), req); err != nil || resp.GetTransaction().GetStage() != final {
			t.Fatalf("%v, %v", resp, err)
		}
	}
	unjail := staking.Unjail{}
	other := s.tx(s.payer, chain.KindDelegate, m.Encode())
	_, err = s.staking().Delegate(s.ctx(), &stakingv1.DelegateRequest{Transaction: &stakingv1.DelegateRequest_SignedTx{SignedTx: other}, RequestId: id})
	wantProblem(t, err, codes.AlreadyExists, api.ReasonRequestIDReused)
	_, err = s.staking().Delegate(s.ctx(), &stakingv1.DelegateRequest{
		Transaction: &stakingv1.DelegateRequest_SignedTx{SignedTx: s.tx(s.payer, chain.KindUnjail, unjail.Encode())},
	})
	wantProblem(t, err, codes.InvalidArgument, api.ReasonUnexpectedKind)
	_, err = s.staking().Unjail(s.ctx(), &stakingv1.UnjailRequest{})
	wantProblem(t, err, codes.InvalidArgument, api.ReasonInvalidField)
}
