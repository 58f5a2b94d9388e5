package node

import (
	"log/slog"
	"testing"

	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/node/telemetry"
)

// TestHaltsAreCounted counts halts by their cause, whatever their text says.
func TestHaltsAreCounted(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		halt comet.HaltError
		want float64
	}{
		"another state root":     {comet.HaltError{Cause: comet.HaltAppHash, Reason: "x"}, 1},
		"a failed application":   {comet.HaltError{Cause: comet.HaltApplication, Reason: "wrong AppHash: state differs"}, 0},
		"a failure of consensus": {comet.HaltError{Cause: comet.HaltConsensus, Reason: "wrong AppHash"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := telemetry.NewRegistry(telemetry.Build{})
			if err != nil {
				t.Fatal(err)
			}
			h := newHosted(mainName, slog.New(slog.DiscardHandler))
			if h.counts, err = r.NewChain("c", func() telemetry.ChainSample { return telemetry.ChainSample{} }); err != nil {
				t.Fatal(err)
			}
			h.reportHalt(t.Context(), &sample{chain: comet.Status{Halt: &test.halt}})
			families, err := r.Gather()
			if err != nil {
				t.Fatal(err)
			}
			got := -1.0
			for _, f := range families {
				if f.GetName() == "tributary_chain_app_hash_mismatch_total" {
					got = f.GetMetric()[0].GetCounter().GetValue()
				}
			}
			if got != test.want {
				t.Errorf("%v mismatches counted, want %v", got, test.want)
			}
		})
	}
}
