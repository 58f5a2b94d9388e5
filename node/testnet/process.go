package testnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// process is a node in a process of its own.
type process struct {
	binary  string
	node    Node
	environ []string // besides ours

	mu     sync.Mutex
	cmd    *exec.Cmd      // nil unless running
	leash  io.WriteCloser // the node stops when this is closed, as it is when we end
	done   chan struct{}
	result error // with the last error of the log
}

func newProcess(binary string, n Node) *process {
	return &process{binary: binary, node: n, done: closed()}
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return errors.New("start node: it is running")
	}
	name := filepath.Join(p.node.Home, logName)
	log, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has its own handle
	info, err := log.Stat()
	if err != nil {
		return err
	}
	cmd := exec.Command(p.binary, "start", "--home", p.node.Home, "--stop-with-stdin") //nolint:noctx // its life is not a call's
	cmd.Env = append(os.Environ(), p.environ...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C is for us
	leash, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.binary, err)
	}
	done := make(chan struct{})
	p.cmd, p.leash, p.done = cmd, leash, done
	go func() {
		err := cmd.Wait()
		if err != nil && cmd.ProcessState.Exited() { // not by a signal
			if text := lastError(name, info.Size()); text != "" {
				err = fmt.Errorf("%w: %s", err, text)
			}
		}
		p.mu.Lock()
		p.cmd, p.result = nil, err
		p.mu.Unlock()
		close(done)
	}()
	return nil
}

func (p *process) stop(ctx context.Context) error {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT} { // it may be frozen
		if err := p.signal(s); err != nil {
			return err
		}
	}
	select {
	case <-p.exited():
		return p.err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *process) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.exited()
	return nil
}

func (p *process) pause(on bool) error {
	if on {
		return p.signal(syscall.SIGSTOP)
	}
	return p.signal(syscall.SIGCONT)
}

func (p *process) signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return ErrStopped
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.node.Name, err)
	}
	return nil
}

func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

func (p *process) exited() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

func (p *process) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.result
}
