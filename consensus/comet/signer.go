package comet

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/cometbft/cometbft/crypto"
	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
)

// Errors of signing, in [Status].Signer and from [Chain.Start].
var (
	// ErrSignStateBehind says that the chain holds votes of this key which the
	// sign state does not know: it was lost, restored from a backup, or another
	// process votes with the same key. Voting again could sign twice.
	ErrSignStateBehind = errors.New("sign state is behind the chain")
	// ErrSignerBroken says that a sign state could not be made durable. Nothing
	// is signed any more until the process starts again.
	ErrSignerBroken = errors.New("sign state could not be saved")
)

// Signer holds a validator's consensus key and remembers on disk what it
// signed last, so that it never signs two different votes for one step. One
// Signer serves one chain at a time: the sign state is that chain's. It is safe
// for concurrent use.
type Signer struct {
	dir string

	mu      sync.Mutex
	pv      *privval.FilePV         // owned by mu
	inUse   bool                    // a chain has it
	broken  error                   // set once, for good
	blocked error                   // what the last guard call said
	guard   func(since int64) error // nil once passed
	since   int64                   // height of the sign state when loaded
}

// GenerateSigner makes a consensus key and an empty sign state in dir, as
// priv_validator_key.json and priv_validator_state.json; neither may exist.
func GenerateSigner(dir string) (*Signer, error) {
	for _, name := range []string{consensusKeyFile, signStateFile} {
		found, err := exists(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("generate consensus key: %w", err)
		}
		if found {
			return nil, fmt.Errorf("generate consensus key: %s exists in %s", name, dir)
		}
	}
	pv := privval.NewFilePV(cmted25519.GenPrivKey(), filepath.Join(dir, consensusKeyFile), filepath.Join(dir, signStateFile))
	key, err := cmtjson.MarshalIndent(pv.Key, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode consensus key: %w", err)
	}
	state, err := cmtjson.MarshalIndent(&pv.LastSignState, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode sign state: %w", err)
	}
	// The state first: a key without a state is refused, a state without a key
	// is harmless.
	if err := writeSecret(filepath.Join(dir, signStateFile), state); err != nil {
		return nil, fmt.Errorf("write sign state: %w", err)
	}
	if err := writeSecret(filepath.Join(dir, consensusKeyFile), key); err != nil {
		return nil, fmt.Errorf("write consensus key: %w", err)
	}
	return &Signer{dir: dir, pv: pv}, nil
}

// LoadSigner reads the key and the sign state that GenerateSigner or CometBFT
// wrote to dir. Both files must have mode 0600 or stricter. A missing sign
// state is an error: an empty one in its place could sign twice.
func LoadSigner(dir string) (*Signer, error) {
	keyPath, statePath := filepath.Join(dir, consensusKeyFile), filepath.Join(dir, signStateFile)
	data, err := readSecret(keyPath)
	if err != nil {
		return nil, fmt.Errorf("load consensus key: %w", err)
	}
	var key privval.FilePVKey
	if err := cmtjson.Unmarshal(data, &key); err != nil {
		return nil, fmt.Errorf("load consensus key: decode %s: %w", keyPath, err)
	}
	if err := checkPrivKey(key.PrivKey); err != nil {
		return nil, fmt.Errorf("load consensus key: %s: %w", keyPath, err)
	}
	data, err = readSecret(statePath)
	if err != nil {
		return nil, fmt.Errorf("load sign state: %w", err)
	}
	var state privval.FilePVLastSignState
	if err := cmtjson.Unmarshal(data, &state); err != nil {
		return nil, fmt.Errorf("load sign state: decode %s: %w", statePath, err)
	}
	if state.Height < 0 || state.Round < 0 || state.SignBytes != nil && state.Signature == nil {
		return nil, fmt.Errorf("load sign state: %s is not a sign state", statePath)
	}
	pv := privval.NewFilePV(key.PrivKey, keyPath, statePath)
	pv.LastSignState.Height = state.Height
	pv.LastSignState.Round = state.Round
	pv.LastSignState.Step = state.Step
	pv.LastSignState.Signature = state.Signature
	pv.LastSignState.SignBytes = state.SignBytes
	return &Signer{dir: dir, pv: pv, since: state.Height}, nil
}

// PubKey is the Ed25519 public key, 32 bytes.
func (s *Signer) PubKey() []byte { return s.pv.Key.PubKey.Bytes() }

// Address is the consensus address of the key, 20 bytes.
func (s *Signer) Address() []byte { return s.pv.Key.Address }

// Height is the height of the last signature, 0 before the first.
func (s *Signer) Height() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(s.pv.LastSignState.Height)
}

// Err says why the signer refuses to sign, or nil: an error that is
// [ErrSignStateBehind] or [ErrSignerBroken].
func (s *Signer) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	return s.blocked
}

// claim gives the signer to a chain.
func (s *Signer) claim() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inUse {
		return fmt.Errorf("signer in %s already serves a chain", s.dir)
	}
	s.inUse = true
	s.since = s.pv.LastSignState.Height
	return nil
}

// arm makes guard decide whether the first signatures may be made. It is given
// the height of the sign state as it was when the chain claimed the signer.
func (s *Signer) arm(guard func(since int64) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.guard, s.blocked = guard, nil
}

// release ends the claim.
func (s *Signer) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inUse, s.guard, s.blocked = false, nil, nil
}

// attest signs bytes that are not a vote. The caller's domain tag must keep
// them apart from votes, which begin with a length and then 0x08.
func (s *Signer) attest(msg []byte) ([]byte, error) { return s.pv.Key.PrivKey.Sign(msg) }

// sign runs do, which signs and saves the sign state, and returns only when
// that state is durable.
func (s *Signer) sign(do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	if s.guard != nil {
		if s.blocked = s.guard(s.since); s.blocked != nil {
			return s.blocked
		}
		s.guard = nil
	}
	last := s.pv.LastSignState
	if err := s.contained(do); err != nil {
		return err
	}
	now := s.pv.LastSignState
	if now.Height == last.Height && now.Round == last.Round && now.Step == last.Step {
		return nil // the same signature again
	}
	if err := syncDir(s.dir); err != nil {
		s.broken = fmt.Errorf("%w: %w", ErrSignerBroken, err)
		return s.broken
	}
	return nil
}

// contained runs do and turns the panic by which CometBFT reports a failed
// write into an error that sticks: its memory already says signed.
func (s *Signer) contained(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.broken = fmt.Errorf("%w: %v", ErrSignerBroken, r)
			err = s.broken
		}
	}()
	return do()
}

// votes is a Signer as CometBFT wants it.
type votes struct{ signer *Signer }

func (v votes) GetPubKey() (crypto.PubKey, error) { return v.signer.pv.Key.PubKey, nil }

func (v votes) SignVote(chainID string, vote *cmtproto.Vote) error {
	return v.signer.sign(func() error { return v.signer.pv.SignVote(chainID, vote) })
}

func (v votes) SignProposal(chainID string, proposal *cmtproto.Proposal) error {
	return v.signer.sign(func() error { return v.signer.pv.SignProposal(chainID, proposal) })
}
