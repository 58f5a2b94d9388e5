package exec

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
)

// Block is a proposed or agreed block, as consensus hands it over.
type Block struct {
	Height   uint64
	Time     time.Time // strictly increasing
	Proposer []byte    // consensus address, 20 bytes
	Txs      [][]byte  // bundles
	Hash     []byte    // of the header, 32 bytes; it stands for all of the block
	Round    uint32    // of the vote, for Extend; others do not look at it

	LastVotes []staking.Vote     // on the block before, in the order of consensus
	Evidence  []staking.Evidence // that consensus has verified
}

// Outcome is what a block did, as consensus wants it.
type Outcome struct {
	AppHash []byte
	Results []TxResult       // one for each bundle
	Updates []staking.Update // validators of the block two above this one
}

// TxResult is what consensus hashes of a bundle: 0, or the code of why it could
// not be decoded. Receipts of records are in the state, under the results root.
type TxResult struct {
	Code uint32
	Data []byte
}

// prepared is a block that was executed and is not committed.
type prepared struct {
	block   Block
	results []TxResult // one for each bundle
	records []*record
	relays  [][]byte   // payloads
	mixed   bool       // a relay came after a record
	seal    *BlockSeal // nil if the block has none that holds
	tick    bool       // validators asked for the block
	sealed  bool       // its blocks have seals
	result  *Result
	root    ledger.Hash

	done *Committed // what is told of it; set by committed

	proved     [][]byte         // rows that the block changed and that others want proved
	acked      chain.Changes    // index entries of which messages the block took in
	checkpoint *cert.Checkpoint // what the committee signs; nil if there is none
	signature  *bls.Signature   // this node's of it in round 0; nil if it was not signed ahead
}

// InitChain starts from the genesis that the chain was opened with and returns the hash of
// its state. appState must be the genesis's encoding, or empty. It may be
// called again until the first Commit.
func (e *Executor) InitChain(appState []byte) (appHash []byte, err error) {
	defer contain("init chain", &err)
	if len(appState) > 0 && !bytes.Equal(appState, e.rules.Genesis()) {
		return nil, errors.New("init chain: consensus has another genesis than this node")
	}
	if err := e.endRestore(); err != nil {
		return nil, fmt.Errorf("init chain: give up the snapshot that was begun: %w", err)
	}
	changes, err := e.rules.State()
	if err != nil {
		return nil, fmt.Errorf("init chain: %w", err)
	}
	root, err := e.layer.Init(changes)
	if err != nil {
		return nil, fmt.Errorf("init chain: %w", err)
	}
	e.head.Store(&head{appHash: root})
	return root[:], nil
}

// Finalize executes an agreed block, unless it was executed ahead: it decodes the
// bundles, verifies what was never verified, applies the rules and prepares the new
// state, whose hash it returns. Nothing is durable yet. An error, or a violation of
// the conservation of value, halts the chain.
func (e *Executor) Finalize(b Block) (out Outcome, err error) {
	if e.isHalted() {
		return Outcome{}, e.haltError()
	}
	defer func() {
		if err != nil {
			e.halt(b.Height, err)
		}
	}()
	defer contain("finalize block", &err)
	start := e.verifier.clock()
	if want := e.head.Load().height + 1; b.Height != want {
		return Outcome{}, fmt.Errorf("finalize block %d, the next is %d", b.Height, want)
	}
	p, early, err := e.ahead.finish(b)
	if err != nil {
		return Outcome{}, err
	}
	if early {
		e.stats.ahead.Add(1)
	}
	e.prepared = p
	e.tracker.finalized(p.statuses())
	e.stats.blocks.Add(1)
	e.stats.records.Add(uint64(len(p.records)))
	for i := range p.result.Receipts {
		e.stats.entries.Add(uint64(p.result.Receipts[i].Entries))
	}
	e.since(&e.stats.finalizeNanos, start)
	e.pass("agreed", p)
	return Outcome{AppHash: p.root[:], Results: p.results, Updates: p.result.Updates}, nil
}

// execute does what a block does but for showing it to anybody.
func (e *Executor) execute(b Block) (p *prepared, err error) {
	defer contain("execute block", &err)
	p = &prepared{block: b, results: make([]TxResult, len(b.Txs))}
	bundles, _, _ := e.decodeBlock(b.Txs)
	el, err := e.electorateOf(b.Height)
	if err != nil {
		return nil, err
	}
	p.seal, _ = e.checkSeal(el, &p.block, bundles) // a wrong one is none
	p.sealed = el != nil && e.traits.Staking != nil
	for i, bundle := range bundles {
		if bundle == nil {
			p.results[i].Code = uint32(chain.CodeMalformed)
			continue
		}
		if bundle.relay != nil {
			p.relays, p.mixed = append(p.relays, bundle.relay), p.mixed || len(p.records) > 0
		}
		p.records = append(p.records, bundle.records...)
		p.tick = p.tick || bundle.tick == b.Height
	}
	changes, err := e.apply(p)
	if err != nil {
		return nil, err
	}
	prepare := e.verifier.clock()
	if p.root, err = e.layer.Prepare(b.Height, changes); err != nil {
		return nil, fmt.Errorf("prepare block %d: %w", b.Height, err)
	}
	e.since(&e.stats.prepareNanos, prepare)
	p.checkpoint = e.checkpoint(el, p)
	e.pass("executed", p)
	return p, nil
}

// apply runs the rules over the state at the head.
func (e *Executor) apply(p *prepared) (changes chain.Changes, err error) {
	block := &RulesBlock{
		Height: p.block.Height, Records: make([]BlockRecord, len(p.records)), Relays: p.relays, MixedOrder: p.mixed,
		Votes: p.block.LastVotes, Tick: p.tick, Evidence: p.block.Evidence,
	}
	copy(block.Proposer[:], p.block.Proposer)
	if block.Seals, err = e.epochSeals(p); err != nil {
		return nil, err
	}
	if err := e.checkedBlock(p.records, block.Records); err != nil {
		return nil, err
	}
	err = e.layer.Read(func(v chain.View) error {
		start := e.verifier.clock()
		changes, p.result, err = e.rules.Apply(v, block, e.verifyClaims)
		e.since(&e.stats.applyNanos, start)
		if err != nil {
			return fmt.Errorf("apply block %d: %w", block.Height, err)
		}
		p.proved = e.rules.Proved(v, block.Height, changes)
		p.acked = ackedRows(v, block.Height, p.result.Outbox)
		return nil
	})
	return changes, err
}

// checkedBlock fills in txs from records, verifying in common batches what was
// never verified.
func (e *Executor) checkedBlock(records []*record, txs []BlockRecord) error {
	var unseen []*record
	var places []int
	for i, r := range records {
		txs[i] = BlockRecord{Tx: r.tx, Refused: r.refused, Checked: r.checked}
		if !r.checked && r.refused == nil {
			unseen, places = append(unseen, r), append(places, i)
		}
	}
	if len(unseen) == 0 {
		return nil
	}
	verdicts, err := e.verify(unseen)
	if err != nil {
		return fmt.Errorf("verify the block: %w", err)
	}
	for i := range verdicts {
		txs[places[i]].Checked = verdicts[i].ok()
	}
	return nil
}

// verifyClaims is what the rules verify with: it verifies what is not remembered.
func (e *Executor) verifyClaims(claims []ledger.Claim) []int {
	var unseen []ledger.Claim
	var places []int
	memos := make([]fingerprint, len(claims))
	for i := range claims {
		if memos[i] = e.memo(&claims[i]); !e.claims.has(memos[i]) {
			unseen, places = append(unseen, claims[i]), append(places, i)
		}
	}
	bad := e.verifier.verify(unseen)
	for i := range bad {
		bad[i] = places[bad[i]]
	}
	next := bad
	for _, place := range places {
		if len(next) > 0 && next[0] == place {
			next = next[1:]
			continue
		}
		e.claims.add(memos[place])
	}
	return bad
}

// txs are the block's records.
func (p *prepared) txs() []*chain.Tx {
	txs := make([]*chain.Tx, len(p.records))
	for i, r := range p.records {
		txs[i] = &r.tx
	}
	return txs
}

// statuses are those of the block's records that say something about the record
// of that name: see verdicts.
func (p *prepared) statuses() map[ledger.Hash]RecordStatus {
	statuses := make(map[ledger.Hash]RecordStatus, len(p.result.Receipts))
	for i := range p.result.Receipts {
		r := &p.result.Receipts[i]
		if old, ok := statuses[r.Hash]; !aboutRecord(p.records[i], r) || ok && !r.Consumed && old.Stage != 0 {
			continue
		}
		statuses[r.Hash] = RecordStatus{Hash: r.Hash, Stage: StageIncluded, Height: p.block.Height, TxIndex: uint32(i), Receipt: r}
	}
	return statuses
}

// aboutRecord reports whether a receipt is about what its signer sent. Anyone
// can put some bytes under the name of somebody's record into a block: garbage,
// or the record with a wrong signature.
func aboutRecord(r *record, receipt *Receipt) bool {
	return r.refused == nil && (receipt.Consumed || receipt.Code != chain.CodeBadSignature)
}

// Commit makes the finalized block durable, with the index of its records, in
// one atomic synced write. Then its records are FINAL. Blocks below
// retainHeight are not needed any more; see Config.KeepBlocks.
func (e *Executor) Commit() (retainHeight uint64, err error) {
	if e.isHalted() {
		return 0, e.haltError()
	}
	p := e.prepared
	if p == nil {
		return 0, errors.New("commit: no block is finalized")
	}
	defer func() {
		if err != nil {
			e.halt(p.block.Height, err)
		}
	}()
	defer contain("commit block", &err)
	start := e.verifier.clock()
	if err := e.commitIndexed(p); err != nil {
		return 0, err
	}
	e.pass("stored", p)
	e.prepared = nil
	e.ahead.forget()
	e.head.Store(&head{height: p.block.Height, appHash: p.root})
	if err := e.proveHead(); err != nil {
		return 0, fmt.Errorf("prove the results of block %d: %w", p.block.Height, err)
	}
	e.committed(p)
	e.since(&e.stats.commitNanos, start)
	e.pass("told", p)
	return e.retain(p.block.Height)
}

// committed tells everybody about the new head.
func (e *Executor) committed(p *prepared) {
	height := p.block.Height
	used := make([]Slot, 0, len(p.records))
	var failed []ledger.Hash
	for i := range p.result.Receipts {
		switch r, receipt := p.records[i], &p.result.Receipts[i]; {
		case r.refused != nil:
		case receipt.Consumed:
			used = append(used, r.slot())
		case aboutRecord(r, receipt):
			failed = append(failed, r.tx.Hash)
		}
	}
	stale := e.pool.committed(height, p.block.Txs, used, failed, p.result.Raised)
	e.relays.committed(p.block.Txs)
	rebroadcast := e.cfg.RebroadcastBlocks
	if p.size() > e.traits.BlockBytes/2 {
		rebroadcast = e.cfg.MaxAge // what waits is not lost but queueing
	}
	again, dropped := e.tracker.committed(height, rebroadcast, e.cfg.MaxAge, used)
	dropped += e.tracker.stale(stale)
	for _, r := range again {
		e.pool.evict(r.tx.Hash) // so that consensus forgets it at the recheck, and takes it anew
	}
	if len(again) > 0 {
		e.stats.rebroadcast.Add(uint64(len(again)))
		e.log.Info("records sent again", slog.Int("records", len(again)), slog.Uint64("height", height))
		e.bundler.push(again...)
	}
	e.stats.dropped.Add(uint64(dropped))
	e.recent.add(p.committed())
	e.uncertifiedBlock(p)
	if height%e.cfg.AuditInterval == 0 {
		signal(e.auditDue)
	}
	signal(e.moved)
}

func (p *prepared) size() int64 {
	var n int64
	for _, raw := range p.block.Txs {
		n += int64(len(raw))
	}
	return n
}

// since adds the time since start to a counter, if there is a clock.
func (e *Executor) since(counter interface{ Add(int64) int64 }, start time.Time) {
	if e.cfg.Now != nil {
		counter.Add(int64(e.cfg.Now().Sub(start)))
	}
}
