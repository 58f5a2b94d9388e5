package exec

import (
	"context"
	"log/slog"

	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/shard/link"
)

// NewKeys is newKeyCache.
func NewKeys(places int) ledger.Keys { return newKeyCache(places) }

// LimitProofs forgets what proofs of receipts remember, and bounds it from now on.
func (e *Executor) LimitProofs(leaves int64, blocks int) {
	e.trees = newResultsTrees()
	e.trees.maxBytes, e.trees.maxBlocks = leaves*leafCost, blocks
}

// For the fuzz targets of the index's decoders.

// EncodeReceipt is encodeReceipt.
func EncodeReceipt(r *settlement.Receipt) []byte { return encodeReceipt(r) }

// DecodeReceipt is decodeReceipt.
func DecodeReceipt(b []byte) (settlement.Receipt, error) { return decodeReceipt(b) }

// DecodeIndex runs the other decoders of the index on b.
func DecodeIndex(b []byte) {
	_, _, _ = decodeBlock(1, b)
	_, _ = decodeClosed(1, b)
	_, _ = decodeStatement(1, nil, 1<<20, b)
	_ = readPositions(b)
	_, _, _ = decodeCertified([]byte{1}, b)
}

// WaitAhead waits until b, which was accepted, is executed, and reports whether
// it is at all.
func (e *Executor) WaitAhead(b Block) bool {
	e.ahead.mu.Lock()
	x := e.ahead.next
	if !x.is(&b) {
		x = e.ahead.last
	}
	e.ahead.mu.Unlock()
	if !x.is(&b) {
		return false
	}
	<-x.done
	return true
}

// SignedAhead reports whether what goes with this node's vote for b, which was executed
// ahead, is signed.
func (e *Executor) SignedAhead(b Block) bool {
	p, _, err := e.ahead.finish(b)
	return err == nil && p.signature != nil
}

// PoolBounds returns how many bundles, and bytes of them, the pool of c takes.
func PoolBounds(c Config) (bundles int, size int64) {
	p := newPool(c.withDefaults())
	return p.maxBundles, p.maxBytes
}

// PruneIndex takes one step of removing old blocks from the index.
func (e *Executor) PruneIndex() (more bool, err error) { return e.pruneStep() }

// Uncertified is how many blocks wait for their certificate.
func (e *Executor) Uncertified() int { return e.certifier.len() }

// CertificateStored is Certificate, and makes none.
func (e *Executor) CertificateStored(height uint64) (cert.Certificate, error) {
	return e.certificates.get(height)
}

// CheckpointAt is checkpointAt.
func (e *Executor) CheckpointAt(height uint64) (*cert.Checkpoint, error) {
	return e.checkpointAt(height)
}

// MaxUncertified is maxUncertified.
const MaxUncertified = maxUncertified

// NothingAhead ends executing ahead.
func (e *Executor) NothingAhead() { e.ahead.setOpen(false) }

// KeptKeys returns the decoded keys of an epoch's committee by member, if it is kept.
func (e *Executor) KeptKeys(epoch uint64) []*bls.Key {
	el, _ := e.electorates.get(Term{Epoch: epoch})
	if el == nil {
		return nil
	}
	return el.keys
}

// CertifyTogether is certifyTogether.
const CertifyTogether = certifyTogether

// OpenRules opens a chain of any rules.
func OpenRules(cfg Config, l *layer.Settlement, rules Rules, log *slog.Logger) (*Executor, error) {
	e := newExecutor(cfg.withDefaults(), l, rules, log)
	return e, e.load()
}

// RelayAge is maxRelayAge.
const RelayAge = maxRelayAge

// StaleProof is staleProof.
const StaleProof = staleProof

// DecodeOutbox is decodeOutbox.
func DecodeOutbox(raw []byte) (*link.Outbox, error) { return decodeOutbox(raw) }

// EncodeOutbox is encodeOutbox.
func EncodeOutbox(box *link.Outbox) []byte { return encodeOutbox(box) }

// CertifyBlock makes the certificate of a block that waits for it, as Run would.
func (e *Executor) CertifyBlock(height uint64) {
	for _, u := range e.certifier.list() {
		if u.checkpoint.Height == height {
			e.certifyBlocks(context.Background(), []*uncertified{u})
		}
	}
}

// Index returns the index of a chain.
func (e *Executor) Index() kv.Reader { return e.index }

// Gather counts what came for the blocks whose certificates lack signatures, and at a step
// asks for more, as Run would.
func (e *Executor) Gather(step bool) { e.gatherSignatures(context.Background(), step) }

// NoteSent remembers a checkpoint that went with a vote.
func (e *Executor) NoteSent(c *cert.Checkpoint) { e.sent.add(c) }

// WantedRest is wantedRest.
const WantedRest = wantedRest
