package staking

import (
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// tagPossession opens what every proof of possession signs. It ends in a zero
// byte, as a seal's does, and no other message begins with it.
const tagPossession = "trib/possession/1\x00"

// Prove returns the proof of possession with which operator registers the BLS key
// of secret beside a consensus key on a network. The network of a validator of a
// genesis, whose id its proof enters, is the zero id, which no network has.
//
// The key signs, under bls.SuiteProve: the tag "trib/possession/1", a zero byte,
// network 32, operator 21, consensus key 32, BLS key 96. So whoever sees a
// registration before it is in a block cannot register this BLS key, as its own or
// beside another consensus key, here or elsewhere.
//
// It can take the consensus key: that one proves nothing, since it signs votes only,
// often in a device that signs nothing else. Who registers the consensus key of
// another beside its own BLS key, before the other does, has it for ever, and the other
// needs a new one. What it gets is a validator that cannot seal a block and whose stake
// is at the mercy of the other; see SECURITY.md.
func Prove(secret *bls.SecretKey, network ledger.NetworkID, operator ledger.Address, consensusKey ledger.PublicKey) bls.Signature {
	return secret.Prove(statement(network, operator, consensusKey))
}

// Proves reports whether proof is that of Prove, by the secret of key.
func Proves(key *bls.Key, network ledger.NetworkID, operator ledger.Address, consensusKey ledger.PublicKey, proof bls.Signature) bool {
	return key.VerifyProof(statement(network, operator, consensusKey), proof)
}

// statement is what a proof signs before the BLS key.
func statement(network ledger.NetworkID, operator ledger.Address, consensusKey ledger.PublicKey) []byte {
	w := codec.NewWriter(len(tagPossession) + ledger.HashSize + ledger.AddressSize + ledger.PublicKeySize)
	w.Fixed([]byte(tagPossession))
	w.Fixed(network[:])
	w.Fixed(operator[:])
	w.Fixed(consensusKey[:])
	return w.Bytes()
}
