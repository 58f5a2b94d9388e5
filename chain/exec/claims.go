package exec

import (
	"sync"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// work is the signatures of some records that nobody has verified yet.
type work struct {
	records []*record
	claims  []ledger.Claim
	owners  []owner // of claims
	states  []verdict
	held    []fingerprint     // records being verified by this work, until release
	busy    []<-chan struct{} // of records that others are verifying; nil for the rest
}

// owner is where a claim comes from.
type owner struct {
	record int // position in the records
	entry  int // channel.Need.Entry
	memo   fingerprint
}

// verdict is what is known of a record's signatures.
type verdict struct {
	same     int              // 1 + position of an earlier record that has the same bytes; 0 if none
	complete bool             // no signature is missing, once the claims are verified
	bad      []int            // channel.Need.Entry of those that do not hold, in the order needed
	refused  *chain.RuleError // why the record is wrong whatever its signatures
}

// ok reports whether all signatures hold and none is missing.
func (v *verdict) ok() bool { return v.complete && len(v.bad) == 0 && v.refused == nil }

// busyRecords are the records being verified just now, so that nobody else
// verifies them at the same time. It is safe for concurrent use.
type busyRecords struct {
	mu   sync.Mutex
	done map[fingerprint]chan struct{} // closed when the record is verified
}

// begin makes the caller the one who verifies id, or returns a channel to wait on.
func (b *busyRecords) begin(id fingerprint) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if done, ok := b.done[id]; ok {
		return done
	}
	if b.done == nil {
		b.done = make(map[fingerprint]chan struct{})
	}
	b.done[id] = make(chan struct{})
	return nil
}

func (b *busyRecords) end(ids []fingerprint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		close(b.done[id])
		delete(b.done, id)
	}
}

// gather lists the signatures of records that were never verified, against the
// state in v. Records known to be checked cost a look-up. The caller must
// conclude the work.
func (e *Executor) gather(v chain.View, records []*record) *work {
	w := &work{records: records, states: make([]verdict, len(records)), busy: make([]<-chan struct{}, len(records))}
	defer func() {
		if r := recover(); r != nil { // the store cannot be read
			e.abandon(w)
			panic(r)
		}
	}()
	first := make(map[fingerprint]int)
	for i, r := range records {
		s := &w.states[i]
		if r.refused != nil {
			s.refused = r.refused
			continue
		}
		if r.checked || e.records.has(r.id) {
			e.stats.remembered.Add(1)
			s.complete = true
			continue
		}
		if j, ok := first[r.id]; ok {
			s.same = j + 1
			continue
		}
		if w.busy[i] = e.busy.begin(r.id); w.busy[i] != nil {
			continue
		}
		first[r.id] = i
		w.held = append(w.held, r.id)
		e.need(v, w, i)
	}
	return w
}

// need adds the claims of record i to w.
func (e *Executor) need(v chain.View, w *work, i int) {
	r, s := w.records[i], &w.states[i]
	needs, complete, err := e.rules.Claims(v, &r.tx)
	if err != nil {
		s.refused, complete = refused(err).Rule, false
	}
	if len(needs) == 0 { // wrong whatever the state, but the signature says whose mistake it is
		needs = []channel.Need{{Claim: r.tx.Claim(), Entry: channel.SignedTx}}
	}
	s.complete = complete
	partial := !complete || e.claims.len() > 0
	for _, n := range needs {
		o := owner{record: i, entry: n.Entry}
		if partial {
			if o.memo = e.memo(&n.Claim); e.claims.has(o.memo) {
				continue
			}
		}
		w.claims = append(w.claims, n.Claim)
		w.owners = append(w.owners, o)
	}
}

// memo is the fingerprint of a single claim.
func (e *Executor) memo(c *ledger.Claim) fingerprint {
	return e.secret.fingerprint(c.Key[:], c.Signature[:], c.Message)
}

// verify checks what was never checked of the records' signatures, and returns a
// verdict for each.
func (e *Executor) verify(records []*record) ([]verdict, error) {
	return e.verifyBy(records, e.now)
}

// now verifies claims in the calling goroutine.
func (e *Executor) now(claims []ledger.Claim) ([]int, error) { return e.verifier.verify(claims), nil }

// verifyBy reads the state first and verifies afterwards, since a commit waits
// for readers.
func (e *Executor) verifyBy(records []*record, by func([]ledger.Claim) ([]int, error)) ([]verdict, error) {
	var w *work
	if err := e.layer.Read(func(v chain.View) error {
		w = e.gather(newMemoView(v), records)
		return nil
	}); err != nil {
		return nil, err
	}
	return e.conclude(w, by)
}

// conclude has the work's claims verified and returns a verdict for each record.
// Those that others were verifying meanwhile are known afterwards, or done then.
func (e *Executor) conclude(w *work, by func([]ledger.Claim) ([]int, error)) ([]verdict, error) {
	err := e.finish(w, by)
	if err != nil {
		return nil, err
	}
	var rest []*record
	var places []int
	for i, done := range w.busy {
		if done != nil {
			<-done
			rest, places = append(rest, w.records[i]), append(places, i)
		}
	}
	if len(rest) == 0 {
		return w.states, nil
	}
	verdicts, err := e.verifyBy(rest, by)
	if err != nil {
		return nil, err
	}
	for i, place := range places {
		w.states[place] = verdicts[i]
	}
	return w.states, nil
}

// finish verifies and settles what w holds, and lets go of it.
func (e *Executor) finish(w *work, by func([]ledger.Claim) ([]int, error)) error {
	defer e.abandon(w)
	bad, err := by(w.claims)
	if err != nil {
		return err
	}
	e.settle(w, bad)
	return nil
}

// abandon lets others verify what w holds.
func (e *Executor) abandon(w *work) {
	e.busy.end(w.held)
	w.held = nil
}

// settle remembers what was verified: whole records if all their signatures
// hold, single claims if not. bad is what verifying the claims returned.
func (e *Executor) settle(w *work, bad []int) {
	for _, i := range bad {
		o := w.owners[i]
		w.states[o.record].bad = append(w.states[o.record].bad, o.entry)
	}
	for i, r := range w.records {
		if s := &w.states[i]; s.same > 0 {
			*s = w.states[s.same-1]
		} else if s.ok() && !r.checked {
			e.records.add(r.id)
		}
	}
	for i, o := range w.owners {
		if len(bad) > 0 && bad[0] == i {
			bad = bad[1:]
			continue
		}
		if w.states[o.record].ok() {
			continue
		}
		if o.memo == (fingerprint{}) {
			o.memo = e.memo(&w.claims[i])
		}
		e.claims.add(o.memo)
	}
}
