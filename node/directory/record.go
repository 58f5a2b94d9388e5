// Package directory tells which nodes host which chains, and where they are reached.
//
// Every node says so itself, in a Record that it signs with the key by which others
// know its connections, and that the nodes of the main chain pass on to each other
// (see comet.Announcements). Nothing in it is agreed on: a record is a hint of where to
// ask, and what is asked for is proved by other means. A record may claim to be of a
// validator, which proves it by its BLS key. That decides who is asked first, and keeps
// strangers, of whom there may be any number, from taking the room of validators.
//
// The package reads no clock and knows no network: both are given to it.
package directory

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

const (
	// MaxRecord bounds an encoded Record, in bytes.
	MaxRecord = 1 + 32 + 8 + 2 + 32 + 1 + MaxProof + 2*(2+staking.MaxEndpoint) + 1 + 1 + MaxChains*chainSize + ed25519.SignatureSize
	// MaxChains bounds the chains of a Record, and so those that a node runs beside the main
	// one: nobody finds a chain that is left out.
	MaxChains = 200
	// MaxProof bounds the proof of a validator's key, in bytes.
	MaxProof = 96
	// MaxLifetime bounds how long a Record says it holds.
	MaxLifetime = 10 * time.Minute
	// Lifetime is how long a node says that its record holds.
	Lifetime = 5 * time.Minute
	// Renewal is how often a node makes a new record: those whose clock is MaxSkew behind
	// have one, too, if some renewals are lost.
	Renewal = time.Minute
	// MaxSkew is how far ahead of the reader's clock a Record may be.
	MaxSkew = time.Minute

	version      = 1
	chainSize    = 4 + 2 + 1
	recordDomain = "tributary/directory/record/v1"
	proofDomain  = "tributary/directory/validator/v1"
)

// Errors of records. Compare with errors.Is.
var (
	// ErrForged means that the record's signature, or the proof of its validator, does
	// not hold.
	ErrForged = errors.New("forged record")
	// ErrExpired means that the record held until a time that is past.
	ErrExpired = errors.New("record has expired")
	// ErrAhead means that the record was made later than MaxSkew from now.
	ErrAhead = errors.New("record is of the future: the clock of its node, or this one, is wrong")
)

// Key is the public half of a node's key on the peer-to-peer network.
type Key [ed25519.PublicKeySize]byte

// ID is the node's identity in peer addresses: 40 hexadecimal digits, the first bytes
// of the key's SHA-256.
func (k Key) ID() string {
	hash := sha256.Sum256(k[:])
	return hex.EncodeToString(hash[:20])
}

// Hosting is a chain that a node runs.
type Hosting struct {
	Chain ledger.ChainID
	// Port is where the chain's peers reach it, on Record.Host; 0 if nowhere.
	Port uint16
	// Serving says that the node has caught up with the chain, as far as it knows.
	Serving bool
}

// Record is what a node says of itself.
//
// Encoded, in big-endian bytes: version 1 | node key 32 | sequence 8 | lifetime in
// seconds 2 | validator 32 | proof length 1, proof | gRPC endpoint length 2, bytes | TLS 1 |
// host length 2, bytes | number of chains 1, each: chain 4, port 2, serving 1 |
// signature 64.
type Record struct {
	Node Key
	// Sequence is when it was made, in Unix milliseconds. Of two records of a node the
	// later one holds.
	Sequence uint64
	// Lifetime is how long it holds from then on: whole seconds, 1 to MaxLifetime.
	Lifetime time.Duration

	// Validator is the consensus key of the validator whose node it is, 32 bytes; zero
	// if it is nobody's. Proof is by that one's BLS key over ProofMessage, 1 to MaxProof
	// bytes; empty if there is no validator.
	Validator ledger.PublicKey
	Proof     []byte

	// GRPC is where clients reach the node's API: host:port as staking.CheckEndpoint
	// has it, or empty. TLS says that it speaks TLS there.
	GRPC string
	TLS  bool
	// Host is the name or address of the ports of Chains, without brackets; empty if
	// nobody outside can reach them.
	Host string
	// Chains is what it runs, in ascending order of Chain, at most MaxChains.
	Chains []Hosting

	// Signature is by Node, over everything else and the network's id.
	Signature [ed25519.SignatureSize]byte
}

// ProofMessage is what a validator signs with its BLS key to say that a node is its
// own.
func ProofMessage(network ledger.NetworkID, node Key) []byte {
	w := codec.NewWriter(len(proofDomain) + len(network) + len(node))
	w.Fixed([]byte(proofDomain))
	w.Fixed(network[:])
	w.Fixed(node[:])
	return w.Bytes()
}

// Sign makes the signature, with sign by the key of r.Node, after it checked
// everything else.
func (r *Record) Sign(network ledger.NetworkID, sign func(msg []byte) ([]byte, error)) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("sign record: %w", err)
	}
	signature, err := sign(r.message(network))
	if err != nil {
		return fmt.Errorf("sign record: %w", err)
	}
	if len(signature) != len(r.Signature) {
		return fmt.Errorf("sign record: signature of %d bytes, want %d", len(signature), len(r.Signature))
	}
	copy(r.Signature[:], signature)
	return nil
}

// Verify returns ErrForged unless the signature is r.Node's, on the network.
func (r *Record) Verify(network ledger.NetworkID) error {
	if !ed25519.Verify(r.Node[:], r.message(network), r.Signature[:]) {
		return fmt.Errorf("%w: the signature is not by node %s", ErrForged, r.Node.ID())
	}
	return nil
}

// Expires is when the record holds no more.
func (r *Record) Expires() time.Time {
	return time.UnixMilli(int64(r.Sequence)).Add(r.Lifetime) //nolint:gosec // Decode and Sign bound it
}

// Fresh returns ErrExpired or ErrAhead unless the record holds at now.
func (r *Record) Fresh(now time.Time) error {
	if made := time.UnixMilli(int64(r.Sequence)); made.After(now.Add(MaxSkew)) { //nolint:gosec // Decode and Sign bound it
		return fmt.Errorf("%w: it is of %v, and now it is %v", ErrAhead, made.UTC(), now.UTC())
	}
	if end := r.Expires(); !end.After(now) {
		return fmt.Errorf("%w: at %v", ErrExpired, end.UTC())
	}
	return nil
}

// message is what a node signs.
func (r *Record) message(network ledger.NetworkID) []byte {
	w := codec.NewWriter(len(recordDomain) + len(network) + MaxRecord)
	w.Fixed([]byte(recordDomain))
	w.Fixed(network[:])
	r.body(w)
	return w.Bytes()
}

// body appends everything but the signature.
func (r *Record) body(w *codec.Writer) {
	w.Uint8(version)
	w.Fixed(r.Node[:])
	w.Uint64(r.Sequence)
	w.Uint16(uint16(r.Lifetime / time.Second)) //nolint:gosec // at most MaxLifetime
	w.Fixed(r.Validator[:])
	w.Uint8(uint8(len(r.Proof))) //nolint:gosec // at most MaxProof
	w.Fixed(r.Proof)
	w.String16(r.GRPC)
	w.Bool(r.TLS)
	w.String16(r.Host)
	w.Uint8(uint8(len(r.Chains))) //nolint:gosec // at most MaxChains
	for _, c := range r.Chains {
		w.Uint32(uint32(c.Chain))
		w.Uint16(c.Port)
		w.Bool(c.Serving)
	}
}

// Encode returns the record as bytes, at most MaxRecord.
func (r *Record) Encode() []byte {
	w := codec.NewWriter(MaxRecord)
	r.body(w)
	w.Fixed(r.Signature[:])
	return w.Bytes()
}

// Decode reads what Encode returned. It does not look at signatures and times.
func Decode(b []byte) (Record, error) {
	r, err := decode(b)
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return Record{}, fmt.Errorf("decode record: %w", err)
	}
	return r, nil
}

func decode(b []byte) (rec Record, err error) {
	if len(b) > MaxRecord {
		return rec, fmt.Errorf("%d bytes, at most %d", len(b), MaxRecord)
	}
	r := codec.NewReader(b)
	if v := r.Uint8(); r.Err() == nil && v != version {
		return rec, fmt.Errorf("version %d, want %d", v, version)
	}
	r.Into(rec.Node[:])
	rec.Sequence = r.Uint64()
	rec.Lifetime = time.Duration(r.Uint16()) * time.Second
	r.Into(rec.Validator[:])
	if n := r.Uint8(); n > 0 {
		rec.Proof = append(rec.Proof, r.Fixed(int(n))...)
	}
	rec.GRPC = r.String16(staking.MaxEndpoint)
	rec.TLS = r.Bool()
	rec.Host = r.String16(staking.MaxEndpoint)
	for n := r.Uint8(); n > 0 && r.Err() == nil; n-- {
		rec.Chains = append(rec.Chains, Hosting{ledger.ChainID(r.Uint32()), r.Uint16(), r.Bool()})
	}
	r.Into(rec.Signature[:])
	return rec, r.Done()
}

// maxSequence is the last millisecond of the year 9999.
const maxSequence = 253402300799999

// check refuses what no record may say.
func (r *Record) check() error {
	claims := r.Validator != ledger.PublicKey{}
	switch {
	case r.Sequence > maxSequence:
		return fmt.Errorf("sequence %d is no time, want Unix milliseconds", r.Sequence)
	case r.Lifetime < time.Second || r.Lifetime > MaxLifetime || r.Lifetime%time.Second != 0:
		return fmt.Errorf("lifetime %v, want whole seconds up to %v", r.Lifetime, MaxLifetime)
	case claims && (len(r.Proof) == 0 || len(r.Proof) > MaxProof):
		return fmt.Errorf("proof of the validator of %d bytes, want 1 to %d", len(r.Proof), MaxProof)
	case !claims && len(r.Proof) > 0:
		return errors.New("proof of no validator: leave it out")
	case r.GRPC == "" && r.TLS:
		return errors.New("TLS without a gRPC endpoint")
	case len(r.Chains) > MaxChains:
		return fmt.Errorf("%d chains, at most %d", len(r.Chains), MaxChains)
	}
	if r.GRPC != "" {
		if err := staking.CheckEndpoint(r.GRPC); err != nil {
			return fmt.Errorf("gRPC endpoint: %w", err)
		}
	}
	if r.Host != "" {
		if err := staking.CheckEndpoint(peer(r.Host, 1)); err != nil || r.Host[0] == '[' {
			return fmt.Errorf("host %q is no name or address", r.Host)
		}
	}
	for i, c := range r.Chains {
		switch {
		case i > 0 && c.Chain <= r.Chains[i-1].Chain:
			return fmt.Errorf("chain %d after chain %d: want ascending ids, each once", c.Chain, r.Chains[i-1].Chain)
		case c.Port != 0 && r.Host == "":
			return fmt.Errorf("chain %d has port %d of no host", c.Chain, c.Port)
		}
	}
	return nil
}

// peer is host:port, with brackets where they are needed.
func peer(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}
