package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// outcome is the outermost interceptor: it turns errors into statuses with
// details, panics into INTERNAL, and counts. Internal texts go to the log only.
type outcome struct {
	log     *slog.Logger
	metrics *metrics
	now     func() time.Time
	// methods are those that exist, so that labels are bounded. It is true for
	// this package's own; health and reflection say their errors themselves.
	methods map[string]bool
}

func (o *outcome) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	start := o.now()
	defer func() {
		err = o.finish(ctx, info.FullMethod, start, false, recovered(recover(), err))
		if err != nil {
			resp = nil
		}
	}()
	return handler(ctx, req)
}

func (o *outcome) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	start := o.now()
	defer func() {
		err = o.finish(stream.Context(), info.FullMethod, start, true, recovered(recover(), err))
	}()
	return handler(srv, stream)
}

// panicError is a panic of a handler.
type panicError struct {
	value any
	stack []byte
}

// Error returns the panic's value.
func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

func isPanic(err error) bool {
	_, ok := errors.AsType[*panicError](err)
	return ok
}

// recovered returns err, or the panic that replaced it.
func recovered(value any, err error) error {
	if value == nil {
		return err
	}
	return &panicError{value: value, stack: debug.Stack()}
}

// finish returns err as a status, and accounts for the call.
func (o *outcome) finish(ctx context.Context, method string, start time.Time, stream bool, err error) error {
	label := method
	own, exists := o.methods[method]
	if !exists {
		own, label = true, "other"
	}
	if err != nil && (own || isPanic(err)) {
		p, known := problemOf(err)
		if !known {
			o.logFault(ctx, method, err)
		}
		err = status.ErrorProto(p.GRPCStatus().Proto())
	}
	code := status.Code(err)
	o.metrics.ended(label, code.String(), o.now().Sub(start), stream)
	return err
}

func (o *outcome) logFault(ctx context.Context, method string, err error) {
	attrs := []slog.Attr{slog.String("method", method), slog.Any("err", err)}
	if p, ok := errors.AsType[*panicError](err); ok {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	o.log.LogAttrs(ctx, slog.LevelError, "call failed by a fault of the server", attrs...)
}

// unknownMethod answers calls of methods that do not exist.
func unknownMethod(any, grpc.ServerStream) error {
	return &problem{
		code: codes.Unimplemented, reason: ReasonUnimplemented,
		message: "there is no such method on this server",
	}
}
