package comet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cometbft/cometbft/crypto"
	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/libs/protoio"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
)

// ErrSignerAway says that the process which holds the consensus key is not
// connected or does not answer. It may come back.
var ErrSignerAway = errors.New("remote signer is away")

const (
	// signTimeout bounds one signature by a remote signer. Consensus waits for
	// it, so it is short: a vote that comes later is of little use.
	signTimeout = 2 * time.Second
	// signerSilence is how long a connection to a remote signer may be dumb.
	signerSilence = 3 * time.Second
	// signerNotice is how often a start says that it waits for a signer.
	signerNotice = 30 * time.Second

	unixScheme, tcpScheme = "unix://", "tcp://"
)

// RemoteSignerConfig says where a consensus key that lies elsewhere is reached.
type RemoteSignerConfig struct {
	// Dir keeps this node's own record of what was signed, as
	// priv_validator_state.json. It is made if it is missing: the remote signer
	// has the state that counts, this one only may refuse more.
	Dir string
	// Listen is where the signer connects to: unix:///path or tcp://host:port.
	// A socket in the file system is for its owner only.
	Listen string
	// Allow is the identity of the signer's connection key, 40 hexadecimal
	// digits as in peer addresses. Every tcp connection by another key is
	// closed. It must be empty for a unix socket.
	Allow string
	// ChainID is the chain the signer is asked to sign for; for others see
	// [Signer.ForChain].
	ChainID string
}

// Validate reports what is wrong with c, if anything.
func (c RemoteSignerConfig) Validate() error {
	switch path, isUnix := strings.CutPrefix(c.Listen, unixScheme); {
	case isUnix && !filepath.IsAbs(path):
		return fmt.Errorf("listen address %q: the path is not absolute", c.Listen)
	case isUnix && c.Allow != "":
		return fmt.Errorf("allowed signer %q: a unix socket is guarded by its file mode, leave it empty", c.Allow)
	case isUnix:
		return nil
	}
	hostPort, isTCP := strings.CutPrefix(c.Listen, tcpScheme)
	if !isTCP {
		return fmt.Errorf("listen address %q is neither unix:///path nor tcp://host:port", c.Listen)
	}
	if err := checkHostPort(hostPort); err != nil {
		return fmt.Errorf("listen address: %w", err)
	}
	if _, _, ok := cutPeer(c.Allow + "@"); !ok {
		return fmt.Errorf("allowed signer %q is not the identity of a signer's connection key, 40 hexadecimal digits; "+
			"the signer prints it when it starts", c.Allow)
	}
	return nil
}

// signerLink is the connection to the process that has the key. All chains of the key
// share it: a request names its chain, and they take turns.
type signerLink struct {
	cfg    RemoteSignerConfig
	logger *slog.Logger
	socket *signerSocket

	mu       sync.Mutex
	closed   bool
	endpoint *privval.SignerListenerEndpoint // nil before a signer connected
}

// remote is what one chain asks over the connection.
type remote struct {
	*signerLink
	chainID string
	turn    chan struct{}         // capacity 1: one request at a time
	client  *privval.SignerClient // nil before a signer connected; guarded by mu of the connection
}

func newRemote(link *signerLink, chainID string) *remote {
	return &remote{signerLink: link, chainID: chainID, turn: make(chan struct{}, 1)}
}

// forChain returns what another chain asks over the same connection.
func (r *remote) forChain(chainID string) *remote { return newRemote(r.signerLink, chainID) }

// ListenSigner listens for a remote signer and returns a Signer that asks it.
// Its key is not known before it has connected, which [Signer.Await], and so the
// start of a chain, waits for. The caller must Close the Signer. nodeKey is what
// the remote signer knows this node by.
//
// What the remote signer returns is checked, and recorded durably before it is
// used, under the same rule as with a key of one's own: so neither a remote
// signer that lost its state nor two of them sign two votes of one step for this
// node.
func ListenSigner(ctx context.Context, c RemoteSignerConfig, nodeKey *NodeKey, logger *slog.Logger) (*Signer, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("remote signer: %w", err)
	}
	listener, err := signerListener(ctx, c, nodeKey, logger)
	if err != nil {
		return nil, fmt.Errorf("remote signer: %w", err)
	}
	link := &signerLink{cfg: c, logger: logger, socket: listener}
	return &Signer{dir: c.Dir, ring: &keyring{dir: c.Dir, first: c.ChainID}, syncDir: syncDir, remote: newRemote(link, c.ChainID)}, nil
}

// Await waits until the signer's key is known: at once if it lies here, and else
// until the remote signer has connected, until ctx ends or s is closed. It says
// every half a minute what it waits for. It is called by one goroutine at a time.
func (s *Signer) Await(ctx context.Context) error {
	if s.known.Load() {
		return nil
	}
	key, err := s.remote.publicKey(ctx)
	if err != nil {
		return fmt.Errorf("remote signer: %w", err)
	}
	state, found, err := loadRemoteState(s.dir, s.ring.dir)
	if err != nil {
		return fmt.Errorf("remote signer: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pv = signerState(s.dir, privval.FilePVKey{Address: key.Address(), PubKey: key}, state)
	s.since, s.fresh = state.Height, !found
	s.known.Store(true)
	return nil
}

// connect waits for the first connection and makes what speaks over it.
func (r *remote) connect(ctx context.Context) (*privval.SignerClient, error) {
	// The endpoint would wait for a connection in a way that nothing ends.
	if err := r.socket.wait(ctx); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, net.ErrClosed
	}
	if r.client != nil {
		return r.client, nil
	}
	endpoint := r.endpoint
	if endpoint == nil {
		engine := newLogger(r.logger.Handler(), func(string, []any) {}).With("module", "privval")
		endpoint = privval.NewSignerListenerEndpoint(engine, r.socket, privval.SignerListenerEndpointTimeoutReadWrite(signerSilence))
	}
	client, err := privval.NewSignerClient(endpoint, r.chainID) // starts the endpoint
	if err != nil {
		return nil, err
	}
	r.endpoint, r.client = endpoint, client
	return client, nil
}

// close ends the connection and what waits for it.
func (l *signerLink) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.endpoint == nil {
		return l.socket.Close()
	}
	l.socket.abort()
	return l.endpoint.Stop()
}

// publicKey waits for the signer and asks for its key.
func (r *remote) publicKey(ctx context.Context) (cmted25519.PubKey, error) {
	notice := time.NewTicker(signerNotice)
	defer notice.Stop()
	listen := r.cfg.Listen
	r.logger.InfoContext(ctx, "waiting for the remote signer", slog.String("listen", listen), slog.String("allow", r.cfg.Allow))
	type answer struct {
		key crypto.PubKey
		err error
	}
	for {
		found := make(chan answer, 1)
		go func() {
			client, err := r.connect(ctx)
			if err != nil {
				found <- answer{err: err}
				return
			}
			key, err := client.GetPubKey()
			found <- answer{key, err}
		}()
		for waiting := true; waiting; {
			select {
			case a := <-found:
				switch ed, isEd := a.key.(cmted25519.PubKey); {
				case a.err == nil && isEd:
					return ed, nil
				case a.err == nil:
					return nil, fmt.Errorf("its key is %T, want Ed25519", a.key)
				case refusedBySigner(a.err):
					return nil, fmt.Errorf("it has no key for chain %s: %w", r.chainID, a.err)
				case errors.Is(a.err, net.ErrClosed):
					return nil, fmt.Errorf("none connected to %s: %w", listen, a.err)
				}
				waiting = false
			case <-notice.C:
				r.logger.WarnContext(ctx, "still waiting for the remote signer", slog.String("listen", listen))
			case <-ctx.Done():
				return nil, fmt.Errorf("none connected to %s: %w", listen, ctx.Err())
			}
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("none connected to %s: %w", listen, ctx.Err())
		}
	}
}

func refusedBySigner(err error) bool {
	var refusal *privval.RemoteSignerError
	return errors.As(err, &refusal)
}

// loadRemoteState reads this node's record of what the key signed, in dir, which is root
// or below it, and reports whether there was one.
func loadRemoteState(dir, root string) (state privval.FilePVLastSignState, found bool, err error) {
	path := filepath.Join(dir, signStateFile)
	if found, err = exists(path); err != nil {
		return state, false, err
	}
	if !found {
		if err := newSignState(dir, root); err != nil {
			return state, false, err
		}
	}
	state, err = readSignState(path)
	return state, found, err
}

// ask has do sign something at the given step, unless this node knows a
// signature that excludes it. check compares what do returned with what was
// asked for, and returns the bytes that were signed and the signature.
func (s *Signer) ask(height int64, round int32, step int8, same func(signed []byte) bool, do func() error, check func() (signed, signature []byte, err error)) error {
	state := &s.pv.LastSignState
	repeat, err := state.CheckHRS(height, round, step)
	if err != nil {
		return err
	}
	if repeat && !same(state.SignBytes) {
		return fmt.Errorf("another message was signed at height %d, round %d, step %d", height, round, step)
	}
	if err := s.remote.call(do); err != nil {
		s.away = err
		return err
	}
	s.away = nil
	signed, signature, err := check()
	if err != nil {
		return fmt.Errorf("remote signer: %w", err)
	}
	state.Height, state.Round, state.Step = height, round, step
	state.SignBytes, state.Signature = signed, signature
	state.Save()
	return nil
}

// call runs a request to the signer, for signTimeout at most. A request that
// takes longer goes on alone; until it ends no other is made.
func (r *remote) call(do func() error) error {
	select {
	case r.turn <- struct{}{}:
	default:
		return fmt.Errorf("%w: the last request is not answered", ErrSignerAway)
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-r.turn }()
		done <- do()
	}()
	timer := time.NewTimer(signTimeout)
	defer timer.Stop()
	select {
	case err := <-done:
		if err != nil && !refusedBySigner(err) {
			return fmt.Errorf("%w: %w", ErrSignerAway, err)
		}
		return err
	case <-timer.C:
		return fmt.Errorf("%w: no answer within %v", ErrSignerAway, signTimeout)
	}
}

// The steps of a round as sign states number them.
const (
	stepPropose   int8 = 1
	stepPrevote   int8 = 2
	stepPrecommit int8 = 3
)

func (s *Signer) remoteVote(chainID string, vote *cmtproto.Vote) error {
	step := stepPrevote
	if vote.Type == cmtproto.PrecommitType {
		step = stepPrecommit
	}
	asked := *vote
	same := func(signed []byte) bool {
		return sameButTime(signed, types.VoteSignBytes(chainID, vote), new(cmtproto.CanonicalVote))
	}
	check := func() ([]byte, []byte, error) {
		got := asked
		got.Timestamp, got.Signature, got.ExtensionSignature = vote.Timestamp, vote.Signature, vote.ExtensionSignature
		if got.String() != vote.String() {
			return nil, nil, errors.New("it returned another vote than it was asked to sign")
		}
		signed := types.VoteSignBytes(chainID, &asked)
		if !s.pv.Key.PubKey.VerifySignature(signed, asked.Signature) {
			return nil, nil, errors.New("its signature does not hold")
		}
		if step == stepPrecommit && !types.ProtoBlockIDIsNil(&asked.BlockID) &&
			!s.pv.Key.PubKey.VerifySignature(types.VoteExtensionSignBytes(chainID, &asked), asked.ExtensionSignature) {
			return nil, nil, errors.New("its signature of the vote's extension does not hold")
		}
		return signed, asked.Signature, nil
	}
	do := func() error { return s.remote.client.SignVote(chainID, &asked) }
	if err := s.ask(vote.Height, vote.Round, step, same, do, check); err != nil {
		return err
	}
	*vote = asked
	return nil
}

func (s *Signer) remoteProposal(chainID string, proposal *cmtproto.Proposal) error {
	asked := *proposal
	same := func(signed []byte) bool {
		return sameButTime(signed, types.ProposalSignBytes(chainID, proposal), new(cmtproto.CanonicalProposal))
	}
	check := func() ([]byte, []byte, error) {
		got := asked
		got.Timestamp, got.Signature = proposal.Timestamp, proposal.Signature
		if got.String() != proposal.String() {
			return nil, nil, errors.New("it returned another proposal than it was asked to sign")
		}
		signed := types.ProposalSignBytes(chainID, &asked)
		if !s.pv.Key.PubKey.VerifySignature(signed, asked.Signature) {
			return nil, nil, errors.New("its signature does not hold")
		}
		return signed, asked.Signature, nil
	}
	do := func() error { return s.remote.client.SignProposal(chainID, &asked) }
	if err := s.ask(proposal.Height, proposal.Round, stepPropose, same, do, check); err != nil {
		return err
	}
	*proposal = asked
	return nil
}

// sameButTime reports whether two messages as they are signed differ in their
// time at most. into is an empty message of their type.
func sameButTime(a, b []byte, into protoMessage) bool {
	untimed := func(data []byte) (string, bool) {
		into.Reset()
		if err := protoio.UnmarshalDelimited(data, into); err != nil {
			return "", false
		}
		switch m := into.(type) {
		case *cmtproto.CanonicalVote:
			m.Timestamp = time.Time{}
		case *cmtproto.CanonicalProposal:
			m.Timestamp = time.Time{}
		}
		return into.String(), true
	}
	first, okA := untimed(a)
	second, okB := untimed(b)
	return okA && okB && first == second
}

type protoMessage interface {
	Reset()
	String() string
	ProtoMessage()
}

// signerListener listens for the signer.
func signerListener(ctx context.Context, c RemoteSignerConfig, nodeKey *NodeKey, logger *slog.Logger) (*signerSocket, error) {
	var config net.ListenConfig
	if path, isUnix := strings.CutPrefix(c.Listen, unixScheme); isUnix {
		if err := removeStaleSocket(ctx, path); err != nil {
			return nil, err
		}
		plain, err := config.Listen(ctx, "unix", path)
		if err != nil {
			return nil, err
		}
		if err := os.Chmod(path, 0o600); err != nil {
			return nil, errors.Join(err, plain.Close())
		}
		return newSignerSocket(plain, nil, "", logger), nil
	}
	plain, err := config.Listen(ctx, "tcp", strings.TrimPrefix(c.Listen, tcpScheme))
	if err != nil {
		return nil, err
	}
	return newSignerSocket(plain, nodeKey.key.PrivKey, p2p.ID(c.Allow), logger), nil
}

// removeStaleSocket removes the socket that a process which is gone left.
func removeStaleSocket(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return nil //nolint:nilerr // nothing there, or listening will say what is wrong
	}
	if info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("%s exists and is no socket", path)
	}
	var dialer net.Dialer
	if c, err := dialer.DialContext(ctx, "unix", path); err == nil {
		return errors.Join(fmt.Errorf("another process listens at %s", path), c.Close())
	}
	return os.Remove(path)
}
