package api

import (
	"fmt"
	"maps"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Domain is the domain of every ErrorInfo.
const Domain = "tributary.network"

// Reasons of errors that are not the chain's rules: those have the names of
// their codes. Every error has a reason in its ErrorInfo, and programs should
// go by it; the message is for people.
const (
	// ReasonInvalidField: a field of the request is wrong; see BadRequest.
	ReasonInvalidField = "INVALID_FIELD"
	// ReasonInvalidPageToken: the page token is not one of this list.
	ReasonInvalidPageToken = "INVALID_PAGE_TOKEN"
	// ReasonUnexpectedKind: the signed transaction does something else.
	ReasonUnexpectedKind = "UNEXPECTED_KIND"
	// ReasonRequestIDReused: the request id was used for another request.
	ReasonRequestIDReused = "REQUEST_ID_REUSED"
	// ReasonTransactionNotFound: this node does not know the transaction.
	ReasonTransactionNotFound = "TRANSACTION_NOT_FOUND"
	// ReasonBlockNotFound: this node does not have the block.
	ReasonBlockNotFound = "BLOCK_NOT_FOUND"
	// ReasonProofUnavailable: there is no proof yet, or no longer.
	ReasonProofUnavailable = "PROOF_UNAVAILABLE"
	// ReasonPruned: this node no longer has it; an archive node may.
	ReasonPruned = "PRUNED"
	// ReasonNoCertificate: this node has no certificate of the block.
	ReasonNoCertificate = "NO_CERTIFICATE"
	// ReasonNoHandover: this node cannot prove the committee by the one before.
	ReasonNoHandover = "NO_HANDOVER"
	// ReasonBadEvidence: it proves no fault, or one that is too old to be punished.
	ReasonBadEvidence = "BAD_EVIDENCE"
	// ReasonCommitteeNotFound: the committee is not elected yet.
	ReasonCommitteeNotFound = "COMMITTEE_NOT_FOUND"
	// ReasonFaucetDisabled: this network has no faucet.
	ReasonFaucetDisabled = "FAUCET_DISABLED"
	// ReasonFaucetLimit: more was asked of the faucet than it gives.
	ReasonFaucetLimit = "FAUCET_LIMIT"
	// ReasonRateLimited: more requests than the caller's share.
	ReasonRateLimited = "RATE_LIMITED"
	// ReasonOverloaded: more requests are under way than the server can do.
	ReasonOverloaded = "OVERLOADED"
	// ReasonPoolFull: no more transactions fit into the pool.
	ReasonPoolFull = "MEMPOOL_FULL"
	// ReasonTooManyConnections: a connection was closed at once; only metrics
	// tell.
	ReasonTooManyConnections = "TOO_MANY_CONNECTIONS"
	// ReasonTooManyStreams: no more streams of this method.
	ReasonTooManyStreams = "TOO_MANY_STREAMS"
	// ReasonCreditExceeded: a stream sent more than it had credit for.
	ReasonCreditExceeded = "CREDIT_EXCEEDED"
	// ReasonTooManyErrors: too many items of a stream were malformed.
	ReasonTooManyErrors = "TOO_MANY_ERRORS"
	// ReasonStreamReplaced: the same client opened another stream.
	ReasonStreamReplaced = "STREAM_REPLACED"
	// ReasonNotSynced: this node is behind; another may do.
	ReasonNotSynced = "NOT_SYNCED"
	// ReasonChainHalted: the chain stopped on this node.
	ReasonChainHalted = "CHAIN_HALTED"
	// ReasonNotHosted: this node does not run the shard; metadata says who does.
	ReasonNotHosted = "NOT_HOSTED"
	// ReasonCongested: the shard takes no new transactions until it has worked off what
	// waits.
	ReasonCongested = "CONGESTED"
	// ReasonShuttingDown: this node is stopping; another may do.
	ReasonShuttingDown = "SHUTTING_DOWN"
	// ReasonDeadline: the call's deadline passed.
	ReasonDeadline = "DEADLINE_EXCEEDED"
	// ReasonCancelled: the caller gave up.
	ReasonCancelled = "CANCELLED"
	// ReasonUnimplemented: there is no such method.
	ReasonUnimplemented = "UNIMPLEMENTED"
	// ReasonInternal: a fault of the server; its log says more.
	ReasonInternal = "INTERNAL"
)

// problem is an error as clients see it. Its text is made for them and never
// taken from an internal error.
type problem struct {
	code     codes.Code
	reason   string
	message  string
	metadata map[string]string
	// positions are the entries concerned, ascending, at most maxPositions.
	positions []uint32
	fields    []field       // of the request that are wrong
	subject   string        // of a failed precondition or a quota: a resource name
	retry     time.Duration // when to come back; 0 leaves it open
	// passed is the answer of another node, which then is the whole of it.
	passed *status.Status
}

// field says what is wrong with one field, and what to do about it.
type field struct {
	path    string // "batch.entries[3].lane"
	problem string
}

// Error returns reason and message.
func (p *problem) Error() string { return p.reason + ": " + p.message }

// GRPCStatus returns the status with its details: always an ErrorInfo.
func (p *problem) GRPCStatus() *status.Status {
	if p.passed != nil {
		return p.passed
	}
	s := status.New(p.code, p.message)
	metadata := p.metadata
	if len(p.positions) > 0 {
		metadata = maps.Clone(metadata)
		if metadata == nil {
			metadata = make(map[string]string)
		}
		metadata["positions"] = joinPositions(p.positions)
	}
	details := []protoadapt.MessageV1{
		protoadapt.MessageV1Of(&errdetails.ErrorInfo{Reason: p.reason, Domain: Domain, Metadata: metadata}),
	}
	if len(p.fields) > 0 {
		bad := &errdetails.BadRequest{}
		for _, f := range p.fields {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{
				Field: f.path, Description: f.problem, Reason: p.reason,
			})
		}
		details = append(details, protoadapt.MessageV1Of(bad))
	}
	if p.code == codes.FailedPrecondition {
		details = append(details, protoadapt.MessageV1Of(&errdetails.PreconditionFailure{
			Violations: []*errdetails.PreconditionFailure_Violation{{Type: p.reason, Subject: p.subject, Description: p.message}},
		}))
	}
	if p.reason == ReasonRateLimited || p.reason == ReasonFaucetLimit {
		details = append(details, protoadapt.MessageV1Of(&errdetails.QuotaFailure{
			Violations: []*errdetails.QuotaFailure_Violation{{Subject: p.subject, Description: p.message}},
		}))
	}
	if p.retry > 0 {
		details = append(details, protoadapt.MessageV1Of(&errdetails.RetryInfo{RetryDelay: durationpb.New(p.retry)}))
	}
	full, err := s.WithDetails(details...)
	if err != nil { // only if a detail cannot be encoded
		return s
	}
	return full
}

// set adds metadata.
func (p *problem) set(key, value string) {
	if p.metadata == nil {
		p.metadata = make(map[string]string)
	}
	p.metadata[key] = value
}

// setNumber adds metadata in decimal digits.
func (p *problem) setNumber(key string, value uint64) { p.set(key, strconv.FormatUint(value, 10)) }

// retryable reports whether the same request may succeed later.
func (p *problem) retryable() bool {
	switch p.code {
	case codes.ResourceExhausted, codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return true
	default:
		return false
	}
}

// invalid says that the field at path is wrong; the text says why and what
// would be right.
func invalid(path, format string, args ...any) *problem {
	text := fmt.Sprintf(format, args...)
	return &problem{
		code:    codes.InvalidArgument,
		reason:  ReasonInvalidField,
		message: path + ": " + text,
		fields:  []field{{path: path, problem: text}},
	}
}

// missing says that something named does not exist on this node.
func missing(reason, name, format string, args ...any) *problem {
	return &problem{
		code:     codes.NotFound,
		reason:   reason,
		message:  fmt.Sprintf(format, args...),
		metadata: map[string]string{"name": name},
		subject:  name,
	}
}

// unavailable says that this node cannot serve now.
func unavailable(reason string, retry time.Duration, message string) *problem {
	return &problem{code: codes.Unavailable, reason: reason, message: message, retry: retry}
}

// exhausted says that the server has no room for the call now.
func exhausted(reason string, retry time.Duration, format string, args ...any) *problem {
	return &problem{code: codes.ResourceExhausted, reason: reason, message: fmt.Sprintf(format, args...), retry: retry}
}
