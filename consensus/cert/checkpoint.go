// Package cert makes and verifies certificates: the proof, of constant size,
// that a committee agreed on the state of its chain after a block.
//
// Every member signs the Checkpoint of a block with its BLS key when it votes
// for the block. The signatures of members with more than two thirds of the
// power add up to one; with a bitmap of who signed it is a Certificate. To
// verify one takes the committee of its epoch and nothing else of the chain:
// one product of two pairings, however many members there are. So a
// certificate convinces other chains, auditors and telephones. The certificates of
// heights that follow each other add up to a Run, which has one signature and costs
// far less than they do; the main chain takes the checkpoints of shards as runs
// (chain/anchor).
//
// A forged certificate takes members with two thirds of the power; and any two
// certificates of one height and round that differ in their checkpoint are evidence
// against more than a third of it.
//
// The round is part of what is signed: more than two thirds that precommit one block
// in one round have decided it. Without it, votes for a block that fell through, cast
// in several rounds by members who had no fault in changing their minds, would add up
// to a certificate beside that of the block which was decided. A member may sign a block
// that is decided afterwards, in the round in which it was and in no other: in that round
// nobody who votes as it should has signed another block.
//
// A checkpoint names its network, chain, height and epoch, and the committee by
// its hash, so that no signature counts anywhere else. A verifier still has to
// say which network and chain it means (Verify asks) and, where it wants a
// certain height or generation, compare it.
//
// A shard whose committee was drawn anew at once goes on from its last anchored
// height as another generation (chain/anchor), so that it makes heights again which
// it made before and which never were final. The generation is part of what is
// signed: two versions of a height are no fault if they are of two generations.
//
// The keys of a committee must have proved possession when they were
// registered (consensus/bls); nothing here can check that.
//
// It belongs to row 1a of the dependency order: pure functions of values, no
// state. Everything here is safe for concurrent use.
package cert

import (
	"fmt"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// tagCheckpoint opens the message that members sign. It ends in a zero byte,
// and no other message begins with it.
const tagCheckpoint = "trib/checkpoint/1\x00"

// CheckpointSize is the length of an encoded Checkpoint in bytes.
const CheckpointSize = ledger.HashSize + 4 + 4 + 8 + 4 + 8 + 6*ledger.HashSize

// Checkpoint is the state of a chain after a block.
type Checkpoint struct {
	Network ledger.NetworkID
	Chain   ledger.ChainID
	// Generation is that of the chain: 0 on main, and for a shard how often it went on
	// from an anchored height (anchor.State).
	Generation uint32
	// Height is the height of the block.
	Height uint64
	// Round is that of the precommits that the signatures went with.
	Round uint32
	// Epoch is the epoch that Height belongs to.
	Epoch uint64
	// BlockHash is the hash of the block's header.
	BlockHash ledger.Hash
	// StateRoot is the app hash after the block.
	StateRoot ledger.Hash
	// OutboxRoot is the root of the messages the block sends, UsageRoot of what
	// it books. They are zero on chains that do neither.
	OutboxRoot, UsageRoot ledger.Hash
	// ResultsRoot is the hash of what became of the block's transactions.
	ResultsRoot ledger.Hash
	// CommitteeHash is the hash of the committee of Epoch, which signs this.
	CommitteeHash ledger.Hash
}

// Encode returns the canonical encoding, CheckpointSize bytes: network 32, chain
// 4, generation 4, height 8, round 4, epoch 8, block hash, state root, outbox root, usage
// root, results root and committee hash 32 each.
func (c *Checkpoint) Encode() []byte {
	w := codec.NewWriter(CheckpointSize)
	c.write(w)
	return w.Bytes()
}

// Message returns what members sign: the tag "trib/checkpoint/1", a zero byte,
// and the encoding.
func (c *Checkpoint) Message() []byte {
	w := codec.NewWriter(len(tagCheckpoint) + CheckpointSize)
	w.Fixed([]byte(tagCheckpoint))
	c.write(w)
	return w.Bytes()
}

// Hash returns the hash of the encoding.
func (c *Checkpoint) Hash() ledger.Hash { return ledger.HashOf("trib/checkpoint/hash/1", c.Encode()) }

func (c *Checkpoint) write(w *codec.Writer) {
	w.Fixed(c.Network[:])
	w.Uint32(uint32(c.Chain))
	w.Uint32(c.Generation)
	w.Uint64(c.Height)
	w.Uint32(c.Round)
	w.Uint64(c.Epoch)
	for _, h := range c.hashes() {
		w.Fixed(h[:])
	}
}

func (c *Checkpoint) hashes() [6]*ledger.Hash {
	return [6]*ledger.Hash{&c.BlockHash, &c.StateRoot, &c.OutboxRoot, &c.UsageRoot, &c.ResultsRoot, &c.CommitteeHash}
}

// DecodeCheckpoint reads what Encode wrote.
func DecodeCheckpoint(b []byte) (Checkpoint, error) {
	r := codec.NewReader(b)
	c := readCheckpoint(r)
	if err := r.Done(); err != nil {
		return Checkpoint{}, fmt.Errorf("decode checkpoint: %w", err)
	}
	return c, nil
}

func readCheckpoint(r *codec.Reader) Checkpoint {
	var c Checkpoint
	r.Into(c.Network[:])
	c.Chain, c.Generation = ledger.ChainID(r.Uint32()), r.Uint32()
	c.Height, c.Round, c.Epoch = r.Uint64(), r.Uint32(), r.Uint64()
	for _, h := range c.hashes() {
		r.Into(h[:])
	}
	return c
}
