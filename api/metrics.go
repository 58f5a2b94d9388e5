package api

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what the server does. Labels are bounded: methods, gRPC codes
// and reasons of this package.
type metrics struct {
	requests  *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	refusals  *prometheus.CounterVec
	submitted *prometheus.CounterVec
	final     prometheus.Histogram
	handedOn  *prometheus.CounterVec
	booked    *prometheus.CounterVec
}

// newMetrics registers the metrics with r; a nil r counts for nobody.
func newMetrics(r prometheus.Registerer, a *admission, conns *quota) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tributary_grpc_requests_total",
			Help: "Calls ended, by method and gRPC code.",
		}, []string{"method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tributary_grpc_request_seconds",
			Help:    "Duration of unary calls.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 3, 11),
		}, []string{"method"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tributary_grpc_refused_total",
			Help: "Calls and connections refused to keep within the limits, by reason.",
		}, []string{"reason"}),
		submitted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tributary_settlement_submitted_total",
			Help: "Transactions submitted over gRPC, by result: checked, or the reason of the refusal.",
		}, []string{"result"}),
		handedOn: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tributary_grpc_forwarded_total",
			Help: "Calls handed on to nodes that run the shard, by result: ok, refused by it, or failed on the way.",
		}, []string{"result"}),
		booked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tributary_usage_submitted_total",
			Help: "Bookings submitted over gRPC to shards that run here, by result: checked, or the reason of the refusal.",
		}, []string{"result"}),
		final: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "tributary_settlement_finality_seconds",
			Help:    "Time from a batch's arrival on a stream to its finality.",
			Buckets: []float64{0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.5, 2, 3, 5, 10, 30},
		}),
	}
	if r == nil {
		return m, nil
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	for _, c := range []prometheus.Collector{
		m.requests, m.seconds, m.refusals, m.submitted, m.final, m.handedOn, m.booked,
		gauge("tributary_grpc_connections", "Open client connections.", func() float64 { return float64(conns.count()) }),
		gauge("tributary_grpc_in_flight", "Unary calls under way.", func() float64 { return float64(a.calls.count()) }),
		gauge("tributary_grpc_settlement_streams", "Open settlement streams.", func() float64 { return float64(a.streams.count()) }),
		gauge("tributary_grpc_watches", "Open channel watches.", func() float64 { return float64(a.watches.count()) }),
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of the API: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) ended(method, code string, took time.Duration, stream bool) {
	m.requests.WithLabelValues(method, code).Inc()
	if !stream {
		m.seconds.WithLabelValues(method).Observe(took.Seconds())
	}
}

func (m *metrics) refused(reason string) { m.refusals.WithLabelValues(reason).Inc() }

// forwarded counts a call that was handed on.
func (m *metrics) forwarded(result string) { m.handedOn.WithLabelValues(result).Inc() }

// submit counts a submission that ended with err.
func (m *metrics) submit(err error) { m.submitted.WithLabelValues(resultOf(err)).Inc() }

// book counts a booking whose submission ended with err.
func (m *metrics) book(err error) { m.booked.WithLabelValues(resultOf(err)).Inc() }

func resultOf(err error) string {
	if err == nil {
		return "checked"
	}
	p, _ := problemOf(err)
	return p.reason
}
