package comet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/blocksync"
	"github.com/cometbft/cometbft/consensus"
	cstypes "github.com/cometbft/cometbft/consensus/types"
	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtlog "github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/p2p"
	bcproto "github.com/cometbft/cometbft/proto/tendermint/blocksync"
	cmtstate "github.com/cometbft/cometbft/proto/tendermint/state"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmtversion "github.com/cometbft/cometbft/proto/tendermint/version"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/types"
	"github.com/cometbft/cometbft/version"
	gogotypes "github.com/cosmos/gogoproto/types"
	"golang.org/x/time/rate"

	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
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
func PrivValidator(s *Signer) types.PrivValidator { return votes{s, &voteRounds{}, nil} }

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
func NewContact(now time.Time) *Contact {
	return &Contact{contact{since: now, active: now, proofs: proofBurst, proofsAt: now}}
}

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
// waited for so long and they may be needed.
func RefusalDue(c *Chain, height int64, at time.Time, waited time.Duration, needed bool) bool {
	return c.adapter.refused.due(height, at, waited, needed)
}

// Refusers returns under how many names votes were refused, and how many were logged.
func Refusers(c *Chain) (known, told int) {
	c.adapter.refused.mu.Lock()
	defer c.adapter.refused.mu.Unlock()
	return len(c.adapter.refused.by), len(c.adapter.refused.told)
}

// NeedsRefused reports whether the refused votes may be what a block waits for.
func NeedsRefused(s Status, vals []Validator) bool { return s.needsRefused(vals) }

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
	TwinHead     = twinHead
)

// Boast tells all peers of c a height and a time of c's clock.
func Boast(c *Chain, height uint64, at time.Time) {
	c.presence.mu.Lock()
	b := beat{claim: c.presence.own, height: height, unixMilli: at.UnixMilli()}
	c.presence.mu.Unlock()
	msg := &gogotypes.BytesValue{Value: b.encode()}
	c.engine.Switch().Peers().ForEach(func(peer p2p.Peer) {
		peer.TrySend(p2p.Envelope{ChannelID: presenceChannel, Message: msg})
	})
}

// BoastBlocks tells all peers of c that it has the blocks from base to height.
func BoastBlocks(c *Chain, base, height int64) {
	msg := &bcproto.StatusResponse{Base: base, Height: height}
	c.engine.Switch().Peers().ForEach(func(peer p2p.Peer) {
		peer.Send(p2p.Envelope{ChannelID: blocksync.BlocksyncChannel, Message: msg})
	})
}

// Claims returns how many peers told c that they have a block as high as that.
func Claims(c *Chain, height int64) int {
	c.adapter.syncing.mu.Lock()
	defer c.adapter.syncing.mu.Unlock()
	n := 0
	for _, claim := range c.adapter.syncing.claims {
		if claim.Height >= height {
			n++
		}
	}
	return n
}

// CommittedAgo makes c believe that it committed its last block so long ago.
func CommittedAgo(c *Chain, d time.Duration) {
	c.head.mu.Lock()
	defer c.head.mu.Unlock()
	c.head.at = time.Now().Add(-d)
}

// Searched reports whether c began by looking for a snapshot.
func Searched(c *Chain) bool { return c.states != nil }

// FellBack makes c believe that it found no snapshot and began at the genesis.
func FellBack(c *Chain) { c.fromGenesis.Store(true) }

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
	return o.o.begin(&abci.Snapshot{Height: height, Format: 1, Chunks: 1, Hash: []byte{n}})
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

// LongChain is the headers, commits and validators of a chain of so many blocks, of
// whose votes only the first are signed, and what a node knows of it that joined by a snapshot of the last one.
type LongChain struct {
	blocks []*types.LightBlock
	Bytes  int // of a header with commit and validators, as a source sends it
}

// NewLongChain makes one with so many validators.
func NewLongChain(c *Chain, blocks, validators int) (*LongChain, error) {
	set := &types.ValidatorSet{}
	keys := make(map[string]ed25519.PrivKey)
	for i := range validators {
		key := ed25519.GenPrivKeyFromSecret([]byte{byte(i), byte(i >> 8)})
		keys[string(key.PubKey().Address())] = key
		set.Validators = append(set.Validators, types.NewValidator(key.PubKey(), 1_000_000))
	}
	set = types.NewValidatorSet(set.Validators)
	l := &LongChain{}
	var last types.BlockID
	commit := &types.Commit{}
	start := time.Now().Add(-time.Duration(blocks) * time.Second)
	for h := range int64(blocks) {
		header := types.Header{
			Version: cmtversion.Consensus{Block: version.BlockProtocol}, ChainID: c.ID(), Height: h + 1, Time: start.Add(time.Duration(h) * time.Second),
			LastBlockID: last, LastCommitHash: commit.Hash(), DataHash: make([]byte, 32), ValidatorsHash: set.Hash(), NextValidatorsHash: set.Hash(),
			ConsensusHash: make([]byte, 32), AppHash: make([]byte, 32), LastResultsHash: make([]byte, 32), EvidenceHash: make([]byte, 32),
			ProposerAddress: set.Validators[0].Address,
		}
		last = types.BlockID{Hash: header.Hash(), PartSetHeader: types.PartSetHeader{Total: 1, Hash: make([]byte, 32)}}
		commit = &types.Commit{Height: h + 1, BlockID: last}
		for _, v := range set.Validators {
			commit.Signatures = append(commit.Signatures, types.CommitSig{
				BlockIDFlag: types.BlockIDFlagCommit, ValidatorAddress: v.Address, Timestamp: header.Time, Signature: make([]byte, 64),
			})
		}
		signature, err := keys[string(set.Validators[0].Address)].Sign(commit.VoteSignBytes(c.ID(), 0))
		if err != nil {
			return nil, err
		}
		commit.Signatures[0].Signature = signature
		l.blocks = append(l.blocks, &types.LightBlock{SignedHeader: &types.SignedHeader{Header: &header, Commit: commit}, ValidatorSet: set})
	}
	header, vals, err := l.LightBlock(context.Background(), 1)
	l.Bytes = len(header) + len(vals)
	return l, err
}

func (l *LongChain) String() string { return "a long chain" }

// LightBlock implements LightSource.
func (l *LongChain) LightBlock(_ context.Context, height uint64) (header, validators []byte, err error) {
	b := l.blocks[height-1]
	set, err := b.ValidatorSet.ToProto()
	if err != nil {
		return nil, nil, err
	}
	header, errHeader := b.SignedHeader.ToProto().Marshal()
	validators, errSet := set.Marshal()
	return header, validators, errors.Join(errHeader, errSet)
}

// LinkProblems returns why a block of l that was changed is not taken for what it was,
// by the name of the change; nil if it is.
func LinkProblems(c *Chain, l *LongChain) map[string]error {
	above := l.blocks[len(l.blocks)-1]
	want := link{above.Height - 1, above.LastBlockID, above.LastCommitHash}
	out := make(map[string]error)
	for name, edit := range map[string]func(h *types.Header, votes *types.Commit){
		"none": func(*types.Header, *types.Commit) {},
		"another header": func(h *types.Header, votes *types.Commit) {
			h.AppHash = bytes.Repeat([]byte{1}, 32)
			votes.BlockID.Hash = h.Hash()
		},
		"the header of another height": func(h *types.Header, votes *types.Commit) {
			before := l.blocks[len(l.blocks)-3]
			*h, *votes = *before.Header, *before.Commit.Clone()
		},
		"another round":    func(_ *types.Header, votes *types.Commit) { votes.Round++ },
		"another part set": func(_ *types.Header, votes *types.Commit) { votes.BlockID.PartSetHeader.Total++ },
		"a vote less":      func(_ *types.Header, votes *types.Commit) { votes.Signatures[1] = types.NewCommitSigAbsent() },
		"a vote at another time": func(_ *types.Header, votes *types.Commit) {
			votes.Signatures[1].Timestamp = votes.Signatures[1].Timestamp.Add(1)
		},
	} {
		b := l.blocks[len(l.blocks)-2]
		header, votes := *b.Header, b.Commit.Clone()
		edit(&header, votes)
		votes, err := types.CommitFromProto(votes.ToProto()) // without the hash it had
		if err != nil {
			out[name] = err
			continue
		}
		changed := &lightBlock{SignedHeader: &types.SignedHeader{Header: &header, Commit: votes}, ValidatorSet: b.ValidatorSet}
		out[name] = errors.Join(changed.ValidateBasic(c.ID()), want.fits(c.ID(), changed))
	}
	return out
}

// Fill has c, which was not started, join by a snapshot of the last block but one of l
// and fetch the headers below it.
func Fill(ctx context.Context, c *Chain, l *LongChain) error {
	top := l.blocks[len(l.blocks)-2]
	state, err := sm.MakeGenesisState(c.genesis)
	if err != nil {
		return err
	}
	state.LastBlockHeight, state.LastBlockTime = top.Height, top.Time
	state.LastBlockID = l.blocks[len(l.blocks)-1].LastBlockID
	state.LastValidators = state.Validators
	c.cfg.HeaderSources = []LightSource{l}
	if err := errors.Join(c.beginFilling(top.Height), c.stateStore().Bootstrap(state)); err != nil {
		return err
	}
	batch := c.view(blockDB).NewBatch() // the block after the snapshot
	next := l.blocks[len(l.blocks)-1]
	meta := cmtproto.BlockMeta{BlockID: next.Commit.BlockID.ToProto(), Header: *next.Header.ToProto()}
	raw, err := meta.Marshal()
	if err := finish(batch, errors.Join(err, batch.Set(fmt.Appendf(nil, "H:%d", next.Height), raw)), true); err != nil {
		return err
	}
	c.filling.rate = rate.Inf
	if done, err := c.fill(ctx, true); !done {
		return fmt.Errorf("%v: %w", c.filling.get(), err)
	}
	return nil
}

// CompareTurned compares how validators of some powers, stored at height 1, are turned
// to heights up to 3,000.
func CompareTurned(powers, heights []int64) error {
	var vals []*types.Validator
	for i, power := range powers {
		vals = append(vals, types.NewValidator(ed25519.GenPrivKeyFromSecret([]byte{byte(i)}).PubKey(), power))
	}
	first := types.NewValidatorSet(vals)
	c := &Chain{store: memkv.New(), dbGate: newGate()}
	state := sm.State{
		ChainID: "turned", InitialHeight: 1, LastBlockHeight: 3_000, LastValidators: first, Validators: first, NextValidators: first,
		LastHeightValidatorsChanged: 1, ConsensusParams: *types.DefaultConsensusParams(), LastHeightConsensusParamsChanged: 1,
	}
	if err := c.stateStore().Bootstrap(state); err != nil {
		return err
	}
	wire, err := first.ToProto()
	if err != nil {
		return err
	}
	for h := int64(1); h <= 3_000; h++ {
		info := cmtstate.ValidatorsInfo{LastHeightChanged: 1}
		if h == 1 {
			info.ValidatorSet = wire
		}
		raw, err := info.Marshal()
		if err := errors.Join(err, c.view(stateDB).Set(validatorsKey(h), raw)); err != nil {
			return err
		}
	}
	stepped := map[int64]*types.ValidatorSet{1: first}
	for h := int64(2); h <= 3_000; h++ {
		stepped[h] = stepped[h-1].CopyIncrementProposerPriority(1)
	}
	for _, h := range heights {
		got, err := c.validatorsAt(h)
		want, errWant := c.stateStore().LoadValidators(h)
		if err := errors.Join(err, errWant); err != nil {
			return err
		}
		for _, want := range []*types.ValidatorSet{want, stepped[h]} {
			if !reflect.DeepEqual(got.Validators, want.Validators) || !bytes.Equal(got.GetProposer().Address, want.GetProposer().Address) {
				return fmt.Errorf("height %d: %v, want %v", h, got, want)
			}
		}
	}
	return nil
}

// TurnCost returns what the validators of a height, a run of n heights after those
// that are stored, cost CometBFT and this package.
func TurnCost(validators, n int) (theirs, ours time.Duration) {
	var vals []*types.Validator
	for i := range validators {
		vals = append(vals, types.NewValidator(ed25519.GenPrivKeyFromSecret([]byte{byte(i), byte(i >> 8)}).PubKey(), int64(1_000_000+i)))
	}
	set := types.NewValidatorSet(vals)
	begin := time.Now()
	set.CopyIncrementProposerPriority(int32(n))
	theirs = time.Since(begin)
	var memory turned
	load := func() (*types.ValidatorSet, error) { return set, nil }
	_, _, _ = memory.below(1, int64(n), load)
	begin = time.Now()
	near, at, _ := memory.below(1, int64(n), load)
	near.CopyIncrementProposerPriority(int32(int64(n) - at + 1))
	return theirs, time.Since(begin)
}

// ApplyChunk gives a chunk of the snapshot that app was offered, from sender, to app as
// CometBFT does.
func (o Offers) ApplyChunk(app Application, index uint32, chunk []byte, sender string) (refetch []uint32, reject []string, err error) {
	a := &adapter{
		app: app, gate: newGate(), head: &head{}, halt: newHalt(), progress: &progress{}, offers: o.o,
		logger: slog.New(slog.DiscardHandler),
	}
	res, err := a.ApplySnapshotChunk(context.Background(), &abci.RequestApplySnapshotChunk{Index: index, Chunk: chunk, Sender: sender})
	if err != nil {
		return nil, nil, err
	}
	return res.RefetchChunks, res.RejectSenders, nil
}

// OwnPrevote returns the height that consensus is at, and whether it has a prevote of the
// chain's own key there. Idle says that it waits for work.
func OwnPrevote(c *Chain) (height uint64, voted, idle bool) {
	rs := (*private[*consensus.State](c.engine, "consensusState")).GetRoundState()
	index, _ := rs.Validators.GetByAddress(c.signer.Address())
	for round := range rs.Round + 1 {
		votes := rs.Votes.Prevotes(round)
		voted = voted || votes != nil && index >= 0 && votes.GetByIndex(index) != nil
	}
	return uint64(rs.Height), voted, rs.Step == cstypes.RoundStepNewRound
}
