package cert

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// MaxBitmap is the longest bitmap in bytes.
const MaxBitmap = committee.MaxSeats / 8

// Errors of certificates.
var (
	// ErrWrongNetwork and ErrWrongChain mean a certificate of another place.
	ErrWrongNetwork = errors.New("certificate of another network")
	ErrWrongChain   = errors.New("certificate of another chain")
	// ErrWrongGeneration means a certificate of another generation of the chain: of main
	// one that is not 0, in a run one that is not that of the others.
	ErrWrongGeneration = errors.New("certificate of another generation")
	// ErrWrongEpoch means a checkpoint of another epoch than the committee's.
	ErrWrongEpoch = errors.New("checkpoint of another epoch")
	// ErrWrongCommittee means a checkpoint that names another committee.
	ErrWrongCommittee = errors.New("checkpoint of another committee")
	// ErrWrongKeys means decoded keys that are not those of the members.
	ErrWrongKeys = errors.New("keys of another committee")
	// ErrBitmap means a bitmap that is empty, too long, or has trailing zeros.
	ErrBitmap = errors.New("bitmap is not in its shortest form")
	// ErrStranger means a signer that is no member: a bit beyond the last one.
	ErrStranger = errors.New("signer is not a member")
	// ErrRepeated means two votes by one member.
	ErrRepeated = errors.New("member votes twice")
	// ErrTooLittlePower means signers with not more than two thirds of the power.
	ErrTooLittlePower = errors.New("not more than two thirds of the power")
	// ErrBadSignature means that the signature is not the sum of the signers'.
	ErrBadSignature = errors.New("signature is not the sum of the signers'")
)

// Certificate proves that members with more than two thirds of the power of a
// committee signed a checkpoint. A checkpoint can have several, all valid, with
// different signers.
type Certificate struct {
	Checkpoint Checkpoint
	// Bitmap says who signed: member i is bit i%8, from the lowest, of byte i/8.
	// Its last byte is not zero, so it is as short as can be.
	Bitmap []byte
	// Signature is the sum of the signers' signatures of Checkpoint.Message.
	Signature bls.Signature
}

// Encode returns the canonical encoding: checkpoint, length of the bitmap 2,
// bitmap, signature 48.
func (c *Certificate) Encode() []byte {
	w := codec.NewWriter(CheckpointSize + 2 + len(c.Bitmap) + bls.SignatureSize)
	c.Checkpoint.write(w)
	w.String16(string(c.Bitmap))
	w.Fixed(c.Signature[:])
	return w.Bytes()
}

// Decode reads what Encode wrote. It returns ErrBitmap for a bitmap that is not
// in its shortest form. It verifies nothing.
func Decode(b []byte) (Certificate, error) {
	r := codec.NewReader(b)
	c := Certificate{Checkpoint: readCheckpoint(r)}
	c.Bitmap = []byte(r.String16(MaxBitmap))
	r.Into(c.Signature[:])
	if err := r.Done(); err != nil {
		return Certificate{}, fmt.Errorf("decode certificate: %w", err)
	}
	if err := c.checkBitmap(); err != nil {
		return Certificate{}, err
	}
	return c, nil
}

func (c *Certificate) checkBitmap() error {
	if n := len(c.Bitmap); n == 0 || n > MaxBitmap || c.Bitmap[n-1] == 0 {
		return fmt.Errorf("bitmap of %d bytes: %w", n, ErrBitmap)
	}
	return nil
}

// Signed reports whether member signed, as the bitmap says.
func (c *Certificate) Signed(member int) bool {
	return member >= 0 && member/8 < len(c.Bitmap) && c.Bitmap[member/8]&(1<<(member%8)) != 0
}

// Signers returns the indices of the members that signed, ascending, as the
// bitmap says.
func (c *Certificate) Signers() []int {
	var list []int
	for at, b := range c.Bitmap {
		for ; b != 0; b &= b - 1 {
			list = append(list, at*8+bits.TrailingZeros8(b))
		}
	}
	return list
}

// Verify returns nil if the certificate is of chain of network and members of
// com with more than two thirds of its power signed its checkpoint. keys are
// com.Keys(), decoded once per epoch. That com is the committee of the epoch is
// the caller's to know; heights too.
//
// It returns ErrWrongNetwork, ErrWrongChain, ErrWrongGeneration, ErrWrongEpoch,
// ErrWrongCommittee, ErrWrongKeys, ErrBitmap, ErrStranger, ErrTooLittlePower or ErrBadSignature,
// the first that holds; the signature is looked at last, at the cost of one
// product of two pairings.
func (c *Certificate) Verify(network ledger.NetworkID, chain ledger.ChainID, com *committee.Committee, keys []*bls.Key) error {
	p := &c.Checkpoint
	if err := checkPlace(p.Network, p.Chain, p.Generation, network, chain); err != nil {
		return err
	}
	if err := c.Checkpoint.checkCommittee(com, keys); err != nil {
		return err
	}
	if err := c.checkBitmap(); err != nil {
		return err
	}
	signing, err := c.signing(com, keys)
	if err != nil {
		return err
	}
	if !bls.VerifySame(signing, c.Checkpoint.Message(), c.Signature) {
		return fmt.Errorf("height %d, %d signers: %w", c.Checkpoint.Height, len(signing), ErrBadSignature)
	}
	return nil
}

// checkPlace returns an error unless a certificate is of the wanted network and chain.
func checkPlace(network ledger.NetworkID, chain ledger.ChainID, generation uint32, wantNetwork ledger.NetworkID, want ledger.ChainID) error {
	switch {
	case network != wantNetwork:
		return fmt.Errorf("network %s, want %s: %w", network, wantNetwork, ErrWrongNetwork)
	case chain != want:
		return fmt.Errorf("chain %d, want %d: %w", chain, want, ErrWrongChain)
	case chain == ledger.MainChain && generation != 0:
		return fmt.Errorf("generation %d of the main chain, which has none but 0: %w", generation, ErrWrongGeneration)
	}
	return nil
}

// signing returns the keys of the signers, as the bitmap says, if they are members
// with enough power.
func (c *Certificate) signing(com *committee.Committee, keys []*bls.Key) ([]*bls.Key, error) {
	var power uint64
	signers := c.Signers()
	signing := make([]*bls.Key, 0, len(signers))
	for _, i := range signers {
		if i >= len(com.Members) {
			return nil, fmt.Errorf("bit %d of a committee of %d: %w", i, len(com.Members), ErrStranger)
		}
		power += com.Members[i].Power
		signing = append(signing, keys[i])
	}
	return signing, checkPower(power, com)
}

// checkCommittee returns an error unless com is the committee that c names and
// keys are its members'.
func (c *Checkpoint) checkCommittee(com *committee.Committee, keys []*bls.Key) error {
	if c.Epoch != com.Epoch {
		return fmt.Errorf("epoch %d, the committee's is %d: %w", c.Epoch, com.Epoch, ErrWrongEpoch)
	}
	if h := com.Hash(); c.CommitteeHash != h {
		return fmt.Errorf("committee %s, this is %s: %w", c.CommitteeHash, h, ErrWrongCommittee)
	}
	if len(keys) != len(com.Members) {
		return fmt.Errorf("%d keys for %d members: %w", len(keys), len(com.Members), ErrWrongKeys)
	}
	for i, k := range keys {
		if k.Public() != com.Members[i].BLSKey {
			return fmt.Errorf("key of member %d: %w", i, ErrWrongKeys)
		}
	}
	return nil
}

func checkPower(power uint64, com *committee.Committee) error {
	if need := com.Quorum(); power < need {
		return fmt.Errorf("power %d of %d, need %d: %w", power, com.TotalPower(), need, ErrTooLittlePower)
	}
	return nil
}
