package comet_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	"github.com/tributary-network/tributary/consensus/comet"
)

const (
	keyFile   = "priv_validator_key.json"
	stateFile = "priv_validator_state.json"
	nodeFile  = "node_key.json"
)

// rewriteSignState puts an empty sign state in place of the one in dir.
func rewriteSignState(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, stateFile)
	if err := os.WriteFile(path, []byte(`{"height":"0","round":0,"step":0}`), 0o600); err != nil {
		t.Fatal(err)
	}
}

func vote(height int64, block byte) *cmtproto.Vote {
	hash := bytes.Repeat([]byte{block}, 32)
	return &cmtproto.Vote{
		Type: cmtproto.PrevoteType, Height: height, Timestamp: time.Unix(1, 0),
		BlockID:          cmtproto.BlockID{Hash: hash, PartSetHeader: cmtproto.PartSetHeader{Total: 1, Hash: hash}},
		ValidatorAddress: make([]byte, 20),
	}
}

func TestSignerFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "config")
	signer, err := comet.GenerateSigner(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := comet.GenerateSigner(dir); err == nil {
		t.Error("a second GenerateSigner replaced the key")
	}
	for _, name := range []string{keyFile, stateFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info.Mode(), err)
	}
	pv := comet.PrivValidator(signer)
	if err := pv.SignVote("c", vote(5, 1)); err != nil {
		t.Fatal(err)
	}
	// CometBFT reads what we wrote, and what was signed.
	theirs := privval.LoadFilePV(filepath.Join(dir, keyFile), filepath.Join(dir, stateFile))
	if !bytes.Equal(theirs.Key.PubKey.Bytes(), signer.PubKey()) || theirs.LastSignState.Height != 5 {
		t.Errorf("CometBFT reads height %d", theirs.LastSignState.Height)
	}
	again, err := comet.LoadSigner(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.PubKey(), signer.PubKey()) || again.Height() != 5 || len(again.Address()) != 20 {
		t.Errorf("loaded signer at height %d", again.Height())
	}
	pv = comet.PrivValidator(again)
	if err := pv.SignVote("c", vote(5, 2)); err == nil {
		t.Error("signed two votes for one step")
	}
	if err := pv.SignVote("c", vote(4, 2)); err == nil {
		t.Error("signed a vote for a lower height")
	}
	repeated, first := vote(5, 1), vote(5, 1)
	if err := errors.Join(pv.SignVote("c", repeated), comet.PrivValidator(signer).SignVote("c", first)); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(repeated.Signature, first.Signature) || len(first.Signature) != 64 {
		t.Error("the same vote got another signature")
	}
}

func TestSignerRefusesFiles(t *testing.T) {
	t.Parallel()
	write := func(name, content string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name  string
		spoil func(t *testing.T, dir string)
		want  string
	}{
		{"key readable by others", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Chmod(filepath.Join(dir, keyFile), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "chmod 600"},
		{"state readable by others", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Chmod(filepath.Join(dir, stateFile), 0o640); err != nil {
				t.Fatal(err)
			}
		}, "chmod 600"},
		{"state missing", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Remove(filepath.Join(dir, stateFile)); err != nil {
				t.Fatal(err)
			}
		}, "no such file or directory; it says what the key beside it signed last"},
		{"key missing", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Remove(filepath.Join(dir, keyFile)); err != nil {
				t.Fatal(err)
			}
		}, "no such file"},
		{"key a link", func(t *testing.T, dir string) {
			t.Helper()
			path := filepath.Join(dir, keyFile)
			if err := errors.Join(os.Rename(path, path+"2"), os.Symlink(path+"2", path)); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
		{"key cut short", write(keyFile, `{"address":"00`), "decode"},
		{"key empty", write(keyFile, ``), "decode"},
		{"key without a key", write(keyFile, `{}`), "want Ed25519"},
		{"key of wrong size", write(keyFile, `{"priv_key":{"type":"tendermint/PrivKeyEd25519","value":"AAAA"}}`), ""},
		{"halves that do not match", write(keyFile,
			`{"priv_key":{"type":"tendermint/PrivKeyEd25519","value":"`+strings.Repeat("A", 86)+`=="}}`), "public half"},
		{"state cut short", write(stateFile, `{"height":"1`), "decode"},
		{"state of nobody", write(stateFile, `{"height":"-1","round":0,"step":0}`), "not a sign state"},
		{"state without a signature", write(stateFile, `{"height":"1","round":0,"step":1,"signbytes":"0A"}`), "not a sign state"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if _, err := comet.GenerateSigner(dir); err != nil {
				t.Fatal(err)
			}
			tt.spoil(t, dir)
			if _, err := comet.LoadSigner(dir); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("LoadSigner = %v, want %q", err, tt.want)
			}
		})
	}
}

// A vote whose state cannot be saved must not leave, nor any after it.
func TestSignerBroken(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "gone")
	signer, err := comet.GenerateSigner(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+"2"); err != nil {
		t.Fatal(err)
	}
	pv := comet.PrivValidator(signer)
	v := vote(1, 1)
	if err := pv.SignVote("c", v); !errors.Is(err, comet.ErrSignerBroken) {
		t.Fatalf("SignVote without a disk = %v", err)
	}
	if err := os.Rename(dir+"2", dir); err != nil {
		t.Fatal(err)
	}
	for _, v := range []*cmtproto.Vote{vote(1, 1), vote(2, 1)} {
		if err := pv.SignVote("c", v); !errors.Is(err, comet.ErrSignerBroken) || len(v.Signature) != 0 {
			t.Errorf("SignVote of height %d after a failed save = %v", v.Height, err)
		}
	}
	if !errors.Is(signer.Err(), comet.ErrSignerBroken) {
		t.Errorf("Err = %v", signer.Err())
	}
	// Started again, it signs from what is on disk.
	again, err := comet.LoadSigner(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := comet.PrivValidator(again).SignVote("c", vote(1, 2)); err != nil {
		t.Error(err)
	}
}

func TestNodeKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, err := comet.GenerateNodeKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := comet.GenerateNodeKey(dir); err == nil {
		t.Error("a second GenerateNodeKey replaced the key")
	}
	path := filepath.Join(dir, nodeFile)
	theirs, err := p2p.LoadNodeKey(path)
	if err != nil || string(theirs.ID()) != key.ID() {
		t.Errorf("CometBFT reads %v, %v, want %v", theirs, err, key.ID())
	}
	if again, err := comet.LoadNodeKey(dir); err != nil || again.ID() != key.ID() {
		t.Errorf("LoadNodeKey = %v, %v", again, err)
	}
	if err := os.Chmod(path, 0o604); err != nil {
		t.Fatal(err)
	}
	if _, err := comet.LoadNodeKey(dir); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
		t.Errorf("LoadNodeKey of a readable file = %v", err)
	}
}

func TestGenesisRefused(t *testing.T) {
	t.Parallel()
	key := func(b byte) []byte { return ed25519.GenPrivKeyFromSecret([]byte{b}).PubKey().Bytes() }
	good := func() comet.Genesis {
		return comet.Genesis{
			ChainID: "main", Time: time.Unix(1, 0), AppState: []byte{0, 1},
			Validators: []comet.GenesisValidator{{PubKey: key(1), Power: 1}, {PubKey: key(2), Power: 2}},
		}
	}
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(*comet.Genesis){
		"no chain id":       func(g *comet.Genesis) { g.ChainID = "" },
		"long chain id":     func(g *comet.Genesis) { g.ChainID = strings.Repeat("c", 51) },
		"no time":           func(g *comet.Genesis) { g.Time = time.Time{} },
		"no validators":     func(g *comet.Genesis) { g.Validators = nil },
		"no power":          func(g *comet.Genesis) { g.Validators[0].Power = 0 },
		"negative power":    func(g *comet.Genesis) { g.Validators[0].Power = -1 },
		"too much power":    func(g *comet.Genesis) { g.Validators[0].Power = 1 << 60 },
		"short key":         func(g *comet.Genesis) { g.Validators[1].PubKey = key(1)[1:] },
		"one key twice":     func(g *comet.Genesis) { g.Validators[1].PubKey = key(1) },
		"huge block":        func(g *comet.Genesis) { g.BlockMaxBytes = 1 << 40 },
		"negative block":    func(g *comet.Genesis) { g.BlockMaxBytes = -2 },
		"unlimited block":   func(g *comet.Genesis) { g.BlockMaxBytes = -1 },
		"block without txs": func(g *comet.Genesis) { g.BlockMaxBytes = 100 },
		"no room for votes": func(g *comet.Genesis) { g.BlockMaxBytes = comet.BlockOverhead(len(g.Validators)) - 1 },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := good()
			spoil(&g)
			if err := g.Validate(); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestConfigRefused(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("ab", 20)
	good := comet.Config{Dir: "d", ListenAddr: "127.0.0.1:26656", Peers: []string{id + "@host:1"}}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(*comet.Config){
		"no directory":      func(c *comet.Config) { c.Dir = "" },
		"no address":        func(c *comet.Config) { c.ListenAddr = "" },
		"no port":           func(c *comet.Config) { c.ListenAddr = "127.0.0.1" },
		"port too large":    func(c *comet.Config) { c.ListenAddr = "127.0.0.1:65536" },
		"external address":  func(c *comet.Config) { c.ExternalAddr = "host" },
		"peer without id":   func(c *comet.Config) { c.Peers = []string{"host:1"} },
		"peer with bad id":  func(c *comet.Config) { c.Peers = []string{strings.Repeat("AB", 20) + "@host:1"} },
		"peer without port": func(c *comet.Config) { c.Peers = []string{id + "@host"} },
		"negative timeout":  func(c *comet.Config) { c.TimeoutPropose = -1 },
		"negative rate":     func(c *comet.Config) { c.SendRate = -1 },
		"tx over mempool":   func(c *comet.Config) { c.MempoolBytes = 1 },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := good
			spoil(&c)
			if err := c.Validate(); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// A signature whose sign state may be gone after a power loss does not leave.
func TestSignStateIsDurable(t *testing.T) {
	t.Parallel()
	signer, err := comet.GenerateSigner(filepath.Join(t.TempDir(), "config"))
	if err != nil {
		t.Fatal(err)
	}
	pv := comet.PrivValidator(signer)
	if err := pv.SignVote("c", vote(1, 1)); err != nil {
		t.Fatal(err)
	}
	comet.FailSync(signer, errBoom)
	v := vote(2, 1)
	if err := pv.SignVote("c", v); !errors.Is(err, comet.ErrSignerBroken) || !errors.Is(err, errBoom) || len(v.Signature) != 0 {
		t.Errorf("SignVote = %v, signature %x", err, v.Signature)
	}
	if !errors.Is(signer.Err(), comet.ErrSignerBroken) {
		t.Errorf("Err = %v", signer.Err())
	}
}

// A sign state far above the chain excludes every vote: that shows, and goes away
// with the first vote that is possible again. A single refusal is no fault.
func TestSignerRefuses(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "config")
	if _, err := comet.GenerateSigner(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, stateFile), []byte(`{"height":"9000","round":0,"step":0}`), 0o600); err != nil {
		t.Fatal(err)
	}
	signer, err := comet.LoadSigner(dir)
	if err != nil {
		t.Fatal(err)
	}
	pv := comet.PrivValidator(signer)
	for i := range int64(3) {
		if err := signer.Err(); err != nil {
			t.Errorf("after %d refusals: %v", i, err)
		}
		if err := pv.SignVote("c", vote(5+i, 1)); err == nil {
			t.Fatal("signed below the sign state")
		}
	}
	if err := signer.Err(); !errors.Is(err, comet.ErrSignerRefuses) {
		t.Errorf("Err = %v", err)
	}
	if err := pv.SignVote("c", vote(9001, 1)); err != nil || signer.Err() != nil {
		t.Errorf("SignVote = %v, Err = %v", err, signer.Err())
	}
}
