package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// stepResult is one thing that happened to a hop.
type stepResult struct {
	State    string       `json:"state"`
	Chain    string       `json:"chain"`
	Height   uint64       `json:"height,omitempty"`
	Time     *time.Time   `json:"time,omitempty"`
	Evidence string       `json:"evidence"`
	Proof    *ledger.Hash `json:"checkpoint,omitempty"`
	Leaf     uint64       `json:"leaf"`
	Leaves   uint64       `json:"leaves,omitempty"`
}

// hopResult is a message on its way.
type hopResult struct {
	Link      string       `json:"link"`
	Seq       uint64       `json:"seq"`
	From      string       `json:"from"`
	To        string       `json:"to"`
	Kind      string       `json:"kind"`
	Recipient string       `json:"recipient"`
	State     string       `json:"state"`
	Code      string       `json:"code,omitempty"`
	Netted    bool         `json:"netted"`
	Steps     []stepResult `json:"steps"`
	Note      string       `json:"note,omitempty"`
}

// traceResult is a transaction over all hops.
type traceResult struct {
	Hash     ledger.Hash  `json:"hash"`
	Kind     string       `json:"kind"`
	Chain    string       `json:"chain"`
	Stage    string       `json:"stage"`
	Height   uint64       `json:"height,omitempty"`
	Code     string       `json:"code,omitempty"`
	State    string       `json:"state"`
	Evidence string       `json:"evidence"`
	Steps    []stepResult `json:"steps"`
	Hops     []hopResult  `json:"hops"`
	// Vouchers are what a booking booked.
	Vouchers []tracedVoucher `json:"vouchers,omitempty"`
	More     bool            `json:"more"`
	Notes    []string        `json:"notes,omitempty"`
}

// tracedVoucher is a voucher on its way to be paid.
type tracedVoucher struct {
	Position   int          `json:"position"`
	Channel    uint64       `json:"channel_index"`
	Lane       uint8        `json:"lane"`
	Seq        uint64       `json:"seq"`
	Cumulative drops        `json:"cumulative"`
	State      string       `json:"state"`
	Settlement *ledger.Hash `json:"settlement,omitempty"`
	Height     uint64       `json:"height,omitempty"`
	Time       *time.Time   `json:"time,omitempty"`
	Evidence   string       `json:"evidence"`
}

func newTraced(v *client.TracedVoucher) tracedVoucher {
	r := tracedVoucher{
		Position: v.Position, Channel: v.Index, Lane: v.Lane, Seq: v.Seq, Cumulative: drops(v.Cumulative), State: string(v.State),
		Height: v.Height, Evidence: v.Evidence.String(),
	}
	if !v.Settlement.IsZero() {
		r.Settlement = new(v.Settlement)
	}
	if !v.Time.IsZero() {
		r.Time = new(v.Time)
	}
	return r
}

// chainName names a chain for people.
func chainName(id ledger.ChainID) string {
	if id == ledger.MainChain {
		return "main"
	}
	if id == 0 {
		return ""
	}
	return fmt.Sprintf("shard %d", id)
}

func newSteps(list []client.Step) []stepResult {
	out := []stepResult{}
	for _, s := range list {
		r := stepResult{State: s.Phase.String(), Chain: chainName(s.Chain), Height: s.Height, Evidence: s.Evidence.String(), Leaf: s.Leaf, Leaves: s.Leaves}
		if !s.Time.IsZero() {
			r.Time = new(s.Time)
		}
		if !s.Checkpoint.IsZero() {
			r.Proof = new(s.Checkpoint)
		}
		out = append(out, r)
	}
	return out
}

func newTrace(t *client.Trace) traceResult {
	r := traceResult{
		Hash: t.Hash, Kind: t.Kind.String(), Chain: chainName(t.Chain), Stage: t.Stage.String(), Height: t.Height, State: t.Phase.String(),
		Evidence: t.Evidence.String(), Steps: newSteps(t.Steps), Hops: []hopResult{}, More: t.More, Notes: t.Notes,
	}
	if t.Height > 0 {
		r.Code = t.Code.String()
	}
	for i := range t.Hops {
		h := &t.Hops[i]
		out := hopResult{
			Link: h.Link.String(), Seq: h.Seq, From: chainName(h.From), To: chainName(h.To), Kind: h.Kind, Recipient: h.Recipient.String(),
			State: h.Phase.String(), Netted: h.Netted, Steps: newSteps(h.Steps), Note: h.Note,
		}
		if h.Phase == link.PhaseBounced || h.Phase == link.PhaseExpired {
			out.Code = h.Code.String()
		}
		r.Hops = append(r.Hops, out)
	}
	for i := range t.Vouchers {
		r.Vouchers = append(r.Vouchers, newTraced(&t.Vouchers[i]))
	}
	return r
}

// showSteps writes the steps of a hop, which is named by its number.
func showSteps(t *table, hop string, list []stepResult) {
	for _, s := range list {
		height, proof := "", ""
		if s.Height > 0 {
			height = fmt.Sprint(s.Height)
		}
		if s.Leaves > 0 {
			proof = fmt.Sprintf("leaf %d of %d", s.Leaf, s.Leaves)
		}
		t.row(hop, s.State, s.Chain, height, stampOf(s.Time), s.Evidence, proof)
	}
}

func stampOf(at *time.Time) time.Time {
	if at == nil {
		return time.Time{}
	}
	return *at
}

func (r *traceResult) show(t *table) {
	t.field("transaction", r.Hash)
	t.field("kind", r.Kind)
	t.field("chain", r.Chain)
	t.field("stage", r.Stage)
	t.field("code", r.Code)
	t.field("told by", r.Evidence)
	t.line("")
	t.row("HOP", "STATE", "CHAIN", "HEIGHT", "TIME", "EVIDENCE", "PROOF")
	showSteps(t, "", r.Steps)
	for i := range r.Hops {
		showSteps(t, fmt.Sprint(i+1), r.Hops[i].Steps)
	}
	t.line("")
	for i := range r.Hops {
		h := &r.Hops[i]
		netted, note := "", ""
		if h.Netted {
			netted = ", with others of its block"
		}
		if h.Note != "" {
			note = " (" + h.Note + ")"
		}
		t.line("hop %d, %s: %s from %s to %s for %s, number %d on %s%s%s", i+1, strings.TrimSpace(h.State+" "+h.Code), h.Kind, h.From, h.To, h.Recipient, h.Seq, h.Link, netted, note)
	}
	if len(r.Hops) == 0 {
		t.line("it sent no messages")
	}
	r.showVouchers(t)
	if r.More {
		t.line("it sent more messages than are shown")
	}
	for _, n := range r.Notes {
		t.line("note: %s", n)
	}
}

func (r *traceResult) showVouchers(t *table) {
	if len(r.Vouchers) == 0 {
		return
	}
	t.line("")
	t.row("VOUCHER", "CHANNEL", "LANE", "NUMBER", "OWED IN ALL", "STATE", "MAIN BLOCK", "TIME", "EVIDENCE", "SETTLEMENT")
	for i := range r.Vouchers {
		v := &r.Vouchers[i]
		height, settlement := "", ""
		if v.Height > 0 {
			height = fmt.Sprint(v.Height)
		}
		if v.Settlement != nil {
			settlement = v.Settlement.String()
		}
		t.row(v.Position, v.Channel, v.Lane, v.Seq, ledger.Amount(v.Cumulative), v.State, height, stampOf(v.Time), v.Evidence, settlement)
	}
}

func (c *cli) shardTraceCommand() *cobra.Command {
	var at uint32
	cmd := &cobra.Command{
		Use:   "trace HASH",
		Short: "Follow a transaction over all chains that it reached",
		Long: `Follow a transaction of the main chain, or a booking on a shard, over all chains that
it reached: the messages that it sent, how far each is, in which blocks, and what proves
that; and what a booking booked to the settlement on the main chain that paid it. What is
anchored names the block of the main chain with the anchor. What the node that is asked
does not run it asks of others, and verifies:

  own       the node runs the chain
  verified  another node said so, and a certificate or an anchor proves it
  claimed   another node said so, and nothing proves it

Earnings are netted: one message stands for all that a block books for a payee.`,
		Args: first(cobra.ExactArgs(1), parseHash),
		RunE: c.connected(func(run *run) error {
			hash, err := parseHash(run.args[0])
			if err != nil {
				return err
			}
			t, err := run.conn.Trace(run.ctx, hash, ledger.ChainID(at))
			if e, ok := errors.AsType[*client.Error](err); ok && e.Reason == "TRANSACTION_NOT_FOUND" {
				return exitf(exitNotFound, "%w; --shard names the shard that took it", err)
			}
			if err != nil {
				return shardProblem(err, ledger.ChainID(at))
			}
			r := newTrace(&t)
			return c.print(r, r.show)
		}),
	}
	cmd.Flags().Uint32Var(&at, "shard", 0, "shard that took it (default: found out)")
	return cmd
}
