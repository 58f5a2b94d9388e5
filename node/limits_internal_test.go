package node

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/node/config"
)

// Every limit of the settings reaches the API.
func TestLimitsOfTheAPI(t *testing.T) {
	t.Parallel()
	got := apiLimits(&config.GRPC{
		MaxSend: 1, MaxStreams: 2, MaxInFlight: 3, MaxConnections: 4, MaxConnectionsPerIP: 5,
		RequestsPerSecond: 6, Burst: 7, MaxDeadline: config.Duration{Duration: 8 * time.Second},
		SharePercent: 9, StreamMemory: 10, StreamUpdates: 11,
	})
	want := api.Limits{
		MaxSendBytes: 1, StreamsPerConn: 2, InFlight: 3, Conns: 4, ConnsPerIP: 5,
		RequestsPerSecond: 6, Burst: 7, MaxDeadline: 8 * time.Second,
		SharePercent: 9, StreamMemory: 10, StreamUpdates: 11,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
}
