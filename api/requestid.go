package api

import (
	"container/list"
	"context"
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/ledger"
)

const (
	// requestIDLife is how long the answer to a request id is kept.
	requestIDLife = 24 * time.Hour
	// DefaultRequestIDs is how many request ids are kept; when there are more
	// the oldest are forgotten before their time, those of an address that has
	// more than its share before those of others. A transaction submitted twice is
	// still one transaction, because its hash names it.
	DefaultRequestIDs = 200_000
)

// requestIDs remembers which request an id was used for and which transaction
// came of it, so that a repeat gets the same answer. It is safe for concurrent
// use. What it remembers is lost when the server stops.
type requestIDs struct {
	limit int
	share func(netip.Addr) int // of limit, for an address
	now   func() time.Time

	mu    sync.Mutex
	byID  map[uuid.UUID]*idEntry
	queue *list.List                // of *idEntry, oldest first
	byIP  map[netip.Addr]*list.List // the same, of each address
}

type idEntry struct {
	id   uuid.UUID
	ip   netip.Addr
	all  *list.Element // in queue
	own  *list.Element // in byIP
	body [sha256.Size]byte
	born time.Time
	done chan struct{} // closed when hash is known
	hash ledger.Hash
}

func newRequestIDs(limit int, share func(netip.Addr) int, now func() time.Time) *requestIDs {
	return &requestIDs{
		limit: limit, share: share, now: now,
		byID: make(map[uuid.UUID]*idEntry), queue: list.New(), byIP: make(map[netip.Addr]*list.List),
	}
}

// parseRequestID reads a UUID of version 4 in the field at path.
func parseRequestID(path, s string) (uuid.UUID, error) {
	const canonical = 36
	if len(s) == canonical {
		if id, err := uuid.Parse(s); err == nil && id.Version() == 4 && id.Variant() == uuid.RFC4122 {
			return id, nil
		}
	}
	return uuid.UUID{}, invalid(path, "%s is no UUID of version 4; make a random one for every new request", quoted(s))
}

// do calls submit once for each id: a repeat with the same body gets the hash
// of the first call, waiting for it if need be. An id whose submit failed is
// forgotten, and so is one whose transaction is gone: a shard that went on from an
// earlier block took it back, or the node lost it. Then the repeat submits. A nil gone
// means that none is. An empty id only calls submit.
func (r *requestIDs) do(ctx context.Context, id string, body [sha256.Size]byte, gone func(ledger.Hash) bool, submit func() (ledger.Hash, error)) (ledger.Hash, error) {
	if id == "" {
		return submit()
	}
	key, err := parseRequestID("request_id", id)
	if err != nil {
		return ledger.Hash{}, err
	}
	for {
		entry, mine := r.claim(callerIP(ctx), key, body)
		if mine {
			return r.finish(entry, submit)
		}
		if entry.body != body {
			return ledger.Hash{}, reusedID(entry)
		}
		select {
		case <-ctx.Done():
			return ledger.Hash{}, ctx.Err()
		case <-entry.done:
		}
		if !entry.hash.IsZero() {
			if gone == nil || !gone(entry.hash) {
				return entry.hash, nil
			}
			r.forget(entry)
		}
		// The first call failed, or what came of it is gone: this one may be the first now.
	}
}

func reusedID(e *idEntry) error {
	p := &problem{
		code: codes.AlreadyExists, reason: ReasonRequestIDReused,
		message: "request_id: this id was used for another request; make a new one",
		fields:  []field{{path: "request_id", problem: "used for another request"}},
	}
	select {
	case <-e.done:
		p.set("original_hash", e.hash.String())
	default:
	}
	return p
}

// claim returns the entry of id, and whether it was made by this call, from ip.
func (r *requestIDs) claim(ip netip.Addr, id uuid.UUID, body [sha256.Size]byte) (*idEntry, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	for e := oldest(r.queue); e != nil && now.Sub(e.born) > requestIDLife; e = oldest(r.queue) {
		r.drop(e)
	}
	if e, ok := r.byID[id]; ok {
		return e, false
	}
	switch own := r.byIP[ip]; {
	case own != nil && own.Len() >= r.share(ip):
		r.drop(oldest(own))
	case r.queue.Len() >= r.limit:
		r.drop(oldest(r.queue))
	}
	if r.byIP[ip] == nil {
		r.byIP[ip] = list.New()
	}
	entry := &idEntry{id: id, ip: ip, body: body, born: now, done: make(chan struct{})}
	entry.all, entry.own = r.queue.PushBack(entry), r.byIP[ip].PushBack(entry)
	r.byID[id] = entry
	return entry, true
}

// oldest returns the first entry of a queue, or nil.
func oldest(queue *list.List) *idEntry {
	if queue.Front() == nil {
		return nil
	}
	entry, _ := queue.Front().Value.(*idEntry)
	return entry
}

func (r *requestIDs) drop(e *idEntry) {
	r.queue.Remove(e.all)
	own := r.byIP[e.ip]
	if own.Remove(e.own); own.Len() == 0 {
		delete(r.byIP, e.ip)
	}
	delete(r.byID, e.id)
}

// forget drops an entry, unless that was done before.
func (r *requestIDs) forget(e *idEntry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID[e.id] == e {
		r.drop(e)
	}
}

func (r *requestIDs) finish(entry *idEntry, submit func() (ledger.Hash, error)) (hash ledger.Hash, err error) {
	defer func() { // also if submit panics
		if hash.IsZero() {
			r.forget(entry)
		}
		entry.hash = hash
		close(entry.done)
	}()
	hash, err = submit()
	if err != nil {
		hash = ledger.Hash{}
	}
	return hash, err
}
