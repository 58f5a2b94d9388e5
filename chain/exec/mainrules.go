package exec

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"sync/atomic"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

// mainRules are the Rules of the main chain: those of chain/settlement.
type mainRules struct {
	genesis settlement.Genesis
	params  settlement.Params
	domain  chain.Domain
	keep    uint64    // Config.KeepReceipts
	exec    *Executor // for what lies in its index

	pairings pairings
	ticks    atomic.Pointer[tickNeed]
}

// tickNeed is whether there has to be a block at a height although nobody sends anything.
type tickNeed struct {
	height, wake uint64
	needed       bool
}

var _ Rules = (*mainRules)(nil)

func newMainRules(cfg *Config, genesis settlement.Genesis) *mainRules {
	return &mainRules{
		genesis: genesis, params: genesis.Params, keep: cfg.KeepReceipts,
		domain: chain.Domain{Network: cmp.Or(cfg.Network, genesis.Hash()), Chain: ledger.MainChain},
	}
}

// Traits is that of Origin.
func (m *mainRules) Traits() Traits {
	t := Traits{
		Chain: m.domain, Records: m.domain, Identity: m.domain.Network,
		BlockBytes: m.params.MaxBlockBytes, BlockWeight: m.params.MaxBlockWeight(), ReservedBytes: m.params.ReservedBytes(),
	}
	if m.staked() {
		t.Staking = &m.params.Staking
	}
	return t
}

// staked reports whether the chain elects its validators.
func (m *mainRules) staked() bool { return len(m.genesis.Validators) > 0 }

// Genesis is that of Origin.
func (m *mainRules) Genesis() []byte { return m.genesis.Encode() }

// State is that of Origin.
func (m *mainRules) State() (chain.Changes, error) { return m.genesis.State() }

// Weight is that of Records.
func (m *mainRules) Weight(tx *chain.Tx) int64 { return settlement.Weight(tx) }

// Slot is that of Records.
func (m *mainRules) Slot(tx *chain.Tx) Slot { return Slot{Signer: tx.Signer, Nonce: tx.Nonce} }

// Claims is that of Records. The signatures of committees of shards, of which few records
// have any, are verified on the way.
func (m *mainRules) Claims(v chain.View, tx *chain.Tx) (needs []channel.Need, complete bool, err error) {
	needs, complete, err = settlement.Claims(v, m.domain, tx)
	if err == nil && settlement.HasPairings(tx.Kind) {
		err = m.prove(v, m.exec.head.Load().height+1, tx)
	}
	return needs, complete, err
}

// Payees is that of Records: the payee of a batch, the recipients of a transfer, and the
// owners of services who got fees of what it settled.
func (m *mainRules) Payees(tx *chain.Tx, b *Committed, i int) []ledger.Address {
	list := payeesOf(tx)
	income := bodyOf[*settlement.Result](b.Body).Income
	at, _ := slices.BinarySearchFunc(income, i, func(x settlement.Income, i int) int { return x.TxIndex - i })
	for ; at < len(income) && income[at].TxIndex == i; at++ {
		if !slices.Contains(list, income[at].Owner) {
			list = append(list, income[at].Owner)
		}
	}
	return list
}

func payeesOf(tx *chain.Tx) []ledger.Address {
	switch tx.Kind {
	case chain.KindSettle:
		if len(tx.Payload) >= ledger.AddressSize { // the payload begins with it
			return []ledger.Address{ledger.Address(tx.Payload[:ledger.AddressSize])}
		}
	case chain.KindTransfer:
		t, err := settlement.DecodeTransfer(tx.Payload)
		if err != nil {
			return nil
		}
		var to []ledger.Address
		for i := range t.Payments {
			to = append(to, t.Payments[i].To)
		}
		slices.SortFunc(to, ledger.Address.Compare)
		return slices.Compact(to)
	default:
	}
	return nil
}

// Appraise is that of Admission.
func (m *mainRules) Appraise(v chain.View, height uint64, tx *chain.Tx) Appraisal {
	urgent, deadline := settlement.Urgent(v, height, tx)
	a := Appraisal{Urgent: urgent, Deadline: deadline, Fee: settlement.Fee(m.params, tx)}
	if settlement.ForShards(tx.Kind) {
		a.Class = settlement.Class(tx)
	}
	return a
}

// Idle is that of Admission. It costs more than a look-up only if a payee cannot pay for
// its own batch in advance.
func (m *mainRules) Idle(v chain.View, height uint64, tx *chain.Tx, fee, owed ledger.Amount) (*Raises, *chain.RuleError) {
	return nil, m.idle(v, height, tx, fee, owed)
}

func (m *mainRules) idle(v chain.View, height uint64, tx *chain.Tx, fee, owed ledger.Amount) *chain.RuleError {
	account, _, ok := settlement.AccountByAddress(v, tx.Signer)
	if !ok {
		return chain.Refuse(chain.CodeAccountNotFound, "%s has no account", tx.Signer)
	}
	if rule := ruleOf(account.CheckNonce(tx.Nonce)); rule != nil {
		return rule
	}
	switch {
	case fee > tx.MaxFee:
		return chain.Refuse(chain.CodeFeeTooLow, "the fee is %s, max_fee %s", fee, tx.MaxFee)
	case owed <= account.Balance && fee <= account.Balance-owed:
		return nil
	case paysItself(tx):
		_, err := settlement.Admit(v, m.params, m.domain, height, tx)
		return ruleOf(err)
	}
	return chain.Refuse(chain.CodeInsufficientBalance, "the fee is %s, balance %s, fees of pending transactions %s", fee, account.Balance, owed)
}

// paysItself reports whether tx is a payee's own batch, which may pay its fee
// out of what it brings.
func paysItself(tx *chain.Tx) bool {
	return tx.Kind == chain.KindSettle && slices.Contains(payeesOf(tx), tx.Signer)
}

// Admit is that of Admission.
func (m *mainRules) Admit(v chain.View, height uint64, tx *chain.Tx) (Admitted, error) {
	receipt, err := settlement.Admit(v, m.params, m.domain, height, tx)
	if err != nil {
		return Admitted{}, err
	}
	account, _, _ := settlement.AccountByAddress(v, tx.Signer)
	return Admitted{Receipt: receiptOf(&receipt), Spend: m.spend(v, tx, &receipt), Balance: account.Balance}, nil
}

// spend returns what tx may take from its signer's balance at most, by the
// receipt it would have at the head. A payee's own batch pays for itself.
func (m *mainRules) spend(v chain.View, tx *chain.Tx, receipt *settlement.Receipt) ledger.Amount {
	total := receipt.Fee
	switch tx.Kind {
	case chain.KindTransfer:
		total += receipt.Paid
	case chain.KindOpenChannels:
		if open, err := channel.DecodeOpen(tx.Payload); err == nil {
			for i := range open.Channels {
				total += open.Channels[i].Deposit + m.params.Rent // below the balance, as the rules checked
			}
		}
	case chain.KindTopUp:
		if t, err := channel.DecodeTopUp(tx.Payload); err == nil {
			if ch, ok := settlement.ChannelAt(v, t.Channel.Index); ok && t.NewTotal > ch.Deposit {
				total += t.NewTotal - ch.Deposit
			}
		}
	case chain.KindSettle:
		if paysItself(tx) {
			return 0
		}
	default:
	}
	return total
}

// TakesRecords is that of Admission: the main chain always does.
func (m *mainRules) TakesRecords(chain.View, uint64) error { return nil }

// Spent is that of Admission.
func (m *mainRules) Spent(v chain.View, s Slot) bool {
	account, _, ok := settlement.AccountByAddress(v, s.Signer)
	return ok && account.NonceUsed(s.Nonce)
}

// noRelays is the Trial of a chain that takes none.
type noRelays struct{}

// Try refuses: whatever is carried to the main chain is a signed record.
func (noRelays) Try([]byte) error {
	return chain.Refuse(chain.CodeInvalidValue, "the main chain takes no relays: what is carried to it is signed")
}

// Trial is that of Relays.
func (m *mainRules) Trial(chain.View, uint64) Trial { return noRelays{} }

// PlanRelays is that of Relays.
func (m *mainRules) PlanRelays(chain.View, uint64, [][]byte, int64, int64) []int { return nil }

// Apply is that of Execution.
func (m *mainRules) Apply(v chain.View, b *RulesBlock, verify func([]ledger.Claim) []int) (chain.Changes, *Result, error) {
	block := settlement.Block{
		Height: b.Height, Txs: make([]settlement.BlockTx, len(b.Records)), Proposer: b.Proposer,
		Seals: b.Seals, Votes: b.Votes, Tick: b.Tick, Evidence: b.Evidence,
		Proved: m.pairings.has, Keys: m.pairings.decode,
	}
	for i := range b.Records {
		block.Txs[i] = settlement.BlockTx(b.Records[i])
	}
	changes, res, err := settlement.ApplyBlock(v, m.params, m.domain, block, verify)
	if err != nil {
		return nil, nil, err
	}
	out := &Result{
		Receipts: make([]Receipt, len(res.Receipts)), ResultsRoot: res.ResultsRoot, Updates: res.Updates,
		OutboxRoot: res.Outbox.Root(), Outbox: res.Outbox,
		Items: len(res.Events) + len(res.Staking) + len(res.Shards), Body: &res,
	}
	for i := range res.Receipts {
		out.Receipts[i] = receiptOf(&res.Receipts[i])
	}
	return changes, out, nil
}

// receiptOf is what the Executor needs of a receipt.
func receiptOf(r *settlement.Receipt) Receipt {
	return Receipt{
		Hash: r.Hash, Code: r.Code, Signer: r.Signer, Slot: Slot{Signer: r.Signer, Nonce: r.Nonce},
		Consumed: consumed(r), Passing: passing(r), Entries: len(r.Entries), Body: r,
	}
}

// consumed reports whether the receipt's record used up its nonce, so that it
// had whatever effect it will ever have: no transaction is free.
func consumed(r *settlement.Receipt) bool {
	return r.Code == chain.CodeOK || r.Fee > 0
}

// passing reports whether the receipt's record had no effect for a reason that
// may pass, so that a later block may execute the same bytes. What is wrong with
// the bytes, a fee above max_fee (fees never change), an expiry and a used nonce
// do not pass.
func passing(r *settlement.Receipt) bool {
	if consumed(r) {
		return false
	}
	switch r.Code {
	case chain.CodeAccountNotFound, chain.CodeInsufficientBalance:
		return true
	case chain.CodeNonceTooHigh:
		return r.Nonce != math.MaxUint64 // which no account can use
	default:
		return false
	}
}

// Term is that of Execution.
func (m *mainRules) Term(_ chain.View, height uint64) (t Term, ok bool) {
	if !m.staked() {
		return Term{}, false
	}
	return Term{Epoch: m.params.Staking.Epoch(height)}, true
}

// Committee is that of Execution.
func (m *mainRules) Committee(v chain.View, height uint64) (committee.Committee, bool) {
	if !m.staked() {
		return committee.Committee{}, false
	}
	epoch := m.params.Staking.Epoch(height)
	c, ok := staking.ReadCommittee(v, epoch)
	if !ok && epoch == 0 {
		return m.genesis.Committee(), true
	}
	return c, ok
}

// Proved is that of Execution: what shards rely on (chain/registry), whenever it changes.
// The last block of an epoch names whatever the next one begins with, changed or not, so
// that there are proofs of all of it at one height.
func (m *mainRules) Proved(v chain.View, height uint64, changes chain.Changes) (keys [][]byte) {
	if !m.staked() {
		return nil
	}
	epochs := &m.params.Staking
	epoch := epochs.Epoch(height)
	named := make(map[string]bool)
	name := func(key []byte) {
		if !named[string(key)] {
			named[string(key)] = true
			keys = append(keys, bytes.Clone(key))
		}
	}
	relied := reliedOn(epoch)
	for i := range changes {
		for _, row := range relied {
			if key := changes[i].Key; len(key) == row.size && bytes.HasPrefix(key, row.prefix) {
				name(key)
			}
		}
	}
	if height != epochs.LastBlock(epoch) {
		return keys
	}
	for key := range v.Range(anchor.Key(0)[:1]) {
		name(key)
	}
	for _, a := range registry.Assignments(v, epoch+1) {
		name(registry.AssignmentKey(epoch+1, a.Shard))
	}
	return keys
}

// rowsLike are rows of the state whose keys have a prefix and a length.
type rowsLike struct {
	prefix []byte
	size   int
}

// reliedOn are the rows that shards rely on in an epoch and in the next: what is anchored
// of a shard, who serves it, the record and the committee of the next epoch.
func reliedOn(epoch uint64) []rowsLike {
	like := func(key []byte, rest int) rowsLike { return rowsLike{key[:len(key)-rest], len(key)} }
	const id = 4 // the last bytes of a key that ends in the id of a shard
	return []rowsLike{
		like(anchor.Key(0), id), like(registry.AssignmentKey(epoch, 0), id), like(registry.AssignmentKey(epoch+1, 0), id),
		like(registry.EpochKey(epoch+1), 0), like(staking.CommitteeKey(epoch+1), 0),
	}
}

// NeedsTick is that of Execution: a deadline is near, something of staking or of the
// registry of services waits for an epoch to end, or shards have something under way. That
// is a look at every link there is, so it is taken once for a height, however many peers
// send a tick for it.
func (m *mainRules) NeedsTick(v chain.View, height, wake uint64) bool {
	if t := m.ticks.Load(); t != nil && t.height == height && t.wake == wake {
		return t.needed
	}
	needed := m.deadlineNear(v, height, wake) || staking.NeedsTick(v, m.params.Staking, height) ||
		registry.NeedsTick(v, &m.params.Staking, height) || settlement.ShardsNeedTick(v, &m.params, height)
	m.ticks.Store(&tickNeed{height, wake, needed})
	return needed
}

// deadlineNear reports whether the settlement clock has to run although nobody
// sends transactions: the earliest deadline is within the wake window of the
// clock at height.
func (m *mainRules) deadlineNear(v chain.View, height, wake uint64) bool {
	deadline, ok := settlement.NextDeadline(v)
	if !ok {
		return false
	}
	window := cmp.Or(wake, uint64(m.params.MaxChallenge))
	sigma := settlement.Clock(v, height)
	return deadline <= sigma || deadline-sigma <= window
}

// Audit is that of Execution: it counts all money.
func (m *mainRules) Audit(v chain.View) error {
	_, err := settlement.Audit(v)
	return err
}
