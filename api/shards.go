package api

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// Shards are the shards whose chains run on this node. It must be safe for concurrent
// use.
type Shards interface {
	// Shard returns a shard that runs here, and ok=false for any other. One that has not
	// begun, catches up or has halted runs too, as its Chain says; its calls then fail with
	// exec.ErrNotSynced and exec.ErrHalted.
	Shard(id shard.ID) (s Shard, ok bool)
	// Hosted returns the ids of those that run here, ascending.
	Hosted() []shard.ID
	// Ended returns what a shard did that is anchored to its end and does not run here, if
	// this node has it up to the end.
	Ended(id shard.ID) (s ShardRecords, ok bool)
	// Kept returns up to limit ids of those that Ended may return, the last ended first.
	Kept(limit int) []shard.ID
}

// Shard is a shard that runs on this node. All of it must be safe for concurrent use,
// and go on answering, with exec.ErrNotRunning, once the shard stops.
type Shard interface {
	ShardPool
	ShardState
	ShardBlocks
	ShardProofs
	// Chain says how its chain runs on this node. One that has not begun catches up: its
	// state must not be read.
	Chain() ChainInfo
}

// ShardPool takes records for a shard and knows what becomes of them. The
// documentation of exec.Executor's methods of these names is the contract; a refusal
// of admission is a *route.CongestedError.
type ShardPool interface {
	// Submit checks a signed transaction wholly and sends it on its way. It is
	// idempotent.
	Submit(ctx context.Context, raw []byte) (exec.ShardStatus, error)
	// Simulate returns the receipt that raw would have in the next block.
	Simulate(ctx context.Context, raw []byte) (service.Receipt, error)
	// Status returns what this node knows of a transaction, or fails with
	// exec.ErrUnknown.
	Status(hash ledger.Hash) (exec.ShardStatus, error)
	// Wait returns the status once it reaches stage, or the present one when ctx ends.
	Wait(ctx context.Context, hash ledger.Hash, stage exec.Stage) (exec.ShardStatus, error)
	// SubmitRelay takes a relay (chain/shardblock), or refuses it with a RuleError.
	SubmitRelay(ctx context.Context, payload []byte) error
	// Pending returns how many records wait, and their bytes.
	Pending() (records int, size int64)
}

// ShardState is the state of a shard, by the rules of chain/shardblock.
type ShardState interface {
	// Head returns the height and application hash of the last durable commit.
	Head() (height uint64, appHash []byte)
	// Read calls f with the state at the head, which does not change meanwhile.
	Read(f func(v chain.View, height uint64) error) error
}

// ShardBlocks is what the blocks of a shard did.
type ShardBlocks interface {
	// Block returns the block at height, or an error wrapping exec.ErrPruned.
	Block(height uint64) (*exec.ShardBlock, error)
	// Follow returns a reader of committed blocks, from the block at height from on, or
	// from the next one if from is 0.
	Follow(from uint64) ShardReader
	// Outbox returns the outbox of the block at height, which may be empty, or an error
	// wrapping exec.ErrPruned.
	Outbox(height uint64) (*link.Outbox, error)
	// Took returns the height of the block that took in a message and whose outbox
	// acknowledges it; ok is false if there is none or it is not kept.
	Took(l link.Link, seq uint64) (height uint64, ok bool, err error)
	// Certificate returns the certificate of the block at height, or
	// exec.ErrNoCertificate.
	Certificate(height uint64) (cert.Certificate, error)
	// LatestCertificate returns the certificate of the highest block that has one.
	LatestCertificate() (cert.Certificate, error)
}

// ShardProofs proves rows of a shard's state. The documentation of exec.Executor's methods
// of these names is the contract.
type ShardProofs interface {
	// Watch has a row of the state proved at the head: Certified returns that once there
	// is a certificate, which may be at once.
	Watch(key []byte) error
	// Certified returns the newest statement about a row whose state has a certificate,
	// or exec.ErrNoCertificate.
	Certified(key []byte) (cert.Certificate, *stateproof.Statement, error)
}

// ShardReader reads the committed blocks of a shard in order, each once. It is owned by
// one goroutine.
type ShardReader interface {
	// Next waits for the next block. The error is a *exec.GapError if blocks are gone,
	// after which it goes on behind them, or ctx's.
	Next(ctx context.Context) (*exec.ShardBlock, error)
}

// Main is what of the main chain goes to shards, and what it says of them. It must be safe for concurrent use.
type Main interface {
	// Outbox returns the outbox of the block at height, which may be empty, or an error
	// wrapping exec.ErrPruned.
	Outbox(height uint64) (*link.Outbox, error)
	// Took returns the height of the block that took in a message and whose outbox
	// acknowledges it; ok is false if there is none or it is not kept.
	Took(l link.Link, seq uint64) (height uint64, ok bool, err error)
	// Certified returns the newest statement about a row of the state whose state has a
	// certificate, or exec.ErrNoCertificate.
	Certified(key []byte) (cert.Certificate, *stateproof.Statement, error)
	// Anchored returns which run of anchors anchored a height of a shard; ok is false if it
	// is not anchored, or by a block that is not kept.
	Anchored(id shard.ID, height uint64) (at exec.AnchoredIn, ok bool, err error)
	// ShardEvents hands what blocks below before did to services and shards to f, newest
	// first, all if before is 0, until f returns false, and returns the height to go on
	// from, 0 if there is nothing more.
	ShardEvents(before uint64, f func(e *exec.ShardEvents) bool) (next uint64, err error)
}

// Forwarder hands calls to other nodes. *Peers is one. It must be safe for concurrent
// use.
type Forwarder interface {
	// Hosts returns where other nodes that run a chain serve this API, host:port, in the
	// order in which they had better be asked.
	Hosts(id ledger.ChainID) []string
	// Call makes a unary call, once, at endpoint. The error has the gRPC status of the
	// answer.
	Call(ctx context.Context, endpoint, method string, req, resp proto.Message) error
	// Fault tells that the answer of a node cannot be right: it comes after others for a
	// while.
	Fault(endpoint string)
}
