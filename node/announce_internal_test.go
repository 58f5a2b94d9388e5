package node

import (
	"testing"
	"time"
)

// TestEndpoint: what others are told of the API is where they reach it.
func TestEndpoint(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ address, host, want string }{
		{"127.0.0.1:9090", "127.0.0.1", "127.0.0.1:9090"},
		{"127.0.0.1:9090", "node.example.org", ""}, // on that machine only
		{"127.0.0.1:9090", "", ""},
		{"0.0.0.0:9090", "node.example.org", "node.example.org:9090"},
		{"[::]:9090", "2001:db8::1", "[2001:db8::1]:9090"},
		{"192.0.2.7:9090", "node.example.org", "192.0.2.7:9090"},
		{"no address", "node.example.org", ""},
	} {
		if got := endpoint(row.address, row.host); got != row.want {
			t.Errorf("%s at %q: %q, want %q", row.address, row.host, got, row.want)
		}
	}
}

// TestShardRetry: the pause grows up to its bound.
func TestShardRetry(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int]time.Duration{0: time.Second, 1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: time.Minute, 1 << 30: time.Minute} {
		if got := shardRetry(failures); got != want {
			t.Errorf("after %d failures %v, want %v", failures, got, want)
		}
	}
}
