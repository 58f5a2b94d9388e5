package main

import (
	"context"

	"github.com/spf13/cobra"
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
	dialing, cancel := c.limit(ctx)
	conn, err := c.connect(dialing)
	cancel()
	if err != nil {
		return err
	}
	defer conn.close()
	return unreachable(conn.target.address, do(&run{ctx, conn, args}))
}
