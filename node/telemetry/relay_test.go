package telemetry_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/node/telemetry"
)

// TestRelayMetrics: what is carried is counted, each once.
func TestRelayMetrics(t *testing.T) {
	t.Parallel()
	r, err := telemetry.NewRegistry(telemetry.Build{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.NewRelay(func() telemetry.RelaySample {
		return telemetry.RelaySample{
			Heads: 1, Epochs: 2, Imports: 3, Relists: 4, Anchors: 5, Settlements: 6,
			Leaves: 7, Bytes: 8, Refused: 9, Failed: 10, Late: 11, Paid: 12, Conflicts: 13, Nonsense: 14,
		}
	}); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if m.GetCounter() == nil || len(f.GetName()) < 16 || f.GetName()[:16] != "tributary_relay_" {
				continue
			}
			name := f.GetName()[16:]
			for _, l := range m.GetLabel() {
				name += "/" + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue()
		}
	}
	want := map[string]float64{
		"handed_total/head": 1, "handed_total/epoch": 2, "handed_total/import": 3, "handed_total/relist": 4,
		"handed_total/anchor": 5, "handed_total/settlement": 6, "leaves_total": 7, "bytes_total": 8,
		"refused_total": 9, "failed_total": 10, "late_total": 11, "fees_drops_total": 12, "handed_total/conflict": 13, "nonsense_total": 14,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}
