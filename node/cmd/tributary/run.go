package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api/client"
)

// run is one run of a command that talks to a node.
type run struct {
	ctx  context.Context //nolint:containedctx // the run of a command has one
	conn *connection
	args []string
}

// connected wraps a command that makes some calls to a node. Its context ends
// after --timeout.
func (c *cli) connected(do func(*run) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, cancel := c.limit(cmd.Context())
		defer cancel()
		return c.with(ctx, args, do)
	}
}

// lasting wraps a command that talks to a node until it is interrupted.
func (c *cli) lasting(do func(*run) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return c.with(cmd.Context(), args, do)
	}
}

func (c *cli) with(ctx context.Context, args []string, do func(*run) error) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.close()
	return c.late(ctx, conn.target, conn.target.unreachable(ctx, do(&run{ctx, conn, args})))
}

// dial connects to the node within --timeout.
func (c *cli) dial(ctx context.Context) (*connection, error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	t, err := c.target()
	if err != nil {
		return nil, err
	}
	conn, err := c.connectTo(ctx, t)
	return conn, c.late(ctx, t, err)
}

// late says that --timeout ran out, if that is why err is not nil.
func (c *cli) late(ctx context.Context, t target, err error) error {
	if err == nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err
	}
	if unknown, ok := errors.AsType[*client.UnknownOutcomeError](err); ok {
		return exitf(exitUnavailable, "gave up after %v; whether transaction %s is executed is not known yet: 'tributary tx wait' tells", c.timeout, unknown.Hash)
	}
	if e, ok := errors.AsType[*client.Error](err); errors.Is(err, context.DeadlineExceeded) || ok && e.Code == codes.DeadlineExceeded {
		return exitf(exitUnavailable, "gave up on %s after %v; --timeout gives it longer", t.address, c.timeout)
	}
	return err
}
