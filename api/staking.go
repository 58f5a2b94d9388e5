package api

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	stakingv1 "github.com/tributary-network/tributary/proto/tributary/staking/v1"
)

// stakes implements StakingService: here its submissions, in stakinglist.go what
// it reads, in stakingwatch.go what it tells.
type stakes struct {
	stakingv1.UnimplementedStakingServiceServer
	*backend
}

const collectionValidators = "validators"

// ValidatorName returns the resource name of a validator: "validators/{number}".
func ValidatorName(number uint64) string {
	return collectionValidators + "/" + strconv.FormatUint(number, 10)
}

// parseValidatorName reads "validators/{number}".
func parseValidatorName(path, name string) (uint64, error) {
	id, ok := strings.CutPrefix(name, collectionValidators+"/")
	number, err := strconv.ParseUint(id, 10, 63)
	if !ok || err != nil || strconv.FormatUint(number, 10) != id {
		return 0, invalid(path, "%s is not a name; want validators/ and a number from 0", quoted(name))
	}
	return number, nil
}

// RegisterValidator implements StakingServiceServer.
func (s *stakes) RegisterValidator(ctx context.Context, req *stakingv1.RegisterValidatorRequest) (*stakingv1.RegisterValidatorResponse, error) {
	var payload func() ([]byte, error)
	if r := req.GetRegister(); r != nil {
		payload = func() ([]byte, error) { return registerPayload("register", r) }
	}
	_, out, err := s.submitFields(ctx, req, chain.KindRegisterValidator, "register", req.GetRegister().GetEnvelope(), payload)
	if err != nil {
		return nil, err
	}
	return &stakingv1.RegisterValidatorResponse{Transaction: out}, nil
}

func registerPayload(path string, r *stakingv1.RegisterValidator) ([]byte, error) {
	out := staking.Register{
		Commission: r.GetCommissionBps(), MaxCommission: r.GetMaxCommissionBps(), MaxChange: r.GetMaxCommissionChangeBps(),
	}
	profile, err := readProfile(path, r.GetMoniker(), r.GetEndpoints())
	if err != nil {
		return nil, err
	}
	out.Profile = profile
	if out.MinSelf, err = readAmount(path+".min_self_stake", r.GetMinSelfStake()); err != nil {
		return nil, err
	}
	if out.SelfStake, err = readAmount(path+".stake", r.GetStake()); err != nil {
		return nil, err
	}
	err = first(
		readBytes(path+".consensus_key", r.GetConsensusKey(), out.ConsensusKey[:]),
		readBytes(path+".bls_key", r.GetBlsKey(), out.BLSKey[:]),
		readBytes(path+".bls_proof", r.GetBlsProof(), out.Proof[:]))
	return out.Encode(), err
}

// readProfile reads what the encoding has room for; the rules are stricter.
func readProfile(path, moniker string, endpoints []string) (staking.Profile, error) {
	if n := len(moniker); n == 0 || n > staking.MaxName {
		return staking.Profile{}, unencodable(chain.CodeInvalidValue, path+".moniker", "%d bytes, want 1 to %d", n, staking.MaxName)
	}
	if n := len(endpoints); n > staking.MaxEndpoints {
		return staking.Profile{}, unencodable(chain.CodeTooLarge, path+".endpoints", "%d, at most %d", n, staking.MaxEndpoints)
	}
	for i, e := range endpoints {
		if n := len(e); n == 0 || n > staking.MaxEndpoint {
			return staking.Profile{}, unencodable(chain.CodeInvalidValue, fmt.Sprintf("%s.endpoints[%d]", path, i), "%d bytes, want 1 to %d", n, staking.MaxEndpoint)
		}
	}
	return staking.Profile{Name: moniker, Endpoints: endpoints}, nil
}

// EditValidator implements StakingServiceServer.
func (s *stakes) EditValidator(ctx context.Context, req *stakingv1.EditValidatorRequest) (*stakingv1.EditValidatorResponse, error) {
	var payload func() ([]byte, error)
	if e := req.GetEdit(); e != nil {
		payload = func() ([]byte, error) {
			number, err := parseValidatorName("edit.validator", e.GetValidator())
			if err != nil {
				return nil, err
			}
			profile, err := readProfile("edit", e.GetMoniker(), e.GetEndpoints())
			if err != nil {
				return nil, err
			}
			least, err := readAmount("edit.min_self_stake", e.GetMinSelfStake())
			out := staking.Edit{Validator: number, Profile: profile, Commission: e.GetCommissionBps(), MinSelf: least}
			return out.Encode(), err
		}
	}
	_, out, err := s.submitFields(ctx, req, chain.KindEditValidator, "edit", req.GetEdit().GetEnvelope(), payload)
	if err != nil {
		return nil, err
	}
	return &stakingv1.EditValidatorResponse{Transaction: out}, nil
}

// Delegate implements StakingServiceServer.
func (s *stakes) Delegate(ctx context.Context, req *stakingv1.DelegateRequest) (*stakingv1.DelegateResponse, error) {
	var payload func() ([]byte, error)
	if d := req.GetDelegate(); d != nil {
		payload = func() ([]byte, error) {
			number, err := parseValidatorName("delegate.validator", d.GetValidator())
			if err != nil {
				return nil, err
			}
			amount, err := readAmount("delegate.amount", d.GetAmount())
			out := staking.Delegate{Validator: number, Amount: amount}
			return out.Encode(), err
		}
	}
	_, out, err := s.submitFields(ctx, req, chain.KindDelegate, "delegate", req.GetDelegate().GetEnvelope(), payload)
	if err != nil {
		return nil, err
	}
	return &stakingv1.DelegateResponse{Transaction: out}, nil
}

// Redelegate implements StakingServiceServer.
func (s *stakes) Redelegate(ctx context.Context, req *stakingv1.RedelegateRequest) (*stakingv1.RedelegateResponse, error) {
	var payload func() ([]byte, error)
	if r := req.GetRedelegate(); r != nil {
		payload = func() ([]byte, error) {
			from, err := parseValidatorName("redelegate.from_validator", r.GetFromValidator())
			if err != nil {
				return nil, err
			}
			to, err := parseValidatorName("redelegate.to_validator", r.GetToValidator())
			if err != nil {
				return nil, err
			}
			amount, err := readAmount("redelegate.amount", r.GetAmount())
			out := staking.Redelegate{From: from, To: to, Amount: amount}
			return out.Encode(), err
		}
	}
	_, out, err := s.submitFields(ctx, req, chain.KindRedelegate, "redelegate", req.GetRedelegate().GetEnvelope(), payload)
	if err != nil {
		return nil, err
	}
	return &stakingv1.RedelegateResponse{Transaction: out}, nil
}

// Undelegate implements StakingServiceServer.
func (s *stakes) Undelegate(ctx context.Context, req *stakingv1.UndelegateRequest) (*stakingv1.UndelegateResponse, error) {
	var payload func() ([]byte, error)
	if u := req.GetUndelegate(); u != nil {
		payload = func() ([]byte, error) {
			number, err := parseValidatorName("undelegate.validator", u.GetValidator())
			if err != nil {
				return nil, err
			}
			amount, err := readAmount("undelegate.amount", u.GetAmount())
			out := staking.Undelegate{Validator: number, Amount: amount}
			return out.Encode(), err
		}
	}
	_, out, err := s.submitFields(ctx, req, chain.KindUndelegate, "undelegate", req.GetUndelegate().GetEnvelope(), payload)
	if err != nil {
		return nil, err
	}
	return &stakingv1.UndelegateResponse{Transaction: out}, nil
}

// ClaimRewards implements StakingServiceServer.
func (s *stakes) ClaimRewards(ctx context.Context, req *stakingv1.ClaimRewardsRequest) (*stakingv1.ClaimRewardsResponse, error) {
	var payload func() ([]byte, error)
	if c := req.GetClaim(); c != nil {
		payload = func() ([]byte, error) { return claimPayload("claim.validators", c.GetValidators()) }
	}
	_, out, err := s.submitFields(ctx, req, chain.KindClaimRewards, "claim", req.GetClaim().GetEnvelope(), payload)
	if err != nil {
		return nil, err
	}
	return &stakingv1.ClaimRewardsResponse{Transaction: out}, nil
}

func claimPayload(path string, names []string) ([]byte, error) {
	if n := len(names); n == 0 || n > staking.MaxClaims {
		return nil, unencodable(chain.CodeTooLarge, path, "%d validators, want 1 to %d", n, staking.MaxClaims)
	}
	out := staking.Claim{Validators: make([]uint64, len(names))}
	for i, name := range names {
		number, err := parseValidatorName(fmt.Sprintf("%s[%d]", path, i), name)
		if err != nil {
			return nil, err
		}
		out.Validators[i] = number
	}
	return out.Encode(), nil
}

// Unjail implements StakingServiceServer.
func (s *stakes) Unjail(ctx context.Context, req *stakingv1.UnjailRequest) (*stakingv1.UnjailResponse, error) {
	var payload func() ([]byte, error)
	if u := req.GetUnjail(); u != nil {
		payload = func() ([]byte, error) {
			number, err := parseValidatorName("unjail.validator", u.GetValidator())
			out := staking.Unjail{Validator: number}
			return out.Encode(), err
		}
	}
	_, out, err := s.submitFields(ctx, req, chain.KindUnjail, "unjail", req.GetUnjail().GetEnvelope(), payload)
	if err != nil {
		return nil, err
	}
	return &stakingv1.UnjailResponse{Transaction: out}, nil
}

// explainStake adds to the refusal of a staking transaction what its signer has to
// know to do better: the epoch, the validator, and what the signer has with it. It
// is a courtesy: if the state cannot be read there is none.
func (b *backend) explainStake(p *problem, tx *chain.Tx) {
	number, ok := validatorOf(p, tx)
	if p.reason == chain.CodeBadOrder.String() && tx.Kind == chain.KindClaimRewards && len(p.fields) > 0 {
		p.fields[0].path = "validators"
	}
	if !ok {
		return
	}
	_ = b.State.Read(func(v chain.View, height uint64) error {
		rules := b.Network.Params.Staking
		p.setNumber("height", height)
		p.setNumber("epoch", rules.Epoch(height+1))
		val, ok := staking.ReadValidator(v, number)
		if !ok {
			return nil
		}
		p.subject = ValidatorName(number)
		p.set("name", p.subject)
		if val.Jailed {
			p.setNumber("jailed_until_epoch", val.JailedUntil)
		}
		if s, ok := staking.StakeOf(v, rules, height+1, number, tx.Signer); ok {
			p.setNumber("stake", uint64(s.Worth))
			p.setNumber("bound", uint64(s.Bound))
			p.setNumber("rewards", uint64(s.Reward))
		}
		return nil
	})
}

// validatorOf returns the number of the validator that the refusal of a staking
// transaction is about.
func validatorOf(p *problem, tx *chain.Tx) (number uint64, ok bool) {
	var err error
	switch tx.Kind {
	case chain.KindEditValidator:
		var m staking.Edit
		m, err = staking.DecodeEdit(tx.Payload)
		number = m.Validator
	case chain.KindDelegate:
		var m staking.Delegate
		m, err = staking.DecodeDelegate(tx.Payload)
		number = m.Validator
	case chain.KindRedelegate:
		var m staking.Redelegate
		m, err = staking.DecodeRedelegate(tx.Payload)
		number = m.From
		if p.reason == chain.CodeValidatorJailed.String() || p.reason == chain.CodeTombstoned.String() {
			number = m.To
		}
	case chain.KindUndelegate:
		var m staking.Undelegate
		m, err = staking.DecodeUndelegate(tx.Payload)
		number = m.Validator
	case chain.KindClaimRewards:
		var m staking.Claim
		m, err = staking.DecodeClaim(tx.Payload)
		i := 0
		if len(p.positions) > 0 {
			i = int(p.positions[0])
		} else if len(m.Validators) > 1 {
			return 0, false
		}
		if err == nil && i < len(m.Validators) {
			return m.Validators[i], true
		}
		return 0, false
	case chain.KindUnjail:
		var m staking.Unjail
		m, err = staking.DecodeUnjail(tx.Payload)
		number = m.Validator
	default:
		return 0, false
	}
	return number, err == nil && p.code != codes.InvalidArgument
}
