package comet

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"

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
	// ErrSignerRefuses says that what was last asked for could not be signed,
	// several times on end: the sign state excludes it, or the remote signer did.
	ErrSignerRefuses = errors.New("signer refuses to vote")
	// ErrKeyMoved says that a sign state is without its key, as MoveSigner leaves it.
	ErrKeyMoved = errors.New("the sign state of a consensus key is there, and the key is not")
)

// signerRefusals is how many signatures are refused on end before Err says so. One
// or two are normal when a node starts again in the middle of a height.
const signerRefusals = 3

// Signer holds a validator's consensus key, or asks the process that does, and
// remembers on disk what was signed last, so that it never signs two different
// votes for one step. One Signer serves one chain: the sign state is that chain's.
// For further chains the same key has further Signers, see [Signer.ForChain]. It is
// safe for concurrent use.
type Signer struct {
	dir     string
	ring    *keyring
	chainID string      // of one that ForChain made, else empty
	remote  *remote     // nil if the key is here
	known   atomic.Bool // pv and fresh are set
	fresh   bool        // this node has signed nothing yet with a key that lies elsewhere

	mu      sync.Mutex
	pv      *privval.FilePV         // owned by mu but for its key; without a private key if remote
	away    error                   // why the remote signer did not sign last, or nil
	inUse   bool                    // a chain has it
	broken  error                   // set once, for good
	blocked error                   // what the last guard call said
	refused error                   // why the last signature was not made, once that is lasting
	denied  int                     // signatures on end that were not made
	guard   func(since int64) error // nil once passed
	since   int64                   // height of the sign state when loaded

	syncDir func(dir string) error // makes the names in a directory durable

	refusal atomic.Pointer[refusal] // for Err: mu is held while a remote signer signs
	inUseBy atomic.Pointer[error]   // ErrKeyInUse, nil if nobody is known
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
	s := &Signer{dir: dir, ring: &keyring{dir: dir}, pv: pv, syncDir: syncDir}
	s.known.Store(true)
	return s, nil
}

// NoSigner reports whether dir has neither a consensus key nor a sign state, so that
// GenerateSigner may make them.
func NoSigner(dir string) (bool, error) {
	for _, name := range []string{consensusKeyFile, signStateFile} {
		if found, err := exists(filepath.Join(dir, name)); found || err != nil {
			return false, err
		}
	}
	return true, nil
}

// LoadSigner reads the key and the sign state that GenerateSigner or CometBFT
// wrote to dir. Both files must have mode 0600 or stricter. A missing sign
// state is an error: an empty one in its place could sign twice. Without the key the
// error wraps fs.ErrNotExist, and ErrKeyMoved if its state is there.
func LoadSigner(dir string) (*Signer, error) {
	keyPath, statePath := filepath.Join(dir, consensusKeyFile), filepath.Join(dir, signStateFile)
	data, err := readSecret(keyPath)
	if errors.Is(err, fs.ErrNotExist) {
		if moved, checked := exists(statePath); moved && checked == nil {
			return nil, fmt.Errorf("load consensus key: %w: %w", ErrKeyMoved, err)
		}
	}
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
	key.PubKey, key.Address = key.PrivKey.PubKey(), key.PrivKey.PubKey().Address()
	state, err := readSignState(statePath)
	if err != nil {
		return nil, err
	}
	s := newSigner(dir, key, state)
	s.ring = &keyring{dir: dir}
	return s, nil
}

// lostSignState says what to do without a sign state.
const lostSignState = "it says what the key beside it signed last, and without it the key could sign twice and lose its stake: " +
	"put the newest one of this key back, never an older one; if it is lost, give the key up: remove both files, make a new key and register that"

// readSignState reads the sign state in a file.
func readSignState(path string) (privval.FilePVLastSignState, error) {
	var state privval.FilePVLastSignState
	data, err := readSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		return state, fmt.Errorf("load sign state: %w; %s", err, lostSignState)
	}
	if err != nil {
		return state, fmt.Errorf("load sign state: %w", err)
	}
	if err := cmtjson.Unmarshal(data, &state); err != nil {
		return state, fmt.Errorf("load sign state: decode %s: %w; %s", path, err, lostSignState)
	}
	if state.Height < 0 || state.Round < 0 || state.SignBytes != nil && state.Signature == nil {
		return state, fmt.Errorf("load sign state: %s is not a sign state; %s", path, lostSignState)
	}
	return state, nil
}

// newSigner returns the signer in dir that goes on from state, without its keyring.
func newSigner(dir string, key privval.FilePVKey, state privval.FilePVLastSignState) *Signer {
	s := &Signer{dir: dir, pv: signerState(dir, key, state), since: state.Height, syncDir: syncDir}
	s.known.Store(true)
	return s
}

// signerState returns what signs with key, if it is here, and goes on from state.
func signerState(dir string, key privval.FilePVKey, state privval.FilePVLastSignState) *privval.FilePV {
	// Only NewFilePV can say where a state is saved; the key it wants is replaced.
	pv := privval.NewFilePV(cmted25519.GenPrivKey(), "", filepath.Join(dir, signStateFile))
	pv.Key = key
	pv.LastSignState.Height = state.Height
	pv.LastSignState.Round = state.Round
	pv.LastSignState.Step = state.Step
	pv.LastSignState.Signature = state.Signature
	pv.LastSignState.SignBytes = state.SignBytes
	return pv
}

// Close ends the connection to a remote signer. The chains that use s, or a Signer
// that ForChain made, must have stopped.
func (s *Signer) Close() error {
	if s.remote == nil || s.chainID != "" {
		return nil
	}
	if err := s.remote.close(); err != nil {
		return fmt.Errorf("leave the remote signer: %w", err)
	}
	return nil
}

// PubKey is the Ed25519 public key, 32 bytes; nil while a remote signer has not
// told it.
func (s *Signer) PubKey() []byte {
	if !s.known.Load() {
		return nil
	}
	return s.pv.Key.PubKey.Bytes()
}

// Address is the consensus address of the key, 20 bytes; nil while it is not known.
func (s *Signer) Address() []byte {
	if !s.known.Load() {
		return nil
	}
	return s.pv.Key.Address
}

// Height is the height of the last signature, 0 before the first.
func (s *Signer) Height() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pv == nil {
		return 0
	}
	return uint64(s.pv.LastSignState.Height)
}

// Err says why the signer refuses to sign, or nil: an error that is
// [ErrKeyInUse], [ErrSignStateBehind], [ErrSignerBroken], [ErrSignerAway] or [ErrSignerRefuses]. It does not wait for
// a signature that is being made.
func (s *Signer) Err() error {
	var last refusal
	if p := s.refusal.Load(); p != nil {
		last = *p
	}
	switch {
	case s.inUseBy.Load() != nil:
		return *s.inUseBy.Load()
	case last.lasting != nil:
		return last.lasting
	case !s.known.Load():
		return fmt.Errorf("%w: waiting for the signer at %s", ErrSignerAway, s.remote.cfg.Listen)
	case s.remote != nil && !s.remote.connected():
		return fmt.Errorf("%w: it is not connected", ErrSignerAway)
	}
	return last.away
}

// twin says why the key may not sign beside another process, or nil.
func (s *Signer) twin(err error) {
	if err == nil {
		s.inUseBy.Store(nil)
		return
	}
	s.inUseBy.Store(&err)
}

// refusal is why a Signer does not sign.
type refusal struct {
	lasting error // while it is not connected, too
	away    error // why the last request was refused, or did not reach a remote signer
}

// publish makes Err say what is known. s.mu must be held.
func (s *Signer) publish() {
	r := refusal{lasting: s.broken, away: s.away}
	if r.away == nil {
		r.away = s.refused
	}
	if r.lasting == nil {
		r.lasting = s.blocked
	}
	s.refusal.Store(&r)
}

// claim gives the signer to a chain.
func (s *Signer) claim(chainID string) error {
	if err := s.bind(chainID); err != nil {
		return err
	}
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
	s.publish()
}

// release ends the claim.
func (s *Signer) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inUse, s.guard, s.blocked = false, nil, nil
	s.twin(nil)
	s.publish()
}

// attest signs bytes that are not a vote. The caller's domain tag must keep
// them apart from votes, which begin with a length and then 0x08.
func (s *Signer) attest(msg []byte) ([]byte, error) {
	if s.remote != nil {
		return nil, errors.New("a remote signer signs votes only")
	}
	return s.pv.Key.PrivKey.Sign(msg)
}

// sign runs do, which signs and saves the sign state, and returns only when
// that state is durable.
func (s *Signer) sign(do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.publish()
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
		if s.denied++; s.broken == nil && s.denied >= signerRefusals {
			s.refused = fmt.Errorf("%w: %w", ErrSignerRefuses, err)
		}
		return err
	}
	s.refused, s.denied = nil, 0
	now := s.pv.LastSignState
	if now.Height == last.Height && now.Round == last.Round && now.Step == last.Step {
		return nil // the same signature again
	}
	if err := s.syncDir(s.dir); err != nil {
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
type votes struct {
	signer *Signer
	rounds *voteRounds
	twins  *twinGuard // nil: there is none
}

func (v votes) GetPubKey() (crypto.PubKey, error) { return v.signer.pv.Key.PubKey, nil }

func (v votes) SignVote(chainID string, vote *cmtproto.Vote) error {
	err := v.twins.await()
	if err == nil {
		err = v.rounds.vote(vote)
	}
	if err == nil {
		err = v.signer.sign(func() error {
			if v.signer.remote != nil {
				return v.signer.remoteVote(chainID, vote)
			}
			return v.signer.pv.SignVote(chainID, vote)
		})
	}
	if err != nil {
		vote.Signature, vote.ExtensionSignature = nil, nil
	}
	return err
}

func (v votes) SignProposal(chainID string, proposal *cmtproto.Proposal) error {
	err := v.twins.await()
	if err == nil {
		err = v.signer.sign(func() error {
			if v.signer.remote != nil {
				return v.signer.remoteProposal(chainID, proposal)
			}
			return v.signer.pv.SignProposal(chainID, proposal)
		})
	}
	if err != nil {
		proposal.Signature = nil
	}
	return err
}
