package comet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/blocksync"
	cmtlog "github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/p2p"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
	gogotypes "github.com/cosmos/gogoproto/types"

	"github.com/tributary-network/tributary/ledger/kv"
)

// What tests reach of the inside.

// NewDatabase returns store as CometBFT sees it, and what cuts it off.
func NewDatabase(store kv.Store) (dbm.DB, func()) {
	g := newGate()
	return newDatabase(store, g), func() { g.closed = true }
}

// NewLogger returns the log adapter.
func NewLogger(h slog.Handler, onError func(string, []any)) cmtlog.Logger {
	return newLogger(h, onError)
}

// EngineFailure is what a line of CometBFT's log means.
func EngineFailure(msg, text string) (HaltCause, string, bool) { return engineFailure(msg, text) }

// Kept returns how many of txs a proposal keeps, with all the evidence and the
// votes of so many validators in the block.
func Kept(txs [][]byte, blockMaxBytes int64, validators int) int {
	return fitting(txs, types.MaxDataBytes(blockMaxBytes, maxEvidenceBytes, validators))
}

// PrivValidator is the signer as CometBFT sees it.
func PrivValidator(s *Signer) types.PrivValidator { return votes{s, &voteRounds{}} }

// TrimWAL runs the trimmer at each of heights, and before after each.
func TrimWAL(head string, heights []int64, before func(int64)) error {
	t := &trimmer{head: head}
	for _, h := range heights {
		before(h)
		if err := t.trim(h); err != nil {
			return err
		}
	}
	return nil
}

// Contact is what a node knows of a peer.
type Contact struct{ c contact }

// NewContact is a peer that connected at now.
func NewContact(now time.Time) *Contact { return &Contact{contact{since: now, active: now}} }

// Heard takes a heartbeat of the validator numbered id.
func (c *Contact) Heard(now, peerClock time.Time, id, flags byte) error {
	b := beat{flags: flags, unixMilli: peerClock.UnixMilli(), claim: claim{kind: proofVoting, validator: [32]byte{id}}}
	return c.c.heard(now, b, func() (verdict, error) { return proven, nil })
}

// Silent reports whether the peer would be dropped.
func (c *Contact) Silent(now time.Time, received int64) bool { return c.c.silent(now, received) }

// View returns whether the peer is alive, whether it votes, and its clock.
func (c *Contact) View(now time.Time) (alive, voting bool, skew time.Duration) {
	v := c.c.view(now)
	return v.alive, v.voting, v.skew
}

// AddDuplicateVote hands chain's evidence pool the proof that the holder of
// signer's key voted for two blocks at height. The signer's state is left alone.
func AddDuplicateVote(c *Chain, signer *Signer, height uint64) error {
	set, err := c.stateStore().LoadValidators(int64(height))
	if err != nil {
		return err
	}
	index, _ := set.GetByAddress(signer.Address())
	meta := c.engine.BlockStore().LoadBlockMeta(int64(height))
	var votes [2]*types.Vote
	for i := range votes {
		hash := bytes.Repeat([]byte{byte(i + 1)}, 32)
		vote := &types.Vote{
			Type: cmtproto.PrevoteType, Height: int64(height), Timestamp: meta.Header.Time,
			BlockID:          types.BlockID{Hash: hash, PartSetHeader: types.PartSetHeader{Total: 1, Hash: hash}},
			ValidatorAddress: signer.Address(), ValidatorIndex: index,
		}
		if vote.Signature, err = signer.attest(types.VoteSignBytes(c.ID(), vote.ToProto())); err != nil {
			return err
		}
		votes[i] = vote
	}
	ev, err := types.NewDuplicateVoteEvidence(votes[0], votes[1], meta.Header.Time, set)
	if err != nil {
		return err
	}
	return c.engine.EvidencePool().AddEvidence(ev)
}

// ValidatorUpdates translates updates, and reports what CometBFT would halt on.
func ValidatorUpdates(updates []ValidatorUpdate) error {
	_, err := validatorUpdates(updates)
	return err
}

// VoteRefused reports whether a validator's vote at height with an extension of that
// size is refused.
func VoteRefused(c *Chain, height int64, validator []byte, size int) bool {
	res, err := c.adapter.VerifyVoteExtension(context.Background(), &abci.RequestVerifyVoteExtension{
		Height: height, ValidatorAddress: validator, VoteExtension: make([]byte, size),
	})
	return err != nil || !res.IsAccepted()
}

// RefusalDue reports whether votes refused at height are taken from at on, if work has
// waited for so long.
func RefusalDue(c *Chain, height int64, at time.Time, waited time.Duration) bool {
	return c.adapter.refused.due(height, at, waited)
}

// RefusalPatience sets how long c does without votes that it refused.
func RefusalPatience(c *Chain, d time.Duration) {
	c.adapter.refused.mu.Lock()
	defer c.adapter.refused.mu.Unlock()
	c.adapter.refused.patience = d
}

// AttachUpTo makes c attach extensions of up to so many bytes, as no honest node does.
func AttachUpTo(c *Chain, size int) { c.adapter.attach.Store(int64(size)) }

// LargestExtension returns the size of the largest extension stored with the block at
// height, -1 if there is none.
func LargestExtension(c *Chain, height uint64) int {
	commit := c.engine.BlockStore().LoadBlockExtendedCommit(int64(height))
	if commit == nil {
		return -1
	}
	largest := 0
	for _, s := range commit.ExtendedSignatures {
		largest = max(largest, len(s.Extension))
	}
	return largest
}

// RecodeBeat decodes a heartbeat and encodes it again.
func RecodeBeat(data []byte) ([]byte, error) {
	b, err := decodeBeat(data)
	if err != nil {
		return nil, err
	}
	return b.encode(), nil
}

// Limits of presence.
const (
	AliveFor     = aliveFor
	SilentFor    = silentFor
	PresenceHead = presenceHead
	PresenceMax  = presenceMaxSize
)

// Boast tells all peers of c a height and a time of c's clock.
func Boast(c *Chain, height uint64, at time.Time) {
	b := beat{claim: c.presence.own, height: height, unixMilli: at.UnixMilli()}
	msg := &gogotypes.BytesValue{Value: b.encode()}
	c.engine.Switch().Peers().ForEach(func(peer p2p.Peer) {
		peer.TrySend(p2p.Envelope{ChannelID: presenceChannel, Message: msg})
	})
}

// LoseSeenCommit removes the commit of height from the blocks in s.
func LoseSeenCommit(s kv.Store, height uint64) error {
	return newDatabase(kv.Prefixed(s, []byte(blockDB+"/")), newGate()).Delete(fmt.Appendf(nil, "SC:%d", height))
}

// Offers is what a node that joins knows of those who offer snapshots.
type Offers struct{ o *offers }

// NewOffers knows nobody.
func NewOffers() Offers { return Offers{newOffers()} }

// Offer notes that peer offers the n-th snapshot of a height, and reports whether
// it is looked at.
func (o Offers) Offer(peer string, height uint64, n byte) bool {
	return o.o.offer(p2p.ID(peer), keyOf(height, 1, 1, []byte{n}, nil))
}

// Begin tries that snapshot.
func (o Offers) Begin(height uint64, n byte) bool {
	return o.o.begin(keyOf(height, 1, 1, []byte{n}, nil))
}

// Unknown says that there is no header of a height.
func (o Offers) Unknown(height uint64) { o.o.unknown(height) }

// Any reports whether somebody to be believed offers that height.
func (o Offers) Any(height uint64) bool { return o.o.any(height) }

// Refuse says that what is tried is false.
func (o Offers) Refuse() []string { return o.o.refuse() }

// MayGive reports whether chunks of peer are taken.
func (o Offers) MayGive(peer string) bool { return o.o.mayGive(p2p.ID(peer)) }

// DropPeers disconnects all peers, as errors of their connections do.
func DropPeers(c *Chain) {
	for _, peer := range c.engine.Switch().Peers().Copy() {
		c.engine.Switch().StopPeerForError(peer, errors.New("dropped by a test"))
	}
}

// SyncGuard is what stands before CometBFT's block sync, before nothing here.
type SyncGuard struct{ g *syncGuard }

// NewSyncGuard hands messages to forward and leaving peers to remove.
func NewSyncGuard(forward func(p2p.Envelope), remove func(p2p.ID)) SyncGuard {
	g := newSyncGuard(&blocksync.Reactor{})
	g.forward, g.remove = forward, func(p p2p.Peer, _ any) { remove(p.ID()) }
	return SyncGuard{g}
}

func (s SyncGuard) Receive(e p2p.Envelope)   { s.g.Receive(e) }
func (s SyncGuard) RemovePeer(peer p2p.Peer) { s.g.RemovePeer(peer, nil) }
func (s SyncGuard) InitPeer(peer p2p.Peer)   { s.g.InitPeer(peer) }
func (s SyncGuard) Applied() {
	s.g.mu.Lock()
	s.g.applied = time.Now()
	s.g.mu.Unlock()
}
func (s SyncGuard) Release() { s.g.release() }

// ConnectSigner listens for a signer and waits until it is there.
func ConnectSigner(ctx context.Context, c RemoteSignerConfig, nodeKey *NodeKey, logger *slog.Logger) (*Signer, error) {
	s, err := ListenSigner(ctx, c, nodeKey, logger)
	if err != nil {
		return nil, err
	}
	if err := s.Await(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// FailSync makes the signer's next directories undurable.
func FailSync(s *Signer, err error) { OnSync(s, func(string) error { return err }) }

// OnSync calls f where the signer makes its next directories durable.
func OnSync(s *Signer, f func(dir string) error) { s.syncDir = f }

// AttackLightClients is the proof that the holders of signers' keys signed a header
// beside the chain at height, which light clients would have believed.
func AttackLightClients(c *Chain, height uint64, signers []*Signer) ([]byte, error) {
	set, err := c.stateStore().LoadValidators(int64(height))
	if err != nil {
		return nil, err
	}
	common := c.engine.BlockStore().LoadBlockMeta(int64(height) - 1)
	trusted := c.engine.BlockStore().LoadBlockMeta(int64(height))
	header := trusted.Header
	header.AppHash = bytes.Repeat([]byte{0xee}, 32)
	id := types.BlockID{Hash: header.Hash(), PartSetHeader: types.PartSetHeader{Total: 1, Hash: bytes.Repeat([]byte{1}, 32)}}
	commit := &types.Commit{Height: int64(height), BlockID: id, Signatures: make([]types.CommitSig, set.Size())}
	for i := range commit.Signatures {
		commit.Signatures[i] = types.NewCommitSigAbsent()
	}
	for _, s := range signers {
		index, _ := set.GetByAddress(s.Address())
		vote := &types.Vote{
			Type: cmtproto.PrecommitType, Height: int64(height), BlockID: id, Timestamp: header.Time,
			ValidatorAddress: s.Address(), ValidatorIndex: index,
		}
		signature, err := s.attest(types.VoteSignBytes(c.ID(), vote.ToProto()))
		if err != nil {
			return nil, err
		}
		commit.Signatures[index] = types.CommitSig{
			BlockIDFlag: types.BlockIDFlagCommit, ValidatorAddress: s.Address(), Timestamp: header.Time, Signature: signature,
		}
	}
	commons, err := c.stateStore().LoadValidators(int64(height) - 1)
	if err != nil {
		return nil, err
	}
	attack := &types.LightClientAttackEvidence{
		ConflictingBlock: &types.LightBlock{SignedHeader: &types.SignedHeader{Header: &header, Commit: commit}, ValidatorSet: set},
		CommonHeight:     int64(height) - 1, TotalVotingPower: commons.TotalVotingPower(), Timestamp: common.Header.Time,
	}
	attack.ByzantineValidators = attack.GetByzantineValidators(commons, &types.SignedHeader{Header: &trusted.Header, Commit: c.engine.BlockStore().LoadBlockCommit(int64(height))})
	wire, err := types.EvidenceToProto(attack)
	if err != nil {
		return nil, err
	}
	return wire.Marshal()
}
