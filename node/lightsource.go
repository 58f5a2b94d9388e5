package node

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger"
)

const (
	// sourceAttempts is how often one question to a source is tried.
	sourceAttempts = 4
	sourceDelay    = 500 * time.Millisecond // between the first two, then longer
	sourceMaxDelay = time.Second
	sourceTimeout  = 5 * time.Second
)

// lightSource is a node that is asked for headers over its API. It connects when it
// is first asked. It implements comet.LightSource.
type lightSource struct {
	target  string
	network ledger.NetworkID
	options []client.Option

	mu   sync.Mutex
	conn *client.Client // nil before the first answer
}

// stateSync translates the settings for consensus, and remembers the sources for
// Close. It returns nil if the node is to fetch all blocks; the sources are still asked
// for what an earlier join left missing.
func (n *Node) stateSync() (*comet.StateSync, error) {
	s := n.cfg.StateSync
	if !s.Enabled && len(s.Sources) == 0 {
		return nil, nil //nolint:nilnil // none is wanted
	}
	options := []client.Option{
		client.WithRetry(client.RetryPolicy{Attempts: sourceAttempts, MinDelay: sourceDelay, MaxDelay: sourceMaxDelay}),
		client.WithCallTimeout(sourceTimeout),
	}
	if s.CAFile != "" {
		roots, err := api.LoadAuthority(n.cfg.Path(s.CAFile))
		if err != nil {
			return nil, fmt.Errorf("state_sync.ca_file: %w", err)
		}
		options = append(options, client.WithTLS(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots}))
	}
	how := &comet.StateSync{}
	for _, target := range s.Sources {
		source := &lightSource{target: target, network: n.genesis.NetworkID(), options: options}
		n.sources = append(n.sources, source)
		how.Sources = append(how.Sources, source)
	}
	if !s.Enabled {
		return nil, nil //nolint:nilnil // none is wanted
	}
	hash, err := hex.DecodeString(s.TrustHash)
	if err != nil {
		return nil, fmt.Errorf("state_sync.trust_hash: %w", err)
	}
	how.TrustHeight, how.TrustHash = uint64(s.TrustHeight), hash //nolint:gosec // not negative
	how.SearchTime, how.TrustIdle = s.SearchTime.Duration, s.TrustIdle
	if how.TrustPeriod, err = trustPeriod(s.TrustPeriod.Duration, n.genesis.Comet().EvidenceMaxAge); err != nil {
		return nil, err
	}
	return how, nil
}

// minTrustPeriod is the trust period of a network, for play, that punishes faults for
// an hour or so: less would not be enough to join.
const minTrustPeriod = time.Hour

// trustPeriod returns how old a trusted header may be: what was set, if it is no
// longer than a fault can be punished, or by default two thirds of that.
func trustPeriod(set, punished time.Duration) (time.Duration, error) {
	switch longest := max(punished, minTrustPeriod); {
	case set > longest:
		return 0, fmt.Errorf("state_sync.trust_period is %v, but on this network faults are punished for %v; "+
			"set it to that at most, or to \"0s\"", set, longest)
	case set > 0:
		return set, nil
	}
	return max(punished*2/3, minTrustPeriod), nil
}

// String returns the address.
func (s *lightSource) String() string { return s.target }

// LightBlock implements comet.LightSource.
func (s *lightSource) LightBlock(ctx context.Context, height uint64) (signedHeader, validators []byte, err error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	b, err := conn.LightBlock(ctx, height)
	if answer, ok := errors.AsType[*client.Error](err); ok && (answer.Reason == api.ReasonBlockNotFound || answer.Reason == api.ReasonPruned) {
		return nil, nil, fmt.Errorf("%w: %w", comet.ErrNotFound, err)
	}
	return b.SignedHeader, b.ValidatorSet, err
}

// TakeEvidence implements comet.EvidenceTaker.
func (s *lightSource) TakeEvidence(ctx context.Context, evidence []byte) error {
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	return conn.SubmitEvidence(ctx, evidence)
}

// connect returns the connection, making it if there is none yet.
func (s *lightSource) connect(ctx context.Context) (*client.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		return s.conn, nil
	}
	conn, err := client.Dial(ctx, s.target, s.options...)
	if err != nil {
		return nil, err
	}
	if n := conn.Network(); n.Domain.Network != s.network {
		return nil, errors.Join(fmt.Errorf("it is of network %q, %s, this node of %s", n.Name, n.Domain.Network, s.network), conn.Close())
	}
	s.conn = conn
	return conn, nil
}

// close ends the connection.
func (s *lightSource) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return nil
	}
	defer func() { s.conn = nil }()
	return s.conn.Close()
}
