package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/home"
)

// SignerIdentity is what a node must know of the process that holds its consensus
// key.
type SignerIdentity struct {
	ID        string            // of its connection key: the node's signer.allow, 40 hexadecimal digits
	PublicKey ed25519.PublicKey // consensus key, 32 bytes
}

// CreateSigner makes the keys of a remote signer in a home directory that exists: a
// connection key, and a consensus key with an empty sign state. Those that are
// there already, moved from a node with their state, stay.
func CreateSigner(dir home.Dir) (SignerIdentity, error) {
	if _, err := comet.LoadNodeKey(dir.Config()); errors.Is(err, fs.ErrNotExist) {
		if _, err := comet.GenerateNodeKey(dir.Config()); err != nil {
			return SignerIdentity{}, fmt.Errorf("make signer: %w", err)
		}
	}
	_, err := comet.LoadSigner(signerDir(dir))
	if errors.Is(err, fs.ErrNotExist) {
		if none, checked := comet.NoSigner(signerDir(dir)); none && checked == nil {
			_, err = comet.GenerateSigner(signerDir(dir))
		}
	}
	if err != nil {
		return SignerIdentity{}, fmt.Errorf("make signer: %w", err)
	}
	_, _, id, err := loadSignerKeys(dir)
	return id, err
}

// MoveSigner moves the consensus key of a node that is stopped to a signer's home
// directory, which it makes where it is missing, and where CreateSigner goes on. The
// node keeps the sign state, from which it goes on with that signer. Nothing is made,
// in either directory, before it is clear that there is a key to move.
func MoveSigner(from, to home.Dir) (err error) {
	if err := from.Check(); err != nil {
		return err
	}
	if _, err := comet.LoadSigner(signerDir(from)); err != nil {
		return fmt.Errorf("move consensus key: %w", keyMoved(err, from))
	}
	source, err := from.Lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Release()) }()
	if err := to.Create(); err != nil {
		return err
	}
	target, err := to.Lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Release()) }()
	return comet.MoveSigner(signerDir(from), signerDir(to))
}

// keyMoved says what to do about the error of a consensus key that is missing in a home
// directory.
func keyMoved(err error, dir home.Dir) error {
	none, checked := comet.NoSigner(signerDir(dir)) // or the sign state may be what is missing
	switch {
	case errors.Is(err, comet.ErrKeyMoved):
		return fmt.Errorf("%w; it was moved to a remote signer ('tributary signer init --from %s'): set signer.mode = \"remote\", signer.listen and signer.allow in %s, and start the signer; "+
			"if it was not, put the key back", err, dir, filepath.Join(string(dir), config.FileName))
	case none && checked == nil:
		return fmt.Errorf("%w; if a remote signer has it, set signer.mode = \"remote\" in %s; a validator's is in its backup, and 'tributary init' makes a new one in a new home directory", err, filepath.Join(string(dir), config.FileName))
	}
	return err
}

// SignerOptions says which signer to run.
type SignerOptions struct {
	Home    home.Dir
	ChainID string // the main chain; it signs for that one and the shards of its network only
	Node    string // where the node waits: unix:///path or tcp://nodeid@host:port
	Log     *slog.Logger
	// Ready is called once, when the signer has all it needs, before it connects.
	Ready func(SignerIdentity)
}

// RunSigner holds a validator's consensus key for its node, until ctx ends. It has
// its home directory to itself, for the sign state's sake. It connects again
// whenever the connection ends.
func RunSigner(ctx context.Context, o SignerOptions) (err error) {
	if _, err := os.Stat(o.Home.Config()); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("home directory %s: %w: run `tributary signer init` or choose another --home", o.Home, err)
	}
	if err := o.Home.Check(); err != nil {
		return err
	}
	lock, err := o.Home.Lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	key, signer, id, err := loadSignerKeys(o.Home)
	if err != nil {
		return err
	}
	server, err := comet.NewSignerServer(signer, key, o.ChainID, o.Node, o.Log)
	if err != nil {
		return err
	}
	o.Ready(id)
	return server.Run(ctx)
}

func loadSignerKeys(dir home.Dir) (*comet.NodeKey, *comet.Signer, SignerIdentity, error) {
	key, err := comet.LoadNodeKey(dir.Config())
	if err != nil {
		return nil, nil, SignerIdentity{}, err
	}
	signer, err := comet.LoadSigner(signerDir(dir))
	if err != nil {
		return nil, nil, SignerIdentity{}, err
	}
	return key, signer, SignerIdentity{ID: key.ID(), PublicKey: signer.PubKey()}, nil
}
