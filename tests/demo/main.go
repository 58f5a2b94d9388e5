// Command demo runs Tributary's main job end to end on this machine and checks
// the result to the last drop.
//
// It starts a fresh network of four validator processes on free loopback ports,
// funds a payer and ten payees, opens 1,000 channels with one signature, streams
// 100,000 vouchers from the payer to the payees off-chain, settles them over
// gRPC in batches, and takes one channel through each of the special paths: a
// cooperative close, a close by the payer that the payee answers within the
// challenge window, an expiry, a claim above the deposit, a claim that is stale
// and one with a bad signature.
//
// Then customers and providers in two zones use two services: the providers book what
// was used on the shards that are the homes of the channels, earnings cross to the
// providers' own homes, and the shards settle on the main chain by themselves, as the
// providers do directly on one of the services. Every booking of the last round is traced
// over all its hops, and proved from the genesis.
//
// What every account must own at the end is computed from the vouchers alone.
// The demo exits 0 only if each balance is exactly that, on all four validators,
// and no money appeared or vanished.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/node/testnet"
)

func main() {
	binary := flag.String("binary", "build/tributary", "the program that the validators run")
	keep := flag.String("dir", "", "directory to keep the network in; the default is removed at the end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := run(ctx, *binary, *keep, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// limit ends a demo that hangs.
const limit = 5 * time.Minute

func run(ctx context.Context, binary, dir string, out io.Writer) (err error) {
	step := progress{out: out, begin: time.Now()}
	step.say("starting four validators")
	net, err := testnet.StartProcesses(ctx, binary, testnet.Options{
		Dir: dir, Name: "local-demo",
		Params: func(p *settlement.Params) { p.MinChallenge = 5 },
	})
	if err != nil {
		return fmt.Errorf("start the network: %w", err)
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, net.Stop(stop))
	}()

	m, err := newMarket(ctx, net)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	step.say("funding %d accounts", 1+len(m.sellers))
	if err := m.fund(ctx); err != nil {
		return err
	}
	step.say("opening %d channels with one signature", channels)
	if err := m.open(ctx); err != nil {
		return err
	}
	step.say("taking one channel through each special path, while the others are paid on")
	special := make(chan error, 1)
	go func() { special <- m.specialPaths(ctx, step) }()
	if err := m.trade(ctx, step); err != nil {
		return errors.Join(err, <-special)
	}
	if err := <-special; err != nil {
		return err
	}
	step.say("using two services across two zones, %d vouchers for each channel", usageRounds)
	if err := m.bookUsage(ctx, step); err != nil {
		return err
	}
	step.say("closing all channels")
	if err := m.closeAll(ctx); err != nil {
		return err
	}
	step.say("comparing every balance with the vouchers, on all four validators")
	audit, err := m.audit(ctx, net)
	if err != nil {
		return err
	}
	return m.table(out, audit, time.Since(step.begin))
}

// progress tells how far the demo is.
type progress struct {
	out   io.Writer
	begin time.Time
}

func (p progress) say(format string, args ...any) {
	fmt.Fprintf(p.out, "%5.1fs  %s\n", time.Since(p.begin).Seconds(), fmt.Sprintf(format, args...))
}
