package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/telemetry"
)

func (c *cli) startCommand() *cobra.Command {
	var stopWithStdin bool
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Run the node of the home directory",
		Long: `Run the node of the home directory until it gets SIGTERM or SIGINT, which stops
it in good order; a second one ends it at once. Logs go to standard error, and on a
terminal a bar while the node catches up.

A chain that halts does not end the process: 'tributary status' and
'tributary health' say why it halted.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := c.homeDir()
			if err != nil {
				return err
			}
			settings, err := config.Load(string(dir), c.environ, cmd.Flags())
			if err != nil {
				return err
			}
			levels, err := config.ParseLevels(settings.Log.Level)
			if err != nil {
				return err
			}
			out, format := c.stderr, settings.Log.Format
			var bottom *bottomLine // nil: no terminal
			if terminal(c.stderr) && c.getenv("TERM") != "dumb" {
				bottom = &bottomLine{out: c.stderr}
				out = bottom
				if format == telemetry.FormatAuto {
					format = telemetry.FormatText
				}
			}
			log := slog.New(telemetry.NewHandler(out, format, levels))
			if c.getenv("GOGC") == "" { // which goes before the settings
				defer collectAt(settings.Store.GCPercent)()
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			if stopWithStdin {
				go func() {
					_, _ = io.Copy(io.Discard, c.stdin) // its end is all that counts
					cancel()
				}()
			}
			n, err := node.Open(ctx, node.Options{
				Home: dir, Config: settings, Log: log, Build: c.build.telemetry(),
			})
			if err != nil {
				return err
			}
			if bottom != nil {
				var drawn sync.WaitGroup
				drawn.Go(func() { bottom.follow(ctx, n) })
				defer drawn.Wait()
				defer cancel()
			}
			if err := n.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				log.LogAttrs(ctx, slog.LevelError, "the node stopped on an error", slog.Any("err", err))
				return err
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&stopWithStdin, "stop-with-stdin", false, "also stop when standard input ends")
	_ = cmd.Flags().MarkHidden("stop-with-stdin") // it was just added
	config.AddFlags(cmd.Flags())
	return cmd
}
