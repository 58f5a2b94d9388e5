package testnet

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"

	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/node/home"
)

var errNoProcess = errors.New("the node has no process of its own")

// local is a node in this process.
type local struct {
	network *Network
	index   int

	mu     sync.Mutex
	cancel context.CancelFunc // nil unless running
	done   chan struct{}      // closed when it is not running
	result error
}

func newLocal(n *Network, i int) *local {
	return &local{network: n, index: i, done: closed()}
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func (l *local) start() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cancel != nil {
		return errors.New("start node: it is running")
	}
	settings, err := l.network.settings(l.index)
	if err != nil {
		return err
	}
	log, closeLog, err := l.logger()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	n, err := node.Open(ctx, node.Options{
		Home: home.Dir(l.network.Nodes[l.index].Home), Config: settings, Log: log,
		Build: l.network.options.Build, InMemory: l.network.options.InMemory,
	})
	if err != nil {
		cancel()
		return errors.Join(err, closeLog())
	}
	done := make(chan struct{})
	l.cancel, l.done = cancel, done
	go func() {
		err := errors.Join(n.Run(ctx), closeLog())
		cancel()
		l.mu.Lock()
		l.cancel, l.result = nil, err
		l.mu.Unlock()
		close(done)
	}()
	return nil
}

// logger opens where the node's lines go.
func (l *local) logger() (*slog.Logger, func() error, error) {
	if h := l.network.options.Handler; h != nil {
		return slog.New(h(l.index)), func() error { return nil }, nil
	}
	f, err := os.OpenFile(l.network.LogFile(l.index), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, err
	}
	return slog.New(slog.NewTextHandler(f, nil)), f.Close, nil
}

func (l *local) stop(ctx context.Context) error {
	l.mu.Lock()
	cancel, done := l.cancel, l.done
	l.mu.Unlock()
	if cancel == nil {
		return ErrStopped
	}
	cancel()
	select {
	case <-done:
		return l.err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *local) kill() error      { return errNoProcess }
func (l *local) pause(bool) error { return errNoProcess }
func (l *local) pid() int         { return os.Getpid() }

func (l *local) exited() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.done
}

func (l *local) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.result
}
