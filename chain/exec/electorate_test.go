package exec_test

import (
	"testing"
	"time"
)

// The keys of a committee are decoded before it votes, and only those of members
// that are new.
func TestKeysOfACommitteeAreDecodedOnceAndEarly(t *testing.T) {
	t.Parallel()
	const epoch = 10
	c := newValidators(t, 4, epoch)
	e := c.nodes[0].exec
	for height := uint64(1); height < epoch; height++ {
		b := c.next()
		c.agree(t, b, c.vote(t, b))
	}
	eventually(t, 20*time.Second, "the elected are known", func() bool { return e.KeptKeys(1) != nil })
	old, elected := e.KeptKeys(0), e.KeptKeys(1)
	if len(old) != 4 || len(elected) != 4 {
		t.Fatalf("%d and %d keys, want those of 4 members", len(old), len(elected))
	}
	for i := range old {
		found := false
		for j := range elected {
			found = found || old[i] == elected[j]
		}
		if !found {
			t.Errorf("the key of member %d is decoded anew", i)
		}
	}
}
