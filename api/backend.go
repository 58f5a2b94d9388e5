package api

import (
	"context"
	"errors"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// Pool takes transactions and knows what becomes of them. *exec.Main is
// one; its documentation is the contract. It must be safe for concurrent use.
type Pool interface {
	// Submit checks a signed transaction wholly and sends it on its way. It is
	// idempotent.
	Submit(ctx context.Context, raw []byte) (exec.Status, error)
	// Simulate returns the receipt that raw would have in the next block.
	Simulate(ctx context.Context, raw []byte) (settlement.Receipt, error)
	// Status returns what this node knows of a transaction, or fails with
	// exec.ErrUnknown.
	Status(hash ledger.Hash) (exec.Status, error)
	// Wait returns the status once it reaches stage, or the present one when
	// ctx ends.
	Wait(ctx context.Context, hash ledger.Hash, stage exec.Stage) (exec.Status, error)
	// PendingNonces returns the nonces that transactions of signer which wait
	// on this node use, in no order.
	PendingNonces(signer ledger.Address) []uint64
	// Stats returns counters and present sizes.
	Stats() exec.Stats
}

// State is the state and the blocks that made it. *exec.Main is one. It must
// be safe for concurrent use.
type State interface {
	// Head returns the height and application hash of the last durable commit.
	Head() (height uint64, appHash []byte)
	// Read calls f with the state at the head, which does not change meanwhile.
	Read(f func(v chain.View, height uint64) error) error
	// ReadHead is Read with the application hash of the state.
	ReadHead(f func(v chain.View, height uint64, appHash ledger.Hash) error) error
	// Subscribe returns a reader of committed blocks, from the block at height
	// from on, or from the next one if from is 0.
	Subscribe(from uint64) *exec.Subscription
	// BlockResult returns what the block at height did, or an error wrapping
	// exec.ErrPruned.
	BlockResult(height uint64) (*exec.BlockResult, error)
}

// Index looks up what the state cannot: by name, by party, and of the past.
// *exec.Main is one. It must be safe for concurrent use.
type Index interface {
	// ChannelIndex returns the row of a channel, open or closed.
	ChannelIndex(id ledger.Hash) (index uint64, ok bool)
	// Channel returns the channel at a row, open or closed.
	Channel(index uint64) (c exec.ChannelInfo, ok bool, err error)
	// ListChannels returns channels with rows from on, ascending, and the row to
	// go on from, 0 if there are no more.
	ListChannels(f exec.ChannelFilter, from uint64, limit int) (page []exec.ChannelInfo, next uint64, err error)
	// ListTxs returns executed transactions, newest first, older than before,
	// and the cursor to go on from, nil if there are no more.
	ListTxs(f exec.TxFilter, before *exec.Cursor, limit int) (page []exec.Status, next *exec.Cursor, err error)
	// Proof proves what became of an executed transaction, or fails with
	// exec.ErrUnknown or an error wrapping exec.ErrPruned.
	Proof(hash ledger.Hash) (*exec.TxProof, error)
}

// Agreement is what the validators agreed on. *exec.Main is one. It must be
// safe for concurrent use.
type Agreement interface {
	// Certificate returns the certificate of the block at height, or
	// exec.ErrNoCertificate.
	Certificate(height uint64) (cert.Certificate, error)
	// LatestCertificate returns the certificate of the highest block that has one.
	LatestCertificate() (cert.Certificate, error)
	// Candidates returns who could be elected for the committee of an epoch, or an
	// error wrapping exec.ErrPruned.
	Candidates(epoch uint64) ([]committee.Candidate, error)
	// Seals returns the seals of up to limit blocks of an epoch, ascending, from a
	// height on, or an error wrapping exec.ErrPruned.
	Seals(epoch, from uint64, limit int) ([]exec.BlockSeal, error)
	// Handover proves the committee of an epoch by the one before, or fails with
	// exec.ErrNoHandover.
	Handover(epoch uint64) (*exec.Handover, error)
}

// Prover proves what the newest state holds. *layer.Settlement is one. It must
// be safe for concurrent use.
type Prover interface {
	Prove(key []byte) (*stateproof.Statement, error)
}

// Node is what only the node around the chain knows. It must be safe for
// concurrent use.
type Node interface {
	// Info says who the node is; it does not change.
	Info() NodeInfo
	// Chain says how the main chain runs on this node.
	Chain() ChainInfo
	// Ready says whether the chain makes progress, or has nothing to do, and if
	// not why. It is asked often and must not block.
	Ready() (ok bool, reason string)
	// Header returns the header of the block at height; ok is false if this
	// node does not have it.
	Header(height uint64) (h Header, ok bool)
	// LightBlock returns what a light client of consensus wants of the block at
	// height of a chain that runs here; ok is false if this node does not have it, and
	// then from is the lowest height of which it has that, 0 if that is not known.
	LightBlock(id ledger.ChainID, height uint64) (b LightBlock, from uint64, ok bool)
	// Turnout says who signed the last blocks; it tells of none if the node cannot.
	Turnout() Turnout
	// AddEvidence takes the proof of a fault in consensus's encoding. The error is
	// ErrBadEvidence if it proves nothing.
	AddEvidence(evidence []byte) error
}

// ErrBadEvidence means bytes that prove no fault of a validator.
var ErrBadEvidence = errors.New("not evidence of a fault")

// NodeInfo is who a node is.
type NodeInfo struct {
	Version string
	Moniker string
	ID      string // on the peer-to-peer network, in hex
	Started time.Time
}

// ChainInfo is how a chain runs on a node.
type ChainInfo struct {
	CatchingUp bool
	Halted     bool
	HaltReason string // one line for operators; empty unless halted
	Validator  bool   // this node votes
	Peers      int
	Sync       *SyncProgress // nil if the node has caught up
}

// SyncProgress is how far a node that catches up is.
type SyncProgress struct {
	Snapshot            bool   // it restores a snapshot, or looks for one; otherwise it fetches blocks
	Height, Target      uint64 // Target is 0 if it is not known
	Chunks, TotalChunks uint32 // of the snapshot
	BlocksPerSecond     float64
	TimeLeft            time.Duration // 0 if it cannot be told
	Idle                time.Duration
	Stalled             bool
	Note                string // what there is to say besides, in one line; usually empty
}

// Header is what the validators signed, as far as clients need it.
type Header struct {
	Height   uint64
	Time     time.Time
	Hash     []byte // 32 bytes
	AppHash  []byte // state after block Height-1, 32 bytes
	Proposer []byte // consensus address, 20 bytes
	Size     int64  // of the block, in bytes
	// Signed and Commit are the header and its commit in CometBFT's protobuf
	// encoding; nil if the node does not hand them out.
	Signed []byte
	Commit []byte
}

// Turnout is who signed the last blocks of the chain, as its commits tell.
type Turnout struct {
	Blocks uint32 // at most 100; 0 if the node cannot tell
	To     uint64 // height of the last of them
	// Of has those that were to vote on any of them, by consensus address.
	Of map[staking.Address]Attendance
}

// Attendance is one validator's part in a Turnout.
type Attendance struct {
	Blocks uint32 // on which it was to vote
	Signed uint32 // of those
}

// LightBlock is a header with the votes for it and the validators, in CometBFT's
// protobuf encoding (types.SignedHeader, types.ValidatorSet).
type LightBlock struct {
	SignedHeader []byte
	ValidatorSet []byte
}
