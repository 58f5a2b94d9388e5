package exec

import (
	"maps"
	"slices"
	"sync"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// tracker knows the records submitted to this node that are not final: what
// their signers have pending, and who waits for them. It is safe for concurrent
// use.
type tracker struct {
	maxBytes   int64
	maxRecords int
	maxWaiters int

	mu       sync.Mutex
	pending  map[ledger.Hash]*pending
	signers  map[ledger.Address]*signer
	bytes    int64
	included map[ledger.Hash]RecordStatus // of the block finalized and not committed
	dropped  drops
	waiters  map[ledger.Hash]*waiters
	waiting  int
}

// pending is one record submitted here.
type pending struct {
	rec   *record
	spend ledger.Amount // what it may take from the signer's balance
	since uint64        // height of the head when it was accepted
	sent  uint64        // height of the head when it was last bundled
}

// signer is what one account has pending.
type signer struct {
	nonces map[uint64]ledger.Hash
	spend  ledger.Amount
}

type waiters struct {
	changed chan struct{} // closed at the next change
	count   int
}

// drops remembers the last dropped records, in two generations.
type drops struct {
	young, old map[ledger.Hash]string
}

const maxDrops = 1 << 14 // in each generation

func newTracker(c Config) *tracker {
	return &tracker{
		maxBytes: c.PendingBytes, maxRecords: c.PendingRecords, maxWaiters: c.Waiters,
		pending: make(map[ledger.Hash]*pending),
		signers: make(map[ledger.Address]*signer),
		dropped: drops{young: make(map[ledger.Hash]string)},
		waiters: make(map[ledger.Hash]*waiters),
	}
}

// room returns a BusyError unless a record of that size and class fits.
func (t *tracker) room(size int, c link.Class) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.roomLocked(size, c)
}

func (t *tracker) roomLocked(size int, c link.Class) error {
	if t.bytes+int64(size) > openTo(t.maxBytes, c) || len(t.pending) >= openTo(t.maxRecords, c) {
		return &BusyError{Reason: ErrPoolFull, RetryAfter: retryFull}
	}
	return nil
}

// conflict refuses a record whose nonce another pending record has.
func (t *tracker) conflict(r *record) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.conflictLocked(r)
}

func (t *tracker) conflictLocked(r *record) error {
	s := t.signers[r.at.Signer]
	if s == nil {
		return nil
	}
	hash, used := s.nonces[r.at.Nonce]
	switch {
	case !used:
		return nil
	case hash == r.tx.Hash:
		return chain.Refuse(chain.CodeDuplicate, "transaction %s is pending", hash)
	default:
		return chain.Refuse(chain.CodeNonceUsed, "nonce %d is used by the pending transaction %s", r.at.Nonce, hash)
	}
}

// add takes in a checked record at head height. spend is what it may take from
// the signer's balance, all pending records of the signer together at most
// balance.
func (t *tracker) add(r *record, height uint64, spend, balance ledger.Amount) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.conflictLocked(r); err != nil {
		return err
	}
	if err := t.roomLocked(len(r.tx.Raw), r.class); err != nil {
		return err
	}
	s := t.signers[r.at.Signer]
	if s == nil {
		s = &signer{nonces: make(map[uint64]ledger.Hash)}
	}
	if spend > 0 && (s.spend > balance || spend > balance-s.spend) {
		return chain.Refuse(chain.CodeInsufficientBalance, "balance %s, of which pending transactions may spend %s, this one %s", balance, s.spend, spend)
	}
	s.spend += spend
	s.nonces[r.at.Nonce] = r.tx.Hash
	t.signers[r.at.Signer] = s
	t.pending[r.tx.Hash] = &pending{rec: r, spend: spend, since: height, sent: height}
	t.bytes += int64(len(r.tx.Raw))
	t.dropped.forget(r.tx.Hash)
	return nil
}

// remove forgets a pending record. The caller holds mu.
func (t *tracker) remove(p *pending) {
	r := p.rec
	delete(t.pending, r.tx.Hash)
	t.bytes -= int64(len(r.tx.Raw))
	if s := t.signers[r.at.Signer]; s != nil {
		delete(s.nonces, r.at.Nonce)
		s.spend -= p.spend
		if len(s.nonces) == 0 {
			delete(t.signers, r.at.Signer)
		}
	}
}

// nonces returns the nonces that signer has pending, in no order.
func (t *tracker) nonces(signer ledger.Address) []uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.signers[signer]
	if s == nil {
		return nil
	}
	return slices.Collect(maps.Keys(s.nonces))
}

// isPending reports whether a record submitted here still waits.
func (t *tracker) isPending(hash ledger.Hash) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pending[hash] != nil
}

// finalized makes the records of a block included.
func (t *tracker) finalized(statuses map[ledger.Hash]RecordStatus) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.included = statuses
	for hash := range statuses {
		t.notify(hash)
	}
}

// committed makes the included records final, and with them whatever else used
// their nonces. It returns the records to send again, and how many were given up.
func (t *tracker) committed(height, rebroadcast, maxAge uint64, used []Slot) (again []*record, dropped int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for hash := range t.included {
		if p := t.pending[hash]; p != nil {
			t.remove(p)
		}
		t.notify(hash)
	}
	t.included = nil
	for _, u := range used {
		s := t.signers[u.Signer]
		if s == nil {
			continue
		}
		if hash, ok := s.nonces[u.Nonce]; ok {
			t.giveUp(t.pending[hash], "another transaction used its nonce")
			dropped++
		}
	}
	for _, p := range t.pending {
		switch {
		case p.rec.expired(height + 1):
			t.giveUp(p, "expired before a block included it")
			dropped++
		case height >= p.since+maxAge:
			t.giveUp(p, "not included by a block in time")
			dropped++
		case height >= p.sent+rebroadcast:
			p.sent = height
			again = append(again, p.rec)
		}
	}
	return again, dropped
}

// stale gives up those of some records that are pending, and returns how many.
func (t *tracker) stale(hashes []ledger.Hash) (dropped int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, hash := range hashes {
		if p := t.pending[hash]; p != nil {
			t.giveUp(p, "other transactions book as much: send it again to see whether anything is left")
			dropped++
		}
	}
	return dropped
}

// giveUp drops p. The caller holds mu.
func (t *tracker) giveUp(p *pending, reason string) {
	if p == nil {
		return
	}
	t.remove(p)
	t.dropped.add(p.rec.tx.Hash, reason)
	t.notify(p.rec.tx.Hash)
}

// notify wakes who waits for hash. The caller holds mu.
func (t *tracker) notify(hash ledger.Hash) {
	if w := t.waiters[hash]; w != nil {
		delete(t.waiters, hash)
		t.waiting -= w.count
		close(w.changed)
	}
}

// wait returns a channel that is closed at the next change of hash, and a
// function to call if it is not waited for any more.
func (t *tracker) wait(hash ledger.Hash) (changed <-chan struct{}, leave func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting >= t.maxWaiters {
		return nil, nil, &BusyError{Reason: ErrTooManyWaiting, RetryAfter: retryFull}
	}
	w := t.waiters[hash]
	if w == nil {
		w = &waiters{changed: make(chan struct{})}
		t.waiters[hash] = w
	}
	w.count++
	t.waiting++
	leave = func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.waiters[hash] != w {
			return // woken
		}
		w.count--
		t.waiting--
		if w.count == 0 {
			delete(t.waiters, hash)
		}
	}
	return w.changed, leave, nil
}

// known is what the tracker knows of a record at one moment.
type known struct {
	included   RecordStatus // by the block finalized and not committed; if isIncluded
	isIncluded bool
	pending    bool
	dropReason string // if isDropped
	isDropped  bool
}

// look returns what the tracker knows of hash.
func (t *tracker) look(hash ledger.Hash) (k known) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k.included, k.isIncluded = t.included[hash]
	k.pending = t.pending[hash] != nil
	k.dropReason, k.isDropped = t.dropped.get(hash)
	return k
}

// usage returns how many records are pending, and their size in bytes.
func (t *tracker) usage() (records int, size int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.pending), t.bytes
}

func (d *drops) add(hash ledger.Hash, reason string) {
	if len(d.young) >= maxDrops {
		d.old, d.young = d.young, make(map[ledger.Hash]string)
	}
	d.young[hash] = reason
}

func (d *drops) get(hash ledger.Hash) (string, bool) {
	reason, ok := d.young[hash]
	if !ok {
		reason, ok = d.old[hash]
	}
	return reason, ok
}

func (d *drops) forget(hash ledger.Hash) {
	delete(d.young, hash)
	delete(d.old, hash)
}
