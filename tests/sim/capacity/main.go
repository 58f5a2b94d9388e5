// Command capacity says how much a network of 1 to 1,024 shards carries and what limits
// it first. It measures what each operation costs here and now, in processor time and
// in bytes, with the rules that nodes run; works out how busy every part of a network
// of shards would be; and lets it run, event by event, at nine tenths of what the
// busiest part allows, which gives the time that messages take from shard to shard.
//
// Measured: verifying and applying bookings, sending and importing messages with their
// proofs, votes and certificates, anchors and settlements on main.
//
// Assumed, and printed with the table: how many validators there are, their processors and
// lines, which main and all shards that they serve share, sizes of committees, intervals of blocks, how often payees book and settle, and what a node
// spends on a booking beside the rules: its store, its pool and consensus, which is
// taken from `make bench` and not measured here.
//
// Not modelled: validators that serve more shards than others, skewed load (all shards are
// alike, and payees live anywhere), faults, and the limits of machines that carry
// anchors and imports. Figures are of the model, not of a network that ran.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	quick := flag.Bool("quick", false, "measure for a tenth of the time")
	flag.Parse()
	if err := run(*quick); err != nil {
		fmt.Fprintln(os.Stderr, "capacity:", err)
		os.Exit(1)
	}
}

func run(quick bool) error {
	fmt.Fprintln(os.Stderr, "measuring what operations cost, some seconds")
	costs, err := measure(quick)
	if err != nil {
		return err
	}
	return report(os.Stdout, &costs, defaultNetwork(), sizes())
}

// sizes are the numbers of shards that are asked for.
func sizes() []int { return []int{1, 4, 16, 64, 256, 1_024} }
