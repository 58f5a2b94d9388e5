package exec

import (
	"cmp"
	"fmt"
	"runtime"
	"time"

	"github.com/tributary-network/tributary/ledger"
)

// Defaults of Config.
const (
	DefaultBundleDelay       = 5 * time.Millisecond
	DefaultCollectDelay      = 2 * time.Millisecond
	DefaultTickInterval      = time.Second
	DefaultPoolBytes         = 60 << 20
	DefaultPoolBundles       = 4_500
	DefaultPoolRecords       = 1 << 17
	DefaultPendingBytes      = 32 << 20
	DefaultPendingRecords    = 1 << 16
	DefaultRemembered        = 1 << 20
	DefaultKeys              = 1 << 16
	DefaultSubmits           = 1_024
	DefaultSubmitBytes       = 8 << 20
	DefaultWaiters           = 1 << 16
	DefaultRebroadcastBlocks = 20
	DefaultMaxAge            = 1_000
	DefaultAuditInterval     = 1_000
	DefaultRecentBlocks      = 1_024
	DefaultRecentItems       = 100_000
)

// Config is the operator's part, but for Network: it never enters a hash. The
// zero value of a field means its default.
type Config struct {
	// Network is the network's id, which is part of everything signed. The zero
	// value means the hash of the genesis.
	Network ledger.NetworkID

	// Now reads the clock, for metrics only. nil measures no durations.
	Now func() time.Time
	// Synced says whether this node has caught up with its peers. While it has
	// not, Submit refuses with ErrNotSynced. nil means always. It must be safe
	// for concurrent use.
	Synced func() bool

	// Workers is how many signature batches are verified at a time; the
	// default is GOMAXPROCS.
	Workers int
	// CollectDelay is the least time between two batches of Submits' signatures
	// that are not full. A Submit that comes alone does not wait.
	CollectDelay time.Duration
	// BundleDelay is the least time between two bundles that are not full. A
	// record that comes alone leaves at once.
	BundleDelay time.Duration

	// TickInterval is how long the chain may stand still while a deadline is
	// less than WakeWindow sigma away. WakeWindow's default is the longest
	// challenge that the parameters allow.
	TickInterval time.Duration
	WakeWindow   uint64

	// PoolBytes, PoolBundles and PoolRecords bound what has passed Check and is
	// not committed; a quarter of each is kept for urgent bundles. They must be
	// below the bounds of CometBFT's mempool, which knows no reserve.
	PoolBytes   int64
	PoolBundles int
	PoolRecords int
	// PendingBytes and PendingRecords bound what was submitted here and is not
	// final; a quarter of each is kept for urgent records.
	PendingBytes   int64
	PendingRecords int
	// Remembered is how many records are known to be checked, at about 40
	// bytes each.
	Remembered int
	// Keys is how many decoded public keys are remembered, at 192 bytes each.
	Keys int
	// Submits and SubmitBytes bound concurrent calls of Submit and the size of
	// their records, which is work for the signatures' queue: 100 KB are some
	// 10 ms of a processor. A quarter of each is kept for urgent records.
	// Waiters bounds concurrent calls of Wait.
	Submits     int
	SubmitBytes int64
	Waiters     int

	// RebroadcastBlocks is after how many blocks a record submitted here that
	// no block included is sent again, and MaxAge after how many it is given up.
	RebroadcastBlocks uint64
	MaxAge            uint64
	// AuditInterval is how often, in blocks, all money is counted.
	AuditInterval uint64

	// RecentBlocks and RecentItems (receipts, entries and events) bound what is
	// kept in memory for subscribers; older blocks come from the index.
	RecentBlocks int
	RecentItems  int
}

// withDefaults fills in the defaults.
func (c Config) withDefaults() Config {
	c.Workers = cmp.Or(c.Workers, runtime.GOMAXPROCS(0))
	c.CollectDelay = cmp.Or(c.CollectDelay, DefaultCollectDelay)
	c.BundleDelay = cmp.Or(c.BundleDelay, DefaultBundleDelay)
	c.TickInterval = cmp.Or(c.TickInterval, DefaultTickInterval)
	c.PoolBytes = cmp.Or(c.PoolBytes, DefaultPoolBytes)
	c.PoolBundles = cmp.Or(c.PoolBundles, DefaultPoolBundles)
	c.PoolRecords = cmp.Or(c.PoolRecords, DefaultPoolRecords)
	c.PendingBytes = cmp.Or(c.PendingBytes, DefaultPendingBytes)
	c.PendingRecords = cmp.Or(c.PendingRecords, DefaultPendingRecords)
	c.Remembered = cmp.Or(c.Remembered, DefaultRemembered)
	c.Keys = cmp.Or(c.Keys, DefaultKeys)
	c.Submits = cmp.Or(c.Submits, DefaultSubmits)
	c.SubmitBytes = cmp.Or(c.SubmitBytes, DefaultSubmitBytes)
	c.Waiters = cmp.Or(c.Waiters, DefaultWaiters)
	c.RebroadcastBlocks = cmp.Or(c.RebroadcastBlocks, DefaultRebroadcastBlocks)
	c.MaxAge = cmp.Or(c.MaxAge, DefaultMaxAge)
	c.AuditInterval = cmp.Or(c.AuditInterval, DefaultAuditInterval)
	c.RecentBlocks = cmp.Or(c.RecentBlocks, DefaultRecentBlocks)
	c.RecentItems = cmp.Or(c.RecentItems, DefaultRecentItems)
	return c
}

// Validate checks c after its defaults are filled in. Open calls it.
func (c Config) Validate() error {
	c = c.withDefaults()
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"workers", int64(c.Workers)},
		{"collect delay", int64(c.CollectDelay)},
		{"bundle delay", int64(c.BundleDelay)},
		{"tick interval", int64(c.TickInterval)},
		{"pool bytes", c.PoolBytes},
		{"pool bundles", int64(c.PoolBundles)},
		{"pool records", int64(c.PoolRecords)},
		{"pending bytes", c.PendingBytes},
		{"pending records", int64(c.PendingRecords)},
		{"remembered", int64(c.Remembered)},
		{"keys", int64(c.Keys)},
		{"submits", int64(c.Submits)},
		{"submit bytes", c.SubmitBytes},
		{"waiters", int64(c.Waiters)},
		{"recent blocks", int64(c.RecentBlocks)},
		{"recent items", int64(c.RecentItems)},
	} {
		if f.value < 0 {
			return fmt.Errorf("execution config: %s is negative", f.name)
		}
	}
	return nil
}
