package api

import (
	"context"
	"encoding/hex"
	"strings"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	stakingv1 "github.com/tributary-network/tributary/proto/tributary/staking/v1"
)

const (
	// stakeChunk is how many validators or stakes are looked at in one read of the
	// state, since blocks wait for readers.
	stakeChunk = 100
	// maxStakeScan is at how many validators a call looks before it returns what it
	// has.
	maxStakeScan = 4_000
	// stakeRows is how many rows of the state a validator or a stake is, for what
	// it costs to look at.
	stakeRows = 6
)

// resolveValidator returns the number that a validator's name stands for:
// "validators/{number}", "validators/{consensus address in hex}", or
// "validators/{operator's address}".
func (s *stakes) resolveValidator(path, name string) (number uint64, err error) {
	id := strings.TrimPrefix(name, collectionValidators+"/")
	found := false
	switch {
	case id == name:
		return parseValidatorName(path, name)
	case len(id) == 2*staking.AddressSize:
		raw, err := hex.DecodeString(id)
		if err != nil || id != strings.ToLower(id) {
			return 0, invalid(path, "%s is not a name; want validators/ and a number, %d lower-case hexadecimal digits or an address", quoted(name), 2*staking.AddressSize)
		}
		err = s.State.Read(func(v chain.View, _ uint64) error {
			number, found = staking.ValidatorByConsensusAddress(v, staking.Address(raw))
			return nil
		})
		if err != nil {
			return 0, err
		}
	case strings.HasPrefix(id, ledger.AddressPrefix+"1"):
		operator, err := parseAddress(path, id)
		if err != nil {
			return 0, err
		}
		err = s.State.Read(func(v chain.View, _ uint64) error {
			number, found = staking.ValidatorByOperator(v, operator)
			return nil
		})
		if err != nil {
			return 0, err
		}
	default:
		return parseValidatorName(path, name)
	}
	if !found {
		return 0, noValidator(name)
	}
	return number, nil
}

func noValidator(name string) *problem {
	return missing(chain.CodeValidatorNotFound.String(), name, "there is no validator %s", strings.TrimPrefix(name, collectionValidators+"/"))
}

// present is the present epoch and who votes in it: those of the block in the
// making.
type present struct {
	rules  *staking.Params
	height uint64 // of the head
	epoch  uint64
	power  uint64 // of all members
	powers map[uint64]uint64
	missed map[uint64]uint32

	turnout Turnout
}

func readPresent(v chain.View, rules *staking.Params, height uint64) present {
	p := present{rules: rules, height: height, epoch: rules.Epoch(height + 1), missed: staking.MissedBy(v, *rules)}
	com, _ := staking.ReadCommittee(v, p.epoch)
	p.power, p.powers = com.TotalPower(), powersOf(&com)
	return p
}

func powersOf(c *committee.Committee) map[uint64]uint64 {
	powers := make(map[uint64]uint64, len(c.Members))
	for i := range c.Members {
		powers[c.Members[i].Validator] = c.Members[i].Power
	}
	return powers
}

// validator returns the message of the validator at a row.
func (p *present) validator(number uint64, val *staking.Validator, profile *staking.Profile) *stakingv1.Validator {
	address := val.Address()
	out := &stakingv1.Validator{
		Name: ValidatorName(number), Number: number, Moniker: profile.Name, Endpoints: profile.Endpoints,
		Operator: val.Operator.String(), ConsensusKey: val.ConsensusKey[:], ConsensusAddress: address[:], BlsKey: val.BLSKey[:],
		Stake: uint64(val.Tokens), SelfStake: uint64(val.Self()), MinSelfStake: uint64(val.MinSelf), Power: p.powers[number],
		CommissionBps: val.Commission, EpochCommissionBps: val.CommissionIn(p.epoch), MaxCommissionBps: val.MaxCommission, MaxCommissionChangeBps: val.MaxChange,
		OutstandingRewards: uint64(val.Outstanding), Commission: uint64(val.Earned),
		MissedBlocks: p.missed[number], WindowBlocks: p.rules.Window, RegisteredHeight: val.Registered,
		UptimeBlocks: p.turnout.Of[address].Blocks, UptimeSigned: p.turnout.Of[address].Signed,
		State: stakingv1.ValidatorState_VALIDATOR_STATE_UNDERSTAKED,
	}
	switch {
	case val.Tombstoned:
		out.State = stakingv1.ValidatorState_VALIDATOR_STATE_TOMBSTONED
	case val.Jailed:
		out.State, out.JailedUntilEpoch = stakingv1.ValidatorState_VALIDATOR_STATE_JAILED, val.JailedUntil
	case out.Power > 0:
		out.State = stakingv1.ValidatorState_VALIDATOR_STATE_ACTIVE
	case val.Electable(p.rules):
		out.State = stakingv1.ValidatorState_VALIDATOR_STATE_CANDIDATE
	}
	return out
}

// GetValidator implements StakingServiceServer.
func (s *stakes) GetValidator(ctx context.Context, req *stakingv1.GetValidatorRequest) (*stakingv1.GetValidatorResponse, error) {
	number, err := s.resolveValidator("name", req.GetName())
	if err != nil {
		return nil, err
	}
	var now present
	var val staking.Validator
	var profile staking.Profile
	found := false
	err = s.State.Read(func(v chain.View, height uint64) error {
		now = readPresent(v, &s.Network.Params.Staking, height)
		val, found = staking.ReadValidator(v, number)
		profile = staking.ReadProfile(v, number)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, noValidator(req.GetName())
	}
	now.turnout = s.Node.Turnout()
	resp := &stakingv1.GetValidatorResponse{
		Height: now.height, Epoch: now.epoch, TotalPower: now.power,
		UptimeWindow: now.turnout.Blocks, UptimeToHeight: now.turnout.To,
	}
	if req.GetWithProof() {
		st, err := s.prove(ctx, staking.ValidatorKey(number))
		if err != nil {
			return nil, err
		}
		if val, err = staking.DecodeValidator(st.Value); err != nil {
			return nil, err
		}
		if resp.Proof, err = s.renderProof(st); err != nil {
			return nil, err
		}
		resp.Height = st.Height
	}
	resp.Validator = now.validator(number, &val, &profile)
	return resp, nil
}

// ListValidators implements StakingServiceServer.
func (s *stakes) ListValidators(ctx context.Context, req *stakingv1.ListValidatorsRequest) (*stakingv1.ListValidatorsResponse, error) {
	want := req.GetState()
	if _, ok := stakingv1.ValidatorState_name[int32(want)]; !ok {
		return nil, invalid("state", "%d is no state", want)
	}
	var count, from uint64
	var head uint64
	err := s.State.Read(func(v chain.View, height uint64) error {
		head, count = height, staking.ValidatorCount(v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	list := newFilter("ListValidators", want.String())
	pg, err := s.pages.open(list, req.GetPageSize(), req.GetPageToken(), head)
	if err != nil {
		return nil, err
	}
	if pg.cursor != nil && !readCursor(pg.cursor, &from, &count) {
		return nil, badCursor()
	}
	turnout := s.Node.Turnout()
	resp := &stakingv1.ListValidatorsResponse{UptimeWindow: turnout.Blocks, UptimeToHeight: turnout.To}
	for looked := 0; from < count && looked < maxStakeScan && len(resp.GetValidators()) < pg.size; looked += stakeChunk {
		err := s.State.Read(func(v chain.View, height uint64) error {
			now := readPresent(v, &s.Network.Params.Staking, height)
			now.turnout = turnout
			resp.Height, resp.Epoch, resp.TotalPower = height, now.epoch, now.power
			for looked := 0; looked < stakeChunk && from < count && len(resp.GetValidators()) < pg.size; looked++ {
				val, ok := staking.ReadValidator(v, from)
				if !ok { // the token is of a longer chain than this node has
					from = count
					return nil
				}
				profile := staking.ReadProfile(v, from)
				out := now.validator(from, &val, &profile)
				if want == stakingv1.ValidatorState_VALIDATOR_STATE_UNSPECIFIED || want == out.GetState() {
					resp.Validators = append(resp.Validators, out)
				}
				from++
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		s.rates.charge(callerIP(ctx), rowTokens(stakeRows*stakeChunk))
	}
	if resp.GetHeight() == 0 {
		resp.Height = head
	}
	if from < count {
		resp.NextPageToken = s.pages.token(list, pg.height, cursorU64(from, count))
	}
	return resp, nil
}

// GetDelegation implements StakingServiceServer.
func (s *stakes) GetDelegation(_ context.Context, req *stakingv1.GetDelegationRequest) (*stakingv1.GetDelegationResponse, error) {
	number, err := s.resolveValidator("validator", req.GetValidator())
	if err != nil {
		return nil, err
	}
	delegator, err := parseAddress("delegator", req.GetDelegator())
	if err != nil {
		return nil, err
	}
	resp := &stakingv1.GetDelegationResponse{}
	err = s.State.Read(func(v chain.View, height uint64) error {
		resp.Height = height
		if st, ok := staking.StakeOf(v, s.Network.Params.Staking, height+1, number, delegator); ok {
			resp.Delegation = renderStake(&st, committeeAt(v, &s.Network.Params.Staking, height))
		}
		return nil
	})
	if err == nil && resp.GetDelegation() == nil {
		return nil, missing(chain.CodeDelegationNotFound.String(), req.GetValidator(), "%s has no stake with %s", delegator, req.GetValidator())
	}
	return resp, err
}

// committeeAt returns the committee of the block in the making.
func committeeAt(v chain.View, rules *staking.Params, height uint64) *committee.Committee {
	com, _ := staking.ReadCommittee(v, rules.Epoch(height+1))
	return &com
}

func renderStake(st *staking.Stake, com *committee.Committee) *stakingv1.Delegation {
	out := &stakingv1.Delegation{
		Validator: ValidatorName(st.Validator), Delegator: st.Delegator.String(),
		Stake: uint64(st.Worth), Rewards: uint64(st.Reward), Bound: uint64(st.Bound),
		FreshStake: uint64(st.Fresh), FreshFromEpoch: st.FreshFrom,
	}
	if _, member := com.FindValidator(st.Validator); member && !st.Barred {
		out.EarningStake = uint64(st.Worth - st.Fresh)
	}
	return out
}

// ListDelegations implements StakingServiceServer.
func (s *stakes) ListDelegations(ctx context.Context, req *stakingv1.ListDelegationsRequest) (*stakingv1.ListDelegationsResponse, error) {
	if (req.GetValidator() == "") == (req.GetDelegator() == "") {
		return nil, invalid("validator", "give either validator, such as validators/0, or delegator, an address such as trib1...")
	}
	list := newFilter("ListDelegations", req.GetValidator(), req.GetDelegator())
	head, _ := s.State.Head()
	pg, err := s.pages.open(list, req.GetPageSize(), req.GetPageToken(), head)
	if err != nil {
		return nil, err
	}
	var next []byte
	resp := &stakingv1.ListDelegationsResponse{Height: head}
	if req.GetDelegator() != "" {
		next, err = s.stakesOf(ctx, req.GetDelegator(), &pg, resp)
	} else {
		next, err = s.stakesWith(ctx, req.GetValidator(), &pg, resp)
	}
	if err != nil {
		return nil, err
	}
	if next != nil {
		resp.NextPageToken = s.pages.token(list, pg.height, next)
	}
	return resp, nil
}

// stakesOf fills in a page of the stakes of one account, and returns where to go
// on, nil if there are no more.
func (s *stakes) stakesOf(ctx context.Context, delegator string, pg *page, resp *stakingv1.ListDelegationsResponse) (next []byte, err error) {
	address, err := parseAddress("delegator", delegator)
	if err != nil {
		return nil, err
	}
	var from uint64
	if pg.cursor != nil && !readCursor(pg.cursor, &from) {
		return nil, badCursor()
	}
	return s.stakePage(ctx, pg, resp, func(v chain.View, height uint64, limit int) []staking.Stake {
		page := staking.StakesOf(v, s.Network.Params.Staking, height+1, address, from, limit)
		if n := len(page); n > 0 {
			from = page[n-1].Validator + 1
		}
		return page
	}, func() []byte { return cursorU64(from) })
}

// stakesWith is stakesOf for those of one validator.
func (s *stakes) stakesWith(ctx context.Context, validator string, pg *page, resp *stakingv1.ListDelegationsResponse) (next []byte, err error) {
	number, err := s.resolveValidator("validator", validator)
	if err != nil {
		return nil, err
	}
	known := false
	if err := s.State.Read(func(v chain.View, _ uint64) error {
		_, known = staking.ReadValidator(v, number)
		return nil
	}); err != nil {
		return nil, err
	}
	if !known {
		return nil, noValidator(validator)
	}
	var after *ledger.Address
	if pg.cursor != nil {
		if len(pg.cursor) != ledger.AddressSize {
			return nil, badCursor()
		}
		after = (*ledger.Address)(pg.cursor)
	}
	return s.stakePage(ctx, pg, resp, func(v chain.View, height uint64, limit int) []staking.Stake {
		page := staking.StakesWith(v, s.Network.Params.Staking, height+1, number, after, limit)
		if n := len(page); n > 0 {
			after = &page[n-1].Delegator
		}
		return page
	}, func() []byte { return after[:] })
}

// stakePage fills in a page of stakes, some in one read of the state. read goes on
// where it was; place says where that is.
func (s *stakes) stakePage(ctx context.Context, pg *page, resp *stakingv1.ListDelegationsResponse, read func(v chain.View, height uint64, limit int) []staking.Stake, place func() []byte) (next []byte, err error) {
	for len(resp.GetDelegations()) < pg.size {
		limit := min(stakeChunk, pg.size-len(resp.GetDelegations()))
		got := 0
		err := s.State.Read(func(v chain.View, height uint64) error {
			resp.Height = height
			page := read(v, height, limit)
			got = len(page)
			com := committeeAt(v, &s.Network.Params.Staking, height)
			for i := range page {
				resp.Delegations = append(resp.Delegations, renderStake(&page[i], com))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		s.rates.charge(callerIP(ctx), rowTokens(stakeRows*got))
		if got < limit {
			return nil, nil
		}
	}
	return place(), nil
}

// ListUnbondings implements StakingServiceServer.
func (s *stakes) ListUnbondings(ctx context.Context, req *stakingv1.ListUnbondingsRequest) (*stakingv1.ListUnbondingsResponse, error) {
	delegator, err := parseAddress("delegator", req.GetDelegator())
	if err != nil {
		return nil, err
	}
	list := newFilter("ListUnbondings", req.GetDelegator())
	head, _ := s.State.Head()
	pg, err := s.pages.open(list, req.GetPageSize(), req.GetPageToken(), head)
	if err != nil {
		return nil, err
	}
	var validator, due uint64
	if pg.cursor != nil && !readCursor(pg.cursor, &validator, &due) {
		return nil, badCursor()
	}
	rules := s.Network.Params.Staking
	resp := &stakingv1.ListUnbondingsResponse{}
	err = s.State.Read(func(v chain.View, height uint64) error {
		resp.Height = height
		// The page before ended within the unbondings from one validator.
		page := staking.UnbondingsOf(v, rules, height+1, delegator, validator, pg.size+staking.MaxEntries+1)
		for i := range page {
			u := &page[i]
			if pg.cursor != nil && u.Validator == validator && u.Due <= due {
				continue
			}
			if len(resp.Unbondings) == pg.size {
				resp.NextPageToken = s.pages.token(list, pg.height, cursorU64(page[i-1].Validator, page[i-1].Due))
				return nil
			}
			resp.Unbondings = append(resp.Unbondings, &stakingv1.Unbonding{
				Validator: ValidatorName(u.Validator), Delegator: delegator.String(), Amount: uint64(u.Amount),
				MaturesEpoch: u.Due, MaturesHeight: rules.LastBlock(u.Due),
			})
		}
		return nil
	})
	s.rates.charge(callerIP(ctx), rowTokens(stakeRows*len(resp.GetUnbondings())))
	return resp, err
}

// GetStakingParams implements StakingServiceServer.
func (s *stakes) GetStakingParams(context.Context, *stakingv1.GetStakingParamsRequest) (*stakingv1.GetStakingParamsResponse, error) {
	rules := &s.Network.Params.Staking
	resp := &stakingv1.GetStakingParamsResponse{Params: renderStakingParams(rules)}
	err := s.State.Read(func(v chain.View, height uint64) error {
		resp.Height, resp.Epoch = height, rules.Epoch(height+1)
		resp.EpochEndHeight = rules.LastBlock(resp.GetEpoch())
		resp.Validators = staking.ValidatorCount(v)
		resp.Enabled = resp.GetValidators() > 0
		if v.Get(settlement.TotalsKey()) != nil {
			totals := settlement.ReadTotals(v)
			resp.Staked, resp.Rewards, resp.Minted = uint64(totals.Staked), uint64(totals.Rewards), uint64(totals.Minted)
		}
		com, _ := staking.ReadCommittee(v, resp.GetEpoch())
		resp.Members, resp.TotalPower = uint32(len(com.Members)), com.TotalPower()
		return nil
	})
	return resp, err
}

func renderStakingParams(p *staking.Params) *stakingv1.StakingParams {
	return &stakingv1.StakingParams{
		EpochBlocks: p.EpochBlocks, Seats: p.Seats, PowerCapBps: p.PowerCapBps,
		MinStake: uint64(p.MinStake), MinSelfStake: uint64(p.MinSelfStake), MinDelegation: uint64(p.MinDelegation),
		UnbondingEpochs: p.UnbondingEpochs, EvidenceEpochs: p.EvidenceEpochs, MaxEntries: p.MaxEntries,
		EpochReward: uint64(p.EpochReward), MintCap: uint64(p.MintCap),
		RegisterFee: uint64(p.RegisterFee), StakeFee: uint64(p.StakeFee),
		DuplicateVoteBps: p.DuplicateVoteBps, LightAttackBps: p.LightAttackBps, DowntimeBps: p.DowntimeBps,
		WindowBlocks: p.Window, MaxMissedBlocks: p.MaxMissed, JailEpochs: p.JailEpochs,
		MeterBps: p.MeterBps, MeterEpochs: p.MeterEpochs,
	}
}
