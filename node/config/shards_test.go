package config_test

import (
	"testing"

	"github.com/tributary-network/tributary/node/config"
)

// TestShardsHosts: what is not set follows from the main chain's addresses.
func TestShardsHosts(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name                        string
		p2p, external, listen, host string
		wantListen, wantHost        string
	}{
		{"as main", "127.0.0.1:26656", "", "", "", "127.0.0.1", "127.0.0.1"},
		{"as main, told", "0.0.0.0:26656", "node.example.org:26656", "", "", "0.0.0.0", "node.example.org"},
		{"nobody knows", "0.0.0.0:26656", "", "", "", "0.0.0.0", ""},
		{"nobody knows either", ":26656", "", "", "", "", ""},
		{"IPv6 of all", "[::]:26656", "", "", "", "::", ""},
		{"of their own", "127.0.0.1:26656", "a.example.org:1", "10.0.0.1", "b.example.org", "10.0.0.1", "b.example.org"},
		{"listen of their own", "127.0.0.1:26656", "", "10.0.0.1", "", "10.0.0.1", "10.0.0.1"},
	} {
		c := config.Default()
		c.P2P.Listen, c.P2P.ExternalAddress, c.Shards.Listen, c.Shards.ExternalHost = row.p2p, row.external, row.listen, row.host
		if listen, host := c.ShardsListen(), c.ShardsHost(); listen != row.wantListen || host != row.wantHost {
			t.Errorf("%s: listens on %q, reached at %q; want %q and %q", row.name, listen, host, row.wantListen, row.wantHost)
		}
	}
}
