package comet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/types"
)

const (
	// chainsDir is where a key's sign states of further chains lie, beside its first:
	// one directory for each, by the chain's id.
	chainsDir = "chains"
	// chainListFile names these chains. It is beside the key and not in chainsDir, so
	// that a directory which was lost shows.
	chainListFile = "priv_validator_chains.json"
	// MaxSignerChains bounds the further chains of one key. Ids are never used again, so
	// that they become more for as long as the key is in use. None is dropped when its
	// chain is over: that a remote signer could not tell, and a chain whose sign state is
	// forgotten could be signed for again. A list entry and a small file for each suffice
	// for a new chain every hour of seven years.
	MaxSignerChains = 1 << 16
	// maxChainList bounds the list of them, in bytes: an id with its quotes, a comma, a
	// line's end and the indent, and what is around.
	maxChainList = MaxSignerChains*(types.MaxChainIDLen+8) + 64

	shardMark      = "-s"
	generationMark = "-g"
	generationBase = 36
)

// ShardChainID is the chain id of a shard on the network whose main chain has the id
// main, in its first generation.
func ShardChainID(main string, shard uint32) string { return GenerationChainID(main, shard, 0) }

// GenerationChainID is that of a generation of a shard: a chain that goes on from a height
// of the one before it. So nothing that is signed for one is of use on another, and a key
// has a sign state for each.
func GenerationChainID(main string, shard, generation uint32) string {
	id := main + shardMark + strconv.FormatUint(uint64(shard), 10)
	if generation > 0 {
		id += generationMark + strconv.FormatUint(uint64(generation), generationBase)
	}
	return id
}

// shardOf reports whether chainID is of a shard on the network of main.
func shardOf(main, chainID string) bool {
	rest, ok := strings.CutPrefix(chainID, main)
	numbers, marked := strings.CutPrefix(rest, shardMark)
	number, later, hasGeneration := strings.Cut(numbers, generationMark)
	shard, err := strconv.ParseUint(number, 10, 32)
	var generation uint64
	if hasGeneration && err == nil {
		generation, err = strconv.ParseUint(later, generationBase, 32)
	}
	return ok && marked && err == nil && GenerationChainID(main, uint32(shard), uint32(generation)) == chainID
}

// keyring is what the signers of one key share. Its mutex is taken before that of
// any of them.
type keyring struct {
	dir string // of the key and the first sign state

	mu     sync.Mutex
	first  string             // the chain that the first signer serves; empty while that is not known
	chains map[string]*Signer // those that were asked for, by chain id
	listed []string           // chains that the key signed for, or may have, in order; nil before it was read
}

// lostChainState says what to do without the sign state of one chain.
const lostChainState = "it says what this node's consensus key signed last on that chain, and without it the key could sign twice there and lose its stake: " +
	"put the newest one back, never an older one; if it is lost, give the key up, or leave that chain to the other validators"

// ForChain returns the signer of the same key on another chain than the one that s
// itself serves, with a sign state of its own, and the same one each time. Its
// sign state is made when the chain is first asked for, in the directory
// chains/CHAINID of the key's; from then on a missing one is an error, as in
// [LoadSigner]. It stays when the chain is left, so that a node which comes back
// after a long time goes on from it; it must not be removed with the chain's
// data. If the key lies with a remote signer, that one has a sign state for each chain
// as well, and the one here is made whenever it is missing.
//
// The signers share the connection to a remote signer, which ends with Close of the
// first; Close of the others does nothing.
func (s *Signer) ForChain(chainID string) (*Signer, error) {
	if err := checkChainID(chainID); err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	r := s.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.chains[chainID]; known != nil {
		return known, nil
	}
	if r.first == chainID {
		return nil, fmt.Errorf("signer: chain %s has the first sign state of the key, in %s", chainID, r.dir)
	}
	dir := filepath.Join(r.dir, chainsDir, chainID)
	var made *Signer
	if s.remote != nil {
		made = &Signer{dir: dir, remote: s.remote.forChain(chainID)}
	} else {
		state, err := r.load(dir, chainID)
		if err != nil {
			return nil, fmt.Errorf("signer of chain %s: %w", chainID, err)
		}
		s.mu.Lock()
		key := s.pv.Key
		s.mu.Unlock()
		made = newSigner(dir, key, state)
	}
	made.ring, made.chainID, made.syncDir = r, chainID, syncDir
	if r.chains == nil {
		r.chains = make(map[string]*Signer)
	}
	r.chains[chainID] = made
	return made, nil
}

// ChainID is the chain that s signs for; empty if that is not known, as of a signer
// from files before its chain has started.
func (s *Signer) ChainID() string {
	s.ring.mu.Lock()
	defer s.ring.mu.Unlock()
	if s.chainID != "" {
		return s.chainID
	}
	return s.ring.first
}

// bind makes s the signer of a chain for good, or returns an error if it is another
// chain's, or another signer of the key is this chain's.
func (s *Signer) bind(chainID string) error {
	r := s.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	own := s.chainID
	if own == "" {
		own = r.first
	}
	switch {
	case own == chainID:
		return nil
	case own != "":
		return fmt.Errorf("signer in %s is for chain %s, not %s", s.dir, own, chainID)
	}
	dir := filepath.Join(r.dir, chainsDir, chainID)
	found, err := exists(dir)
	if err != nil {
		return fmt.Errorf("signer: %w", err)
	}
	if found {
		return fmt.Errorf("signer: chain %s has another sign state of the key, in %s", chainID, dir)
	}
	r.first = chainID
	return nil
}

// load reads the sign state in dir, or makes it if the key never signed for the
// chain.
func (r *keyring) load(dir, chainID string) (privval.FilePVLastSignState, error) {
	var none privval.FilePVLastSignState
	if err := r.readList(); err != nil {
		return none, err
	}
	path := filepath.Join(dir, signStateFile)
	found, err := exists(path)
	if err != nil {
		return none, err
	}
	listed := slices.Contains(r.listed, chainID)
	switch {
	case !found && listed:
		return none, fmt.Errorf("load sign state: %s: %w; %s", path, fs.ErrNotExist, lostChainState)
	case !found:
		if len(r.listed) >= MaxSignerChains {
			return none, fmt.Errorf("the key in %s has signed for %d chains, and no more are allowed: "+
				"register a validator with a new key, and leave with this one", r.dir, len(r.listed))
		}
		if err := newSignState(dir, r.dir); err != nil {
			return none, err
		}
	}
	// The state first, as with a new key: nobody signs before the chain is listed.
	if !listed {
		if err := r.writeList(append(slices.Clone(r.listed), chainID)); err != nil {
			return none, err
		}
	}
	return readSignState(path)
}

// newSignState makes an empty sign state in dir, which is root or below it, and which
// lasts with all directories between.
func newSignState(dir, root string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory of the sign state: %w", err)
	}
	if err := syncDirs(dir, root); err != nil {
		return fmt.Errorf("make directory of the sign state: %w", err)
	}
	empty, err := cmtjson.MarshalIndent(&privval.FilePVLastSignState{}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode sign state: %w", err)
	}
	// At once: a file that a kill left half written could never be told from a lost one.
	if err := replaceSecret(filepath.Join(dir, signStateFile), empty); err != nil {
		return fmt.Errorf("write sign state: %w", err)
	}
	return nil
}

// syncDirs makes the name of dir durable, and those of the directories between it and
// root.
func syncDirs(dir, root string) error {
	for ; dir != root && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if err := syncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return nil
}

// chainList is what is in chainListFile.
type chainList struct {
	Chains []string `json:"chains"`
}

// readList reads the names of the chains that the key signed for. A list that is
// missing, as beside a key that was moved without it, is made of the directories
// that are there.
func (r *keyring) readList() error {
	if r.listed != nil {
		return nil
	}
	path := filepath.Join(r.dir, chainListFile)
	data, err := readSecretUpTo(path, maxChainList)
	var list chainList
	switch {
	case errors.Is(err, fs.ErrNotExist):
		entries, err := os.ReadDir(filepath.Join(r.dir, chainsDir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("list the chains of a key: %w", err)
		}
		for _, e := range entries {
			if found, err := exists(filepath.Join(r.dir, chainsDir, e.Name(), signStateFile)); err != nil {
				return fmt.Errorf("list the chains of a key: %w", err)
			} else if found {
				list.Chains = append(list.Chains, e.Name())
			}
		}
		if len(list.Chains) > 0 {
			return r.writeList(list.Chains)
		}
	case err != nil:
		return fmt.Errorf("read the chains of a key: %w", err)
	default:
		if err := cmtjson.Unmarshal(data, &list); err != nil {
			return fmt.Errorf("read the chains of a key: decode %s: %w; it names the chains that have a sign state in %s beside it: "+
				"remove it to have it made again, if all that were there still are", path, err, chainsDir)
		}
	}
	r.listed = append([]string{}, list.Chains...)
	return nil
}

// writeList replaces the list, durably.
func (r *keyring) writeList(chains []string) error {
	slices.Sort(chains)
	data, err := cmtjson.MarshalIndent(chainList{Chains: chains}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the chains of a key: %w", err)
	}
	if err := replaceSecret(filepath.Join(r.dir, chainListFile), data); err != nil {
		return fmt.Errorf("write the chains of a key: %w", err)
	}
	r.listed = chains
	return nil
}

// checkChainID refuses what CometBFT does not take, or cannot be the name of a
// directory.
func checkChainID(id string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	if id == "" || len(id) > types.MaxChainIDLen || strings.Trim(id, letters) != "" || strings.ContainsAny(id[:1], "-_.") {
		return fmt.Errorf("chain id %q: want 1 to %d letters, digits, -, _ and ., the first none of these three", id, types.MaxChainIDLen)
	}
	return nil
}
