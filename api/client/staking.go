package client

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
	stakingv1 "github.com/tributary-network/tributary/proto/tributary/staking/v1"
)

const validatorsPrefix = "validators/"

// RegisterValidator makes this account the operator of a new validator, and
// delegates m.SelfStake to it. staking.Prove makes m.Proof, for the domain's network and this account.
func (a *Account) RegisterValidator(ctx context.Context, m staking.Register) (settlement.Receipt, error) {
	return a.apply(ctx, chain.KindRegisterValidator, m.Encode())
}

// EditValidator changes what the operator may change. m states all of it, changed
// or not.
func (a *Account) EditValidator(ctx context.Context, m staking.Edit) (settlement.Receipt, error) {
	return a.apply(ctx, chain.KindEditValidator, m.Encode())
}

// Delegate locks drops behind a validator. The receipt's Paid is what an older
// delegation to it had earned.
func (a *Account) Delegate(ctx context.Context, validator uint64, amount ledger.Amount) (settlement.Receipt, error) {
	payload := staking.Delegate{Validator: validator, Amount: amount}
	return a.apply(ctx, chain.KindDelegate, payload.Encode())
}

// Redelegate moves stake from one validator to another at once; amount 0 is all
// that can move.
func (a *Account) Redelegate(ctx context.Context, from, to uint64, amount ledger.Amount) (settlement.Receipt, error) {
	payload := staking.Redelegate{From: from, To: to, Amount: amount}
	return a.apply(ctx, chain.KindRedelegate, payload.Encode())
}

// Undelegate takes stake back, which is paid out after the unbonding time; amount
// 0 is all.
func (a *Account) Undelegate(ctx context.Context, validator uint64, amount ledger.Amount) (settlement.Receipt, error) {
	payload := staking.Undelegate{Validator: validator, Amount: amount}
	return a.apply(ctx, chain.KindUndelegate, payload.Encode())
}

// ClaimRewards pays out what the delegations to 1 to staking.MaxClaims validators,
// ascending, have earned; the receipt's Paid says how much.
func (a *Account) ClaimRewards(ctx context.Context, validators ...uint64) (settlement.Receipt, error) {
	payload := staking.Claim{Validators: validators}
	return a.apply(ctx, chain.KindClaimRewards, payload.Encode())
}

// Unjail makes the account's jailed validator a candidate again.
func (a *Account) Unjail(ctx context.Context, validator uint64) (settlement.Receipt, error) {
	payload := staking.Unjail{Validator: validator}
	return a.apply(ctx, chain.KindUnjail, payload.Encode())
}

// ValidatorState is where a validator is in its life.
type ValidatorState uint8

// The states.
const (
	ValidatorCandidate   ValidatorState = iota + 1 // stands for election, and is not in the committee
	ValidatorActive                                // in the committee: it votes
	ValidatorJailed                                // missed too many blocks
	ValidatorTombstoned                            // signed two things that exclude each other; out for ever
	ValidatorUnderstaked                           // has too little stake to stand for election
)

// String returns the state's name: "active".
func (s ValidatorState) String() string {
	switch s {
	case ValidatorCandidate:
		return "candidate"
	case ValidatorActive:
		return "active"
	case ValidatorJailed:
		return "jailed"
	case ValidatorTombstoned:
		return "tombstoned"
	case ValidatorUnderstaked:
		return "understaked"
	default:
		return "unknown"
	}
}

// ValidatorInfo is a validator as a node shows it.
type ValidatorInfo struct {
	Number       uint64 // row, in the order of registration
	Profile      staking.Profile
	Operator     ledger.Address
	ConsensusKey ledger.PublicKey
	Address      staking.Address // of the consensus key
	BLSKey       bls.PublicKey
	State        ValidatorState

	Stake     ledger.Amount // all that is delegated to it
	SelfStake ledger.Amount // of that its operator's
	MinSelf   ledger.Amount // the least its operator promised to keep
	Power     uint64        // in the present committee

	Commission    uint32 // basis points
	CommissionNow uint32 // of the present epoch's rewards: a change is for the epochs after it
	MaxCommission uint32
	MaxChange     uint32        // of the commission in an epoch
	Outstanding   ledger.Amount // given to its delegators, not claimed
	Earned        ledger.Amount // commission, not claimed

	// UptimeSigned is how many it signed of the UptimeBlocks on which it was to vote of
	// the last UptimeWindow blocks of the chain, empty ones included. These are 100, or
	// fewer if the chain has or the node knows fewer. It is what the node saw, and no
	// part of the state.
	UptimeSigned, UptimeBlocks, UptimeWindow uint32

	Missed      uint32 // of the last Window blocks that counted, which jails; see staking.Context.Count
	Window      uint32
	JailedUntil uint64 // epoch; 0 unless jailed
	Registered  uint64 // height; 0 in the genesis

	Epoch      uint64 // the present one
	TotalPower uint64 // of the present committee
	Height     uint64 // the state this is
}

func validatorOf(m *stakingv1.Validator) (ValidatorInfo, error) {
	var r reader
	v := ValidatorInfo{
		Number: m.GetNumber(), Profile: staking.Profile{Name: m.GetMoniker(), Endpoints: m.GetEndpoints()},
		Operator: r.address("operator", m.GetOperator()), ConsensusKey: ledger.PublicKey(r.hash("consensus_key", m.GetConsensusKey())),
		State: ValidatorState(m.GetState()),
		Stake: ledger.Amount(m.GetStake()), SelfStake: ledger.Amount(m.GetSelfStake()), MinSelf: ledger.Amount(m.GetMinSelfStake()),
		Power: m.GetPower(), Commission: m.GetCommissionBps(), CommissionNow: m.GetEpochCommissionBps(), MaxCommission: m.GetMaxCommissionBps(), MaxChange: m.GetMaxCommissionChangeBps(),
		Outstanding: ledger.Amount(m.GetOutstandingRewards()), Earned: ledger.Amount(m.GetCommission()),
		UptimeSigned: m.GetUptimeSigned(), UptimeBlocks: m.GetUptimeBlocks(),
		Missed: m.GetMissedBlocks(), Window: m.GetWindowBlocks(), JailedUntil: m.GetJailedUntilEpoch(), Registered: m.GetRegisteredHeight(),
	}
	v.Address = staking.AddressOf(v.ConsensusKey)
	r.bytes("bls_key", m.GetBlsKey(), v.BLSKey[:])
	return v, r.err
}

// bytes reads a field of exactly len(into) bytes.
func (r *reader) bytes(field string, b, into []byte) {
	if len(b) != len(into) {
		r.fail(field, fmt.Errorf("%d bytes, want %d", len(b), len(into)))
		return
	}
	copy(into, b)
}

// validator reads "validators/{number}".
func (r *reader) validator(field, name string) uint64 {
	number, err := strconv.ParseUint(strings.TrimPrefix(name, validatorsPrefix), 10, 63)
	if err != nil || !strings.HasPrefix(name, validatorsPrefix) {
		r.fail(field, fmt.Errorf("%q is not the name of a validator", name))
	}
	return number
}

// Validator reads the validator with a number. One that does not exist is an error
// of chain.CodeValidatorNotFound.
func (c *Client) Validator(ctx context.Context, number uint64) (ValidatorInfo, error) {
	return c.validator(ctx, strconv.FormatUint(number, 10))
}

// ValidatorOf reads the validator that an account operates.
func (c *Client) ValidatorOf(ctx context.Context, operator ledger.Address) (ValidatorInfo, error) {
	return c.validator(ctx, operator.String())
}

// ValidatorAt reads the validator with a consensus address.
func (c *Client) ValidatorAt(ctx context.Context, address staking.Address) (ValidatorInfo, error) {
	return c.validator(ctx, fmt.Sprintf("%x", address))
}

func (c *Client) validator(ctx context.Context, id string) (ValidatorInfo, error) {
	resp, err := c.getValidator(ctx, id, false)
	if err != nil {
		return ValidatorInfo{}, err
	}
	v, err := validatorOf(resp.GetValidator())
	v.Height, v.Epoch, v.TotalPower, v.UptimeWindow = resp.GetHeight(), resp.GetEpoch(), resp.GetTotalPower(), resp.GetUptimeWindow()
	return v, err
}

func (c *Client) getValidator(ctx context.Context, id string, proof bool) (*stakingv1.GetValidatorResponse, error) {
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*stakingv1.GetValidatorResponse, error) {
		return e.staking.GetValidator(ctx, &stakingv1.GetValidatorRequest{Name: validatorsPrefix + id, WithProof: proof})
	})
	if err != nil {
		return nil, fmt.Errorf("read validator %s: %w", id, err)
	}
	c.saw(resp.GetHeight())
	return resp, nil
}

// Validators yields the validators in a state, 0 for all, in the order of their
// registration. An error ends the sequence.
func (c *Client) Validators(ctx context.Context, state ValidatorState) iter.Seq2[ValidatorInfo, error] {
	return pages(func(token string) ([]ValidatorInfo, string, error) {
		resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*stakingv1.ListValidatorsResponse, error) {
			return e.staking.ListValidators(ctx, &stakingv1.ListValidatorsRequest{
				State: stakingv1.ValidatorState(state), PageSize: pageSize, PageToken: token,
			})
		})
		if err != nil {
			return nil, "", fmt.Errorf("list validators: %w", err)
		}
		c.saw(resp.GetHeight())
		page, err := each(resp.GetValidators(), validatorOf)
		for i := range page {
			v := &page[i]
			v.Height, v.Epoch, v.TotalPower, v.UptimeWindow = resp.GetHeight(), resp.GetEpoch(), resp.GetTotalPower(), resp.GetUptimeWindow()
		}
		return page, resp.GetNextPageToken(), err
	})
}

// Delegation is one account's stake with one validator, as a node shows it.
type Delegation struct {
	Validator uint64
	Delegator ledger.Address
	Stake     ledger.Amount // what it is worth
	Rewards   ledger.Amount // not claimed
	Bound     ledger.Amount // of Stake, what came by redelegation and cannot move on
	// Earning is what of Stake has a part in the rewards of the present epoch. Fresh
	// came after its election and earns from the epoch FreshFrom on. What is neither
	// is with a validator that is not in the committee, jailed or tombstoned.
	Earning   ledger.Amount
	Fresh     ledger.Amount
	FreshFrom uint64 // 0 if nothing is fresh
}

func delegationOf(m *stakingv1.Delegation) (Delegation, error) {
	var r reader
	d := Delegation{
		Validator: r.validator("validator", m.GetValidator()), Delegator: r.address("delegator", m.GetDelegator()),
		Stake: ledger.Amount(m.GetStake()), Rewards: ledger.Amount(m.GetRewards()), Bound: ledger.Amount(m.GetBound()),
		Earning: ledger.Amount(m.GetEarningStake()), Fresh: ledger.Amount(m.GetFreshStake()), FreshFrom: m.GetFreshFromEpoch(),
	}
	return d, r.err
}

// Delegation reads the stake of an account with a validator. If there is none that
// is an error of chain.CodeDelegationNotFound.
func (c *Client) Delegation(ctx context.Context, validator uint64, delegator ledger.Address) (Delegation, error) {
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*stakingv1.GetDelegationResponse, error) {
		return e.staking.GetDelegation(ctx, &stakingv1.GetDelegationRequest{
			Validator: validatorsPrefix + strconv.FormatUint(validator, 10), Delegator: delegator.String(),
		})
	})
	if err != nil {
		return Delegation{}, fmt.Errorf("read delegation: %w", err)
	}
	c.saw(resp.GetHeight())
	return delegationOf(resp.GetDelegation())
}

// DelegationsOf yields the stakes of an account, ascending by validator.
func (c *Client) DelegationsOf(ctx context.Context, delegator ledger.Address) iter.Seq2[Delegation, error] {
	return c.delegations(ctx, &stakingv1.ListDelegationsRequest{Delegator: delegator.String()})
}

// DelegationsTo yields the stakes with a validator, ascending by delegator.
func (c *Client) DelegationsTo(ctx context.Context, validator uint64) iter.Seq2[Delegation, error] {
	return c.delegations(ctx, &stakingv1.ListDelegationsRequest{Validator: validatorsPrefix + strconv.FormatUint(validator, 10)})
}

func (c *Client) delegations(ctx context.Context, req *stakingv1.ListDelegationsRequest) iter.Seq2[Delegation, error] {
	req.PageSize = pageSize
	return pages(func(token string) ([]Delegation, string, error) {
		req.PageToken = token
		resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*stakingv1.ListDelegationsResponse, error) {
			return e.staking.ListDelegations(ctx, req)
		})
		if err != nil {
			return nil, "", fmt.Errorf("list delegations: %w", err)
		}
		c.saw(resp.GetHeight())
		page, err := each(resp.GetDelegations(), delegationOf)
		return page, resp.GetNextPageToken(), err
	})
}

// Unbonding is stake on its way back, as a node shows it.
type Unbonding struct {
	Validator uint64
	Delegator ledger.Address
	Amount    ledger.Amount // what would be paid out now
	Epoch     uint64        // with whose end it is paid out
	Height    uint64        // of that epoch's last block
}

// Unbondings yields what an account has taken back and not got yet, ascending by
// validator and epoch.
func (c *Client) Unbondings(ctx context.Context, delegator ledger.Address) iter.Seq2[Unbonding, error] {
	return pages(func(token string) ([]Unbonding, string, error) {
		resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*stakingv1.ListUnbondingsResponse, error) {
			return e.staking.ListUnbondings(ctx, &stakingv1.ListUnbondingsRequest{
				Delegator: delegator.String(), PageSize: pageSize, PageToken: token,
			})
		})
		if err != nil {
			return nil, "", fmt.Errorf("list unbondings: %w", err)
		}
		c.saw(resp.GetHeight())
		page, err := each(resp.GetUnbondings(), func(m *stakingv1.Unbonding) (Unbonding, error) {
			var r reader
			u := Unbonding{
				Validator: r.validator("validator", m.GetValidator()), Delegator: r.address("delegator", m.GetDelegator()),
				Amount: ledger.Amount(m.GetAmount()), Epoch: m.GetMaturesEpoch(), Height: m.GetMaturesHeight(),
			}
			return u, r.err
		})
		return page, resp.GetNextPageToken(), err
	})
}

// StakingStatus is how staking stands. Its parameters are in Client.Params.
type StakingStatus struct {
	// Enabled says whether the network has staking at all. Without, its validators
	// are fixed by its genesis, and there are no epochs.
	Enabled    bool
	Height     uint64
	Epoch      uint64 // the present one
	EpochEnd   uint64 // height of its last block
	Validators uint64 // ever registered
	Members    uint32 // of the present committee
	TotalPower uint64
	Staked     ledger.Amount // bonded and unbonding
	Rewards    ledger.Amount // not claimed
	Minted     ledger.Amount // ever
}

// StakingStatus reads how staking stands.
func (c *Client) StakingStatus(ctx context.Context) (StakingStatus, error) {
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*stakingv1.GetStakingParamsResponse, error) {
		return e.staking.GetStakingParams(ctx, &stakingv1.GetStakingParamsRequest{})
	})
	if err != nil {
		return StakingStatus{}, fmt.Errorf("read how staking stands: %w", err)
	}
	c.saw(resp.GetHeight())
	return StakingStatus{
		Enabled: resp.GetEnabled(), Height: resp.GetHeight(), Epoch: resp.GetEpoch(), EpochEnd: resp.GetEpochEndHeight(),
		Validators: resp.GetValidators(), Members: resp.GetMembers(), TotalPower: resp.GetTotalPower(),
		Staked: ledger.Amount(resp.GetStaked()), Rewards: ledger.Amount(resp.GetRewards()), Minted: ledger.Amount(resp.GetMinted()),
	}, nil
}

func stakingParamsOf(p *stakingv1.StakingParams) staking.Params {
	return staking.Params{
		EpochBlocks: p.GetEpochBlocks(), Seats: p.GetSeats(), PowerCapBps: p.GetPowerCapBps(),
		MinStake: ledger.Amount(p.GetMinStake()), MinSelfStake: ledger.Amount(p.GetMinSelfStake()), MinDelegation: ledger.Amount(p.GetMinDelegation()),
		UnbondingEpochs: p.GetUnbondingEpochs(), EvidenceEpochs: p.GetEvidenceEpochs(), MaxEntries: p.GetMaxEntries(),
		EpochReward: ledger.Amount(p.GetEpochReward()), MintCap: ledger.Amount(p.GetMintCap()),
		RegisterFee: ledger.Amount(p.GetRegisterFee()), StakeFee: ledger.Amount(p.GetStakeFee()),
		DuplicateVoteBps: p.GetDuplicateVoteBps(), LightAttackBps: p.GetLightAttackBps(), DowntimeBps: p.GetDowntimeBps(),
		Window: p.GetWindowBlocks(), MaxMissed: p.GetMaxMissedBlocks(), JailEpochs: p.GetJailEpochs(),
		MeterBps: p.GetMeterBps(), MeterEpochs: p.GetMeterEpochs(),
	}
}
