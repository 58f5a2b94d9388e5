// Command tributary runs a Tributary node and talks to one.
//
// One file holds one subcommand. Results go to standard output, progress and
// logs to standard error, so that output can be piped. Every command that reads
// has -o json. What the program ends with says what happened:
//
//	0  done
//	1  an error
//	2  the command line is wrong
//	3  what was asked for does not exist
//	4  the node is not synced, or not ready
//	5  the node cannot be reached, or is busy
//
// Settings come from flags, then TRIBUTARY_... variables, then the file
// config/config.toml below --home. Colours appear only on a terminal, and not
// with NO_COLOR.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Set by the linker: -X main.version=v0.1.0 -X main.commit=...
var (
	version string
	commit  string //nolint:gochecknoglobals // the linker sets it
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the program as it would without us
	}()
	c := &cli{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(),
		build: readBuild(version, commit),
	}
	os.Exit(c.run(ctx, os.Args[1:]))
}
