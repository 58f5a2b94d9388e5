package pay

import (
	"sync"
	"time"

	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// Defaults of a RedeemPolicy.
const (
	DefaultBudgetBps    = 1_000
	DefaultMaxAge       = 10 * time.Minute
	DefaultDepositShare = 8_000
	DefaultInFlight     = 4
)

// RedeemPolicy says when a Redeemer redeems, and how much it may spend on it.
// Channels that the payer closes or that near their expiry are redeemed at once,
// whatever the policy says.
type RedeemPolicy struct {
	// Threshold redeems a channel that owes this much; 0 means no threshold.
	Threshold ledger.Amount
	// MaxAge redeems what has been owed for so long; 0 means DefaultMaxAge,
	// negative never.
	MaxAge time.Duration
	// DepositShare redeems a channel that owes this share of what is left of its
	// deposit, in basis points; 0 means DefaultDepositShare.
	DepositShare uint32
	// Margin is how long before a channel stops accepting it is redeemed, in
	// settlement clock, on top of SafeWindows challenge windows.
	Margin uint64
	// BudgetBps is the share of what an entry pays that its fee may cost, in
	// basis points; 0 means DefaultBudgetBps. The nearer the deadline, the
	// larger the budget: what is urgent is redeemed if it pays more than it costs.
	BudgetBps uint32
	// MaxEntries bounds a batch; 0 means channel.MaxEntries.
	MaxEntries int
	// InFlight bounds the batches under way at once, for ordinary and for urgent
	// ones each; 0 means DefaultInFlight.
	InFlight int
}

func (r RedeemPolicy) withDefaults() RedeemPolicy {
	if r.MaxAge == 0 {
		r.MaxAge = DefaultMaxAge
	}
	if r.DepositShare == 0 {
		r.DepositShare = DefaultDepositShare
	}
	if r.BudgetBps == 0 {
		r.BudgetBps = DefaultBudgetBps
	}
	if r.MaxEntries <= 0 || r.MaxEntries > channel.MaxEntries {
		r.MaxEntries = channel.MaxEntries
	}
	if r.InFlight <= 0 {
		r.InFlight = DefaultInFlight
	}
	return r
}

// wants reports whether the amount owed calls for redeeming the channel.
func (r RedeemPolicy) wants(c *payeeChannel) bool {
	owed := c.claimable()
	if owed == 0 {
		return false
	}
	if r.Threshold != 0 && owed >= r.Threshold {
		return true
	}
	left := c.deposit - min(c.deposit, max(c.settled, c.redeemed))
	share, err := left.MulDiv(uint64(r.DepositShare), ledger.BasisPoints)
	return err == nil && owed >= max(share, 1)
}

// aged reports whether something has been owed for too long at now.
func (r RedeemPolicy) aged(c *payeeChannel, now time.Time) bool {
	return r.MaxAge > 0 && c.since != 0 && now.UnixNano()-c.since >= int64(r.MaxAge)
}

// queue is a set of channels to redeem. It wakes one reader.
type queue struct {
	mu     sync.Mutex
	ids    map[ledger.Hash]bool // value: urgent
	wakeup chan struct{}
}

func newQueue() *queue {
	return &queue{ids: make(map[ledger.Hash]bool), wakeup: make(chan struct{}, 1)}
}

// push adds a channel and wakes the reader.
func (q *queue) push(id ledger.Hash, urgent bool) {
	q.mu.Lock()
	before, ok := q.ids[id]
	q.ids[id] = before || urgent
	q.mu.Unlock()
	if ok && before == (before || urgent) {
		return // it was told already
	}
	q.wake()
}

func (q *queue) wake() {
	select {
	case q.wakeup <- struct{}{}:
	default:
	}
}

// take empties the queue.
func (q *queue) take() map[ledger.Hash]bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	ids := q.ids
	q.ids = make(map[ledger.Hash]bool)
	return ids
}
