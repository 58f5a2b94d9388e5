package exec

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// Check decides whether a bundle may enter the mempool, and takes it into the
// pool. It refuses what is malformed, too large or for another domain, what has
// a signature that does not verify (with the positions of the entries), bundles
// most of whose records would have no effect, and ticks nobody needs. A few
// records out of date do not refuse their bundle: this node may lag, and others
// may have sent the same records.
// The error is a *RefusedError, a BusyError, or a failure of the store.
//
// A relay has to apply after all that wait, and is refused otherwise.
//
// With recheck it says whether the bundle may stay, which is a look-up.
func (e *Executor) Check(raw []byte, recheck bool) error {
	if e.traits.Relays && chain.IsRelay(raw) {
		return e.checkRelay(raw, recheck)
	}
	if e.pool.find(raw) != nil {
		return nil
	}
	if recheck {
		return e.recheck(raw)
	}
	if b := e.staged.get(raw); b != nil {
		return e.admit(b)
	}
	e.stats.checks.Add(1)
	b, err := e.examine(bytes.Clone(raw))
	if err != nil {
		e.stats.checksRefused.Add(1)
		return err
	}
	if b.tick != 0 {
		return nil
	}
	return e.admit(b)
}

// admit takes a checked bundle into the pool. If most of it is pending in other
// bundles, this node packs the rest anew and sends that.
func (e *Executor) admit(b *bundle) error {
	height := e.head.Load().height
	rest, idle, err := e.pool.add(b, height)
	if b.own {
		e.stats.dropped.Add(uint64(e.tracker.stale(idle)))
	}
	if len(rest) > 0 {
		if err := e.split(rest, height); err != nil {
			return err
		}
	}
	if rule := ruleOf(err); rule != nil {
		return &RefusedError{Rule: rule}
	}
	return err
}

// split makes a bundle of some checked records of another, whose bytes it does
// not keep.
func (e *Executor) split(records []*record, height uint64) error {
	b, err := e.decodeBundle(newBundle(records).raw)
	if err != nil {
		return fmt.Errorf("pack %d records anew: %w", len(records), err)
	}
	for i, r := range b.records {
		was := records[i]
		r.checked, r.urgent, r.class, r.deadline, r.fee, r.raises, r.head = was.checked, was.urgent, was.class, was.deadline, was.fee, was.raises, was.head
	}
	b.summarise()
	if _, _, err := e.pool.add(b, height); err != nil {
		return err
	}
	e.bundler.relay(b)
	return nil
}

// recheck is about bundles that are not in the pool: only ticks may stay.
func (e *Executor) recheck(raw []byte) error {
	if b, err := chain.DecodeBundle(raw); err == nil && b.Tick > e.head.Load().height {
		return nil
	}
	return refused(chain.Refuse(chain.CodeExpired, "nothing in the bundle can execute any more"))
}

// examine decodes raw, which the bundle keeps, and checks it against the head.
func (e *Executor) examine(raw []byte) (b *bundle, err error) {
	defer contain("check", &err)
	b, err = e.decodeBundle(raw)
	if err != nil {
		return nil, refused(err)
	}
	if b.seal != nil {
		return nil, refused(chain.Refuse(chain.CodeInvalidValue, "a seal is put into its block by the proposer, and cannot be sent"))
	}
	for i, r := range b.records {
		if r.refused != nil {
			return nil, refused(inRecord(i, len(b.records), r.refused))
		}
	}
	if limit := e.traits.BlockWeight; b.weight > limit {
		return nil, refused(chain.Refuse(chain.CodeTooLarge, "the records of the bundle may write %d bytes (weight), a block at most %d", b.weight, limit))
	}
	var w *work
	err = e.layer.Read(func(v chain.View) error {
		v = newMemoView(v)
		height := e.head.Load().height + 1
		if b.tick != 0 {
			return e.checkTick(v, b.tick, height)
		}
		for _, r := range b.records {
			e.classify(v, height, r)
		}
		if err := e.checkAlive(v, height, b); err != nil {
			return err
		}
		w = e.gather(v, b.records)
		return nil
	})
	if err != nil || b.tick != 0 {
		return b, err
	}
	verdicts, err := e.conclude(w, e.now)
	if err != nil {
		return nil, err
	}
	for i, verdict := range verdicts {
		switch {
		case verdict.refused != nil:
			return nil, refused(inRecord(i, len(b.records), verdict.refused))
		case len(verdict.bad) > 0:
			return nil, refused(inRecord(i, len(b.records), badSignature(verdict.bad)))
		}
		b.records[i].checked = verdict.complete
	}
	b.summarise()
	return b, nil
}

// checkTick wants a tick for one of the next blocks, and something that needs it.
func (e *Executor) checkTick(v chain.View, tick, height uint64) error {
	const ahead = 2 // how much a peer may be further than this node
	if tick < height || tick > height+ahead {
		return refused(chain.Refuse(chain.CodeExpired, "tick for block %d, the next is %d", tick, height))
	}
	if !e.needsTick(v, height) {
		return refused(chain.Refuse(chain.CodeInvalidValue, "tick for block %d, nothing is due", tick))
	}
	return nil
}

// checkAlive refuses a bundle more than half of whose records, by number or by
// what they take of a block, would have no effect, and so pay nothing for their
// place in it. It marks those of a bundle that it lets pass. Besides what idle
// finds, these are second records with a nonce, and those that their signer
// cannot pay after the others.
func (e *Executor) checkAlive(v chain.View, height uint64, b *bundle) error {
	var last *chain.RuleError
	var live, all share
	b.dead = make([]bool, len(b.records))
	met := make(map[Slot]bool, len(b.records))
	owed := make(map[ledger.Address]ledger.Amount)
	for i, r := range b.records {
		all.add(r)
		s := r.slot()
		rule := e.idle(v, height, r, owed[s.Signer])
		if rule == nil && met[s] {
			rule = chain.Refuse(chain.CodeNonceUsed, "nonce %d comes twice in the bundle", s.Nonce)
		}
		if rule != nil {
			b.dead[i] = true
			last = inRecord(i, len(b.records), rule)
			continue
		}
		live.add(r)
		met[s] = true
		owed[s.Signer] += r.fee
	}
	if !live.halfOf(&all) {
		return refused(last)
	}
	return nil
}

// idle returns why r would have no effect in the block at height, or nil, and sets what it
// raises. owed are the fees of its signer's records that come before in the same bundle.
func (e *Executor) idle(v chain.View, height uint64, r *record, owed ledger.Amount) *chain.RuleError {
	if r.expired(height) {
		return chain.Refuse(chain.CodeExpired, "valid until block %d, the next is %d", r.tx.ValidUntil, height)
	}
	raises, rule := e.rules.Idle(v, height, &r.tx, r.fee, owed+e.pool.owed(r.slot()))
	r.raises, r.head = raises, height-1
	return rule
}

// inRecord says which record of a bundle a refusal is about. Positions are the
// entries of that record.
func inRecord(i, of int, rule *chain.RuleError) *chain.RuleError {
	if of == 1 {
		return rule
	}
	wrapped := *rule
	wrapped.Detail = fmt.Sprintf("record %d of %d: %s", i, of, rule.Detail)
	return &wrapped
}

// Accept says whether this node votes for a proposed block. It refuses bundles
// and records that cannot be decoded, blocks above Traits.BlockBytes or
// Traits.BlockWeight, a bundle that comes twice, ticks for another block,
// transactions whose signer's signature does not verify, and a block that does not
// begin with the seal of its proposer although that is in the epoch's committee. On a
// chain whose rules refuse blocks it also refuses one that does not apply.
// All of these are facts about the bytes, so that honest nodes agree; whether a
// record is out of date is decided by executing it. That begins at once, in the
// background, so that it may be over when the block is agreed on; b is kept until
// then.
func (e *Executor) Accept(b Block) (err error) {
	defer contain("accept", &err)
	if err := e.accept(&b); err != nil {
		return err
	}
	next := e.head.Load().height + 1
	switch {
	case e.traits.Strict && b.Height != next:
		return fmt.Errorf("accept block %d, the next is %d", b.Height, next)
	case e.traits.Strict:
		return e.acceptStrictly(b)
	case b.Height == next:
		e.ahead.want(b)
	}
	return nil
}

// acceptStrictly refuses a block that does not apply. What it does is kept for Extend and
// Finalize.
func (e *Executor) acceptStrictly(b Block) error {
	_, _, err := e.ahead.finish(b)
	if err != nil {
		e.relays.blame(b.Height, b.Txs)
	}
	return err
}

func (e *Executor) accept(block *Block) error {
	bundles, size, err := e.decodeBlock(block.Txs)
	if err != nil {
		return err
	}
	el, err := e.electorateOf(block.Height)
	if err != nil {
		return err
	}
	if _, err := e.checkSeal(el, block, bundles); err != nil {
		return err
	}
	if size > e.traits.BlockBytes {
		return chain.Refuse(chain.CodeTooLarge, "block of %d bytes, at most %d", size, e.traits.BlockBytes)
	}
	met := make(map[uint64]int, len(bundles))
	var weight int64
	for i, b := range bundles {
		weight += b.weight
		key := e.pool.keyOf(b.raw)
		if j, ok := met[key]; ok && bytes.Equal(bundles[j].raw, b.raw) {
			return chain.Refuse(chain.CodeDuplicate, "bundle %d repeats bundle %d", i, j)
		}
		met[key] = i
		if b.tick != 0 && b.tick != block.Height {
			return chain.Refuse(chain.CodeInvalidValue, "bundle %d is a tick for block %d", i, b.tick)
		}
		for j, r := range b.records {
			if r.refused != nil {
				return fmt.Errorf("bundle %d: %w", i, inRecord(j, len(b.records), r.refused))
			}
		}
	}
	if limit := e.traits.BlockWeight; weight > limit {
		return chain.Refuse(chain.CodeTooLarge, "block of weight %d, at most %d", weight, limit)
	}
	return e.acceptSignatures(bundles)
}

func (e *Executor) acceptSignatures(bundles []*bundle) error {
	unseen := unchecked(bundles)
	if len(unseen) == 0 {
		return nil
	}
	verdicts, err := e.verify(unseen)
	if err != nil {
		return err
	}
	for i, verdict := range verdicts {
		if slices.Contains(verdict.bad, channel.SignedTx) {
			return chain.Refuse(chain.CodeBadSignature, "transaction %s", unseen[i].tx.Hash)
		}
	}
	return nil
}

// unchecked lists the records of bundles that were not checked when decoded.
func unchecked(bundles []*bundle) []*record {
	var records []*record
	for _, b := range bundles {
		for _, r := range b.records {
			if !r.checked && r.refused == nil {
				records = append(records, r)
			}
		}
	}
	return records
}

// decodeBlock returns the bundles of a block, decoded once for Accept and
// Finalize if they are not in the pool, and their size in bytes, seals not counted.
// The error names the first that cannot be decoded; its place is nil.
func (e *Executor) decodeBlock(txs [][]byte) (bundles []*bundle, size int64, err error) {
	bundles = make([]*bundle, len(txs))
	for i, raw := range txs {
		b := e.pool.find(raw)
		if b == nil {
			b = e.proposed.get(raw)
		}
		if b == nil {
			decoded, decodeErr := e.decodeBundle(bytes.Clone(raw))
			if decodeErr != nil {
				if err == nil {
					err = fmt.Errorf("bundle %d: %w", i, decodeErr)
				}
				continue
			}
			b = decoded
			e.proposed.put(b)
		}
		if b.seal == nil {
			size += int64(len(raw))
		}
		bundles[i] = b
	}
	return bundles, size, err
}
