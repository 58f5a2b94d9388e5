package telemetry

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// RelaySample is what a node has carried between chains since its start.
type RelaySample struct {
	// Handed in, by what they are: relays of shards, and records of main.
	Heads, Epochs, Imports, Relists, Anchors, Settlements uint64
	Leaves, Bytes                                         uint64 // of imports
	// Refused by a rule, mostly since somebody else was first; failed otherwise; sent again.
	Refused, Failed, Late uint64
	Conflicts             uint64 // two certified versions of a height of a shard, told to main
	Nonsense              uint64 // answers of other nodes that cannot be right
	Paid                  uint64 // fees on main in drops, before what is paid back
}

// NewRelay registers the metrics of what the node carries. sample is called once per
// scrape.
func (r *Registry) NewRelay(sample func() RelaySample) error {
	s := &sampler[RelaySample]{sample: sample}
	handed := prometheus.NewDesc(namespace+"_relay_handed_total", "Relays and records that this node handed in to carry things between chains, by what they are.", []string{"kind"}, nil)
	for _, l := range []struct {
		kind  string
		value func(RelaySample) uint64
	}{
		{"head", func(s RelaySample) uint64 { return s.Heads }},
		{"epoch", func(s RelaySample) uint64 { return s.Epochs }},
		{"import", func(s RelaySample) uint64 { return s.Imports }},
		{"relist", func(s RelaySample) uint64 { return s.Relists }},
		{"anchor", func(s RelaySample) uint64 { return s.Anchors }},
		{"settlement", func(s RelaySample) uint64 { return s.Settlements }},
		{"conflict", func(s RelaySample) uint64 { return s.Conflicts }},
	} {
		s.metrics = append(s.metrics, sampled[RelaySample]{handed, prometheus.CounterValue, l.kind, func(s RelaySample) float64 { return float64(l.value(s)) }})
	}
	s.count("relay_leaves_total", "Messages, acknowledgements and bounces in what this node handed in.", func(s RelaySample) float64 { return float64(s.Leaves) })
	s.count("relay_bytes_total", "Bytes of them.", func(s RelaySample) float64 { return float64(s.Bytes) })
	s.count("relay_refused_total", "What a rule refused, mostly since another node was first.", func(s RelaySample) float64 { return float64(s.Refused) })
	s.count("relay_failed_total", "What could not be handed in.", func(s RelaySample) float64 { return float64(s.Failed) })
	s.count("relay_late_total", "What was sent again.", func(s RelaySample) float64 { return float64(s.Late) })
	s.count("relay_nonsense_total", "Answers of other nodes about shards that cannot be right, and were dropped.", func(s RelaySample) float64 { return float64(s.Nonsense) })
	s.count("relay_fees_drops_total", "Fees of what was handed in to the main chain, before what is paid back.", func(s RelaySample) float64 { return float64(s.Paid) })
	if err := r.Register(s); err != nil {
		return fmt.Errorf("register metrics of the relay: %w", err)
	}
	return nil
}
