package bls_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/tributary-network/tributary/consensus/bls"
)

// message returns the message of a height.
func message(height int) []byte {
	return binary.BigEndian.AppendUint64([]byte("message "), uint64(height))
}

// signMany returns the groups of these secrets, group i signing messages 10i to
// 10i+count-1, and the sum of all signatures.
func signMany(tb testing.TB, count int, members ...[]byte) (groups []bls.Group, sum bls.Signature) {
	tb.Helper()
	var shares []bls.Signature
	for i, list := range members {
		var g bls.Group
		for n := range count {
			g.Messages = append(g.Messages, message(10*i+n))
		}
		for _, member := range list {
			k := secret(member)
			g.Keys = append(g.Keys, parse(tb, k.Public()))
			for _, m := range g.Messages {
				shares = append(shares, k.Sign(m))
			}
		}
		groups = append(groups, g)
	}
	return groups, aggregate(tb, shares...)
}

func TestVerifyMany(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		change func(g []bls.Group, s *bls.Signature) []bls.Group
		want   bool
	}{
		{"as it is", func(g []bls.Group, _ *bls.Signature) []bls.Group { return g }, true},
		{"groups in another order", func(g []bls.Group, _ *bls.Signature) []bls.Group { return []bls.Group{g[1], g[0]} }, true},
		{"a group in two", func(g []bls.Group, _ *bls.Signature) []bls.Group {
			return append(g[1:], bls.Group{Keys: g[0].Keys, Messages: g[0].Messages[:1]}, bls.Group{Keys: g[0].Keys, Messages: g[0].Messages[1:]})
		}, true},
		{"a group by keys", func(g []bls.Group, _ *bls.Signature) []bls.Group {
			return append(g[1:], bls.Group{Keys: g[0].Keys[:1], Messages: g[0].Messages}, bls.Group{Keys: g[0].Keys[1:], Messages: g[0].Messages})
		}, true},
		{"no groups", func([]bls.Group, *bls.Signature) []bls.Group { return nil }, false},
		{"one group of two", func(g []bls.Group, _ *bls.Signature) []bls.Group { return g[:1] }, false},
		{"a message too few", func(g []bls.Group, _ *bls.Signature) []bls.Group { g[0].Messages = g[0].Messages[:1]; return g }, false},
		{"a message too many", func(g []bls.Group, _ *bls.Signature) []bls.Group {
			g[0].Messages = append(g[0].Messages, message(99))
			return g
		}, false},
		{"a message twice", func(g []bls.Group, _ *bls.Signature) []bls.Group {
			g[0].Messages = append(g[0].Messages, g[0].Messages[0])
			return g
		}, false},
		{"another message", func(g []bls.Group, _ *bls.Signature) []bls.Group { g[1].Messages[1] = message(99); return g }, false},
		{"messages exchanged", func(g []bls.Group, _ *bls.Signature) []bls.Group {
			g[0].Messages[0], g[1].Messages[0] = g[1].Messages[0], g[0].Messages[0]
			return g
		}, false},
		{"keys exchanged", func(g []bls.Group, _ *bls.Signature) []bls.Group {
			g[0].Keys, g[1].Keys = g[1].Keys, g[0].Keys
			return g
		}, false},
		{"a key too few", func(g []bls.Group, _ *bls.Signature) []bls.Group { g[0].Keys = g[0].Keys[1:]; return g }, false},
		{"a key twice", func(g []bls.Group, _ *bls.Signature) []bls.Group {
			g[1].Keys = append(g[1].Keys, g[1].Keys[0])
			return g
		}, false},
		{"a group without messages", func(g []bls.Group, _ *bls.Signature) []bls.Group { return append(g, bls.Group{Keys: g[0].Keys}) }, false},
		{"a group without keys", func(g []bls.Group, _ *bls.Signature) []bls.Group {
			return append(g, bls.Group{Messages: g[0].Messages})
		}, false},
		{"keys that cancel out", func(g []bls.Group, _ *bls.Signature) []bls.Group {
			k := secret(9)
			pair := []*bls.Key{parse(t, k.Public()), parse(t, opposite(t, k).Public())}
			return append(g, bls.Group{Keys: pair, Messages: [][]byte{message(50)}})
		}, false},
		{"no signature", func(g []bls.Group, s *bls.Signature) []bls.Group { *s = bls.Signature{}; return g }, false},
		{"the identity", func(g []bls.Group, s *bls.Signature) []bls.Group {
			*s = bls.Signature{0: compressed | infinity}
			return g
		}, false},
		{"the negated signature", func(g []bls.Group, s *bls.Signature) []bls.Group { s[0] ^= larger; return g }, false},
		{"plus a point outside the subgroup", func(g []bls.Group, s *bls.Signature) []bls.Group {
			*s = plus(t, *s, outside1(t))
			return g
		}, false},
	} {
		groups, s := signMany(t, 2, []byte{0, 1, 2}, []byte{1, 2, 3})
		if got := bls.VerifyMany(row.change(groups, &s), s); got != row.want {
			t.Errorf("%s: verifies is %v, want %v", row.name, got, row.want)
		}
	}
}

// TestVerifyManyIsVerifySame: of one message both say the same.
func TestVerifyManyIsVerifySame(t *testing.T) {
	t.Parallel()
	groups, s := signMany(t, 1, []byte{0, 1, 2, 3})
	g := groups[0]
	for n := range len(g.Keys) + 1 {
		same := bls.VerifySame(g.Keys[:n], g.Messages[0], s)
		if many := bls.VerifyMany([]bls.Group{{Keys: g.Keys[:n], Messages: g.Messages}}, s); many != same {
			t.Errorf("%d keys: VerifyMany is %v, VerifySame %v", n, many, same)
		}
	}
}

// TestVerifyManyByDifferences: groups whose keys differ in whatever way from those of
// the group before, also in how often a key comes, count all their keys.
func TestVerifyManyByDifferences(t *testing.T) {
	t.Parallel()
	members := [][]byte{{0, 1, 2, 3}, {0, 1, 2, 3}, {1, 2, 3}, {1, 2, 3, 3, 4}, {3, 2, 1, 4}, {5}, {0, 1, 2, 3, 4, 5}, {0, 1, 2, 4, 5}}
	groups, s := signMany(t, 1, members...)
	known := map[bls.PublicKey]*bls.Key{} // as in a committee, a member has one Key
	for _, g := range groups {
		for i, k := range g.Keys {
			if first, ok := known[k.Public()]; ok {
				g.Keys[i] = first
			}
			known[k.Public()] = g.Keys[i]
		}
	}
	if !bls.VerifyMany(groups, s) {
		t.Error("the sum does not verify")
	}
	for i := range groups {
		for j := range groups[i].Keys {
			keys := groups[i].Keys
			groups[i].Keys = append(append([]*bls.Key(nil), keys[:j]...), keys[j+1:]...)
			if bls.VerifyMany(groups, s) {
				t.Errorf("group %d without key %d verifies", i, j)
			}
			groups[i].Keys = keys
		}
	}
}

func BenchmarkVerifyMany(b *testing.B) {
	for _, messages := range []int{1, 16, 64} {
		for _, n := range []int{4, 32, 100} {
			b.Run(fmt.Sprintf("messages=%d/keys=%d", messages, n), func(b *testing.B) {
				members := make([]byte, n)
				for i := range members {
					members[i] = byte(i)
				}
				groups, s := signMany(b, messages, members)
				b.ResetTimer()
				for b.Loop() {
					if !bls.VerifyMany(groups, s) {
						b.Fatal("refused")
					}
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*messages), "us/message")
			})
		}
	}
}

// BenchmarkVerifyManyApart: each message by other keys, so that nothing is added up.
func BenchmarkVerifyManyApart(b *testing.B) {
	const messages = 64
	for _, n := range []int{4, 32, 100} {
		b.Run(fmt.Sprintf("messages=%d/keys=%d", messages, n), func(b *testing.B) {
			members := make([]byte, n)
			for i := range members {
				members[i] = byte(i)
			}
			groups, s := signMany(b, messages, members)
			apart := make([]bls.Group, messages)
			for i := range apart {
				apart[i] = bls.Group{Keys: groups[0].Keys, Messages: groups[0].Messages[i : i+1]}
			}
			b.ResetTimer()
			for b.Loop() {
				if !bls.VerifyMany(apart, s) {
					b.Fatal("refused")
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*messages), "us/message")
		})
	}
}
