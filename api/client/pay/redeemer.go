package pay

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

const (
	// linger is how long an ordinary redemption waits for company.
	linger = 200 * time.Millisecond
	// sweepInterval is the least time between two looks at every channel;
	// sweepShare is how many times longer than such a look it is.
	sweepInterval = time.Second
	sweepShare    = 20
	// recheck is the least time between two questions for a channel that may be
	// gone, and maxRecheck how many are asked for at a time.
	recheck    = time.Minute
	maxRecheck = 64
	// Retries after a failure begin with minRetry and double up to maxRetry.
	minRetry = 250 * time.Millisecond
	maxRetry = 15 * time.Second
)

// Report is what redeeming has done.
type Report struct {
	Batches int           // settled
	Entries int           // settled, with whatever code
	Paid    ledger.Amount // to the payee, net of burn and of what services take
	Burned  ledger.Amount
	Fees    ledger.Amount
	Retries int                // batches that failed and were tried again
	Codes   map[chain.Code]int // of the entries
}

// Redeemer redeems a Payee's claims by its policy.
type Redeemer struct {
	payee  *Payee
	policy RedeemPolicy
	fees   settlement.Params
	chain  Chain
	log    *slog.Logger

	mu    sync.Mutex
	total Report

	// Owned by Run.
	waiting  [2]map[ledger.Hash]struct{} // channels to redeem, ordinary and urgent
	underWay [2]int                      // batches
	finished chan int                    // the kind of a batch that is done
	workers  sync.WaitGroup
	asking   atomic.Bool // about channels that may be gone
}

// Kinds of redemptions: indexes of waiting and underWay.
const (
	ordinary = 0
	urgent   = 1
)

// NewRedeemer returns a Redeemer for p, whose policy and Chain it uses. Fees and
// burn are those of params.
func NewRedeemer(p *Payee, params settlement.Params) *Redeemer {
	return &Redeemer{
		payee: p, policy: p.cfg.Redeem, fees: params, chain: p.cfg.Chain, log: p.log,
		total:    Report{Codes: make(map[chain.Code]int)},
		waiting:  [2]map[ledger.Hash]struct{}{{}, {}},
		finished: make(chan int, 2*p.cfg.Redeem.InFlight),
	}
}

// Total returns what the Redeemer has done so far.
func (r *Redeemer) Total() Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.total
	t.Codes = maps.Clone(r.total.Codes)
	return t
}

// Run redeems until ctx ends, waits for its goroutines and returns nil. What is
// under way then may or may not happen; the next run finds out. Run may be
// called once at a time.
func (r *Redeemer) Run(ctx context.Context) error {
	defer r.workers.Wait()
	pause, sweep := time.NewTimer(linger), time.NewTimer(0)
	defer pause.Stop()
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sweep.C:
			from := r.payee.now()
			r.ask(ctx, r.sweep(from))
			sweep.Reset(max(sweepInterval, sweepShare*r.payee.now().Sub(from)))
		case <-r.payee.due.wakeup:
			if r.collect() {
				pause.Reset(linger)
			}
			r.launch(ctx, urgent)
		case <-pause.C:
			r.launch(ctx, ordinary)
		case kind := <-r.finished:
			r.underWay[kind]--
			r.launch(ctx, kind)
		}
	}
}

// collect takes what the payee wants redeemed, and reports whether ordinary
// redemptions begin to wait.
func (r *Redeemer) collect() bool {
	had := len(r.waiting[ordinary]) > 0
	for id, hurry := range r.payee.due.take() {
		if hurry {
			r.waiting[urgent][id] = struct{}{}
		} else {
			r.waiting[ordinary][id] = struct{}{}
		}
	}
	return !had && len(r.waiting[ordinary]) > 0
}

// launch sends batches of one kind while there is room.
func (r *Redeemer) launch(ctx context.Context, kind int) {
	room := r.policy.InFlight - r.underWay[kind]
	if room <= 0 || len(r.waiting[kind]) == 0 {
		return
	}
	ids := slices.Collect(maps.Keys(r.waiting[kind]))
	clear(r.waiting[kind])
	for i, items := range r.payee.batches(ids, r.policy, &r.fees, kind) {
		if i >= room {
			for _, it := range items { // the next free place takes them
				r.waiting[kind][it.id] = struct{}{}
			}
			continue
		}
		r.payee.mark(items)
		r.underWay[kind]++
		r.workers.Go(func() {
			r.persist(ctx, items, kind)
			r.finished <- kind
		})
	}
}

// budget returns the share of what an entry pays that its fee may cost.
func (r RedeemPolicy) budget(kind int) uint32 {
	if kind == urgent {
		return ledger.BasisPoints
	}
	return r.BudgetBps
}

// batches returns batches of what can be claimed on the channels now, the
// nearest deadline first.
func (p *Payee) batches(ids []ledger.Hash, policy RedeemPolicy, fees *settlement.Params, kind int) [][]item {
	var items []item
	view := p.View()
	for _, id := range ids {
		s := p.stripeOf(id)
		s.mu.Lock()
		if c, ok := s.channels[id]; ok {
			items = append(items, c.items(fees, &policy, kind, &view)...)
		}
		s.mu.Unlock()
	}
	slices.SortStableFunc(items, func(a, b item) int {
		return cmp.Or(cmp.Compare(a.deadline, b.deadline), cmp.Compare(a.entry.Index, b.entry.Index))
	})
	return cut(items, policy.MaxEntries, fees)
}

// sweep finds what has become due with time, and forgets closed channels. It
// returns those that may be gone and owe something, some at a time.
func (r *Redeemer) sweep(now time.Time) (questionable []ledger.Hash) {
	p := r.payee
	clock := p.view.Load().Clock
	idle := !r.asking.Load()
	for i := range p.stripe {
		s := &p.stripe[i]
		s.mu.Lock()
		for id, c := range s.channels {
			switch {
			case c.forgettable(now.UnixNano()):
				delete(s.channels, id)
			case c.questionable():
				if idle && len(questionable) < maxRecheck && now.UnixNano()-c.asked >= int64(recheck) {
					c.asked = now.UnixNano()
					questionable = append(questionable, id)
				}
			case !c.known || c.presence != present || c.claimable() == 0:
			case c.urgent(clock + r.policy.Margin):
				p.due.push(id, true)
			case r.policy.aged(c, now), r.policy.wants(c):
				p.due.push(id, false)
			}
		}
		s.mu.Unlock()
	}
	return questionable
}

// ask reads channels that may be gone. A channel that turns out to be there is
// redeemed and accepted on as before.
func (r *Redeemer) ask(ctx context.Context, ids []ledger.Hash) {
	if len(ids) == 0 {
		return
	}
	r.asking.Store(true)
	r.workers.Go(func() {
		defer r.asking.Store(false)
		if err := r.refresh(ctx, slices.Values(ids)); err != nil && ctx.Err() == nil {
			r.log.LogAttrs(ctx, slog.LevelWarn, "channels that may be closed could not be read", slog.Any("error", err))
		}
	})
}

// persist settles a batch, and tries again what did not get through, until ctx
// ends. It returns when nothing of the batch is left to be tried.
func (r *Redeemer) persist(ctx context.Context, items []item, kind int) {
	for delay := minRetry; len(items) > 0; delay = min(2*delay, maxRetry) {
		again, err := r.settle(ctx, items)
		if ctx.Err() != nil || len(again) == 0 {
			r.payee.unmark(again)
			return
		}
		r.count(func(total *Report) { total.Retries++ })
		if err != nil {
			r.log.LogAttrs(ctx, slog.LevelWarn, "settlement will be tried again",
				slog.Int("entries", len(again)), slog.Duration("delay", delay), slog.Any("error", err))
			if !sleep(ctx, delay) {
				r.payee.unmark(again)
				return
			}
		}
		items = r.renew(again, kind)
	}
}

// renew returns a batch with the newest claims on the channels of items, and
// leaves to the queue what does not fit.
func (r *Redeemer) renew(items []item, kind int) []item {
	ids := make([]ledger.Hash, len(items))
	for i := range items {
		ids[i] = items[i].id
	}
	r.payee.unmark(items)
	slices.SortFunc(ids, func(a, b ledger.Hash) int { return slices.Compare(a[:], b[:]) })
	batches := r.payee.batches(slices.Compact(ids), r.policy, &r.fees, kind)
	if len(batches) == 0 {
		return nil
	}
	for _, rest := range batches[1:] {
		for i := range rest {
			r.payee.due.push(rest[i].id, kind == urgent)
		}
	}
	r.payee.mark(batches[0])
	return batches[0]
}

// count changes the report.
func (r *Redeemer) count(f func(total *Report)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.total)
}

// sleep waits for d and reports whether ctx is still there.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
