package comet_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// fingerprint is the proof of the applications here.
func fingerprint(consensusKey, msg []byte) []byte {
	sum := sha256.Sum256(append(append([]byte{}, consensusKey...), msg...))
	return sum[:]
}

// TestRemoteSignersCount runs a validator whose consensus key is elsewhere, so that
// its peers count its power only if the application knows it.
func TestRemoteSignersCount(t *testing.T) {
	t.Parallel()
	const knownAfter = 2 // questions
	for _, test := range []struct {
		name   string
		attest func(key []byte) func(msg []byte) []byte
		counts bool
	}{
		{"proved by another key", func(key []byte) func([]byte) []byte {
			return func(msg []byte) []byte { return fingerprint(key, msg) }
		}, true},
		{"wrong proof", func([]byte) func([]byte) []byte {
			return func(msg []byte) []byte { return fingerprint(nil, msg) }
		}, false},
		{"no proof", func([]byte) func([]byte) []byte {
			return func([]byte) []byte { return nil }
		}, false},
		{"an application that panics", func([]byte) func([]byte) []byte {
			return func([]byte) []byte { panic(errBoom) }
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			nw := newNetwork(t, "attest", 4)
			serveSigner(t, nw, nw.members[0])
			nw.members[0].app.attest = test.attest(nw.genesis.Validators[0].PubKey)
			var asked atomic.Int64
			for _, m := range nw.members {
				m.app.attested = func(consensusKey, msg, proof []byte) (known, ok bool) {
					if asked.Add(1) <= knownAfter { // the state is behind
						return false, false
					}
					return true, string(proof) == string(fingerprint(consensusKey, msg))
				}
			}
			nw.startAll(t)
			nw.broadcast(t, 1, tx(1))
			for i, m := range nw.members {
				want := int64(40)
				if i > 0 && !test.counts {
					want = 30
				}
				eventually(t, 20*time.Second, fmt.Sprintf("member %d sees power %d", i, want), func() bool {
					s := m.chain.Status()
					return s.Peers == 3 && s.ConnectedPower == want && s.TotalPower == 40
				})
				if ok, reason := nw.healthy(i); !ok {
					t.Errorf("member %d: %s", i, reason)
				}
			}
			m := nw.members[2].app
			m.waitFor(t, 20*time.Second, func(txs int, _ uint64) bool { return txs == 1 })
			if n := asked.Load(); test.counts && n < knownAfter+3 {
				t.Errorf("the application was asked %d times, want until it knew", n)
			}
		})
	}
}

// serveSigner moves the consensus key of a member to a server in this process.
func serveSigner(t *testing.T, nw *network, m *member) {
	t.Helper()
	own := m.signer
	key, err := comet.GenerateNodeKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := signerAddrs(t, m.nodeKey, key.ID())["unix"]
	server, err := comet.NewSignerServer(own, key, nw.genesis.ChainID, at.node, testLogger("signer"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Run(ctx) }()
	wait, stop := context.WithTimeout(ctx, hangs)
	defer stop()
	m.signer, err = comet.ConnectSigner(wait, comet.RemoteSignerConfig{
		Dir: filepath.Join(m.dir, "mirror"), Listen: at.listen, ChainID: nw.genesis.ChainID,
	}, m.nodeKey, testLogger("node"))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the chain stops
		cancel()
		if err := errors.Join(m.signer.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
}
