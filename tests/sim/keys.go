package sim

import (
	"encoding/binary"
	"sync"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
)

// Keys are the accounts and validators of all simulations: real public keys, which are
// slow to make, with signatures that are a model. They are safe for concurrent use.
type Keys struct {
	public []ledger.PublicKey // of networks with few shards
	// Of validators, one for each: the operator's key and that of consensus, and the BLS key.
	operators, consensus []ledger.PublicKey
	secrets              []*bls.SecretKey
	bls                  map[bls.PublicKey]*bls.Key

	mu       sync.Mutex
	founding map[shape]*founding // what main begins with; slow to make, too
}

// founding is the state that main begins with, and who has accounts in it.
type founding struct {
	network   ledger.NetworkID
	params    settlement.Params
	changes   chain.Changes
	public    []ledger.PublicKey
	addresses []ledger.Address // of public
}

const (
	// keyCount is how many accounts there are where shards are few.
	keyCount = 16
	// validators is how many validators there are.
	validators = 7
)

// NewKeys makes the keys, always the same.
func NewKeys() *Keys {
	k := &Keys{bls: map[bls.PublicKey]*bls.Key{}, founding: map[shape]*founding{}}
	for i := range uint64(keyCount) {
		k.public = append(k.public, publicKey("sim/key", i))
	}
	for i := range uint64(validators) {
		k.operators = append(k.operators, publicKey("sim/operator", i))
		k.consensus = append(k.consensus, publicKey("sim/consensus", i))
		seed := ledger.HashOf("sim/bls", binary.BigEndian.AppendUint64(nil, i))
		secret, err := bls.NewSecretKey(seed[:])
		if err != nil {
			panic(err) // a hash is long enough
		}
		key, err := bls.ParseKey(secret.Public())
		if err != nil {
			panic(err) // it was just made
		}
		k.secrets = append(k.secrets, secret)
		k.bls[secret.Public()] = key
	}
	return k
}

func publicKey(name string, i uint64) ledger.PublicKey {
	return ledger.NewPrivateKey(ledger.HashOf(name, binary.BigEndian.AppendUint64(nil, i))).Public()
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
