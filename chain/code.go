package chain

import (
	"errors"
	"fmt"
)

// Code is the numbered reason of a receipt. Only codes enter hashes; the text
// that explains one does not. Numbers are part of the protocol and never reused.
type Code uint16

// The codes. CodeOK is the only one under which a transaction has effects
// beyond its fee; entries of a batch have codes of their own.
const (
	CodeOK Code = 0

	// CodeMalformed and those after it are refused before execution: the bytes
	// themselves are wrong.
	CodeMalformed      Code = 1 // not the canonical encoding of a transaction
	CodeTooLarge       Code = 2 // above a size or count limit
	CodeWrongNetwork   Code = 3 // signed for another network
	CodeWrongChain     Code = 4 // signed for another chain
	CodeBadKey         Code = 5 // non-canonical or small-order public key
	CodeBadSignature   Code = 6 // a signature does not verify
	CodeBadOrder       Code = 7 // entries not strictly ascending, or a close flag not on its channel's last entry
	CodeUnknownKind    Code = 8 // no such kind of transaction
	CodeInvalidValue   Code = 9 // a field outside its range
	CodeAmountOverflow Code = 10

	// CodeNonceUsed and those after it are refused by the account's state.
	CodeNonceUsed           Code = 20 // this nonce was used already (a repeat)
	CodeNonceTooHigh        Code = 21 // beyond the account's nonce window
	CodeExpired             Code = 22 // valid_until has passed
	CodeFeeTooLow           Code = 23 // max_fee is below the fee
	CodeInsufficientBalance Code = 24
	CodeAccountNotFound     Code = 25
	CodeSelfPayment         Code = 26 // payer and payee are one account
	CodeDuplicate           Code = 27 // the same record is pending already

	// CodeChannelNotFound and those after it are refused by the channel's state.
	CodeChannelNotFound  Code = 40
	CodeChannelClosing   Code = 41
	CodeChannelExpired   Code = 42 // past its expiry, waiting to be finalised
	CodeNotPayer         Code = 43
	CodeNotPayee         Code = 44
	CodeStale            Code = 45 // NO_OP: nothing new to pay
	CodeUnderfunded      Code = 46 // NO_OP: nothing left in the deposit
	CodePartial          Code = 47 // paid what was left of the deposit
	CodeLaneLimit        Code = 48
	CodeBadPreimage      Code = 49
	CodeDepositTooSmall  Code = 50
	CodeExpiryOutOfRange Code = 51
	CodeChallengeRange   Code = 52
	CodeUnknownService   Code = 53
	CodeBatchAborted     Code = 54 // an ATOMIC batch had an entry that did not apply
	CodeFinalOutOfRange  Code = 55 // cooperative close below redeemed or above deposit
	CodeChannelMismatch  Code = 56 // index and channel id name different channels
	CodePayeeZone        Code = 57 // the payee is in a zone that the service does not have

	// CodeValidatorNotFound and those after it are refused by the state of
	// validators and delegations.
	CodeValidatorNotFound   Code = 70
	CodeValidatorJailed     Code = 71
	CodeTombstoned          Code = 72 // the validator double-signed and is out for ever
	CodeNotOperator         Code = 73
	CodeKeyUsed             Code = 74 // a consensus or BLS key that was registered before, by whomever
	CodeOperatorUsed        Code = 75 // the operator has a validator already
	CodeBadProof            Code = 76 // the proof of possession of the BLS key does not hold for this operator, consensus key and network
	CodeSelfStakeTooSmall   Code = 77
	CodeCommissionTooHigh   Code = 78 // above the validator's own maximum
	CodeCommissionJump      Code = 79 // changed by too much, or twice in an epoch
	CodeDelegationTooSmall  Code = 80
	CodeDelegationNotFound  Code = 81
	CodeMoreThanDelegated   Code = 82
	CodeRedelegating        Code = 83 // stake that is still answerable for its last validator cannot move on
	CodeTooManyEntries      Code = 84 // unbondings or redelegations under way
	CodeNotJailed           Code = 85
	CodeJailNotOver         Code = 86
	CodeNothingToClaim      Code = 87
	CodeSameValidator       Code = 88 // a redelegation to where the stake is
	CodeValidatorWorthless  Code = 89 // slashed so far that its shares are worth too little to issue more
	CodeEvidenceExpired     Code = 90
	CodeEvidenceOfNoMember  Code = 91 // the accused was no member of the committee of that epoch
	CodeEvidenceKnown       Code = 92 // the accused was punished for this equivocation already, or for a worse one of the same mistake
	CodeEvidenceFromNowhere Code = 93 // of a height that does not exist yet, or of an unknown kind

	// CodeLinkFull and those after it are refused by the state of links between
	// places. Outside, 100 stands for CodeOK.
	CodeLinkFull       Code = 101 // too many messages under way
	CodeLinkBytes      Code = 102 // too many bytes under way
	CodeForeignPlace   Code = 103 // a place that another chain owns, or owned
	CodeLinkGap        Code = 104 // messages before the first one are missing
	CodeLinkRepeat     Code = 105 // the first message was received already
	CodeNotAnchored    Code = 106 // the outbox is not known to be anchored
	CodeBadRange       Code = 107 // the proof does not lead from the messages to the outbox
	CodeReturnsFull    Code = 108 // no room for messages to go back
	CodeNeverSent      Code = 109 // acknowledged or bounced, but never sent
	CodeNothingNew     Code = 110 // nothing that is not known already
	CodeMessageExpired Code = 111 // came too late, and goes back
	CodeNotDue         Code = 112 // asked for too soon
	CodeLinkNotFound   Code = 113

	// CodeUnknownShard and those after it are refused by the state of anchors.
	CodeUnknownShard     Code = 120
	CodeAnchorGap        Code = 121 // checkpoints before the first one are missing
	CodeAnchorStale      Code = 122 // it begins with a height that is anchored
	CodeAnchorEpoch      Code = 123 // of an epoch before the last one anchored, or that has not begun
	CodeUnknownCommittee Code = 124 // no committee is known for the epoch, or not any more
	CodeBadCertificate   Code = 125 // the committee did not sign the checkpoints
	CodeAnchorConflict   Code = 126 // the last height is anchored with another checkpoint
	CodeShardEnded       Code = 127 // beyond the height or epoch at which the shard was to stop
	CodeNoConflict       Code = 128 // nobody signed two checkpoints of one height
	CodeAnchorGeneration Code = 129 // of a generation of the shard that does not go on
)

// RuleError says that a rule refuses something, and why.
// errors.Is(err, CodeX.Err()) and CodeOf find its code.
type RuleError struct {
	Code   Code
	Detail string // for people; never hashed
	// Positions are the entries concerned, ascending, at most 64; nil if the
	// whole transaction is.
	Positions []int
}

// Error returns the code's name and the detail.
func (e *RuleError) Error() string {
	if e.Detail == "" {
		return e.Code.String()
	}
	return e.Code.String() + ": " + e.Detail
}

// Is reports whether target is a RuleError of the same code.
func (e *RuleError) Is(target error) bool {
	var t *RuleError
	return errors.As(target, &t) && t.Code == e.Code
}

// Refuse returns a RuleError with a formatted detail.
func Refuse(code Code, format string, args ...any) *RuleError {
	return &RuleError{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Err returns a bare RuleError of the code, for errors.Is.
func (c Code) Err() error { return &RuleError{Code: c} }

// CodeOf returns the code of err: CodeOK for nil, and ok=false if err is no
// RuleError.
func CodeOf(err error) (code Code, ok bool) {
	if err == nil {
		return CodeOK, true
	}
	if e, isRule := errors.AsType[*RuleError](err); isRule {
		return e.Code, true
	}
	return 0, false
}

// String returns the code's name as the API shows it: "BAD_SIGNATURE".
func (c Code) String() string {
	if name, ok := codeName(c); ok {
		return name
	}
	return fmt.Sprintf("CODE_%d", uint16(c))
}

// Known reports whether c is one of the protocol's codes.
func (c Code) Known() bool {
	_, ok := codeName(c)
	return ok
}

func codeName(c Code) (string, bool) {
	switch c {
	case CodeOK:
		return "OK", true
	case CodeMalformed:
		return "MALFORMED", true
	case CodeTooLarge:
		return "TOO_LARGE", true
	case CodeWrongNetwork:
		return "WRONG_NETWORK", true
	case CodeWrongChain:
		return "WRONG_CHAIN", true
	case CodeBadKey:
		return "NON_CANONICAL_KEY", true
	case CodeBadSignature:
		return "BAD_SIGNATURE", true
	case CodeBadOrder:
		return "BAD_ORDER", true
	case CodeUnknownKind:
		return "UNKNOWN_KIND", true
	case CodeInvalidValue:
		return "INVALID_VALUE", true
	case CodeAmountOverflow:
		return "AMOUNT_OVERFLOW", true
	default:
		return stateCodeName(c)
	}
}

func stateCodeName(c Code) (string, bool) {
	switch c {
	case CodeNonceUsed:
		return "NONCE_USED", true
	case CodeNonceTooHigh:
		return "NONCE_TOO_HIGH", true
	case CodeExpired:
		return "EXPIRED", true
	case CodeFeeTooLow:
		return "FEE_TOO_LOW", true
	case CodeInsufficientBalance:
		return "INSUFFICIENT_BALANCE", true
	case CodeAccountNotFound:
		return "ACCOUNT_NOT_FOUND", true
	case CodeSelfPayment:
		return "SELF_PAYMENT", true
	case CodeDuplicate:
		return "DUPLICATE", true
	default:
		return channelCodeName(c)
	}
}

func channelCodeName(c Code) (string, bool) {
	switch c {
	case CodeChannelNotFound:
		return "CHANNEL_NOT_FOUND", true
	case CodeChannelClosing:
		return "CHANNEL_CLOSING", true
	case CodeChannelExpired:
		return "CHANNEL_EXPIRED", true
	case CodeNotPayer:
		return "NOT_PAYER", true
	case CodeNotPayee:
		return "NOT_PAYEE", true
	case CodeStale:
		return "NO_OP_STALE", true
	case CodeUnderfunded:
		return "UNDERFUNDED", true
	case CodePartial:
		return "PARTIAL_UNDERFUNDED", true
	case CodeLaneLimit:
		return "LANE_LIMIT", true
	case CodeBadPreimage:
		return "BAD_PREIMAGE", true
	case CodeDepositTooSmall:
		return "DEPOSIT_TOO_SMALL", true
	case CodeExpiryOutOfRange:
		return "EXPIRY_OUT_OF_RANGE", true
	case CodeChallengeRange:
		return "CHALLENGE_OUT_OF_RANGE", true
	case CodeUnknownService:
		return "UNKNOWN_SERVICE", true
	case CodeBatchAborted:
		return "BATCH_ABORTED", true
	case CodeFinalOutOfRange:
		return "FINAL_OUT_OF_RANGE", true
	case CodeChannelMismatch:
		return "CHANNEL_MISMATCH", true
	case CodePayeeZone:
		return "PAYEE_ZONE", true
	default:
		return stakingCodeName(c)
	}
}

func stakingCodeName(c Code) (string, bool) {
	switch c {
	case CodeValidatorNotFound:
		return "VALIDATOR_NOT_FOUND", true
	case CodeValidatorJailed:
		return "VALIDATOR_JAILED", true
	case CodeTombstoned:
		return "TOMBSTONED", true
	case CodeNotOperator:
		return "NOT_OPERATOR", true
	case CodeKeyUsed:
		return "KEY_USED", true
	case CodeOperatorUsed:
		return "OPERATOR_USED", true
	case CodeBadProof:
		return "BAD_PROOF", true
	case CodeSelfStakeTooSmall:
		return "SELF_STAKE_TOO_SMALL", true
	case CodeCommissionTooHigh:
		return "COMMISSION_TOO_HIGH", true
	case CodeCommissionJump:
		return "COMMISSION_JUMP", true
	case CodeDelegationTooSmall:
		return "DELEGATION_TOO_SMALL", true
	case CodeDelegationNotFound:
		return "DELEGATION_NOT_FOUND", true
	case CodeMoreThanDelegated:
		return "MORE_THAN_DELEGATED", true
	case CodeRedelegating:
		return "REDELEGATING", true
	case CodeTooManyEntries:
		return "TOO_MANY_ENTRIES", true
	default:
		return faultCodeName(c)
	}
}

func faultCodeName(c Code) (string, bool) {
	switch c {
	case CodeNotJailed:
		return "NOT_JAILED", true
	case CodeJailNotOver:
		return "JAIL_NOT_OVER", true
	case CodeNothingToClaim:
		return "NOTHING_TO_CLAIM", true
	case CodeSameValidator:
		return "SAME_VALIDATOR", true
	case CodeValidatorWorthless:
		return "VALIDATOR_WORTHLESS", true
	case CodeEvidenceExpired:
		return "EVIDENCE_EXPIRED", true
	case CodeEvidenceOfNoMember:
		return "EVIDENCE_OF_NO_MEMBER", true
	case CodeEvidenceKnown:
		return "EVIDENCE_KNOWN", true
	case CodeEvidenceFromNowhere:
		return "EVIDENCE_FROM_NOWHERE", true
	default:
		return linkCodeName(c)
	}
}

func linkCodeName(c Code) (string, bool) {
	switch c {
	case CodeLinkFull:
		return "LINK_FULL", true
	case CodeLinkBytes:
		return "LINK_BYTES", true
	case CodeForeignPlace:
		return "FOREIGN_PLACE", true
	case CodeLinkGap:
		return "LINK_GAP", true
	case CodeLinkRepeat:
		return "LINK_REPEAT", true
	case CodeNotAnchored:
		return "NOT_ANCHORED", true
	case CodeBadRange:
		return "BAD_RANGE", true
	case CodeReturnsFull:
		return "RETURNS_FULL", true
	case CodeNeverSent:
		return "NEVER_SENT", true
	case CodeNothingNew:
		return "NOTHING_NEW", true
	case CodeMessageExpired:
		return "MESSAGE_EXPIRED", true
	case CodeNotDue:
		return "NOT_DUE", true
	case CodeLinkNotFound:
		return "LINK_NOT_FOUND", true
	default:
		return anchorCodeName(c)
	}
}

func anchorCodeName(c Code) (string, bool) {
	switch c {
	case CodeUnknownShard:
		return "UNKNOWN_SHARD", true
	case CodeAnchorGap:
		return "ANCHOR_GAP", true
	case CodeAnchorStale:
		return "ANCHOR_STALE", true
	case CodeAnchorEpoch:
		return "ANCHOR_EPOCH", true
	case CodeUnknownCommittee:
		return "UNKNOWN_COMMITTEE", true
	case CodeBadCertificate:
		return "BAD_CERTIFICATE", true
	case CodeAnchorConflict:
		return "ANCHOR_CONFLICT", true
	case CodeShardEnded:
		return "SHARD_ENDED", true
	case CodeNoConflict:
		return "NO_CONFLICT", true
	case CodeAnchorGeneration:
		return "ANCHOR_GENERATION", true
	default:
		return serviceCodeName(c)
	}
}
