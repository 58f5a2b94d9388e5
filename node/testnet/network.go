package testnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/home"
)

const (
	// startTimeout bounds how long a network may take to become ready.
	startTimeout = 60 * time.Second
	// stopTimeout bounds how long a node may take to stop in good order.
	stopTimeout = 45 * time.Second
	// readyPoll is how often a starting node is asked.
	readyPoll = 50 * time.Millisecond
	// readyWarn is after how long the reason for not being ready is told.
	readyWarn = 5 * time.Second
)

// ErrStopped says that a node is not running.
var ErrStopped = errors.New("the node is not running")

// Network is a running network. Its methods are safe for concurrent use, those
// on one node not with each other.
type Network struct {
	*Layout
	members []member
	idle    []atomic.Bool // the node was stopped, or is not to run
	options Options
	prober  *Prober
	lock    *home.Lock
	remove  bool // the directory, at the end
	stop    sync.Once
	stopErr error
}

// member is one node that can be started and stopped again and again.
type member interface {
	// start returns when the node is under way; it may not be ready yet.
	start() error
	// stop ends it in good order, or not at all before ctx ends.
	stop(ctx context.Context) error
	// kill ends it at once, without any order.
	kill() error
	// pause freezes it and unfreezes it again.
	pause(on bool) error
	// exited is closed when the node has ended, with err saying why.
	exited() <-chan struct{}
	err() error
	pid() int
}

// Start starts a network in this process and returns when all its nodes are
// ready. ctx bounds the start only; the caller must Stop the network.
func Start(ctx context.Context, o Options) (*Network, error) {
	return start(ctx, o, func(n *Network, i int) member { return newLocal(n, i) })
}

// StartProcesses starts a network of one process for each node, from the
// tributary program at binary, and returns when all are ready. The processes end
// with this one, however it ends.
func StartProcesses(ctx context.Context, binary string, o Options) (*Network, error) {
	if o.InMemory {
		return nil, errors.New("start test network: processes keep their stores on disk")
	}
	return start(ctx, o, func(n *Network, i int) member {
		p := newProcess(binary, n.Nodes[i])
		if o.Environ != nil {
			p.environ = o.Environ(i)
		}
		return p
	})
}

func start(ctx context.Context, o Options, newMember func(*Network, int) member) (*Network, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("start test network: %w", err)
	}
	n := &Network{options: o}
	err := n.prepare(ctx)
	if err == nil {
		for i := range n.Nodes {
			n.members = append(n.members, newMember(n, i))
		}
		n.idle = make([]atomic.Bool, len(n.members))
		err = n.startAll(ctx)
	}
	if err != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("start test network: %w", err), n.Stop(stop))
	}
	n.remove = n.options.Discard
	return n, nil
}

// prepare makes or opens the directory and takes its lock.
func (n *Network) prepare(ctx context.Context) error {
	if n.options.Dir == "" {
		dir, err := os.MkdirTemp("", "tributary-testnet-")
		if err != nil {
			return err
		}
		n.options.Dir, n.options.Discard = dir, true
	}
	if err := Usable(n.options.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(n.options.Dir, 0o700); err != nil {
		return err
	}
	lock, err := home.Dir(n.options.Dir).Lock()
	if err != nil {
		return err
	}
	n.lock = lock
	remedy := "remove this network, whose addresses are fixed, with 'tributary testnet down --purge'"
	if !Exists(n.options.Dir) {
		n.remove, remedy = n.options.Discard, "choose another --base-port"
	}
	if n.Layout, err = openOrCreate(ctx, n.options); err != nil {
		return err
	}
	if err := WriteKeys(n.Keys(), n.Operators()...); err != nil {
		return err
	}
	if n.prober, err = NewProber(n.CA); err != nil {
		return err
	}
	var list []addresses
	for _, node := range n.Nodes {
		list = append(list, addresses{P2P: node.P2P, GRPC: node.GRPC, HTTP: node.HTTP})
	}
	return checkFree(ctx, list, remedy)
}

func (n *Network) startAll(ctx context.Context) error {
	n.options.say("starting %d nodes", len(n.members))
	for i, m := range n.members {
		if err := m.start(); err != nil {
			return fmt.Errorf("%s: %w", n.Nodes[i].Name, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return n.WaitReady(ctx)
}

// WaitReady waits until every node says that it is ready, or one ends, or ctx
// does.
func (n *Network) WaitReady(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for i := range n.members {
		group.Go(func() error { return n.WaitNodeReady(ctx, i) })
	}
	return group.Wait()
}

// WaitNodeReady waits until node i says that it is ready, or it ends, or ctx
// does; then the error says what it was waiting for.
func (n *Network) WaitNodeReady(ctx context.Context, i int) error {
	begin, told := time.Now(), false
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		ok, reason := n.ready(ctx, i)
		if ok {
			n.options.say("%s is ready", n.Nodes[i].Name)
			return nil
		}
		if !told && time.Since(begin) > readyWarn {
			told = true
			n.options.say("%s is not ready yet: %s", n.Nodes[i].Name, reason)
		}
		select {
		case <-n.members[i].exited():
			return fmt.Errorf("%s ended: %w; its log is %s", n.Nodes[i].Name, n.members[i].err(), n.LogFile(i))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %s: %w", n.Nodes[i].Name, reason, ctx.Err())
		case <-tick.C:
		}
	}
}

// ready asks node i.
func (n *Network) ready(ctx context.Context, i int) (ok bool, reason string) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	ok, reason, err := n.prober.Ready(ctx, n.Nodes[i])
	if err != nil {
		return false, "it does not answer: " + err.Error()
	}
	return ok, reason
}

// Stop stops all nodes in good order, and removes the directory if it is a
// temporary one or Options.Discard says so. What has not stopped when ctx ends is
// killed, if it is a process. Stop may be called again, and returns the same.
func (n *Network) Stop(ctx context.Context) error {
	n.stop.Do(func() { n.stopErr = n.stopAll(ctx) })
	return n.stopErr
}

func (n *Network) stopAll(ctx context.Context) error {
	errs := make([]error, len(n.members)+1)
	var wait sync.WaitGroup
	for i, m := range n.members {
		wait.Go(func() {
			if err := m.stop(ctx); err != nil && !errors.Is(err, ErrStopped) {
				errs[i] = fmt.Errorf("stop %s: %w", n.Nodes[i].Name, errors.Join(err, m.kill()))
			}
		})
	}
	wait.Wait()
	if n.prober != nil {
		n.prober.Close()
	}
	if n.lock == nil {
		return errors.Join(errs...)
	}
	errs[len(n.members)] = Forget(n.options.Dir)
	err := errors.Join(errs...)
	remove := n.remove && err == nil
	if remove {
		err = empty(n.options.Dir)
	}
	err = errors.Join(err, n.lock.Release())
	if remove && err == nil {
		err = removeEmpty(n.options.Dir)
	}
	return err
}

// StopNode stops node i in good order.
func (n *Network) StopNode(ctx context.Context, i int) error {
	n.idle[i].Store(true)
	return n.members[i].stop(ctx)
}

// StartNode starts node i after StopNode or KillNode. It does not wait until the
// node is ready: see WaitNodeReady.
func (n *Network) StartNode(i int) error {
	if err := n.members[i].start(); err != nil {
		return err
	}
	n.idle[i].Store(false)
	return nil
}

// KillNode ends the process of node i with SIGKILL, and returns when it is gone.
func (n *Network) KillNode(i int) error {
	n.idle[i].Store(true)
	return n.members[i].kill()
}

// PauseNode freezes the process of node i with SIGSTOP.
func (n *Network) PauseNode(i int) error { return n.members[i].pause(true) }

// ResumeNode lets a frozen process go on.
func (n *Network) ResumeNode(i int) error { return n.members[i].pause(false) }

// PID returns the process of node i, 0 if it is not running.
func (n *Network) PID(i int) int { return n.members[i].pid() }

// Exited returns a channel that is closed when node i has ended, until it is
// started again.
func (n *Network) Exited(i int) <-chan struct{} { return n.members[i].exited() }

// LogFile returns the file of node i's log.
func (l *Layout) LogFile(i int) string { return filepath.Join(l.Nodes[i].Home, logName) }

// settings loads the settings of node i.
func (l *Layout) settings(i int) (config.Config, error) {
	return config.Load(l.Nodes[i].Home, nil, nil)
}
