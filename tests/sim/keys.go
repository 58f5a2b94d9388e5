package sim

import (
	"encoding/binary"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
)

// Keys are the accounts of all simulations: real public keys, which are slow to
// make, with signatures that are a model. They are immutable and safe for
// concurrent use.
type Keys struct {
	public []ledger.PublicKey
	bls    []*bls.Key // of members, one for each seat of a committee
}

// maxSeats is how many members a committee has at most.
const maxSeats = 7

// keyCount is how many accounts there are.
const keyCount = 16

// NewKeys makes the keys, always the same.
func NewKeys() *Keys {
	k := &Keys{}
	for i := range uint64(keyCount) {
		seed := ledger.HashOf("sim/key", binary.BigEndian.AppendUint64(nil, i))
		k.public = append(k.public, ledger.NewPrivateKey(seed).Public())
	}
	for i := range uint64(maxSeats) {
		seed := ledger.HashOf("sim/bls", binary.BigEndian.AppendUint64(nil, i))
		secret, err := bls.NewSecretKey(seed[:])
		if err != nil {
			panic(err) // a hash is long enough
		}
		key, err := bls.ParseKey(secret.Public())
		if err != nil {
			panic(err) // it was just made
		}
		k.bls = append(k.bls, key)
	}
	return k
}

// sign returns the signature of a message by the owner of a key.
func sign(key ledger.PublicKey, message []byte) (s ledger.Signature) {
	h := ledger.HashOf("sim/signature", key[:], message)
	copy(s[:], h[:])
	return s
}

// verify returns the indexes of the claims that do not hold, ascending.
func verify(claims []ledger.Claim) []int {
	var bad []int
	for i := range claims {
		if c := &claims[i]; c.Signature != sign(c.Key, c.Message) {
			bad = append(bad, i)
		}
	}
	return bad
}

// signTx returns a whole transaction.
func signTx(d chain.Domain, key ledger.PublicKey, f chain.TxFields) []byte {
	unsigned := chain.UnsignedTx(d, key, f)
	return chain.AttachSignature(unsigned, sign(key, unsigned))
}
