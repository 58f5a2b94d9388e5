package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tributary-network/tributary/node/testnet"
)

// TestKilledValidatorComesBack kills a validator of a network of processes, and
// stops another one.
func TestKilledValidatorComesBack(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	up := parse[testnet.Running](t, s.ok(t, "testnet", "up", "-d", "--processes", "--base-port", "0", "--validators", "4", "-o", "json"))
	defer s.ok(t, "testnet", "down")
	pid := func(i int) int {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(up.Nodes[i].Home, "lock"))
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil || n <= 1 {
			t.Fatalf("the lock of %s names %q", up.Nodes[i].Name, data)
		}
		return n
	}
	status := func(want int) func() bool {
		return func() bool { return s.run(t, "", "testnet", "status").code == want }
	}

	before := pid(1)
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "testnet status tells of the node that is down", status(exitUnavailable))
	until(t, "the node is back", status(exitOK))
	if pid(1) == before {
		t.Error("the process is the one that was killed")
	}

	if err := syscall.Kill(pid(2), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(s.home, ".tributary", "testnet", "testnet.log")
	until(t, "the end in good order is told", func() bool {
		data, err := os.ReadFile(log)
		return err == nil && strings.Contains(string(data), "validator3 was stopped, and stays so")
	})
	if got := s.run(t, "", "testnet", "status"); got.code != exitUnavailable || !strings.Contains(got.stderr, "1 of 4 nodes down: validator3") {
		t.Errorf("testnet status: %+v", got)
	}
}

// TestHealthWithoutQuorum asks a network that cannot go on.
func TestHealthWithoutQuorum(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	s := newShell(t)
	n, err := testnet.Start(ctx, testnet.Options{Dir: filepath.Join(s.home, ".tributary", "testnet"), Validators: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Stop(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	if _, err := n.Announce(); err != nil {
		t.Fatal(err)
	}
	if err := n.StopNode(ctx, 1); err != nil {
		t.Fatal(err)
	}
	until(t, "health --ready ends with 4", func() bool { return s.run(t, "", "health", "--ready").code == exitNotSynced })
	if got := s.run(t, "", "health", "--ready"); !strings.Contains(got.stdout, "chain/main: not ready: ") {
		t.Errorf("health --ready: %+v", got)
	}
	s.ok(t, "health") // it lives
	if got := s.run(t, "", "health", "--node", n.Nodes[1].GRPC); got.code != exitUnavailable {
		t.Errorf("health of a node that is stopped: %+v", got)
	}
}

// until asks again and again whether something has come true.
func until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	deadline := time.NewTimer(testTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !reached() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not in %v: %s", testTimeout, what)
		}
	}
}
