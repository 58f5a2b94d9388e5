package main

import (
	"strings"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// TestTraceLinesUp: the steps of all hops are one table, and vouchers another one.
func TestTraceLinesUp(t *testing.T) {
	t.Parallel()
	at := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	step := func(p link.Phase, id ledger.ChainID, height uint64, e client.Evidence) client.Step {
		s := client.Step{Phase: p, Chain: id, Height: height, Evidence: e}
		if height > 0 {
			s.Time = at
		}
		return s
	}
	r := newTrace(&client.Trace{
		Hash: ledger.Hash{1}, Kind: chain.KindBookUsage, Stage: client.StageFinal, Chain: 12, Height: 7, Phase: link.PhaseAnchored, Evidence: client.EvidenceOwn,
		Steps: []client.Step{step(link.PhaseCommitted, 12, 7, client.EvidenceOwn), step(link.PhaseAnchored, 1, 1_234, client.EvidenceOwn)},
		Hops: []client.Hop{
			{Seq: 3, From: 12, To: 5, Kind: "earnings", Phase: link.PhaseAcked, Netted: true, Steps: []client.Step{
				step(link.PhaseCommitted, 12, 7, client.EvidenceOwn), step(link.PhaseExecuted, 5, 100_000, client.EvidenceVerified), step(link.PhaseAcked, 12, 0, client.EvidenceClaimed),
			}},
			{Seq: 4, From: 12, To: 6, Kind: "earnings", Phase: link.PhaseBounced, Code: chain.CodeWrongShard},
		},
		Vouchers: []client.TracedVoucher{
			{Index: 9, Seq: 1, Cumulative: 4 * ledger.DropsPerCoin, State: "paid", Settlement: ledger.Hash{7}, Height: 1_300, Time: at, Evidence: client.EvidenceVerified},
			{Position: 1, Index: 10, Lane: 2, Seq: 1, Cumulative: ledger.DropsPerCoin, State: "booked", Evidence: client.EvidenceVerified},
		},
	})
	var b strings.Builder
	tab := newTable(&b)
	r.show(tab)
	if err := tab.flush(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	columns := func(first string, rows int, names ...string) {
		t.Helper()
		for i, l := range lines {
			if !strings.HasPrefix(l, first) {
				continue
			}
			for _, row := range lines[i+1 : i+1+rows] {
				for _, name := range names {
					at := strings.Index(l, name)
					if at < 0 || len(row) <= at || row[at] == ' ' || row[at-1] != ' ' {
						t.Errorf("column %s of %q is not below %q", name, row, l)
					}
				}
			}
			return
		}
		t.Errorf("no line begins with %s:\n%s", first, b.String())
	}
	columns("HOP", 5, "STATE", "CHAIN", "HEIGHT", "TIME", "EVIDENCE")
	columns("VOUCHER", 2, "CHANNEL", "LANE", "NUMBER", "STATE", "MAIN BLOCK", "EVIDENCE")
	for _, want := range []string{"main      1234", "hop 2, bounced WRONG_SHARD: earnings from shard 12 to shard 6", "with others of its block", ledger.Hash{7}.String()} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing:\n%s", want, b.String())
		}
	}
}
