package comet

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode"

	"github.com/cometbft/cometbft/blocksync"
	"github.com/cometbft/cometbft/consensus"
	"github.com/cometbft/cometbft/mempool"
	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/proxy"
	"github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/statesync"
	"github.com/go-kit/kit/metrics"
	kitprom "github.com/go-kit/kit/metrics/prometheus"
	"github.com/prometheus/client_golang/prometheus"
)

const metricsNamespace = "cometbft"

// engineMetrics registers CometBFT's metrics with a registry of our choice.
//
// CometBFT's own provider registers with the process's default registry and
// panics for the second chain. Its metric structs describe themselves in field
// tags, from which the same names, labels and buckets are made here, each with
// the label chain_id. Metrics with a peer label are left out: their number has
// no bound.
type engineMetrics struct {
	registerer prometheus.Registerer
	chainID    string
	rounds     *atomic.Int64 // the consensus round, also kept for Status
	vectors    *[]vector     // takes what is registered
}

// vector is a metric of several chains.
type vector interface {
	DeletePartialMatch(labels prometheus.Labels) int
}

// forgetMetrics removes what a chain that has stopped measured, so that one which this
// node left does not go on with its last figures.
func (c *Chain) forgetMetrics() {
	for _, v := range c.vectors {
		v.DeletePartialMatch(prometheus.Labels{"chain_id": c.ID()})
	}
}

// provider builds all metrics at once, so that an error can be returned where
// CometBFT has no room for one.
func (e engineMetrics) provider() (node.MetricsProvider, error) {
	cs := *consensus.NopMetrics()
	net := *p2p.NopMetrics()
	pool := *mempool.NopMetrics()
	st := *state.NopMetrics()
	abci := *proxy.NopMetrics()
	bs := *blocksync.NopMetrics()
	ss := *statesync.NopMetrics()
	if e.registerer != nil {
		for _, m := range []struct {
			subsystem string
			fields    any
		}{
			{consensus.MetricsSubsystem, &cs},
			{p2p.MetricsSubsystem, &net},
			{mempool.MetricsSubsystem, &pool},
			{state.MetricsSubsystem, &st},
			{proxy.MetricsSubsystem, &abci},
			{blocksync.MetricsSubsystem, &bs},
			{statesync.MetricsSubsystem, &ss},
		} {
			if err := e.register(m.subsystem, m.fields); err != nil {
				return nil, err
			}
		}
	}
	cs.Rounds = keptGauge{Gauge: cs.Rounds, value: e.rounds}
	return func(string) (*consensus.Metrics, *p2p.Metrics, *mempool.Metrics, *state.Metrics, *proxy.Metrics, *blocksync.Metrics, *statesync.Metrics) {
		return &cs, &net, &pool, &st, &abci, &bs, &ss
	}, nil
}

// register replaces the fields of a metrics struct by registered ones.
func (e engineMetrics) register(subsystem string, fields any) error {
	v := reflect.ValueOf(fields).Elem()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || strings.Contains(f.Tag.Get("metrics_labels"), "peer_id") {
			continue
		}
		m, err := e.metric(subsystem, f)
		if err != nil {
			return fmt.Errorf("register metric %s of %s: %w", f.Name, subsystem, err)
		}
		if m != nil {
			v.Field(i).Set(reflect.ValueOf(m))
		}
	}
	return nil
}

// metric makes and registers the metric a struct field describes, or returns
// nil if the field is none.
func (e engineMetrics) metric(subsystem string, f reflect.StructField) (any, error) {
	name := f.Tag.Get("metrics_name")
	if name == "" {
		name = snake(f.Name)
	}
	help := "CometBFT " + subsystem + ": " + strings.ReplaceAll(name, "_", " ") + "."
	labels := []string{"chain_id"}
	for l := range strings.SplitSeq(f.Tag.Get("metrics_labels"), ",") {
		if l = strings.TrimSpace(l); l != "" {
			labels = append(labels, l)
		}
	}
	chain := []string{"chain_id", e.chainID}
	switch f.Type {
	case reflect.TypeFor[metrics.Counter]():
		vec, err := reuse(e.registerer, prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: metricsNamespace, Subsystem: subsystem, Name: name, Help: help,
		}, labels))
		if err != nil {
			return nil, err
		}
		*e.vectors = append(*e.vectors, vec)
		return kitprom.NewCounter(vec).With(chain...), nil
	case reflect.TypeFor[metrics.Gauge]():
		vec, err := reuse(e.registerer, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: metricsNamespace, Subsystem: subsystem, Name: name, Help: help,
		}, labels))
		if err != nil {
			return nil, err
		}
		*e.vectors = append(*e.vectors, vec)
		return kitprom.NewGauge(vec).With(chain...), nil
	case reflect.TypeFor[metrics.Histogram]():
		buckets, err := bucketsOf(f.Tag)
		if err != nil {
			return nil, err
		}
		vec, err := reuse(e.registerer, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: metricsNamespace, Subsystem: subsystem, Name: name, Help: help, Buckets: buckets,
		}, labels))
		if err != nil {
			return nil, err
		}
		*e.vectors = append(*e.vectors, vec)
		return kitprom.NewHistogram(vec).With(chain...), nil
	}
	return nil, nil
}

// reuse registers c, or returns the equal collector that an earlier run of the
// chain, or another chain, registered before.
func reuse[C prometheus.Collector](r prometheus.Registerer, c C) (C, error) {
	err := r.Register(c)
	if before, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if old, ok := before.ExistingCollector.(C); ok {
			return old, nil
		}
	}
	return c, err
}

// bucketsOf reads a histogram's buckets from its field tags.
func bucketsOf(tag reflect.StructTag) ([]float64, error) {
	var sizes []float64
	for s := range strings.SplitSeq(tag.Get("metrics_bucketsizes"), ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		n, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil, fmt.Errorf("bucket size %q: %w", s, err)
		}
		sizes = append(sizes, n)
	}
	kind := tag.Get("metrics_buckettype")
	switch {
	case kind == "":
		return sizes, nil // nil means Prometheus's default buckets
	case len(sizes) != 3:
		return nil, fmt.Errorf("%d bucket sizes of type %q, want 3", len(sizes), kind)
	case kind == "exprange":
		return prometheus.ExponentialBucketsRange(sizes[0], sizes[1], int(sizes[2])), nil
	case kind == "exp":
		return prometheus.ExponentialBuckets(sizes[0], sizes[1], int(sizes[2])), nil
	case kind == "lin":
		return prometheus.LinearBuckets(sizes[0], sizes[1], int(sizes[2])), nil
	}
	return nil, fmt.Errorf("unknown bucket type %q", kind)
}

// snake turns FieldName into field_name.
func snake(s string) string {
	var b strings.Builder
	for i, r := range s {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// keptGauge also keeps the last value set.
type keptGauge struct {
	metrics.Gauge
	value *atomic.Int64
}

func (g keptGauge) Set(v float64) {
	g.value.Store(int64(v))
	g.Gauge.Set(v)
}
