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
// That what the same keys signed is added up takes nothing from it: other messages whose
// hashes have the same sum are as hard to find as discrete logarithms on the curve.
//
// It costs one product of pairings, one for each group and one for s, and a hash to
// the curve for each message: pairings are linear, so what the same keys signed is
// added up before. Sixty-four messages of one group cost little more than the hashes.
// An addition is made for each key that a group has and the one before has not, or the
// other way round, if these are fewer than its keys: groups that differ in a few of
// many keys cost little for them.
func VerifyMany(groups []Group, s Signature) bool {
	point, err := decode(s)
	if err != nil || len(groups) == 0 {
		return false
	}
	ones := append(make([]*bls12381.G1, 0, len(groups)+1), point)
	twos := append(make([]*bls12381.G2, 0, len(groups)+1), bls12381.G2Generator())
	signs := append(make([]int, 0, len(groups)+1), 1)
	var before []*Key
	key := new(bls12381.G2)
	key.SetIdentity()
	for i := range groups {
		hash := sumHashes(groups[i].Messages)
		key = sumAfter(key, before, groups[i].Keys)
		if hash.IsIdentity() || key.IsIdentity() { // of an honest group neither is
			return false
		}
		before = groups[i].Keys
		ones, twos, signs = append(ones, hash), append(twos, key), append(signs, -1)
	}
	return bls12381.ProdPairFrac(ones, twos, signs).IsIdentity()
}

// sumHashes returns the sum of the messages' hashes.
func sumHashes(messages [][]byte) *bls12381.G1 {
	sum := new(bls12381.G1)
	sum.SetIdentity()
	for _, m := range messages {
		sum.Add(sum, hashed(m, SuiteSign))
	}
	return sum
}

// sumAfter returns the sum of keys, given the sum of those before.
func sumAfter(sumBefore *bls12381.G2, before, keys []*Key) *bls12381.G2 {
	more := make(map[*Key]int, len(keys)) // how often keys has it more than before has
	for _, k := range keys {
		more[k]++
	}
	for _, k := range before {
		more[k]--
	}
	differ := 0
	for _, n := range more {
		differ += max(n, -n)
	}
	sum := new(bls12381.G2)
	if differ >= len(keys) {
		sum.SetIdentity()
		for _, k := range keys {
			sum.Add(sum, &k.point)
		}
		return sum
	}
	*sum = *sumBefore
	for _, k := range keys {
		for ; more[k] > 0; more[k]-- {
			sum.Add(sum, &k.point)
		}
	}
	for _, k := range before {
		for ; more[k] < 0; more[k]++ {
			away := k.point
			away.Neg()
			sum.Add(sum, &away)
		}
	}
	return sum
}
