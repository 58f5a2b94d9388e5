package exec_test

import (
	"crypto/rand"
	"fmt"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/ledger"
)

// TestRememberedKeysChangeNothing verifies the same batches with caches of every
// size, keys that no signature can be valid for among them.
func TestRememberedKeysChangeNothing(t *testing.T) {
	t.Parallel()
	claims := make([]ledger.Claim, 300)
	for i := range claims {
		k, message := keyOf(i/3), fmt.Appendf(nil, "message %d", i)
		claims[i] = ledger.Claim{Key: k.Public(), Message: message, Signature: k.Sign(message)}
	}
	claims[7].Key = ledger.PublicKey{}
	claims[30].Key = keyOf(1).Public()
	claims[31].Key = ledger.PublicKey{1}
	claims[299].Signature[3] ^= 1
	want := []int{7, 30, 31, 299}
	for _, places := range []int{0, 1, 2, 50, 1 << 12} {
		keys := exec.NewKeys(places)
		for round := range 3 {
			if bad := ledger.VerifyBatchWith(rand.Reader, claims, keys); !slices.Equal(bad, want) {
				t.Errorf("%d places, round %d: bad are %v, want %v", places, round, bad, want)
			}
		}
	}
	remembers := func() bool {
		keys := exec.NewKeys(1 << 12)
		ledger.VerifyBatchWith(rand.Reader, claims[100:], keys)
		var d ledger.DecodedKey
		key := claims[200].Key
		return keys.Load(&key, &d) && d.Key() == key
	}
	// Which keys share a place is a matter of chance; here one time in fifty.
	for attempt := 0; !remembers(); attempt++ {
		if attempt == 4 {
			t.Fatal("a key is forgotten at once")
		}
	}
}
