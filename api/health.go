package api

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// ChainService is the health service name of the main chain.
const ChainService = "chain/main"

const defaultHealthInterval = 500 * time.Millisecond

// healthMonitor keeps grpc.health.v1 up to date: the empty name is liveness,
// the chain's and every service's name are readiness by progress.
type healthMonitor struct {
	server   *health.Server
	services []string
	ready    func() (ok bool, reason string)
	interval time.Duration
	log      *slog.Logger
}

func newHealthMonitor(ready func() (bool, string), interval time.Duration, log *slog.Logger, services []string) *healthMonitor {
	m := &healthMonitor{
		server: health.NewServer(), services: append([]string{ChainService}, services...),
		ready: ready, interval: interval, log: log,
	}
	m.server.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	m.set(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	return m
}

func (m *healthMonitor) set(s grpc_health_v1.HealthCheckResponse_ServingStatus) {
	for _, name := range m.services {
		m.server.SetServingStatus(name, s)
	}
}

// run looks at the chain until ctx ends, and then says NOT_SERVING for good.
func (m *healthMonitor) run(ctx context.Context) {
	defer m.server.Shutdown()
	ticker := time.NewTicker(m.interval)
	defer ticker.Stop()
	was, first := false, true
	for {
		ok, reason := m.ready()
		if ok != was || first {
			m.change(ctx, ok, reason)
			was, first = ok, false
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (m *healthMonitor) change(ctx context.Context, ok bool, reason string) {
	if ok {
		m.set(grpc_health_v1.HealthCheckResponse_SERVING)
		m.log.LogAttrs(ctx, slog.LevelInfo, "chain is ready")
		return
	}
	m.set(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	m.log.LogAttrs(ctx, slog.LevelWarn, "chain is not ready", slog.String("reason", reason))
}
