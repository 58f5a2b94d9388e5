package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSignerTakesTheKey: a node whose key moved says what to set, and a move that is
// refused leaves nothing behind.
func TestSignerTakesTheKey(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	node, signer, again := filepath.Join(s.home, "node"), filepath.Join(s.home, "deep", "signer"), filepath.Join(s.home, "again", "signer")
	made := parse[initResult](t, s.ok(t, "init", "alone", "--home", node, "-o", "json"))
	stranger := filepath.Join(s.home, "stranger")
	if err := os.Mkdir(stranger, 0o700); err != nil {
		t.Fatal(err)
	}
	refused := func(name, from, want string) {
		t.Helper()
		if r := s.run(t, "", "signer", "init", "--home", again, "--from", from); r.code != exitError || !strings.Contains(r.stderr, want) {
			t.Errorf("%s: %+v", name, r)
		}
		if _, err := os.Lstat(filepath.Dir(again)); !os.IsNotExist(err) {
			t.Errorf("%s: %s is there: %v", name, filepath.Dir(again), err)
		}
	}
	refused("no node", filepath.Join(s.home, "none"), "no such file")
	refused("no home of a node", stranger, "load consensus key")
	if list, err := os.ReadDir(stranger); err != nil || len(list) != 0 {
		t.Errorf("left in what is no home: %v, %v", list, err)
	}

	moved := parse[signerResult](t, s.ok(t, "signer", "init", "--home", signer, "--from", node, "-o", "json"))
	if moved.PublicKey != made.PublicKey {
		t.Errorf("the signer has key %s, the node had %s", moved.PublicKey, made.PublicKey)
	}
	const remedy = "set signer.mode = \"remote\""
	refused("moved before", node, remedy)
	ports := []string{"--grpc.listen", "127.0.0.1:0", "--http.listen", "127.0.0.1:0", "--p2p.listen", "127.0.0.1:0"}
	if r := s.run(t, "", append([]string{"start", "--home", node}, ports...)...); r.code != exitError || !strings.Contains(r.stderr, remedy) || !strings.Contains(r.stderr, "moved to a remote signer") {
		t.Errorf("start after the key moved: %+v", r)
	}
	state := filepath.Join(node, "config", "validator", "priv_validator_state.json")
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	if r := s.run(t, "", append([]string{"start", "--home", node}, ports...)...); r.code != exitError || !strings.Contains(r.stderr, "if a remote signer has it") {
		t.Errorf("start without key and state: %+v", r)
	}
}
