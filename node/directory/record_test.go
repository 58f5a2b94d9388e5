package directory_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/directory"
)

var update = flag.Bool("update", false, "rewrite the golden vectors")

var (
	network = ledger.NetworkID{1, 2, 3}
	epoch   = time.UnixMilli(1_800_000_000_123)
)

// nodeKey is the key of a test's node.
func nodeKey(b byte) (directory.Key, ed25519.PrivateKey) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
	return directory.Key(private.Public().(ed25519.PublicKey)), private //nolint:errcheck,forcetypeassert // it is one
}

// record makes a record of a node at a time, before edit and its signature.
func record(tb testing.TB, node byte, at time.Time, edit func(*directory.Record)) directory.Record {
	tb.Helper()
	key, private := nodeKey(node)
	r := directory.Record{
		Node: key, Sequence: uint64(at.UnixMilli()), Lifetime: directory.Lifetime,
		GRPC: "node.example:9090", TLS: true, Host: "node.example",
		Chains: []directory.Hosting{{Chain: 1, Port: 26656, Serving: true}, {Chain: 7, Port: 26657}},
	}
	if edit != nil {
		edit(&r)
	}
	if err := r.Sign(network, func(msg []byte) ([]byte, error) { return ed25519.Sign(private, msg), nil }); err != nil {
		tb.Fatal(err)
	}
	return r
}

func claim(validator byte, proof string) func(*directory.Record) {
	return func(r *directory.Record) {
		r.Validator, r.Proof = ledger.PublicKey{validator}, []byte(proof)
	}
}

func goldenRecords(tb testing.TB) map[string]directory.Record {
	tb.Helper()
	return map[string]directory.Record{
		"full":      record(tb, 1, epoch, claim(9, "proof")),
		"stranger":  record(tb, 2, epoch, nil),
		"least":     record(tb, 3, time.UnixMilli(0), func(r *directory.Record) { *r = directory.Record{Node: r.Node, Lifetime: time.Second} }),
		"addresses": record(tb, 4, epoch, func(r *directory.Record) { r.Host, r.GRPC = "2001:db8::1", "[2001:db8::1]:9090" }),
	}
}

// TestGolden: the encoding never changes.
func TestGolden(t *testing.T) {
	t.Parallel()
	for name, r := range goldenRecords(t) {
		path := filepath.Join("testdata", name+".golden")
		got := hex.EncodeToString(r.Encode()) + "\n"
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		again, err := directory.Decode(r.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(again, r) {
			t.Errorf("%s: %+v, want %+v", name, again, r)
		}
		if err := again.Verify(network); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRecordRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		edit func(*directory.Record)
		want string
	}{
		{"no lifetime", func(r *directory.Record) { r.Lifetime = 0 }, "lifetime"},
		{"long lifetime", func(r *directory.Record) { r.Lifetime = directory.MaxLifetime + time.Second }, "lifetime"},
		{"part of a second", func(r *directory.Record) { r.Lifetime = 1500 * time.Millisecond }, "whole seconds"},
		{"no time", func(r *directory.Record) { r.Sequence = 1 << 63 }, "no time"},
		{"validator without a proof", func(r *directory.Record) { r.Validator[0] = 1 }, "proof of the validator"},
		{"proof of nobody", func(r *directory.Record) { r.Proof = []byte{1} }, "proof of no validator"},
		{"long proof", func(r *directory.Record) {
			r.Validator[0], r.Proof = 1, make([]byte, directory.MaxProof+1)
		}, "proof of the validator"},
		{"endpoint without a port", func(r *directory.Record) { r.GRPC = "host" }, "host:port"},
		{"TLS of nothing", func(r *directory.Record) { r.GRPC = "" }, "TLS"},
		{"host with a port", func(r *directory.Record) { r.Host = "host:1" }, "no name or address"},
		{"host in brackets", func(r *directory.Record) { r.Host = "[::1]" }, "no name or address"},
		{"long host", func(r *directory.Record) { r.Host = strings.Repeat("h", 200) }, "no name or address"},
		{"port of no host", func(r *directory.Record) { r.Host = "" }, "no host"},
		{"a chain twice", func(r *directory.Record) { r.Chains[1].Chain = 1 }, "ascending"},
		{"chains in disorder", func(r *directory.Record) { r.Chains[0].Chain = 9 }, "ascending"},
		{"too many chains", func(r *directory.Record) { r.Chains = make([]directory.Hosting, directory.MaxChains+1) }, "at most"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := record(t, 1, epoch, nil)
			tt.edit(&r)
			err := r.Sign(network, func([]byte) ([]byte, error) { return make([]byte, 64), nil })
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Sign = %v, want %q", err, tt.want)
			}
			if tt.name == "part of a second" { // cannot be encoded
				return
			}
			if len(r.Proof) > 255 || r.Lifetime > time.Duration(1<<16)*time.Second {
				return
			}
			if _, err := directory.Decode(r.Encode()); err == nil {
				t.Error("Decode takes it")
			}
		})
	}
	good := record(t, 1, epoch, claim(1, "p"))
	for name, spoil := range map[string]func([]byte) []byte{
		"nothing":       func([]byte) []byte { return nil },
		"cut short":     func(b []byte) []byte { return b[:len(b)-1] },
		"longer":        func(b []byte) []byte { return append(b, 0) },
		"other version": func(b []byte) []byte { b[0] = 2; return b },
		"much longer":   func(b []byte) []byte { return append(b, make([]byte, directory.MaxRecord)...) },
	} {
		if _, err := directory.Decode(spoil(good.Encode())); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestLargestRecord: the most that a record says can be announced, and is read again.
func TestLargestRecord(t *testing.T) {
	t.Parallel()
	host := strings.Repeat(strings.Repeat("h", 60)+".", 2) + "h" // 123 bytes, and a port of 5
	r := record(t, 1, epoch, func(r *directory.Record) {
		r.Validator[0], r.Proof = 1, make([]byte, directory.MaxProof)
		r.GRPC, r.Host, r.Chains = host+":9090", host, nil
		for i := range directory.MaxChains {
			r.Chains = append(r.Chains, directory.Hosting{Chain: ledger.ChainID(1<<24 + i), Port: 65_535, Serving: true})
		}
	})
	raw := r.Encode()
	if again, err := directory.Decode(raw); err != nil || !reflect.DeepEqual(again, r) {
		t.Errorf("%d chains are read again, want %d: %v", len(again.Chains), len(r.Chains), err)
	}
	for _, n := range []int{len(raw), directory.MaxRecord} {
		if n > comet.MaxAnnouncement {
			t.Errorf("records have up to %d bytes, and %d can be announced", n, comet.MaxAnnouncement)
		}
	}
}

// Nothing in a record can be changed without its key, and no record serves on another
// network.
func TestRecordForged(t *testing.T) {
	t.Parallel()
	r := record(t, 1, epoch, claim(1, "p"))
	encoded := r.Encode()
	for i := range encoded {
		changed := bytes.Clone(encoded)
		changed[i] ^= 1
		other, err := directory.Decode(changed)
		if err != nil {
			continue
		}
		if err := other.Verify(network); !errors.Is(err, directory.ErrForged) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	if err := r.Verify(ledger.NetworkID{}); !errors.Is(err, directory.ErrForged) {
		t.Errorf("another network: %v", err)
	}
}

func TestRecordFresh(t *testing.T) {
	t.Parallel()
	r := record(t, 1, epoch, nil)
	for _, tt := range []struct {
		at   time.Duration
		want error
	}{
		{0, nil},
		{-directory.MaxSkew, nil},
		{-directory.MaxSkew - time.Millisecond, directory.ErrAhead},
		{directory.Lifetime - time.Millisecond, nil},
		{directory.Lifetime, directory.ErrExpired},
	} {
		if err := r.Fresh(epoch.Add(tt.at)); !errors.Is(err, tt.want) || tt.want == nil && err != nil {
			t.Errorf("after %v: %v, want %v", tt.at, err, tt.want)
		}
	}
}

// A node's record is signed with the key of its connections, and its id is that of
// peer addresses.
func TestNodeKeySigns(t *testing.T) {
	t.Parallel()
	key, err := comet.GenerateNodeKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := directory.Record{Node: directory.Key(key.PubKey()), Lifetime: time.Second}
	if err := r.Sign(network, key.Sign); err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(network); err != nil {
		t.Error(err)
	}
	if r.Node.ID() != key.ID() {
		t.Errorf("id %s, want %s", r.Node.ID(), key.ID())
	}
	if _, err := key.Sign(make([]byte, 32)); err == nil {
		t.Error("the key signs what could be the challenge of a connection")
	}
}

// FuzzDecode: what is taken is what Encode makes.
func FuzzDecode(f *testing.F) {
	for _, r := range goldenRecords(f) {
		f.Add(r.Encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := directory.Decode(b)
		if err != nil {
			return
		}
		if again := r.Encode(); !bytes.Equal(again, b) {
			t.Errorf("%x is encoded as %x", b, again)
		}
		_ = r.Fresh(epoch)
	})
}
