package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
)

// Error is the answer of a node that does not do what it was asked. If a rule of
// the chain is the reason, errors.Is(err, code.Err()) with a code of package
// chain finds it, and errors.As a *chain.RuleError with the positions of the
// entries concerned.
type Error struct {
	Code     codes.Code // of gRPC
	Reason   string     // of the ErrorInfo: "CHANNEL_NOT_FOUND", "MEMPOOL_FULL"
	Message  string     // for people
	Metadata map[string]string
	Fields   []FieldError  // of the request that are wrong
	Retry    time.Duration // when to come back; 0 leaves it open

	rule *chain.RuleError // nil unless a rule is the reason
}

// FieldError says what is wrong with one field of a request.
type FieldError struct {
	Field   string
	Problem string
}

// Error returns the reason and the message.
func (e *Error) Error() string {
	if e.Reason == "" || strings.HasPrefix(e.Message, e.Reason) {
		return e.Message
	}
	return e.Reason + ": " + e.Message
}

// Unwrap returns the rule that is the reason, or nil.
func (e *Error) Unwrap() error {
	if e.rule == nil {
		return nil
	}
	return e.rule
}

// GRPCStatus returns the code and the message, for status.FromError.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }

// UnknownOutcomeError says that a transaction was sent, and that nobody answered
// what became of it. It may be executed, now or until it expires.
type UnknownOutcomeError struct {
	Hash ledger.Hash
	Err  error
}

// Error names the transaction and what went wrong.
func (e *UnknownOutcomeError) Error() string {
	return fmt.Sprintf("outcome of transaction %s is unknown: %v", e.Hash, e.Err)
}

// Unwrap returns what went wrong.
func (e *UnknownOutcomeError) Unwrap() error { return e.Err }

// errorOf returns a gRPC error as an *Error.
func errorOf(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	e := &Error{Code: s.Code(), Message: s.Message()}
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			e.Reason, e.Metadata = d.GetReason(), d.GetMetadata()
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				e.Fields = append(e.Fields, FieldError{Field: v.GetField(), Problem: v.GetDescription()})
			}
		case *errdetails.RetryInfo:
			e.Retry = d.GetRetryDelay().AsDuration()
		}
	}
	e.rule = ruleOf(e.Reason, e.Message, positionsOf(e.Metadata["positions"]))
	return e
}

// ruleOf returns the rule with the name reason, or nil if there is none.
func ruleOf(reason, message string, positions []int) *chain.RuleError {
	const lastCode = 255
	for c := chain.Code(1); c <= lastCode; c++ {
		if c.Known() && c.String() == reason {
			detail := strings.TrimPrefix(strings.TrimPrefix(message, reason), ": ")
			return &chain.RuleError{Code: c, Detail: detail, Positions: positions}
		}
	}
	return nil
}

// positionsOf reads "3,17,18".
func positionsOf(list string) []int {
	if list == "" {
		return nil
	}
	var positions []int
	for s := range strings.SplitSeq(list, ",") {
		if n, err := strconv.Atoi(s); err == nil && n >= 0 {
			positions = append(positions, n)
		}
	}
	return positions
}

// isRule reports whether a rule of the chain is the reason of err.
func isRule(err error) bool {
	_, ok := chain.CodeOf(err)
	return err != nil && ok
}

// RetryPolicy says how calls are repeated that failed for a reason that may pass.
// Zero fields have defaults.
type RetryPolicy struct {
	Attempts int           // at most; default 8
	MinDelay time.Duration // after the first failure, doubling; default 50 ms
	MaxDelay time.Duration // default 5 s
}

const (
	defaultAttempts = 8
	defaultMinDelay = 50 * time.Millisecond
	defaultMaxDelay = 5 * time.Second
)

func (p RetryPolicy) withDefaults() RetryPolicy {
	if p.Attempts <= 0 {
		p.Attempts = defaultAttempts
	}
	if p.MinDelay <= 0 {
		p.MinDelay = defaultMinDelay
	}
	if p.MaxDelay < p.MinDelay {
		p.MaxDelay = max(defaultMaxDelay, p.MinDelay)
	}
	return p
}

// delay returns how long to wait after the failure of an attempt, from 1 on.
func (p RetryPolicy) delay(attempt int, err error) time.Duration {
	d := p.MaxDelay
	if shift := attempt - 1; shift < 16 {
		d = min(p.MinDelay<<shift, p.MaxDelay)
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Retry > 0 {
		d = max(e.Retry, p.MinDelay)
	}
	return d
}

// passes reports whether the same call may succeed later.
func passes(err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok || isRule(err) {
		return false
	}
	switch e.Code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Aborted:
		return true
	case codes.ResourceExhausted: // without a time to come back it is a limit, not a load
		return e.Retry > 0
	default:
		return false
	}
}

// elsewhere reports whether another node may do better.
func elsewhere(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Code == codes.Unavailable || e.Code == codes.DeadlineExceeded)
}

// shardPatience is how long the waits are in all of a call that is repeated about a shard that no node runs yet: after
// a split or a change of committees its heirs begin within some blocks of main.
const shardPatience = 30 * time.Second

// begins reports whether a shard is not run yet, or only just, where it will be.
func begins(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == codes.Unavailable && (e.Reason == "NOT_HOSTED" || e.Reason == "NOT_SYNCED")
}

// invoke makes a call, and repeats it while that may help.
func invoke[Resp any](ctx context.Context, c *Client, call func(context.Context, *endpoint) (Resp, error)) (Resp, error) {
	waited := time.Duration(0)
	for attempt := 1; ; attempt++ {
		e := c.endpoint()
		one, cancel := context.WithTimeout(ctx, c.options.timeout)
		resp, err := call(one, e)
		cancel()
		if err == nil {
			return resp, nil
		}
		err = errorOf(err)
		more := attempt < c.options.retry.Attempts || begins(err) && waited < shardPatience
		if more && passes(err) && ctx.Err() == nil {
			c.retrying(ctx, e, attempt, err)
			pause := c.options.retry.delay(attempt, err)
			if waited += pause; sleep(ctx, pause) {
				continue
			}
		}
		if cause := ctx.Err(); cause != nil {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		var none Resp
		return none, err
	}
}

// retrying tells of a failed attempt and moves to another node if that may help.
func (c *Client) retrying(ctx context.Context, e *endpoint, attempt int, err error) {
	if elsewhere(err) {
		c.leave(e)
	}
	c.options.log.LogAttrs(ctx, slog.LevelDebug, "call will be repeated",
		slog.String("endpoint", e.target), slog.Int("attempt", attempt), slog.Any("err", err))
}

// sleep waits for d and reports whether ctx is still there.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
