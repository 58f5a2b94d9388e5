// Package committee says who agrees in an epoch, and with how much power: the
// committee, its canonical bytes and hash, and the pure functions that elect it
// from the candidates' stakes (Elect) or draw it by lot (Draw, Rotate).
//
// A committee is elected on the main chain in the last block but one of an
// epoch and votes all blocks of the next. Its members stand in the order of the
// election; the index of a member is its bit in every certificate of the epoch
// (consensus/cert). The hash of a committee is part of what its members sign.
//
// A Record holds a committee with all that decided it: the rules, the seed and
// the hash of the candidates. The candidates themselves are kept outside the
// state; whoever gets them from anywhere recomputes the election with one call,
// Record.Check.
//
// Power follows stake, but for a cap on the largest, which is bounded in turn: x of
// the elected stake never holds more than 4/3 x of the power, so that to stop a chain
// takes a quarter of the stake at least, and to decide for it half; see Elect.
//
// Nothing here can be ground: an election depends on stakes, and on a seed that
// was fixed before the stakes (consensus/beacon) only where stakes are equal.
// Draws depend on a seed and stakes alone, never on the order of the candidates.
//
// It belongs to row 1a of the dependency order: pure functions of values, no
// state. Everything here is safe for concurrent use.
package committee

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

const (
	// MaxSeats is the largest number of members of a committee.
	MaxSeats = 1024
	// MaxTotalPower is the largest total power of a committee: 2^53-1, so that
	// powers and their sums are exact also where numbers are doubles.
	MaxTotalPower = 1<<53 - 1
	// AddressSize is the length of a consensus address in bytes.
	AddressSize = 20
	// memberSize is the length of an encoded member.
	memberSize = 8 + 32 + bls.PublicKeySize + 8
)

// ErrBadCommittee means a committee that no election makes: too many members,
// one without power, one twice, or too much power in all.
var ErrBadCommittee = errors.New("not a committee")

// Member is a validator with a seat.
type Member struct {
	// Validator is the row of the validator in the state of the main chain.
	Validator uint64
	// ConsensusKey is the Ed25519 key that votes blocks.
	ConsensusKey [32]byte
	// BLSKey is the key that signs checkpoints and seals.
	BLSKey bls.PublicKey
	// Power is the weight of the member's vote, at least 1.
	Power uint64
}

// Address returns the consensus address of the member: the first AddressSize
// bytes of the SHA-256 of its consensus key.
func (m *Member) Address() [AddressSize]byte {
	sum := sha256.Sum256(m.ConsensusKey[:])
	return [AddressSize]byte(sum[:])
}

// Committee is who votes the blocks of an epoch. Validators and consensus keys
// are distinct, powers are at least 1 and sum up to at most MaxTotalPower.
type Committee struct {
	Epoch uint64
	// Members stand in the order of the election: by power, highest first. The
	// index of a member is its bit in certificates.
	Members []Member
}

// TotalPower returns the sum of all powers.
func (c *Committee) TotalPower() uint64 {
	var sum uint64
	for i := range c.Members {
		sum += c.Members[i].Power
	}
	return sum
}

// Quorum returns the smallest power that is more than two thirds of TotalPower.
// It is at least 1.
func (c *Committee) Quorum() uint64 { return c.TotalPower()*2/3 + 1 }

// FindAddress returns the index of the member with a consensus address.
func (c *Committee) FindAddress(address [AddressSize]byte) (index int, ok bool) {
	for i := range c.Members {
		if c.Members[i].Address() == address {
			return i, true
		}
	}
	return 0, false
}

// FindValidator returns the index of the member in a row of the state.
func (c *Committee) FindValidator(validator uint64) (index int, ok bool) {
	for i := range c.Members {
		if c.Members[i].Validator == validator {
			return i, true
		}
	}
	return 0, false
}

// Keys decodes the BLS keys of all members, in their order, for certificates.
// It takes about 0.2 ms per member, so callers keep the result for the epoch.
// The error is bls.ErrBadKey; registration keeps such keys out.
func (c *Committee) Keys() ([]*bls.Key, error) {
	keys := make([]*bls.Key, len(c.Members))
	for i := range c.Members {
		k, err := bls.ParseKey(c.Members[i].BLSKey)
		if err != nil {
			return nil, fmt.Errorf("member %d of the committee of epoch %d: %w", i, c.Epoch, err)
		}
		keys[i] = k
	}
	return keys, nil
}

// Hash returns the hash of the committee's encoding. Members sign it in every
// checkpoint of the epoch.
func (c *Committee) Hash() ledger.Hash { return ledger.HashOf("trib/committee/1", c.Encode()) }

// Encode returns the canonical encoding: epoch 8, number of members 2, and per
// member the row 8, consensus key 32, BLS key 96, power 8.
func (c *Committee) Encode() []byte {
	w := codec.NewWriter(10 + memberSize*len(c.Members))
	c.write(w)
	return w.Bytes()
}

func (c *Committee) write(w *codec.Writer) {
	w.Uint64(c.Epoch)
	w.Uint16(uint16(len(c.Members)))
	for i := range c.Members {
		c.Members[i].write(w)
	}
}

func (m *Member) write(w *codec.Writer) {
	w.Uint64(m.Validator)
	w.Fixed(m.ConsensusKey[:])
	w.Fixed(m.BLSKey[:])
	w.Uint64(m.Power)
}

// Decode reads what Encode wrote. It returns ErrBadCommittee for a committee
// that breaks what Committee promises. BLS keys are not decoded: see Keys.
func Decode(b []byte) (Committee, error) {
	r := codec.NewReader(b)
	c := read(r)
	if err := r.Done(); err != nil {
		return Committee{}, fmt.Errorf("decode committee: %w", err)
	}
	if err := c.check(); err != nil {
		return Committee{}, err
	}
	return c, nil
}

func read(r *codec.Reader) Committee {
	c := Committee{Epoch: r.Uint64()}
	n := int(r.Uint16())
	if n > r.Remaining()/memberSize {
		r.Fixed(n * memberSize) // fails: fewer bytes remain
		return c
	}
	c.Members = make([]Member, n)
	for i := range c.Members {
		c.Members[i] = readMember(r)
	}
	return c
}

func readMember(r *codec.Reader) (m Member) {
	m.Validator = r.Uint64()
	r.Into(m.ConsensusKey[:])
	r.Into(m.BLSKey[:])
	m.Power = r.Uint64()
	return m
}

func (c *Committee) check() error {
	if len(c.Members) > MaxSeats {
		return fmt.Errorf("%d members, at most %d: %w", len(c.Members), MaxSeats, ErrBadCommittee)
	}
	rows := make(map[uint64]bool, len(c.Members))
	keys := make(map[[32]byte]bool, len(c.Members))
	certifying := make(map[bls.PublicKey]bool, len(c.Members))
	left := uint64(MaxTotalPower)
	for i := range c.Members {
		m := &c.Members[i]
		switch {
		case m.Power == 0:
			return fmt.Errorf("member %d has no power: %w", i, ErrBadCommittee)
		case m.Power > left:
			return fmt.Errorf("total power above %d: %w", uint64(MaxTotalPower), ErrBadCommittee)
		case rows[m.Validator]:
			return fmt.Errorf("member %d repeats validator %d: %w", i, m.Validator, ErrBadCommittee)
		case keys[m.ConsensusKey]:
			return fmt.Errorf("member %d repeats consensus key %x: %w", i, m.ConsensusKey, ErrBadCommittee)
		case certifying[m.BLSKey]: // its signature would count for both
			return fmt.Errorf("member %d repeats BLS key %x: %w", i, m.BLSKey, ErrBadCommittee)
		}
		left -= m.Power
		rows[m.Validator], keys[m.ConsensusKey], certifying[m.BLSKey] = true, true, true
	}
	return nil
}
