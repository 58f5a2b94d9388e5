package bls

import "github.com/cloudflare/circl/ecc/bls12381"

// Group is messages that the same keys signed.
type Group struct {
	Keys     []*Key
	Messages [][]byte
}

// VerifyMany reports whether s is the sum of one signature of each message of a
// group by each key of the group, over all groups. It is false if there is no group,
// or one without keys or messages, and for keys of a group that sum up to the
// identity.
//
// The keys must have proved possession. A key or message that is given twice counts
// twice, in one group or in several: whoever counts signers keeps them apart.
//
// It costs one product of pairings, one for each group and one for s, a hash to the
// curve for each message and an addition for each key of a group: pairings are
// linear, so what the same keys signed is added up before. Sixty-four messages of one
// group cost little more than the hashes.
func VerifyMany(groups []Group, s Signature) bool {
	point, err := decode(s)
	if err != nil || len(groups) == 0 {
		return false
	}
	ones := append(make([]*bls12381.G1, 0, len(groups)+1), point)
	twos := append(make([]*bls12381.G2, 0, len(groups)+1), bls12381.G2Generator())
	signs := append(make([]int, 0, len(groups)+1), 1)
	for i := range groups {
		hash, key, ok := groups[i].sum()
		if !ok {
			return false
		}
		ones, twos, signs = append(ones, hash), append(twos, key), append(signs, -1)
	}
	return bls12381.ProdPairFrac(ones, twos, signs).IsIdentity()
}

// sum returns the sum of the messages' hashes and that of the keys, and ok=false if
// one of them is the identity, which no honest group is.
func (g *Group) sum() (hash *bls12381.G1, key *bls12381.G2, ok bool) {
	hash, key = new(bls12381.G1), new(bls12381.G2)
	hash.SetIdentity()
	key.SetIdentity()
	for _, m := range g.Messages {
		hash.Add(hash, hashed(m, SuiteSign))
	}
	for _, k := range g.Keys {
		key.Add(key, &k.point)
	}
	return hash, key, !hash.IsIdentity() && !key.IsIdentity()
}
