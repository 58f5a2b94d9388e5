package exec

import (
	"cmp"
	"fmt"
	"runtime"
	"time"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/layer"
)

// Defaults of Config.
const (
	DefaultBundleDelay       = 5 * time.Millisecond
	DefaultCollectDelay      = 2 * time.Millisecond
	DefaultTickInterval      = time.Second
	DefaultMempoolTxs        = 5_000
	DefaultMempoolBytes      = 64 << 20
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
	DefaultKeepBlocks        = 10_000
	DefaultKeepReceipts      = 100_000
	DefaultSnapshotStride    = 1_000
)

// The smallest mempool that works: three quarters of the pool, which ordinary
// bundles may fill, hold some, and the largest.
const (
	MinMempoolTxs   = 16
	MinMempoolBytes = 4 << 20
)

// poolShare is how much of the mempool of consensus the pool may fill, in per
// cent. The rest is for ticks, and for bundles that have left the pool and not
// yet the mempool.
const poolShare = 90

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

	// BLS is the validator's key for seals and certificates. nil is for a node that
	// does not validate: it signs neither.
	BLS *bls.SecretKey

	// Extensions returns what went with the votes, of one round, for the block at height that this
	// node has seen, and the block's hash: those it committed the block with and
	// those that came later. From them certificates are assembled, CertifyDelay
	// apart while they do not suffice. nil means that this node makes none. It must
	// be safe for concurrent use.
	Extensions   func(height uint64) (blockHash []byte, extensions []VoteExtension, err error)
	CertifyDelay time.Duration
	// CommitRound returns the round in which the block at height, which is committed, was
	// decided, and the block's hash. With it a member signs what it committed when others
	// lack its signature (Executor.Answer). nil means that it does not. It must be safe for
	// concurrent use.
	CommitRound func(height uint64) (blockHash []byte, round uint32, err error)
	// Ask asks all connected nodes of the chain a question, which their Executors answer
	// by Answer, and hands what they say to Answered. It is how a node gets signatures that
	// the votes did not carry; it needs CommitRound. nil means that it does without. It
	// must be safe for concurrent use and not block.
	Ask func(question []byte)

	// Heads are the certificates of main that are known to hold, which all chains of a
	// node share: main adds those that it makes, and shards do not verify again what any
	// of them has. nil gives a shard its own.
	Heads *Heads

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
	// less than WakeWindow sigma away, or staking waits for an epoch to end.
	// WakeWindow's default is the longest challenge that the parameters allow.
	TickInterval time.Duration
	WakeWindow   uint64

	// MempoolTxs and MempoolBytes are the bounds of consensus's own mempool, which
	// knows no reserve: MinMempoolTxs and MinMempoolBytes at least.
	MempoolTxs   int
	MempoolBytes int64
	// PoolBytes, PoolBundles and PoolRecords bound what has passed Check and is
	// not committed; a quarter of each is kept for urgent bundles, half of which those
	// for shards may use, and so below. The default of
	// the first two is nine tenths of the mempool, and they must be below it.
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

	// KeepBlocks is how many blocks consensus keeps to serve nodes that catch up,
	// KeepReceipts of how many the index keeps receipts, events and closed
	// channels, and certificates are kept. KeepAll keeps everything.
	KeepBlocks   uint64
	KeepReceipts uint64

	// Snapshots takes the snapshots of the state that are made at the ends of
	// epochs, and gives them to nodes that join. nil makes none. Blocks that come
	// after the oldest are kept whatever KeepBlocks says.
	Snapshots *layer.Snapshots
	// Anchored returns the height from which the chain goes on if its committee does not:
	// the last that the main chain has anchored. A snapshot not above it, and the blocks
	// after that, are kept, or all blocks as long as there is no such snapshot. nil is for
	// a chain that never goes back. It must be safe for concurrent use and fast.
	Anchored func() uint64
	// SnapshotStride is how many blocks lie between two snapshots at least, so that
	// one stays long enough to be fetched where epochs are short.
	SnapshotStride uint64
}

// withDefaults fills in the defaults.
func (c Config) withDefaults() Config {
	c.Workers = cmp.Or(c.Workers, runtime.GOMAXPROCS(0))
	c.CertifyDelay = cmp.Or(c.CertifyDelay, DefaultCertifyDelay)
	c.CollectDelay = cmp.Or(c.CollectDelay, DefaultCollectDelay)
	c.BundleDelay = cmp.Or(c.BundleDelay, DefaultBundleDelay)
	c.TickInterval = cmp.Or(c.TickInterval, DefaultTickInterval)
	c.MempoolTxs = cmp.Or(c.MempoolTxs, DefaultMempoolTxs)
	c.MempoolBytes = cmp.Or(c.MempoolBytes, DefaultMempoolBytes)
	c.PoolBytes = cmp.Or(c.PoolBytes, c.MempoolBytes/100*poolShare)
	c.PoolBundles = cmp.Or(c.PoolBundles, c.MempoolTxs*poolShare/100)
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
	c.KeepBlocks = cmp.Or(c.KeepBlocks, DefaultKeepBlocks)
	c.KeepReceipts = cmp.Or(c.KeepReceipts, DefaultKeepReceipts)
	c.SnapshotStride = cmp.Or(c.SnapshotStride, DefaultSnapshotStride)
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
		{"certify delay", int64(c.CertifyDelay)},
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
	switch {
	case c.MempoolTxs < MinMempoolTxs:
		return fmt.Errorf("execution config: mempool txs is %d, at least %d", c.MempoolTxs, MinMempoolTxs)
	case c.MempoolBytes < MinMempoolBytes:
		return fmt.Errorf("execution config: mempool bytes is %d, at least %d", c.MempoolBytes, MinMempoolBytes)
	case c.PoolBundles >= c.MempoolTxs:
		return fmt.Errorf("execution config: pool bundles is %d, the mempool has room for %d and needs some for others", c.PoolBundles, c.MempoolTxs)
	case c.PoolBytes >= c.MempoolBytes:
		return fmt.Errorf("execution config: pool bytes is %d, the mempool has room for %d and needs some for others", c.PoolBytes, c.MempoolBytes)
	}
	return nil
}
