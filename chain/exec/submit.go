package exec

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// retryFull is when it makes sense to try again after a pool was full: some
// blocks later.
const retryFull = 500 * time.Millisecond

// Submit checks raw wholly (form, domain, rules against the head and what is
// pending, signatures) and hands it to the bundler. It returns the record's
// status once it is CHECKED, or further if it was submitted before: Submit is
// idempotent. raw must not be modified afterwards.
//
// Errors: a *chain.RuleError with the code and the positions of entries; a
// BusyError; ErrNotSynced, ErrNotRunning, ErrHalted; ctx's error, after which the
// record may have been accepted all the same.
func (e *Executor) Submit(ctx context.Context, raw []byte) (RecordStatus, error) {
	if err := e.ready(); err != nil {
		return RecordStatus{}, err
	}
	if err := e.enter(len(raw)); err != nil {
		return RecordStatus{}, err
	}
	defer e.leave(len(raw))
	e.stats.submitted.Add(1)
	r := e.newRecord(raw)
	if r.refused != nil {
		e.stats.refused.Add(1)
		return RecordStatus{}, r.refused
	}
	status, err := e.submitOnce(ctx, r)
	if err != nil {
		e.stats.refused.Add(1)
	}
	return status, err
}

// submitOnce submits r, or waits for the Submit of the same bytes under way.
func (e *Executor) submitOnce(ctx context.Context, r *record) (RecordStatus, error) {
	for {
		f, mine := e.flights.join(r.id)
		if mine {
			defer e.flights.land(r.id, f)
			f.status, f.err = e.submit(ctx, r)
			return f.status, f.err
		}
		select {
		case <-f.landed:
		case <-ctx.Done():
			return RecordStatus{}, ctx.Err()
		}
		if !errors.Is(f.err, context.Canceled) && !errors.Is(f.err, context.DeadlineExceeded) {
			return f.status, f.err
		}
	}
}

// enter admits a call with size bytes to check, or returns a BusyError. The
// bytes of all calls bound the signatures that wait to be verified.
func (e *Executor) enter(size int) error {
	calls, total := e.inFlight.Add(1), e.inFlightBytes.Add(int64(size))
	if calls > int64(e.cfg.Submits) || total > max(e.cfg.SubmitBytes, chain.MaxTxSize) {
		e.leave(size)
		return &BusyError{Reason: ErrTooManyWaiting, RetryAfter: retryFull}
	}
	return nil
}

func (e *Executor) leave(size int) {
	e.inFlight.Add(-1)
	e.inFlightBytes.Add(-int64(size))
}

// crowded reports whether only calls with records of an earlier class may go on.
func (e *Executor) crowded(c link.Class) bool {
	return e.inFlight.Load() > int64(openTo(e.cfg.Submits, c)) ||
		e.inFlightBytes.Load() > max(openTo(e.cfg.SubmitBytes, c), chain.MaxTxSize)
}

// ready returns why nothing can be submitted now, or nil.
func (e *Executor) ready() error {
	switch {
	case e.isHalted():
		return e.haltError()
	case !e.running.Load():
		return ErrNotRunning
	case e.cfg.Synced != nil && !e.cfg.Synced():
		return ErrNotSynced
	case e.layer.Empty(): // consensus has not called InitChain, so there is nothing to check against
		return ErrNotSynced
	}
	return nil
}

func (e *Executor) submit(ctx context.Context, r *record) (RecordStatus, error) {
	switch s, err := e.Status(r.tx.Hash); {
	case err != nil && !errors.Is(err, ErrUnknown):
		return RecordStatus{}, err
	case err == nil && (s.Stage == StageChecked || s.settled()):
		return s, nil
	}
	c, err := e.precheck(r)
	if err != nil {
		return RecordStatus{}, err
	}
	if r.checked, err = e.checkSignatures(ctx, c.work); err != nil {
		return RecordStatus{}, err
	}
	if err := e.tracker.add(r, e.head.Load().height, c.admitted.Spend, c.admitted.Balance); err != nil {
		if errors.Is(err, chain.CodeDuplicate.Err()) { // by another signature of the same signer
			return RecordStatus{Hash: r.tx.Hash, Stage: StageChecked}, nil
		}
		return RecordStatus{}, err
	}
	e.bundler.push(r)
	return RecordStatus{Hash: r.tx.Hash, Stage: StageChecked}, nil
}

// checkSignatures verifies those of one record together with others'. It
// reports whether none is missing.
func (e *Executor) checkSignatures(ctx context.Context, w *work) (complete bool, err error) {
	verdicts, err := e.conclude(w, func(claims []ledger.Claim) ([]int, error) { return e.queue.verify(ctx, claims) })
	if err != nil {
		return false, err
	}
	if v := &verdicts[0]; len(v.bad) > 0 {
		return false, badSignature(v.bad)
	}
	return verdicts[0].complete, nil
}

// precheck is what is known of a record before its signatures are verified.
type precheck struct {
	work     *work
	admitted Admitted
}

// precheck runs the rules on r against the head and what is pending.
func (e *Executor) precheck(r *record) (c precheck, err error) {
	defer contain("check against the head", &err)
	if err := e.tracker.conflict(r); err != nil {
		return c, err
	}
	if hash, ok := e.pool.holder(r.slot()); ok && hash != r.tx.Hash {
		return c, chain.Refuse(chain.CodeNonceUsed, "nonce %d is used by the pending transaction %s", r.at.Nonce, hash)
	}
	err = e.layer.Read(func(v chain.View) error {
		v = newMemoView(v)
		height := e.head.Load().height + 1
		e.classify(v, height, r)
		if !r.urgent && e.crowded(r.class) {
			return &BusyError{Reason: ErrTooManyWaiting, RetryAfter: retryFull}
		}
		if err := e.pool.fits(len(r.tx.Raw), r.class); err != nil {
			return err
		}
		if err := e.tracker.room(len(r.tx.Raw), r.class); err != nil {
			return err
		}
		admitted, err := e.rules.Admit(v, height, &r.tx)
		if err != nil {
			return err
		}
		if r.raises, r.head = admitted.Raises, height-1; !e.pool.adds(r) {
			return &BusyError{Reason: ErrRaised, RetryAfter: retryFull}
		}
		c.admitted = admitted
		c.work = e.gather(v, []*record{r})
		return nil
	})
	if err == nil && c.work.states[0].refused != nil {
		e.abandon(c.work)
		err = c.work.states[0].refused
	}
	return c, err
}

// Simulate returns the receipt that raw would have in the next block, and checks
// its signatures, without submitting it. Its errors are those of Submit.
func (e *Executor) Simulate(ctx context.Context, raw []byte) (Receipt, error) {
	if err := e.ready(); err != nil {
		return Receipt{}, err
	}
	if err := e.enter(len(raw)); err != nil {
		return Receipt{}, err
	}
	defer e.leave(len(raw))
	if e.crowded(link.ClassUser) {
		return Receipt{}, &BusyError{Reason: ErrTooManyWaiting, RetryAfter: retryFull}
	}
	r := e.newRecord(raw)
	if r.refused != nil {
		return Receipt{}, r.refused
	}
	c, err := e.precheck(r)
	if err != nil {
		return Receipt{}, err
	}
	if _, err := e.checkSignatures(ctx, c.work); err != nil {
		return Receipt{}, err
	}
	return c.admitted.Receipt, nil
}

// flights joins concurrent Submits of the same bytes, so that they are checked
// once. It is safe for concurrent use.
type flights struct {
	mu    sync.Mutex
	under map[fingerprint]*flight
}

type flight struct {
	landed chan struct{}
	status RecordStatus
	err    error
}

// join returns the flight of id, and whether the caller has to carry it out.
func (f *flights) join(id fingerprint) (*flight, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if one, ok := f.under[id]; ok {
		return one, false
	}
	if f.under == nil {
		f.under = make(map[fingerprint]*flight)
	}
	one := &flight{landed: make(chan struct{})}
	f.under[id] = one
	return one, true
}

func (f *flights) land(id fingerprint, one *flight) {
	f.mu.Lock()
	delete(f.under, id)
	f.mu.Unlock()
	close(one.landed)
}

// PendingNonces returns the nonces that transactions of signer which wait on
// this node use, in no order.
func (e *Executor) PendingNonces(signer ledger.Address) []uint64 { return e.tracker.nonces(signer) }
