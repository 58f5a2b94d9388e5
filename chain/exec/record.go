package exec

import (
	"cmp"
	"errors"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// classUrgent is the class of urgent records, which come before all others.
const classUrgent link.Class = 0

// record is a decoded transaction and what this node knows about it. It does
// not change once others can see it.
type record struct {
	tx      chain.Tx
	id      fingerprint      // of the raw bytes, signature included
	refused *chain.RuleError // why it cannot be decoded; tx.Raw and tx.Hash are set all the same

	at       Slot // what it uses up
	weight   int64
	room     int64 // bytes of a block's room that its weight takes
	checked  bool  // every signature it needs was verified
	urgent   bool
	class    link.Class    // classUrgent, that of a record for shards, or link.ClassUser
	deadline uint64        // sigma; of an urgent record
	fee      ledger.Amount // what it is expected to pay
	raises   *Raises       // what it would raise; nil where it pays
	head     uint64        // height of the head by which raises are
}

func (r *record) slot() Slot { return r.at }

// expired reports whether the record can execute in no block from height on.
func (r *record) expired(height uint64) bool {
	return r.tx.ValidUntil != 0 && r.tx.ValidUntil < height
}

// newRecord decodes raw, which the record keeps. One that no block can hold is
// refused.
func (e *Executor) newRecord(raw []byte) *record {
	tx, err := chain.DecodeTx(e.domain, raw)
	weight := e.rules.Weight(&tx)
	if limit := e.traits.BlockWeight; err == nil && weight > limit {
		err = chain.Refuse(chain.CodeTooLarge, "the record may write %d bytes (weight), a block at most %d", weight, limit)
	}
	if err != nil {
		return &record{tx: chain.Tx{Raw: raw, Hash: chain.TxHash(raw)}, refused: refused(err).Rule, weight: weight}
	}
	return &record{
		tx: tx, id: e.secret.fingerprint(tx.Hash[:], tx.Signature[:]), at: e.rules.Slot(&tx),
		weight: weight, room: weight * e.traits.BlockBytes / e.traits.BlockWeight, class: link.ClassUser,
	}
}

// bundle is what consensus carries as one transaction. It does not change once
// others can see it, but for the fields that the pool owns.
type bundle struct {
	raw     []byte
	tick    uint64      // the height asked for; 0 unless a tick
	seal    *chain.Seal // nil unless a seal
	relay   []byte      // payload; nil unless a relay
	records []*record
	weight  int64  // of records
	slots   []Slot // of records, filled in by summarise
	own     bool   // packed by this node's bundler

	urgent   bool       // all records are
	class    link.Class // the last of the records' classes
	deadline uint64     // the earliest of an urgent bundle
	all      share
	rate     float64 // of the records that could execute when the bundle came

	// Owned by the pool.
	key     uint64 // of raw
	order   uint64 // of arrival
	since   uint64 // height of the head at arrival
	dead    []bool // the records that may not execute any more; first set by examine
	left    int    // the others
	mine    share  // of those, what counts here and not in another bundle
	expires uint64 // no record expires at a lower height; 0 means none expires
}

// decodeBundle decodes raw and its records, which keep it. A record that cannot
// be decoded says so itself.
func (e *Executor) decodeBundle(raw []byte) (*bundle, error) {
	decoded, err := chain.DecodeBundle(raw)
	if err != nil {
		return nil, err
	}
	if decoded.Relay != nil && !e.traits.Relays {
		return nil, chain.Refuse(chain.CodeMalformed, "this chain takes no relays: what is carried to it is signed")
	}
	b := &bundle{raw: raw, tick: decoded.Tick, seal: decoded.Seal, relay: decoded.Relay}
	b.records = make([]*record, len(decoded.Records))
	for i, r := range decoded.Records {
		b.records[i] = e.newRecord(r)
		b.weight += b.records[i].weight
	}
	return b, nil
}

// newBundle packs records that are checked already.
func newBundle(records []*record) *bundle {
	var weight int64
	raw := make([][]byte, len(records))
	for i, r := range records {
		raw[i] = r.tx.Raw
		weight += r.weight
	}
	b := &bundle{raw: chain.EncodeRecords(raw), records: records, own: true, weight: weight}
	b.summarise()
	return b
}

// summarise derives the bundle's place in the packing order from its records.
func (b *bundle) summarise() {
	var live share
	b.urgent = len(b.records) > 0
	for i, r := range b.records {
		b.all.add(r)
		b.class = max(b.class, r.class)
		if b.dead == nil || !b.dead[i] {
			live.add(r)
		}
		if !r.urgent {
			b.urgent = false
		} else if b.deadline == 0 || r.deadline < b.deadline {
			b.deadline = r.deadline
		}
		b.slots = append(b.slots, r.slot())
	}
	b.rate = live.rate()
	b.expires = firstExpiry(b.records, 0)
}

// firstExpiry returns the lowest height above head at which a record expires, 0
// if there is none.
func firstExpiry(records []*record, head uint64) uint64 {
	var first uint64
	for _, r := range records {
		if until := r.tx.ValidUntil; until > head && (first == 0 || until < first) {
			first = until
		}
	}
	return first
}

// classify sets what packing needs to know of a record, by the state in v.
func (e *Executor) classify(v chain.View, height uint64, r *record) {
	a := e.rules.Appraise(v, height, &r.tx)
	r.urgent, r.deadline, r.fee = a.Urgent, a.Deadline, a.Fee
	if r.class = cmp.Or(a.Class, link.ClassUser); a.Urgent {
		r.class = classUrgent
	}
}

// badSignature makes the refusal of a record whose signatures bad do not hold.
func badSignature(bad []int) *chain.RuleError {
	const shown = 64
	refusal := chain.Refuse(chain.CodeBadSignature, "%d signatures do not verify", len(bad))
	for _, entry := range bad {
		switch {
		case entry == channel.SignedTx:
			refusal.Detail = "the signer's signature does not verify"
		case entry < 0:
			refusal.Detail = "a party's signature does not verify"
		case len(refusal.Positions) < shown:
			refusal.Positions = append(refusal.Positions, entry)
		}
	}
	return refusal
}

// ruleOf returns the refusal in err, or nil.
func ruleOf(err error) *chain.RuleError {
	rule, _ := errors.AsType[*chain.RuleError](err)
	return rule
}
