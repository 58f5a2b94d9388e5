package testnet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tributary-network/tributary/node/home"
)

const (
	runningFile    = "running.json"
	runningVersion = 1
	lockFile       = "lock" // of package home
	// gonePoll is how often it is checked whether a process is gone.
	gonePoll = 50 * time.Millisecond
	// killGrace is how long a process may take to end after it was killed.
	killGrace = 5 * time.Second
)

// Modes of a running network.
const (
	ModeProcess    = "process"    // all nodes in one process
	ModeProcesses  = "processes"  // a process for each
	ModeContainers = "containers" // not run by us
)

// Running describes a running network to other processes.
type Running struct {
	Version   int       `json:"version"`
	Network   string    `json:"network"`
	NetworkID string    `json:"network_id"`
	Mode      string    `json:"mode"`
	PID       int       `json:"pid"` // of the process that holds it
	Started   time.Time `json:"started"`
	Keep      bool      `json:"keep"` // the data survive the end of the network
	Keys      string    `json:"keys"` // directory
	CA        string    `json:"ca,omitempty"`
	Nodes     []Node    `json:"nodes"`
}

// Announce writes running.json, so that other processes find the network.
func (n *Network) Announce() (Running, error) {
	mode := ModeProcess
	if _, ok := n.members[0].(*process); ok {
		mode = ModeProcesses
	}
	return n.announce(mode, os.Getpid(), !n.options.Discard)
}

// AnnounceContainers writes running.json for a network that is going to run in
// containers.
func (l *Layout) AnnounceContainers() (Running, error) { return l.announce(ModeContainers, 0, true) }

func (l *Layout) announce(mode string, pid int, keep bool) (Running, error) {
	r := Running{
		Version: runningVersion, Network: l.Genesis.Name, NetworkID: l.Genesis.NetworkID().String(),
		Mode: mode, PID: pid, Started: now(), Keep: keep, Keys: l.Keys(), CA: l.CA, Nodes: l.Nodes,
	}
	file := r
	file.Keys = filepath.Base(file.Keys)
	if file.CA != "" {
		file.CA = filepath.Base(file.CA)
	}
	file.Nodes = relative(l.Nodes)
	return r, writeJSON(filepath.Join(l.Dir, runningFile), file)
}

// absolute undoes that the paths in running.json are relative to the directory,
// which may be copied.
func (r *Running) absolute(dir string) {
	r.Keys = filepath.Join(dir, r.Keys)
	if r.CA != "" {
		r.CA = filepath.Join(dir, r.CA)
	}
	for i := range r.Nodes {
		r.Nodes[i].Home = filepath.Join(dir, r.Nodes[i].Home)
	}
}

// Forget removes running.json.
func Forget(dir string) error {
	if err := os.Remove(filepath.Join(dir, runningFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// ErrNoNetwork says that no network runs in a directory.
var ErrNoNetwork = errors.New("no test network runs")

// Find returns the network that runs in dir. The error wraps ErrNoNetwork if none
// does.
func Find(dir string) (Running, error) {
	r, err := readRunning(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Running{}, fmt.Errorf("%w in %s; 'tributary testnet up' starts one, --testnet names the directory of another", ErrNoNetwork, dir)
	}
	if err != nil || r.Mode == ModeContainers {
		return r, err
	}
	busy, err := held(dir)
	if err != nil {
		return Running{}, err
	}
	if !busy {
		return Running{}, fmt.Errorf("%w in %s: the last one ended without 'down'; 'tributary testnet down' clears it away", ErrNoNetwork, dir)
	}
	return r, nil
}

func readRunning(dir string) (Running, error) {
	data, err := home.ReadFile(filepath.Join(dir, runningFile), maxLayout)
	if err != nil {
		return Running{}, fmt.Errorf("look for a test network: %w", err)
	}
	var r Running
	if err := json.Unmarshal(data, &r); err != nil || r.Version != runningVersion || len(r.Nodes) == 0 {
		return Running{}, fmt.Errorf("look for a test network: %s is not of this program; remove it", filepath.Join(dir, runningFile))
	}
	r.absolute(dir)
	return r, nil
}

// held reports whether a process holds the lock of dir.
func held(dir string) (bool, error) {
	if _, err := os.Stat(filepath.Join(dir, lockFile)); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	lock, err := home.Dir(dir).Lock()
	if errors.Is(err, home.ErrLocked) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return false, lock.Release()
}

// Down stops the network that runs in dir, if one does, waits until its processes
// are gone, and removes its data, unless they are to be kept: those of a network
// that was not made to be discarded, or of one that does not run, stay without
// purge. Processes that are not gone when ctx ends are killed.
func Down(ctx context.Context, dir string, purge bool) (kept bool, err error) {
	r, err := readRunning(dir)
	switch {
	case err == nil && r.Mode == ModeContainers:
		return false, errors.New("this network runs in containers: stop it with 'make testnet-down'")
	case errors.Is(err, fs.ErrNotExist):
		r.Keep = true // nothing says that it may go
	case err != nil:
		return false, err
	}
	if err := endHolder(ctx, dir); err != nil {
		return false, err
	}
	// Processes of nodes end with the one that holds the network, unless they
	// were frozen.
	homes, err := nodeHomes(dir)
	if err != nil {
		return false, err
	}
	for _, h := range homes {
		if err := endHolder(ctx, h); err != nil {
			return false, err
		}
	}
	if err := Forget(dir); err != nil {
		return false, err
	}
	if r.Keep && !purge {
		_, err := os.Lstat(filepath.Join(dir, layoutFile))
		return err == nil, nil
	}
	return false, Remove(dir)
}

// nodeHomes returns the home directories of the nodes in dir.
func nodeHomes(dir string) ([]string, error) {
	validators, err := filepath.Glob(filepath.Join(dir, validatorPrefix+"*"))
	if err != nil {
		return nil, err
	}
	full, err := filepath.Glob(filepath.Join(dir, fullNodePrefix+"*"))
	return append(validators, full...), err
}

// endHolder ends the process that holds the lock of dir, if one does.
func endHolder(ctx context.Context, dir string) error {
	busy, err := held(dir)
	if err != nil || !busy {
		return err
	}
	data, err := os.ReadFile(filepath.Join(dir, lockFile))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 1 {
		return fmt.Errorf("%s is held by a process that is not named in it", dir)
	}
	return end(ctx, dir, pid)
}

// end ends process pid, which holds the lock of dir, and waits until it is gone.
func end(ctx context.Context, dir string, pid int) error {
	for _, s := range []syscall.Signal{syscall.SIGCONT, syscall.SIGTERM} {
		if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop process %d: %w", pid, err)
		}
	}
	tick := time.NewTicker(gonePoll)
	defer tick.Stop()
	for killed := false; ; {
		busy, err := held(dir)
		if err != nil || !busy && !alive(pid) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if killed {
				return fmt.Errorf("process %d does not end: %w", pid, ctx.Err())
			}
			killed = true
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill process %d: %w", pid, err)
			}
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), killGrace)
			defer cancel()
		}
	}
}

// alive reports whether a process runs. One that has ended, and that its parent
// has not asked about, does not.
func alive(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true // not a system that tells
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}
