package api

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/shard/route"
)

const (
	// maxPositions is how many entries an error names.
	maxPositions = 64
	// retrySoon is when to come back where nothing better is known.
	retrySoon = time.Second
)

// ruleStatus is the table of the chain's codes: the gRPC code of a refusal, and
// the field of a request that it is about, if it is always the same one.
//
// INVALID_ARGUMENT is wrong whatever the state, FAILED_PRECONDITION is wrong in
// the present state, ABORTED asks to read the state again and sign anew.
func ruleStatus(c chain.Code) (code codes.Code, fieldPath string) {
	switch c {
	case chain.CodeMalformed, chain.CodeTooLarge, chain.CodeUnknownKind, chain.CodeAmountOverflow,
		chain.CodeInvalidValue, chain.CodeBadSignature, chain.CodeBadKey:
		return codes.InvalidArgument, ""
	case chain.CodeWrongNetwork, chain.CodeWrongChain:
		return codes.InvalidArgument, "signed_tx"
	case chain.CodeBadOrder, chain.CodeBadPreimage, chain.CodeLaneLimit:
		return codes.InvalidArgument, "entries"
	case chain.CodeFeeTooLow:
		return codes.InvalidArgument, "envelope.max_fee"
	case chain.CodeSelfPayment, chain.CodePayeeZone:
		return codes.InvalidArgument, "payee"
	case chain.CodeDepositTooSmall:
		return codes.InvalidArgument, "deposit"
	case chain.CodeChallengeRange:
		return codes.InvalidArgument, "challenge"
	case chain.CodeUnknownService:
		return codes.InvalidArgument, "service_id"
	case chain.CodeChannelMismatch:
		return codes.InvalidArgument, "name"

	case chain.CodeNonceUsed, chain.CodeNonceTooHigh:
		return codes.Aborted, "envelope.nonce"
	case chain.CodeDuplicate:
		return codes.AlreadyExists, ""
	case chain.CodeAccountNotFound, chain.CodeChannelNotFound:
		return codes.NotFound, ""
	case chain.CodeNotPayer, chain.CodeNotPayee:
		return codes.PermissionDenied, ""
	case chain.CodeExpired, chain.CodeInsufficientBalance,
		chain.CodeChannelClosing, chain.CodeChannelExpired,
		chain.CodeStale, chain.CodeUnderfunded, chain.CodePartial,
		chain.CodeExpiryOutOfRange, chain.CodeBatchAborted, chain.CodeFinalOutOfRange:
		return codes.FailedPrecondition, ""
	default:
		return stakingStatus(c)
	}
}

// stakingStatus is the part of ruleStatus for the codes of staking.
func stakingStatus(c chain.Code) (code codes.Code, fieldPath string) {
	switch c {
	case chain.CodeBadProof:
		return codes.InvalidArgument, "bls_proof"
	case chain.CodeCommissionTooHigh:
		return codes.InvalidArgument, "commission_bps"
	case chain.CodeDelegationTooSmall:
		return codes.InvalidArgument, "amount"
	case chain.CodeSameValidator:
		return codes.InvalidArgument, "to_validator"
	case chain.CodeValidatorNotFound, chain.CodeDelegationNotFound:
		return codes.NotFound, ""
	case chain.CodeNotOperator:
		return codes.PermissionDenied, ""
	case chain.CodeKeyUsed, chain.CodeOperatorUsed:
		return codes.AlreadyExists, ""
	case chain.CodeValidatorJailed, chain.CodeTombstoned, chain.CodeSelfStakeTooSmall,
		chain.CodeCommissionJump, chain.CodeMoreThanDelegated, chain.CodeRedelegating,
		chain.CodeTooManyEntries, chain.CodeNotJailed, chain.CodeJailNotOver,
		chain.CodeNothingToClaim, chain.CodeValidatorWorthless,
		chain.CodeEvidenceExpired, chain.CodeEvidenceOfNoMember, chain.CodeEvidenceKnown, chain.CodeEvidenceFromNowhere:
		return codes.FailedPrecondition, ""
	default:
		return linkStatus(c)
	}
}

// linkStatus is the part of ruleStatus for the codes of links and anchors.
func linkStatus(c chain.Code) (code codes.Code, fieldPath string) {
	switch c {
	case chain.CodeBadRange, chain.CodeNeverSent, chain.CodeBadCertificate, chain.CodeNoConflict:
		return codes.InvalidArgument, ""
	case chain.CodeLinkNotFound, chain.CodeUnknownShard:
		return codes.NotFound, ""
	case chain.CodeLinkFull, chain.CodeLinkBytes, chain.CodeForeignPlace, chain.CodeLinkGap, chain.CodeLinkRepeat,
		chain.CodeNotAnchored, chain.CodeReturnsFull, chain.CodeNothingNew, chain.CodeMessageExpired, chain.CodeNotDue,
		chain.CodeAnchorGap, chain.CodeAnchorStale, chain.CodeAnchorEpoch, chain.CodeUnknownCommittee,
		chain.CodeAnchorConflict, chain.CodeShardEnded, chain.CodeAnchorGeneration:
		return codes.FailedPrecondition, ""
	default:
		return serviceStatus(c)
	}
}

// serviceStatus is the part of ruleStatus for the codes of service chains.
func serviceStatus(c chain.Code) (code codes.Code, fieldPath string) {
	switch c {
	case chain.CodeWrongService:
		return codes.InvalidArgument, "service_id"
	case chain.CodeUnitsFell, chain.CodeAdvanceTooSmall:
		return codes.InvalidArgument, "voucher"
	case chain.CodeChannelUnknown:
		return codes.NotFound, ""
	case chain.CodeWrongSource:
		return codes.PermissionDenied, ""
	case chain.CodeServiceUsed:
		return codes.AlreadyExists, ""
	case chain.CodeNotOwner:
		return codes.PermissionDenied, ""
	case chain.CodeWrongShard, chain.CodeAboveDeposit, chain.CodeTooManyServices, chain.CodeReshardRefused:
		return codes.FailedPrecondition, ""
	default: // CodeOK is no refusal, and other numbers are none of the protocol's
		return codes.Internal, ""
	}
}

// ruleProblem returns a refusal by a rule as clients see it.
func ruleProblem(e *chain.RuleError) *problem {
	code, path := ruleStatus(e.Code)
	if code == codes.Internal {
		return internalProblem()
	}
	p := &problem{code: code, reason: e.Code.String(), message: e.Error()}
	if path != "" && code == codes.InvalidArgument {
		p.fields = []field{{path: path, problem: e.Error()}}
	}
	for _, i := range e.Positions {
		if i < 0 || len(p.positions) == maxPositions { // negative: a signature that is no entry's
			continue
		}
		if p.positions == nil {
			p.fields = nil
		}
		p.positions = append(p.positions, uint32(i))
		if code == codes.InvalidArgument {
			p.fields = append(p.fields, field{path: fmt.Sprintf("entries[%d]", i), problem: e.Code.String()})
		}
	}
	return p
}

func joinPositions(positions []uint32) string {
	var b []byte
	for i, p := range positions {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(p), 10)
	}
	return string(b)
}

// defaultShardBlock is how long a block of a shard takes where nothing better is known.
const defaultShardBlock = time.Second

// congestedProblem says that a shard takes nothing new, and when to try again. block is
// how long a block of it takes.
func congestedProblem(e *route.CongestedError, block time.Duration) *problem {
	retry := time.Duration(e.RetryAfter) * block //nolint:gosec // at most route.MaxRetryAfter
	p := exhausted(ReasonCongested, retry, "%s is congested (%s, new transactions are taken up to %s); send the same request again in %v, or use a shard that RoutingService.Hint names",
		ShardName(e.Shard), e.Level, route.Threshold, retry)
	p.set("shard", ShardName(e.Shard))
	p.setNumber("level_bps", uint64(e.Level))
	p.setNumber("retry_after_blocks", e.RetryAfter)
	return p
}

func internalProblem() *problem {
	return &problem{
		code: codes.Internal, reason: ReasonInternal,
		message: "the server met a fault of its own; its log has the details",
	}
}

// problemOf returns err as clients see it. known is false if err is a fault of
// the server, which belongs into the log.
func problemOf(err error) (p *problem, known bool) {
	var rule *chain.RuleError
	var busy *exec.BusyError
	var passed *relayed
	var congested *route.CongestedError
	switch {
	case errors.As(err, &p):
		return p, true
	case errors.As(err, &passed):
		return passed.problem(), true
	case errors.As(err, &congested):
		return congestedProblem(congested, defaultShardBlock), true
	case errors.As(err, &rule):
		p = ruleProblem(rule)
		return p, p.code != codes.Internal
	case errors.As(err, &busy):
		return busyProblem(busy), true
	case errors.Is(err, exec.ErrNotSynced):
		return unavailable(ReasonNotSynced, retrySoon, "this node has not caught up with the chain; ask another one, or later"), true
	case errors.Is(err, exec.ErrHalted):
		return unavailable(ReasonChainHalted, 0, "the chain has stopped on this node; ask another one"), true
	case errors.Is(err, exec.ErrNotRunning):
		return unavailable(ReasonShuttingDown, retrySoon, "the chain is not running on this node; ask another one, or later"), true
	case errors.Is(err, exec.ErrPruned):
		return prunedProblem(err), true
	case errors.Is(err, context.DeadlineExceeded):
		return &problem{code: codes.DeadlineExceeded, reason: ReasonDeadline, message: "the deadline passed before there was an answer; the same request may be sent again"}, true
	case errors.Is(err, context.Canceled):
		return &problem{code: codes.Canceled, reason: ReasonCancelled, message: "the call was cancelled"}, true
	}
	return transportProblem(err)
}

// transportProblem keeps what gRPC itself says of a broken call and hides
// everything else.
func transportProblem(err error) (*problem, bool) {
	switch status.Code(err) {
	case codes.ResourceExhausted:
		return exhausted(chain.CodeTooLarge.String(), 0, "the message exceeds the server's limit, which is %d bytes for a request; send less at once", MaxRequestBytes), true
	case codes.DeadlineExceeded:
		return problemOf(context.DeadlineExceeded)
	case codes.Canceled, codes.Unavailable:
		return problemOf(context.Canceled)
	default:
		return internalProblem(), false
	}
}

// prunedProblem says that this node no longer has something, and what it still has.
func prunedProblem(err error) *problem {
	p := &problem{
		code: codes.DataLoss, reason: ReasonPruned,
		message: "this node no longer has this; ask one that keeps everything",
	}
	if pruned, ok := errors.AsType[*exec.PrunedError](err); ok {
		p.message = fmt.Sprintf("this node does not have %s: kept from %s %d on; ask a node that keeps everything",
			pruned.What, pruned.Unit(), pruned.KeptFrom)
		key := keptFrom
		if pruned.Epochs {
			key = keptFromEpoch
		}
		p.setNumber(key, pruned.KeptFrom)
	}
	return p
}

// Metadata of PRUNED errors: the first height, or epoch, of which this node has what
// was asked for.
const (
	keptFrom      = "kept_from"
	keptFromEpoch = "kept_from_epoch"
)

func busyProblem(b *exec.BusyError) *problem {
	retry := max(b.RetryAfter, time.Millisecond)
	if errors.Is(b, exec.ErrPoolFull) {
		return exhausted(ReasonPoolFull, retry, "the pool of pending transactions is full; send the same request again in %v", retry)
	}
	if errors.Is(b, exec.ErrRaised) {
		return exhausted(ReasonOverloaded, retry, "pending transactions book as much as this one, or all but too little; send the same request again in %v to see whether they did", retry)
	}
	return exhausted(ReasonOverloaded, retry, "too many calls wait for checking; send the same request again in %v", retry)
}
