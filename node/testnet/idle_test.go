package testnet_test

import (
	"context"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/tributary-network/tributary/node/testnet"
)

const (
	// quiet is for how long a network with nothing to do must make no block: the
	// time of many blocks, and of some ticks.
	quiet = 3 * time.Second
	// loneLimit is how long a lone transfer may take until it is final, the fastest of
	// some: other tests share the machine.
	loneLimit = time.Second
)

// TestIdleNetworkIsQuiet runs a network with committee, seals and certificates. It
// certifies every block, rests when there is nothing to do, and is quick when there
// is again.
func TestIdleNetworkIsQuiet(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	n := start(ctx, t, testnet.Options{InMemory: true, NoServices: true})
	p, domain := dial(t, n.Nodes[0].GRPC), n.Genesis.Domain()
	fastest := time.Hour
	for nonce := range uint64(4) {
		if nonce == 1 {
			rested := heights(ctx, t, n)
			timer := time.NewTimer(quiet)
			defer timer.Stop()
			<-timer.C
			if now := heights(ctx, t, n); now != rested {
				t.Errorf("an idle network went from heights %v to %v", rested, now)
			}
		}
		begin := time.Now()
		height, err := p.transferAt(ctx, domain, nonce)
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(begin)
		t.Logf("transfer %d is final after %v", nonce, took.Round(time.Millisecond))
		if nonce > 0 {
			fastest = min(fastest, took)
		}
		// One more block says what the transfer led to.
		until(ctx, t, healthLimit, "every node has certified every block", func(ctx context.Context) bool {
			for _, node := range n.Nodes {
				if metric(ctx, t, node, "chain_height") != float64(height+1) || metric(ctx, t, node, "certificate_lag_blocks") != 0 {
					return false
				}
			}
			return true
		})
	}
	if fastest > loneLimit {
		t.Errorf("a lone transfer took %v", fastest)
	}
	for _, node := range n.Nodes {
		made, wrong := metric(ctx, t, node, "certificate_made_total"), metric(ctx, t, node, "vote_extensions_wrong_total")
		if missing := metric(ctx, t, node, "certificate_missing_total"); made == 0 || missing != 0 || wrong != 0 {
			t.Errorf("%s made %v certificates and missed %v; %v extensions were wrong", node.Name, made, missing, wrong)
		}
		if delta := metric(ctx, t, node, "ledger_conservation_delta"); delta != 0 {
			t.Errorf("%s: %v drops too many", node.Name, delta)
		}
	}
}

func heights(ctx context.Context, t *testing.T, n *testnet.Network) (list [4]uint64) {
	t.Helper()
	for i := range list {
		list[i] = heightOf(ctx, t, n.Nodes[i])
	}
	return list
}

// metric reads one of a node's metrics of the chain.
func metric(ctx context.Context, t *testing.T, n testnet.Node, name string) float64 {
	t.Helper()
	body, _ := get(ctx, t, "http://"+n.HTTP+"/metrics")
	found := regexp.MustCompile(`(?m)^tributary_` + name + `\{[^}]*\} (\S+)$`).FindStringSubmatch(body)
	if found == nil {
		t.Fatalf("%s has no metric %s", n.Name, name)
	}
	value, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}
