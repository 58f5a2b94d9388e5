package exec_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/shard/link"
)

// tallies are the smallest rules that have all an Executor knows of: relays that must come
// in the order of their stream, records that count and send a message each, two
// committees, and a time when no records are taken.
//
//	's' | stream u8    number of relays that the stream had, u64
//	'n'                number of records, u64
//	'r'                height of the last block that did anything, u64
//
// A relay is its stream and its number. A stream 'f' that is at an odd number makes the
// chain full.
type tallies struct{}

var _ exec.Rules = tallies{}

const (
	tallyChain  = 77
	tallyEpoch  = 6 // blocks of the first committee
	tallyRelays = 5 // most of a block
)

func (tallies) Traits() exec.Traits {
	return exec.Traits{
		Chain:    chain.Domain{Network: ledger.NetworkID{7}, Chain: tallyChain},
		Records:  chain.Domain{Network: ledger.NetworkID{7}, Chain: 1 << 31},
		Identity: ledger.Hash{7, 7}, BlockBytes: 1 << 20, BlockWeight: 4 << 20, Relays: true, Strict: true,
	}
}

func (tallies) Genesis() []byte { return []byte("tally") }

func (tallies) State() (chain.Changes, error) {
	return chain.Changes{{Key: []byte{'n'}, Value: number(0)}}, nil
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func numberOf(v chain.View, key ...byte) uint64 {
	if b := v.Get(key); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (tallies) Weight(tx *chain.Tx) int64 { return int64(len(tx.Raw)) }

func (tallies) Slot(tx *chain.Tx) exec.Slot { return exec.Slot{Signer: tx.Signer, Nonce: tx.Nonce} }

func (tallies) Payees(*chain.Tx, *exec.Committed, int) []ledger.Address { return nil }

func (tallies) Claims(_ chain.View, tx *chain.Tx) (needs []channel.Need, complete bool, err error) {
	return []channel.Need{{Claim: tx.Claim(), Entry: channel.SignedTx}}, true, nil
}

func (tallies) Appraise(chain.View, uint64, *chain.Tx) exec.Appraisal { return exec.Appraisal{} }

func (t tallies) Idle(v chain.View, height uint64, _ *chain.Tx, _, _ ledger.Amount) (*exec.Raises, *chain.RuleError) {
	if err := t.TakesRecords(v, height); err != nil {
		return nil, chain.Refuse(chain.CodeNotDue, "full")
	}
	return nil, nil
}

func (t tallies) Admit(v chain.View, height uint64, tx *chain.Tx) (exec.Admitted, error) {
	return exec.Admitted{Receipt: t.receipt(tx)}, t.TakesRecords(v, height)
}

func (tallies) Spent(chain.View, exec.Slot) bool { return false }

func (tallies) TakesRecords(v chain.View, _ uint64) error {
	if numberOf(v, 's', 'f')%2 == 1 {
		return chain.Refuse(chain.CodeNotDue, "full")
	}
	return nil
}

func (tallies) receipt(tx *chain.Tx) exec.Receipt {
	return exec.Receipt{
		Hash: tx.Hash, Code: chain.CodeOK, Signer: tx.Signer, Slot: exec.Slot{Signer: tx.Signer, Nonce: tx.Nonce},
		Consumed: true, Entries: 1, Body: "counted",
	}
}

// carried is the payload of a relay.
func carried(stream byte, n uint64) []byte { return append([]byte{stream}, number(n)...) }

// tallyTrial is a trial of relays, and what a block does with them.
type tallyTrial struct{ o *chain.Overlay }

func (t tallyTrial) Try(payload []byte) error {
	if len(payload) != 9 {
		return chain.Refuse(chain.CodeMalformed, "relay of %d bytes", len(payload))
	}
	next, n := numberOf(t.o, 's', payload[0]), binary.BigEndian.Uint64(payload[1:])
	switch {
	case n < next:
		return chain.Refuse(chain.CodeLinkRepeat, "relay %d, the next is %d", n, next)
	case n > next:
		return chain.Refuse(chain.CodeLinkGap, "relay %d, the next is %d", n, next)
	}
	t.o.Set([]byte{'s', payload[0]}, number(next+1))
	return nil
}

func (tallies) Trial(v chain.View, _ uint64) exec.Trial { return tallyTrial{chain.NewOverlay(v)} }

func (tallies) PlanRelays(_ chain.View, _ uint64, relays [][]byte, _, room int64) (planned []int) {
	for i := range min(len(relays), tallyRelays) {
		if room -= int64(len(relays[i])); room >= 0 {
			planned = append(planned, i)
		}
	}
	return planned
}

func (t tallies) Apply(v chain.View, b *exec.RulesBlock, _ func([]ledger.Claim) []int) (chain.Changes, *exec.Result, error) {
	o := chain.NewOverlay(v)
	trial := tallyTrial{o}
	for _, payload := range b.Relays {
		if err := trial.Try(payload); err != nil {
			return nil, nil, err
		}
	}
	if err := t.TakesRecords(v, b.Height); err != nil && len(b.Records) > 0 {
		return nil, nil, err
	}
	if b.MixedOrder {
		return nil, nil, chain.Refuse(chain.CodeBadOrder, "relays come first")
	}
	res := &exec.Result{}
	var leaves []link.Leaf
	n := numberOf(v, 'n')
	for i := range b.Records {
		r := t.receipt(&b.Records[i].Tx)
		if b.Records[i].Refused != nil || !b.Records[i].Checked {
			r.Code, r.Consumed = chain.CodeMalformed, false
		} else {
			leaves = append(leaves, link.Leaf{Message: &link.Message{
				Link: link.Link{Src: link.Place{Service: 1}, Dst: link.Place{Service: 1, Zone: 2}}, Seq: n, Kind: 1, Expiry: 9,
			}})
			n++
		}
		res.Receipts = append(res.Receipts, r)
	}
	var err error
	if res.Outbox, err = link.OutboxOf(leaves); err != nil {
		return nil, nil, err
	}
	if len(b.Relays)+len(b.Records) > 0 {
		o.Set([]byte{'n'}, number(n))
		o.Set([]byte{'r'}, number(b.Height))
		res.ResultsRoot, res.UsageRoot = ledger.Hash{1, byte(b.Height)}, ledger.Hash{2, byte(b.Height)}
	}
	if len(leaves) > 0 {
		res.OutboxRoot = res.Outbox.Root()
	}
	return o.Changes(), res, nil
}

func (tallies) Term(_ chain.View, height uint64) (exec.Term, bool) {
	return exec.Term{Epoch: height / (tallyEpoch + 1)}, true
}

// Committee is of one member of two: that of the first epoch, and that of all others.
func (tallies) Committee(_ chain.View, height uint64) (committee.Committee, bool) {
	epoch := height / (tallyEpoch + 1)
	i := min(int(epoch), 1)
	return committee.Committee{Epoch: epoch, Members: []committee.Member{
		{Validator: uint64(i), ConsensusKey: keyOf(i).Public(), BLSKey: blsOf(0).Public(), Power: 1},
	}}, true
}

// Proved are the streams that moved.
func (tallies) Proved(_ chain.View, _ uint64, changes chain.Changes) (keys [][]byte) {
	for i := range changes {
		if changes[i].Key[0] == 's' {
			keys = append(keys, changes[i].Key)
		}
	}
	return keys
}

func (tallies) NeedsTick(chain.View, uint64, uint64) bool { return false }

func (tallies) Audit(chain.View) error { return nil }

func (tallies) EncodeBlock(b *exec.Committed) []byte {
	raw, err := json.Marshal(struct {
		Time, Size               int64
		Relays, Outbox, Receipts int
		Roots                    [3]ledger.Hash
	}{b.Time, b.Size, b.Relays, b.Outbox, len(b.Receipts), [3]ledger.Hash{b.ResultsRoot, b.OutboxRoot, b.UsageRoot}})
	if err != nil {
		panic(err)
	}
	return raw
}

func (tallies) DecodeBlock(height uint64, raw []byte) (*exec.Committed, uint32, error) {
	var in struct {
		Time, Size               int64
		Relays, Outbox, Receipts int
		Roots                    [3]ledger.Hash
	}
	err := json.Unmarshal(raw, &in)
	return &exec.Committed{
		Height: height, Time: in.Time, Size: in.Size, Relays: in.Relays, Outbox: in.Outbox,
		ResultsRoot: in.Roots[0], OutboxRoot: in.Roots[1], UsageRoot: in.Roots[2],
	}, uint32(in.Receipts), err
}

func (tallies) Complete(*exec.Committed) error { return nil }

func (tallies) EncodeReceipt(r *exec.Receipt) []byte {
	raw, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return raw
}

func (tallies) DecodeReceipt(raw []byte) (r exec.Receipt, err error) {
	return r, json.Unmarshal(raw, &r)
}

func (tallies) ResultsKey() []byte { return []byte{'r'} }

func (tallies) ResultsHeight(value []byte) (uint64, error) {
	return binary.BigEndian.Uint64(value), nil
}

func (tallies) ResultLeaves(b *exec.Committed) (leaves [][]byte) {
	for i := range b.Receipts {
		leaves = append(leaves, b.Receipts[i].Hash[:])
	}
	return leaves
}

func (tallies) Entries(*exec.Committed, []*chain.Tx) chain.Changes { return nil }

func (tallies) Forget(*exec.Committed, map[string]bool) (chain.Changes, error) { return nil, nil }

func (tallies) Reindex(chain.View, uint64, func(chain.Changes) error) error { return nil }

func (tallies) SnapshotAt(height, stride uint64) bool { return height%stride == 0 }

func (tallies) CheckSnapshot(uint64) error { return nil }

// tallyNode is an only validator of a chain of tallies, with the keys of both committees.
type tallyNode struct {
	t     *testing.T
	store kv.Store
	exec  *exec.Executor
	votes map[uint64]exec.Block
	cfg   exec.Config
}

func newTallyNode(t *testing.T, cfg exec.Config) *tallyNode {
	t.Helper()
	n := &tallyNode{t: t, store: memkv.New(), votes: make(map[uint64]exec.Block), cfg: cfg}
	n.cfg.Extensions = n.extensions
	n.open()
	if _, err := n.exec.InitChain([]byte("tally")); err != nil {
		t.Fatal(err)
	}
	return n
}

// open opens the chain as after a crash: nothing is closed.
func (n *tallyNode) open() {
	n.t.Helper()
	l, err := layer.New(n.store, layer.Options{})
	if err != nil {
		n.t.Fatal(err)
	}
	if n.exec, err = exec.OpenRules(n.cfg, l, tallies{}, slog.New(slog.DiscardHandler)); err != nil {
		n.t.Fatal(err)
	}
}

// extensions are those of the votes for a block, which the member of its committee gives.
func (n *tallyNode) extensions(height uint64) (hash []byte, list []exec.VoteExtension, err error) {
	b, ok := n.votes[height]
	if !ok {
		return nil, nil, exec.ErrUnknown
	}
	return b.Hash, []exec.VoteExtension{{Validator: staking.AddressOf(tallyVoter(height).Public()), Data: b.Proposer}}, nil
}

func tallyVoter(height uint64) ledger.PrivateKey { return keyOf(min(int(height/(tallyEpoch+1)), 1)) }

func (n *tallyNode) height() uint64 {
	height, _ := n.exec.Head()
	return height
}

// blockWith is the next block.
func (n *tallyNode) blockWith(txs ...[]byte) exec.Block {
	height := n.height() + 1
	hash := sha256.Sum256(number(height))
	for _, tx := range txs {
		hash = sha256.Sum256(append(hash[:], tx...))
	}
	return exec.Block{Height: height, Time: time.UnixMilli(int64(height) * 1000), Txs: txs, Hash: hash[:]}
}

// agree accepts, executes and commits the next block, and keeps what the vote for it
// carries.
func (n *tallyNode) agree(txs ...[]byte) exec.Outcome {
	n.t.Helper()
	b := n.blockWith(txs...)
	if err := n.exec.Accept(b); err != nil {
		n.t.Fatalf("Accept(%d): %v", b.Height, err)
	}
	n.vote(b)
	return n.decide(b)
}

// vote keeps what goes with the vote for b.
func (n *tallyNode) vote(b exec.Block) {
	n.t.Helper()
	extension, err := n.exec.Extend(b)
	if err != nil {
		n.t.Fatalf("Extend(%d): %v", b.Height, err)
	}
	n.votes[b.Height] = exec.Block{Hash: b.Hash, Proposer: extension}
}

func (n *tallyNode) decide(b exec.Block) exec.Outcome {
	n.t.Helper()
	out, err := n.exec.Finalize(b)
	if err != nil {
		n.t.Fatalf("Finalize(%d): %v", b.Height, err)
	}
	if _, err := n.exec.Commit(); err != nil {
		n.t.Fatalf("Commit(%d): %v", b.Height, err)
	}
	return out
}

// record is a signed record of the chain, as a bundle.
func (n *tallyNode) record(from *account) []byte {
	return chain.EncodeRecords([][]byte{from.tx(n.exec.Domain(), chain.KindTransfer, []byte{1})})
}
