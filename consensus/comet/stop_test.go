package comet_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// A Stop that returns nil has waited, whoever else stops the chain.
func TestStopTwice(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "twice", 1)
	n.startAll(t)
	chain, app := n.members[0].chain, n.members[0].app
	inside, release := make(chan struct{}), make(chan struct{})
	app.mu.Lock()
	app.onCheck = func([]byte) error {
		close(inside)
		<-release
		return nil
	}
	app.mu.Unlock()
	checked := make(chan error, 1)
	go func() { checked <- chain.Broadcast(tx(1)) }()
	<-inside
	patient := make(chan error, 1)
	go func() { patient <- chain.Stop(context.Background()) }()
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := chain.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stop while the application is in use = %v", err)
		}
		cancel()
	}
	close(release)
	if err := errors.Join(<-checked, <-patient, chain.Stop(context.Background())); err != nil {
		t.Error(err)
	}
}

// waits tells when a line of the log says that a chain waits for its genesis time.
type waits struct {
	slog.Handler

	told chan struct{} // capacity 1
}

func (w waits) Enabled(context.Context, slog.Level) bool { return true }

func (w waits) WithAttrs([]slog.Attr) slog.Handler { return w }

func (w waits) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "waiting for the genesis time" {
		w.told <- struct{}{}
	}
	return nil
}

// A Stop during the start ends that and waits for it.
func TestStopDuringStart(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "halfway", 1)
	m := n.members[0]
	genesis := n.genesis
	genesis.Time = time.Now().Add(time.Hour)
	log := waits{slog.DiscardHandler, make(chan struct{}, 1)}
	chain, err := comet.New(comet.Config{Dir: filepath.Join(m.dir, "early"), ListenAddr: m.addr},
		genesis, m.signer, m.nodeKey, newStore(t), newMemApp(), slog.New(log), nil)
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan error, 1)
	go func() { started <- chain.Start(context.Background()) }()
	<-log.told
	if err := chain.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	n.startAll(t) // with the same signer, which the first start holds until it has ended
	if err := <-started; !errors.Is(err, comet.ErrNotRunning) {
		t.Errorf("Start = %v", err)
	}
}
