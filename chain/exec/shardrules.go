package exec

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

// shardRules are the Rules of a shard: those of chain/shardblock.
type shardRules struct {
	genesis shardblock.Genesis
	resumes []shardblock.Resume // ascending by generation and height
	parents []chain.View        // states that the genesis takes over from
	domain  chain.Domain        // of records
	seen    *Heads
	exec    *Executor // for what lies in its index
}

var _ Rules = (*shardRules)(nil)

func newShardRules(genesis shardblock.Genesis, resumes []shardblock.Resume, parents []chain.View, heads *Heads) (*shardRules, error) {
	if heads == nil {
		heads = NewHeads(genesis.Service.Network)
	}
	s := &shardRules{genesis: genesis, parents: parents, domain: genesis.Service.Domain(), seen: heads}
	generation := genesis.Generation
	for i := range resumes {
		r := &resumes[i]
		if err := r.Validate(); err != nil {
			return nil, err
		}
		last := len(s.resumes) - 1
		if r.Generation <= generation || last >= 0 && r.Height < s.resumes[last].Height {
			return nil, fmt.Errorf("generation %d goes on from height %d after generation %d: %w", r.Generation, r.Height, generation, shardblock.ErrBadResume)
		}
		if generation = r.Generation; last >= 0 && r.Height == s.resumes[last].Height {
			s.resumes[last] = *r // the one before came to nothing
			continue
		}
		s.resumes = append(s.resumes, *r)
	}
	return s, nil
}

// resume returns how the generation that makes the block at height went on, or nil if it
// began with the genesis.
func (s *shardRules) resume(height uint64) (r *shardblock.Resume) {
	for i := range s.resumes {
		if s.resumes[i].Height < height {
			r = &s.resumes[i]
		}
	}
	return r
}

// generation returns the one that makes the block at height.
func (s *shardRules) generation(height uint64) uint32 {
	if r := s.resume(height); r != nil {
		return r.Generation
	}
	return s.genesis.Generation
}

// over returns the state by which the block at height is judged, of the state in v, which
// is that of the block before, or a later one.
func (s *shardRules) over(v chain.View, height uint64) chain.View {
	r := s.resume(height)
	if r == nil || shardblock.ReadStatus(v).Generation >= r.Generation {
		return v
	}
	o, err := r.Over(v)
	if err != nil {
		panic(err)
	}
	return o
}

// Traits is that of Origin.
func (s *shardRules) Traits() Traits {
	g, p := &s.genesis.Service, &s.genesis.Service.Params
	return Traits{
		Chain: chain.Domain{Network: g.Network, Chain: g.Shard.Chain}, Records: s.domain, Identity: s.genesis.Hash(),
		BlockBytes: p.MaxBlockBytes, BlockWeight: p.MaxBlockWeight(), Relays: true, Strict: true,
	}
}

// Genesis is that of Origin.
func (s *shardRules) Genesis() []byte { return s.genesis.Encode() }

// State is that of Origin.
func (s *shardRules) State() (chain.Changes, error) { return s.genesis.State(s.parents...) }

// Weight is that of Records.
func (s *shardRules) Weight(tx *chain.Tx) int64 { return service.Weight(tx) }

// Slot is that of Records. Nonces of a shard are nothing but a part of a record's name,
// so each record has a slot of its own.
func (s *shardRules) Slot(tx *chain.Tx) Slot { return shardSlot(tx.Signer, tx.Hash) }

func shardSlot(signer ledger.Address, hash ledger.Hash) Slot {
	var n uint64
	for _, b := range hash[:8] {
		n = n<<8 | uint64(b)
	}
	return Slot{Signer: signer, Nonce: n}
}

// Payees is that of Records: whom the vouchers of a booking are for.
func (s *shardRules) Payees(tx *chain.Tx, _ *Committed, _ int) []ledger.Address {
	if tx.Kind != chain.KindBookUsage {
		return nil
	}
	u, err := service.DecodeUsage(tx.Payload)
	if err != nil {
		return nil
	}
	return []ledger.Address{u.Batch.Payee}
}

// Claims is that of Records.
func (s *shardRules) Claims(v chain.View, tx *chain.Tx) (needs []channel.Need, complete bool, err error) {
	return service.Claims(v, s.domain, tx)
}

// Appraise is that of Admission: all records are alike.
func (s *shardRules) Appraise(chain.View, uint64, *chain.Tx) Appraisal { return Appraisal{} }

// Idle is that of Admission. Nothing is paid for here, so a record that would book
// nothing, or too little, is not worth its place.
func (s *shardRules) Idle(v chain.View, height uint64, tx *chain.Tx, _, _ ledger.Amount) (*Raises, *chain.RuleError) {
	a, err := s.Admit(v, height, tx)
	return a.Raises, ruleOf(err)
}

// Admit is that of Admission.
func (s *shardRules) Admit(v chain.View, height uint64, tx *chain.Tx) (Admitted, error) {
	if err := s.TakesRecords(v, height); err != nil {
		return Admitted{}, err
	}
	p := &s.genesis.Service.Params
	receipt, bookings, err := service.Admit(v, *p, s.domain, height, tx)
	if err != nil {
		return Admitted{}, err
	}
	raises := s.raisesOf([]service.Receipt{receipt}, bookings)
	raises.Want = p.LeastAdvance(len(receipt.Entries))
	return Admitted{Receipt: shardReceiptOf(&receipt), Raises: &raises}, nil
}

// raisesOf returns what the entries of receipts raise that were booked, which bookings
// are of, in their order.
func (s *shardRules) raisesOf(receipts []service.Receipt, bookings []service.Booking) Raises {
	out := Raises{List: make([]Raise, 0, len(bookings)), Least: uint64(s.genesis.Service.Params.MinAdvance)}
	for i := range receipts {
		for _, e := range receipts[i].Entries {
			if !e.Applied() {
				continue
			}
			b, to := &bookings[len(out.List)], uint64(bookings[len(out.List)].Cumulative)
			out.List = append(out.List, Raise{Total: Total{b.ChannelID, b.Lane}, From: to - e.Booked.Amount, To: to})
		}
	}
	return out
}

// TakesRecords is that of Admission. The error is a *route.CongestedError, or
// shardblock.ErrEnded.
func (s *shardRules) TakesRecords(v chain.View, height uint64) error {
	return shardblock.AdmitUsers(s.over(v, height), height)
}

// Spent is that of Admission.
func (s *shardRules) Spent(chain.View, Slot) bool { return false }

// shardTrial is a shardblock.Trial of payloads.
type shardTrial struct{ trial *shardblock.Trial }

// Try is that of Trial.
func (t shardTrial) Try(payload []byte) error {
	r, err := shardblock.DecodeRelay(payload)
	if err != nil {
		return err
	}
	return t.trial.Try(r)
}

// Trial is that of Relays.
func (s *shardRules) Trial(v chain.View, height uint64) Trial {
	return shardTrial{shardblock.NewTrial(s.over(v, height), height, s.seen.verify)}
}

// PlanRelays is that of Relays.
func (s *shardRules) PlanRelays(v chain.View, height uint64, payloads [][]byte, users, room int64) []int {
	relays, sizes, places := make([]*shardblock.Relay, 0, len(payloads)), make([]int, 0, len(payloads)), make([]int, 0, len(payloads))
	for i, raw := range payloads {
		r, err := shardblock.DecodeRelay(raw)
		if err != nil {
			continue
		}
		relays, sizes, places = append(relays, r), append(sizes, len(raw)+1+bundleOverhead), append(places, i)
	}
	picked := shardblock.Plan(s.over(v, height), height, relays, sizes, int(users), int(room), s.seen.verify)
	for i := range picked {
		picked[i] = places[picked[i]]
	}
	return picked
}

// Apply is that of Execution.
func (s *shardRules) Apply(v chain.View, b *RulesBlock, verify func([]ledger.Claim) []int) (chain.Changes, *Result, error) {
	if b.MixedOrder {
		return nil, nil, chain.Refuse(chain.CodeBadOrder, "block %d: a relay comes after a record", b.Height)
	}
	block := shardblock.Block{Height: b.Height, Txs: make([]service.BlockTx, len(b.Records))}
	for i, raw := range b.Relays {
		r, err := shardblock.DecodeRelay(raw)
		if err != nil {
			return nil, nil, fmt.Errorf("block %d: relay %d: %w", b.Height, i, err)
		}
		block.Relays = append(block.Relays, r)
	}
	if r := s.resume(b.Height); r != nil && r.Height+1 == b.Height {
		block.Resume = r
	}
	for i := range b.Records {
		block.Txs[i] = service.BlockTx(b.Records[i])
	}
	changes, res, err := shardblock.Apply(v, block, shardblock.Verifiers{Claims: verify, Certificate: s.seen.verify})
	if err != nil {
		return nil, nil, err
	}
	body := shardResultOf(v, &res)
	out := &Result{
		Receipts: make([]Receipt, len(body.Receipts)), ResultsRoot: res.Service.ResultsRoot, UsageRoot: res.Service.UsageRoot,
		OutboxRoot: res.Outbox.Root(), Outbox: res.Outbox, Updates: res.Updates, Generation: res.Generation,
		Raised: s.raisesOf(body.Receipts, body.Bookings),
		Items:  len(body.Bookings) + len(body.Imports) + len(body.Codes), Body: body,
	}
	for i := range body.Receipts {
		out.Receipts[i] = shardReceiptOf(&body.Receipts[i])
	}
	return changes, out, nil
}

// shardReceiptOf is what the Executor needs of a receipt. A booking is idempotent: one
// that booked nothing may do so later, if a channel becomes known or gets more deposit.
func shardReceiptOf(r *service.Receipt) Receipt {
	out := Receipt{
		Hash: r.Hash, Code: r.Code, Signer: r.Signer, Slot: shardSlot(r.Signer, r.Hash), Entries: len(r.Entries), Body: r,
	}
	if r.Code != chain.CodeOK {
		return out
	}
	for i := range r.Entries {
		switch r.Entries[i].Code {
		case chain.CodeOK:
			out.Consumed = true
		case chain.CodeChannelUnknown, chain.CodeAboveDeposit, chain.CodeChannelExpired:
			out.Passing = true
		default:
		}
	}
	out.Passing = out.Passing && !out.Consumed
	return out
}

// Term is that of Execution.
func (s *shardRules) Term(v chain.View, height uint64) (t Term, ok bool) {
	c, ok := s.Committee(v, height)
	return Term{Generation: s.generation(height), Epoch: c.Epoch}, ok
}

// Committee is that of Execution.
func (s *shardRules) Committee(v chain.View, height uint64) (committee.Committee, bool) {
	return shardblock.Committee(s.over(v, height), height)
}

// Proved is that of Execution: whatever others want of a shard is in its outbox.
func (s *shardRules) Proved(chain.View, uint64, chain.Changes) [][]byte { return nil }

// NeedsTick is that of Execution.
func (s *shardRules) NeedsTick(v chain.View, height, _ uint64) bool {
	return shardblock.NeedsTick(s.over(v, height), height)
}

// Audit is that of Execution: it counts all usage, and what is under way.
func (s *shardRules) Audit(v chain.View) error {
	_, err := shardblock.Audit(v)
	return err
}
