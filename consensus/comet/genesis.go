package comet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/types"
)

const (
	// DefaultBlockMaxBytes bounds a block: what every validator can send and
	// store well within the propose timeout.
	DefaultBlockMaxBytes = 4 << 20
	// minBlockMaxBytes is the smallest block, most of which BlockOverhead of a
	// few validators takes.
	minBlockMaxBytes = 128 << 10
	// maxEvidenceBytes bounds the evidence in a block.
	maxEvidenceBytes = 64 << 10
	// frameBytes is what a block has room for beside its payload: CometBFT frames
	// each transaction by 2 to 6 bytes, and the application may add a short one.
	frameBytes = 16 << 10
	// maxChainID is CometBFT's limit on the length of a chain id.
	maxChainID = types.MaxChainIDLen
	// maxPower keeps the total voting power within CometBFT's limit.
	maxPower = types.MaxTotalVotingPower
)

// Genesis is what all nodes of a chain must have alike.
type Genesis struct {
	ChainID    string    // 1 to 50 bytes
	Time       time.Time // not the zero time; a chain does not start before it
	Validators []GenesisValidator
	// BlockMaxBytes is the size of the largest block as a whole: 128 KiB to 100 MiB
	// and more than BlockOverhead of the validators; 0: DefaultBlockMaxBytes.
	BlockMaxBytes int64
	// EvidenceMaxBlocks and EvidenceMaxAge: misbehaviour that is more blocks and
	// longer ago than both is no longer punished. 0: CometBFT's defaults of
	// 100,000 blocks and 48 hours.
	EvidenceMaxBlocks uint64
	EvidenceMaxAge    time.Duration
	AppState          []byte // handed to InitChain
	// InitialHeight is the height of the first block; 0 means 1. A chain that begins with a
	// higher one goes on from the application's state at the height before, which every
	// node has before it starts: its hash is AppHash, and InitChain is not called.
	InitialHeight uint64
	AppHash       []byte
}

// GenesisValidator is a validator of the first block.
type GenesisValidator struct {
	PubKey []byte // Ed25519, 32 bytes
	Power  int64  // at least 1
	Name   string
}

// BlockOverhead returns how many bytes of a block may not be payload where so many
// validators vote: header, their signatures (which CometBFT counts as if each were
// of its largest kind), evidence and frames. What a chain's committee can grow to
// must be counted, since consensus fails where its votes do not fit a block.
func BlockOverhead(validators int) int64 {
	return types.MaxOverheadForBlock + types.MaxHeaderBytes + types.MaxCommitBytes(validators) + maxEvidenceBytes + frameBytes
}

// Validate reports what is wrong with g, if anything.
func (g Genesis) Validate() error {
	_, err := g.doc()
	return err
}

// doc translates g for CometBFT.
func (g Genesis) doc() (*types.GenesisDoc, error) {
	if g.ChainID == "" || len(g.ChainID) > maxChainID {
		return nil, fmt.Errorf("genesis: chain id %q has %d bytes, want 1 to %d", g.ChainID, len(g.ChainID), maxChainID)
	}
	if g.Time.IsZero() {
		return nil, errors.New("genesis: no time")
	}
	if len(g.Validators) == 0 {
		return nil, errors.New("genesis: no validators")
	}
	params := types.DefaultConsensusParams()
	params.Block.MaxBytes = g.BlockMaxBytes
	def(&params.Block.MaxBytes, DefaultBlockMaxBytes)
	if least := max(minBlockMaxBytes, BlockOverhead(len(g.Validators))); params.Block.MaxBytes < least {
		return nil, fmt.Errorf("genesis: blocks of %d bytes, want at least %d for %d validators", params.Block.MaxBytes, least, len(g.Validators))
	}
	params.Block.MaxGas = -1
	params.Evidence.MaxBytes = min(maxEvidenceBytes, params.Block.MaxBytes)
	if g.EvidenceMaxBlocks > math.MaxInt64 || g.EvidenceMaxAge < 0 {
		return nil, fmt.Errorf("genesis: evidence is kept %d blocks and %v, which is out of range", g.EvidenceMaxBlocks, g.EvidenceMaxAge)
	}
	if g.EvidenceMaxBlocks > 0 {
		params.Evidence.MaxAgeNumBlocks = int64(g.EvidenceMaxBlocks)
	}
	if g.EvidenceMaxAge > 0 {
		params.Evidence.MaxAgeDuration = g.EvidenceMaxAge
	}
	initial := int64(max(1, g.InitialHeight)) //nolint:gosec // checked below
	if g.InitialHeight > math.MaxInt64/2 || (initial > 1) != (len(g.AppHash) > 0) {
		return nil, fmt.Errorf("genesis: begins with block %d and the application hash %x; a hash is of the height before a first block above 1", g.InitialHeight, g.AppHash)
	}
	params.ABCI.VoteExtensionsEnableHeight = initial

	// CometBFT keeps the state as raw JSON; ours is bytes, so it travels as a
	// JSON string.
	state, err := json.Marshal(g.AppState)
	if err != nil {
		return nil, fmt.Errorf("genesis: encode application state: %w", err)
	}
	doc := &types.GenesisDoc{
		ChainID:         g.ChainID,
		GenesisTime:     g.Time.UTC(),
		InitialHeight:   initial,
		ConsensusParams: params,
		AppHash:         bytes.Clone(g.AppHash),
		AppState:        state,
	}
	var total int64
	for i, v := range g.Validators {
		if len(v.PubKey) != ed25519.PubKeySize {
			return nil, fmt.Errorf("genesis: validator %d: public key has %d bytes, want %d", i, len(v.PubKey), ed25519.PubKeySize)
		}
		if v.Power < 1 || v.Power > maxPower-total {
			return nil, fmt.Errorf("genesis: validator %d: power %d is out of range", i, v.Power)
		}
		total += v.Power
		for _, w := range g.Validators[:i] {
			if bytes.Equal(v.PubKey, w.PubKey) {
				return nil, fmt.Errorf("genesis: validator %d appears twice", i)
			}
		}
		key := ed25519.PubKey(bytes.Clone(v.PubKey))
		doc.Validators = append(doc.Validators, types.GenesisValidator{
			Address: key.Address(), PubKey: key, Power: v.Power, Name: v.Name,
		})
	}
	if err := doc.ValidateAndComplete(); err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	return doc, nil
}

// appState undoes the JSON wrapping of doc.
func appState(raw []byte) ([]byte, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var state []byte
	if err := json.Unmarshal(raw, &state); err != nil {
		return nil, fmt.Errorf("decode application state: %w", err)
	}
	return state, nil
}
