package comet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/cometbft/cometbft/libs/protoio"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	privvalproto "github.com/cometbft/cometbft/proto/tendermint/privval"
)

const (
	// maxSignerMessage bounds a request to a signer, in bytes: a vote with the
	// largest extension that CometBFT sends.
	maxSignerMessage = 1 << 20
	// redialFirst and redialMost are the pauses between attempts to connect.
	redialFirst = 100 * time.Millisecond
	redialMost  = 5 * time.Second
)

// SignerServer holds a consensus key for a node that runs elsewhere: it connects
// to the node and signs what the node asks for, by CometBFT's protocol for
// remote signers, under the rules and with the durable sign state of a [Signer]. It
// signs for one main chain, and for the shards of that network when the node asks for
// them (see [ShardChainID]): each has a sign state of its own, see [Signer.ForChain].
type SignerServer struct {
	signer  *Signer
	claimed map[string]*Signer // by chain id, while Run runs; its own
	key     *NodeKey
	chainID string
	network string // "unix" or "tcp"
	address string
	node    string // identity of the node's key; empty for a unix socket
	logger  *slog.Logger
}

// NewSignerServer returns the server of signer for the chain with the given id and the
// shards of its network. node is where the node listens: unix:///path, or
// tcp://nodeid@host:port. key is the identity of this end of a tcp connection, which
// the node must allow.
func NewSignerServer(signer *Signer, key *NodeKey, chainID, node string, logger *slog.Logger) (*SignerServer, error) {
	if signer.remote != nil {
		return nil, errors.New("signer server: its own key lies elsewhere")
	}
	s := &SignerServer{signer: signer, key: key, chainID: chainID, logger: logger}
	if path, isUnix := strings.CutPrefix(node, unixScheme); isUnix {
		s.network, s.address = "unix", path
		return s, nil
	}
	rest, isTCP := strings.CutPrefix(node, tcpScheme)
	id, hostPort, hasID := cutPeer(rest)
	if !isTCP || !hasID {
		return nil, fmt.Errorf("signer server: node %q is neither unix:///path nor tcp://nodeid@host:port", node)
	}
	if err := checkHostPort(hostPort); err != nil {
		return nil, fmt.Errorf("signer server: node: %w", err)
	}
	s.network, s.address, s.node = "tcp", hostPort, string(id)
	return s, nil
}

// Run connects to the node, again and again, and signs, until ctx ends; it then
// returns nil. The error is the signer's if it cannot sign any more.
func (s *SignerServer) Run(ctx context.Context) error {
	if err := s.signer.claim(s.chainID); err != nil {
		return err
	}
	s.claimed = map[string]*Signer{s.chainID: s.signer}
	defer func() {
		for _, signer := range s.claimed {
			signer.release()
		}
	}()
	pause := redialFirst
	for ctx.Err() == nil {
		c, err := s.dial(ctx)
		if err == nil {
			pause = redialFirst
			s.logger.InfoContext(ctx, "connected to the node", slog.String("address", s.address))
			err = s.serve(ctx, c)
		}
		if broken := s.broken(); broken != nil {
			return broken
		}
		if ctx.Err() != nil {
			break
		}
		s.logger.WarnContext(ctx, "no connection to the node", slog.String("address", s.address),
			slog.Any("err", err), slog.Duration("again_in", pause))
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, redialMost)
	}
	return nil
}

// forChain returns the signer of a chain and its id: of the main chain, which a request
// for any other than the network's does not name and so is refused, if it is not served.
func (s *SignerServer) forChain(ctx context.Context, chainID string) (*Signer, string, error) {
	if known := s.claimed[chainID]; known != nil {
		return known, chainID, nil
	}
	if !shardOf(s.chainID, chainID) {
		return s.signer, s.chainID, nil
	}
	signer, err := s.signer.ForChain(chainID)
	if err == nil {
		err = signer.claim(chainID)
	}
	if err != nil {
		return s.signer, s.chainID, err
	}
	s.logger.InfoContext(ctx, "signing for a shard", slog.String("chain_id", chainID), slog.Uint64("height", signer.Height()))
	s.claimed[chainID] = signer
	return signer, chainID, nil
}

// broken returns why a sign state cannot be saved any more, if that is so.
func (s *SignerServer) broken() error {
	for _, signer := range s.claimed {
		if err := signer.Err(); errors.Is(err, ErrSignerBroken) {
			return err
		}
	}
	return nil
}

func (s *SignerServer) dial(ctx context.Context) (net.Conn, error) {
	dialer := net.Dialer{Timeout: signerSilence}
	raw, err := dialer.DialContext(ctx, s.network, s.address)
	if err != nil || s.network == "unix" {
		return raw, err
	}
	secret, err := pinned(raw, s.key.key.PrivKey, p2p.ID(s.node))
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return secret, nil
}

// serve answers the node until the connection or ctx ends. The node pings it
// every few seconds, so silence ends it too.
func (s *SignerServer) serve(ctx context.Context, c net.Conn) (err error) {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer func() {
		if stop() {
			err = errors.Join(err, c.Close())
		}
	}()
	limited := &deadlineConn{Conn: c, limit: 4 * signerSilence}
	in := protoio.NewDelimitedReader(limited, maxSignerMessage)
	out := protoio.NewDelimitedWriter(limited)
	for {
		var request privvalproto.Message
		if _, err := in.ReadMsg(&request); err != nil {
			if errors.Is(err, io.EOF) {
				return errors.New("the node closed it")
			}
			return fmt.Errorf("read: %w", err)
		}
		// An error of the handler is in its answer, too.
		answer, err := refusedRequest(&request)
		if err == nil {
			signer, chainID, unserved := s.forChain(ctx, requestChain(&request))
			answer, err = privval.DefaultValidationRequestHandler(votes{signer, &voteRounds{}, nil}, request, chainID)
			err = cmp.Or(unserved, err)
		}
		if err != nil {
			s.logger.WarnContext(ctx, "request refused", slog.Any("err", err))
		}
		if answer.Sum == nil {
			return fmt.Errorf("a request that no signer can answer: %w", err)
		}
		if _, err := out.WriteMsg(&answer); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
}
