package merkle_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/merkle"
)

// reference is the definition in RFC 6962, section 2.1, word for word.
func reference(leaves [][]byte) ledger.Hash {
	switch n := len(leaves); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, leaves[0]...))
	default:
		k := 1
		for 2*k < n {
			k *= 2
		}
		l, r := reference(leaves[:k]), reference(leaves[k:])
		return sha256.Sum256(append(append([]byte{1}, l[:]...), r[:]...))
	}
}

func leaves(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = fmt.Appendf(nil, "leaf %d", i)
	}
	return out
}

func TestRootIsRFC6962(t *testing.T) {
	t.Parallel()
	for n := range 70 {
		want := reference(leaves(n))
		got, err := merkle.Root(leaves(n))
		if err != nil || got != want {
			t.Fatalf("root of %d leaves = %v, %v; want %v", n, got, err, want)
		}
		tree, err := merkle.New(leaves(n))
		if err != nil || tree.Root() != want || tree.Size() != uint64(n) {
			t.Fatalf("tree of %d leaves: root %v, size %d, %v", n, tree.Root(), tree.Size(), err)
		}
	}
}

// The vectors are those of the certificate transparency reference code.
func TestRootVectors(t *testing.T) {
	t.Parallel()
	input := []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"}
	want := []string{
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
	var data [][]byte
	for i, s := range input {
		leaf, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, leaf)
		if got, err := merkle.Root(data); err != nil || got.String() != want[i] {
			t.Errorf("root of %d leaves = %v, %v; want %s", i+1, got, err, want[i])
		}
	}
}

func TestPathProvesOneLeafOnly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(rt, "n")
		i := rapid.IntRange(0, n-1).Draw(rt, "i")
		data := leaves(n)
		tree, err := merkle.New(data)
		if err != nil {
			rt.Fatal(err)
		}
		path, err := tree.Path(uint64(i))
		if err != nil {
			rt.Fatal(err)
		}
		verify := func(leaf []byte, index, size int, path []ledger.Hash) error {
			return merkle.Verify(tree.Root(), leaf, uint64(index), uint64(size), path)
		}
		if err := verify(data[i], i, n, path); err != nil {
			rt.Fatalf("a true proof fails: %v", err)
		}
		refuse := func(what string, err error) {
			if !errors.Is(err, merkle.ErrProof) {
				rt.Fatalf("%s: %v, want ErrProof", what, err)
			}
		}
		refuse("another leaf", verify([]byte("other"), i, n, path))
		refuse("index out of range", verify(data[i], n, n, path))
		refuse("a longer path", verify(data[i], i, n, append(append([]ledger.Hash{}, path...), ledger.Hash{})))
		if n > 1 {
			refuse("another index", verify(data[i], (i+1)%n, n, path))
			broken := append([]ledger.Hash{}, path...)
			broken[rapid.IntRange(0, len(path)-1).Draw(rt, "broken")][0] ^= 1
			refuse("a broken hash", verify(data[i], i, n, broken))
		}
		if _, err := tree.Path(uint64(n)); err == nil {
			rt.Fatal("a path beyond the tree")
		}
	})
}

// TestClimb: by the sides of a path one comes to the root, and by others, or from another
// leaf, one does not.
func TestClimb(t *testing.T) {
	t.Parallel()
	for n := uint64(1); n < 70; n++ {
		list := leaves(int(n))
		tree, err := merkle.New(list)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			path, err := tree.Path(i)
			if err != nil {
				t.Fatal(err)
			}
			left := merkle.Sides(i, n)
			if left>>len(path) != 0 || merkle.Climb(list[i], left, path) != tree.Root() {
				t.Fatalf("leaf %d of %d by the sides %b", i, n, left)
			}
			for side := range path {
				if merkle.Climb(list[i], left^1<<side, path) == tree.Root() {
					t.Errorf("leaf %d of %d by the sides %b", i, n, left^1<<side)
				}
			}
			if merkle.Climb([]byte("another"), left, path) == tree.Root() {
				t.Errorf("another leaf instead of %d of %d", i, n)
			}
		}
	}
}
