package stateproof

import (
	"bytes"
	"errors"
	"fmt"

	ics23 "github.com/cosmos/ics23/go"

	"github.com/tributary-network/tributary/ledger"
)

const (
	// MaxEncodedSize is the length in bytes of the longest encoding Decode
	// takes. A proof in a tree of a million keys has about 2,400 bytes.
	MaxEncodedSize = 16 << 10

	encodingVersion = 1
)

// ErrMalformed is wrapped by every error of Decode.
var ErrMalformed = errors.New("state proof is malformed")

// Encode returns the canonical encoding of p:
//
//	1 | siblings u8 (0 or 10) | 32 bytes each | ICS23 proof as protobuf
//
// where an empty ICS23 proof stands for an empty tree.
func (p *Proof) Encode() ([]byte, error) {
	if len(p.Siblings) != 0 && len(p.Siblings) != PageDepth {
		return nil, fmt.Errorf("encode state proof: %d siblings", len(p.Siblings))
	}
	out := []byte{encodingVersion, byte(len(p.Siblings))}
	for _, h := range p.Siblings {
		out = append(out, h[:]...)
	}
	if p.Tree != nil {
		tree, err := p.Tree.Marshal()
		if err != nil {
			return nil, fmt.Errorf("encode state proof: %w", err)
		}
		out = append(out, tree...)
	}
	if len(out) > MaxEncodedSize {
		return nil, fmt.Errorf("encode state proof: %d bytes, at most %d", len(out), MaxEncodedSize)
	}
	return out, nil
}

// Decode reads what Encode wrote and nothing else: bytes that Encode would not
// give are refused with an error that wraps ErrMalformed. It never panics.
func Decode(b []byte) (p *Proof, err error) {
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, fmt.Errorf("%w: %v", ErrMalformed, r)
		}
	}()
	if len(b) < 2 || len(b) > MaxEncodedSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	if b[0] != encodingVersion {
		return nil, fmt.Errorf("%w: version %d", ErrMalformed, b[0])
	}
	p = &Proof{}
	rest := b[2:]
	switch n := int(b[1]); {
	case n == 0:
	case n != PageDepth || len(rest) < PageDepth*ledger.HashSize:
		return nil, fmt.Errorf("%w: %d siblings", ErrMalformed, n)
	default:
		p.Siblings = make([]ledger.Hash, n)
		for i := range p.Siblings {
			copy(p.Siblings[i][:], rest)
			rest = rest[ledger.HashSize:]
		}
	}
	if len(rest) > 0 {
		p.Tree = new(ics23.CommitmentProof)
		if err := p.Tree.Unmarshal(rest); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if p.Tree.GetExist() == nil && p.Tree.GetNonexist() == nil {
			return nil, fmt.Errorf("%w: neither existence nor non-existence", ErrMalformed)
		}
	}
	again, err := p.Encode()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if !bytes.Equal(again, b) {
		return nil, fmt.Errorf("%w: not the canonical encoding", ErrMalformed)
	}
	return p, nil
}

// Statement says what a state holds under a key, with its proof.
type Statement struct {
	Height uint64      // of the state; the hash is in the header after it
	Root   ledger.Hash // application hash at Height
	Key    []byte
	Value  []byte // nil: absent
	Proof  *Proof
}

// VerifyStatement checks the statement against its own Root, which the caller must know
// from elsewhere: from a header that enough validators signed.
func (s *Schema) VerifyStatement(st *Statement) error {
	return s.Verify(st.Root, st.Key, st.Value, st.Proof)
}
