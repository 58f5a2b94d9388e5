package node

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/genesis"
)

// keyMismatch is that this node's BLS key is not the one that the chain has beside
// its consensus key. Such a validator votes, but its votes help no certificate and
// the blocks that it proposes are refused.
type keyMismatch struct {
	validator uint64
	file      string
	own       bls.PublicKey
	want      bls.PublicKey
}

// String says it in one line, with the remedy.
func (m *keyMismatch) String() string {
	return fmt.Sprintf("this node has BLS key %s, but validator %d is registered with %s: its votes sign no certificate "+
		"and the blocks it proposes are refused; put the %s that was made with its consensus key back and start again",
		short(m.own), m.validator, short(m.want), m.file)
}

// short is how a key starts, which is enough to tell it from another.
func short(k bls.PublicKey) string { return k.String()[:16] + "..." }

// keyCheck compares the keys of this node with its registration, which never
// changes once it is made. It is owned by watchKeys.
type keyCheck struct {
	done   bool
	looked bool
	height uint64 // looked at last
}

// watchKeys compares the keys until it is known whether they fit, or ctx ends.
func (n *Node) watchKeys(ctx context.Context) error {
	tick := time.NewTicker(sampleInterval)
	defer tick.Stop()
	for c := (&keyCheck{}); !c.done; {
		n.checkKeys(ctx, c, n.main.sample.Load().chain.Height)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	return nil
}

// keyFlaw tells of keys that do not fit.
func (n *Node) keyFlaw(s comet.Status) string {
	if m := n.mismatch.Load(); m != nil && s.Validator {
		return m.String()
	}
	return ""
}

// checkKeys looks for this node's registration, if there are blocks it has not
// looked at, and reports once what it finds.
func (n *Node) checkKeys(ctx context.Context, c *keyCheck, height uint64) {
	key := n.signer.PubKey()
	if c.done || len(key) != ledger.PublicKeySize || c.looked && c.height == height {
		return
	}
	row, registered, err := n.registration(n.genesis.Validators, ledger.PublicKey(key))
	if err != nil {
		return // the node stops
	}
	c.looked, c.height, c.done = true, height, !registered.IsZero()
	own := n.secret.Public()
	if !c.done || registered == own {
		return
	}
	m := &keyMismatch{validator: row, file: blsKeyPath(n.home), own: own, want: registered}
	n.mismatch.Store(m)
	n.log.LogAttrs(ctx, slog.LevelError, "the BLS key of this node is not the one its validator is registered with",
		slog.Uint64("validator", m.validator), slog.String("registered", m.want.String()), slog.String("own", m.own.String()),
		slog.String("file", m.file), slog.String("reason", m.String()))
}

// registration returns which validator is registered with a consensus key, and its
// BLS key, which is zero if there is none as far as this node knows: by the
// genesis, and by the state at the head.
func (n *Node) registration(founders []genesis.Validator, key ledger.PublicKey) (row uint64, registered bls.PublicKey, err error) {
	for i := range founders {
		if v := &founders[i]; bytes.Equal(v.PublicKey, key[:]) {
			return uint64(i), v.BLSKey, nil //nolint:gosec // not negative
		}
	}
	err = n.main.exec.Read(func(v chain.View, _ uint64) error {
		if found, ok := staking.ValidatorByConsensusAddress(v, staking.AddressOf(key)); ok {
			validator, _ := staking.ReadValidator(v, found)
			row, registered = found, validator.BLSKey
		}
		return nil
	})
	return row, registered, err
}
