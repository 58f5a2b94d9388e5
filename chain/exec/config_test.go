package exec_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
)

func TestConfigOfThePool(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		cfg  exec.Config
		want string // "" is valid
	}{
		{"defaults", exec.Config{}, ""},
		{"smallest mempool", exec.Config{MempoolTxs: exec.MinMempoolTxs, MempoolBytes: exec.MinMempoolBytes}, ""},
		{"too few transactions", exec.Config{MempoolTxs: exec.MinMempoolTxs - 1}, "mempool txs is 15, at least 16"},
		{"too few bytes", exec.Config{MempoolBytes: exec.MinMempoolBytes - 1}, "mempool bytes is 4194303, at least 4194304"},
		{"pool as large as the mempool", exec.Config{MempoolTxs: 100, PoolBundles: 100}, "pool bundles is 100"},
		{"pool with as many bytes", exec.Config{MempoolBytes: 8 << 20, PoolBytes: 8 << 20}, "pool bytes is 8388608"},
		{"pool below the default mempool", exec.Config{PoolBundles: 4_999, PoolBytes: 64<<20 - 1}, ""},
		{"negative", exec.Config{MempoolTxs: -1}, "mempool txs"},
	} {
		err := row.cfg.Validate()
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

// Whatever the mempool, the pool is smaller, and what it has for ordinary bundles
// holds the largest one.
func TestThePoolFitsTheMempool(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		txs := rapid.IntRange(exec.MinMempoolTxs, 1_000_000).Draw(t, "txs")
		size := rapid.Int64Range(exec.MinMempoolBytes, 4<<30).Draw(t, "bytes")
		bundles, bytes := exec.PoolBounds(exec.Config{MempoolTxs: txs, MempoolBytes: size})
		if bundles >= txs || bundles < txs*8/10 || bytes >= size || bytes < size*8/10 {
			t.Fatalf("a pool of %d bundles, %d bytes", bundles, bytes)
		}
		if bytes-bytes/4 < chain.MaxBundleSize || bundles-bundles/4 < 1 {
			t.Fatalf("a pool of %d bytes has no room for an ordinary bundle of %d", bytes, chain.MaxBundleSize)
		}
	})
}
