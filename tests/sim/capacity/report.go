package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"
)

const (
	// part is the share of what the busiest part allows that networks run at.
	part = 0.9
	// claimed is how many billing units a second the largest service of this kind says
	// that it counts.
	claimed = 100_000
)

// Row is a line of the table.
type Row struct {
	Plan
	Figures
	First               string  // the part that limits it
	Anchors, Settlement float64 // of that part of main which is busiest
}

// rows works out and runs networks of these sizes.
func rows(c *Costs, n Network, sizes []int) []Row {
	list := make([]Row, 0, len(sizes))
	for _, shards := range sizes {
		p := n.plan(c, shards)
		each, first := n.most(c, p)
		each *= part
		anchors, settle := n.anchors(c, p), n.settle(c, each*float64(shards))
		_, at := anchors.plus(settle).most()
		list = append(list, Row{
			Plan: p, Figures: simulate(&n, c, p, each), First: first.Part, Anchors: anchors[at], Settlement: settle[at],
		})
	}
	return list
}

// report writes costs, assumptions and the table.
func report(w io.Writer, c *Costs, n Network, sizes []int) error {
	fmt.Fprintln(w, "What operations cost, microseconds of one processor (and bytes)")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range []struct {
		name        string
		micros, raw float64
	}{
		{"booking: signatures", c.BookVerify, c.BookBytes},
		{"booking: rules", c.BookApply, 0},
		{"message: sent", c.Send, 0},
		{"import with proof", c.Import, c.ImportBytes},
		{"message or acknowledgement in it", c.ImportLeaf, c.LeafBytes},
		{"vote of a member", c.Vote, 0},
		{"certificate of 32 made", c.Assemble, 0},
		{"certificate of 32 verified", c.CertVerify, 0},
		{"anchor on main", c.Anchor, c.AnchorBytes},
		{"height in it", c.AnchorHeight, c.AnchorHeightBytes},
		{"settled entry: signature", c.SettleVerify, c.SettleBytes},
		{"settled entry: rules", c.Settle, 0},
	} {
		size := ""
		if r.raw > 0 {
			size = fmt.Sprintf("(%.0f)", r.raw)
		}
		fmt.Fprintf(tw, "  %s\t%s\t%s\n", r.name, significant(r.micros), size)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	assumptions(w, &n)
	tw = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "SHARDS\tSEATS\tBLOCK\tHEIGHTS\tBOOKINGS/S\tUNITS/S\tOF CLAIM\tP50\tP95\tANCHORS\tSETTLING\tFIRST LIMIT")
	fmt.Fprintln(tw, "\tof each\ts\tper anchor\tin all\tin all\t\tmain blocks\tmain blocks\tof main\tof main\t")
	for _, r := range rows(c, n, sizes) {
		units := r.Bookings * n.Units
		fmt.Fprintf(tw, "%d\t%g\t%g\t%d\t%s\t%s\t%sx\t%s\t%s\t%s\t%s\t%s%s\n", r.Shards, n.seats(r.Plan), r.Interval.Seconds(), r.Heights,
			thousands(r.Bookings), thousands(units), significant(units/claimed), n.blocks(r.P50), n.blocks(r.P95),
			percent(r.Anchors), percent(r.Settlement), r.First, behind(&r))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	slower(w, c, &n, sizes)
	return suffices(w, c, n, sizes)
}

// suffices writes how many validators it takes for something else to be the limit.
func suffices(w io.Writer, c *Costs, n Network, sizes []int) error {
	fmt.Fprint(w, "\nAs many validators as it takes for all to be carried that more of them would carry, but for a twentieth\n")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "SHARDS\tVALIDATORS\tSEATS\tBOOKINGS/S\tFIRST LIMIT")
	for _, shards := range sizes {
		r := n.enough(c, shards)
		p := r.plan(c, shards)
		each, first := r.most(c, p)
		fmt.Fprintf(tw, "%d\t%s\t%g\t%s\t%s\n", shards, thousands(r.Validators), r.seats(p), thousands(part*each*float64(shards)), first.Part)
	}
	return tw.Flush()
}

// slower says from how many shards on their blocks have to be rarer than those of main.
func slower(w io.Writer, c *Costs, n *Network, sizes []int) {
	for _, shards := range sizes {
		if n.plan(c, shards).Interval == n.MainInterval {
			continue
		}
		share, part := n.anchors(c, Plan{Shards: shards, Interval: n.MainInterval, Heights: n.AnchorMost}).most()
		less := "with less they fall behind"
		if share <= n.AnchorsShare {
			less = "those of fewer heights, with which messages arrive sooner, more than that"
		}
		fmt.Fprintf(w, `
From %d busy shards on all members set shards.block_interval to BLOCK: at the main chain's %g s anchors of %d heights would take
%.0f %% of the %s, of which %.0f %% are theirs whatever else it is asked for, and %s.
`, shards, n.MainInterval.Seconds(), n.AnchorMost, 100*share, mainParts()[part], 100*n.AnchorsShare, less)
		return
	}
}

// behind says that main falls behind, which a plan should not let happen.
func behind(r *Row) string {
	if r.Backlog > 30 {
		return fmt.Sprintf(" (main %0.f s behind)", r.Backlog)
	}
	return ""
}

func assumptions(w io.Writer, n *Network) {
	fmt.Fprintf(w, `
Assumed: %s validators, all of which run main, and %g seats of each shard, dealt evenly (SEATS of a validator);
each validator has %g processors, %.0f %% of them used, and %.0f Mbit/s for all that; %g bytes of traffic for each byte of a block;
%g us for each booking and %g us for each settled entry beside signatures and rules (store, pool, consensus, index: what make bench
shows where four validators share two processors, not measured here); certificates after %g s, as nodes make them at once where others wait;
all chains make a block each %g s, shards less often (BLOCK) where anchors would take more of main than the %.0f %% that it keeps for them;
a payee books %g vouchers a second, those of a block cross as one message, payees live anywhere; 1 of %.0f bookings is settled on main;
a booking is about %g billing units. OF CLAIM is beside %s units a second, which the largest such service says it counts.
Networks run at %.0f %% of what the first limit allows. All of it is a model; only the costs above are measured.

`, thousands(n.Validators), n.Seats, n.Cores, 100*n.Busy, n.Bandwidth*8/1e6, n.Gossip, n.Book, n.Node, n.Finality.Seconds(), n.MainInterval.Seconds(), 100*n.AnchorsShare,
		n.PerPayee, 1/n.Settled, n.Units, thousands(claimed), 100*part)
}

// blocks returns a time in blocks of main; "-" if nothing crossed.
func (n *Network) blocks(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return strconv.FormatFloat(d.Seconds()/n.MainInterval.Seconds(), 'f', 1, 64)
}

func percent(v float64) string { return strconv.FormatFloat(100*v, 'f', 1, 64) + "%" }

// significant returns v with three digits or so.
func significant(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

// thousands returns v, to three digits, with commas.
func thousands(v float64) string {
	unit := 1.0
	for v/unit >= 1_000 {
		unit *= 10
	}
	s := strconv.FormatFloat(float64(int64(v/unit+0.5))*unit, 'f', 0, 64)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}
