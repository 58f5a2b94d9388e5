package link_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

func user(size int) link.Candidate {
	return link.Candidate{Class: link.ClassUser, Size: size}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	class := func(c link.Class, size int) link.Candidate { return link.Candidate{Class: c, Size: size} }
	many := func(n int, c link.Candidate) []link.Candidate { return slices.Repeat([]link.Candidate{c}, n) }
	for _, row := range []struct {
		name       string
		candidates []link.Candidate
		room       int
		want       []int
	}{
		{"nothing", nil, 100, nil},
		{"the classes in order", []link.Candidate{user(10), class(3, 10), class(2, 10), class(1, 10)}, 100, []int{3, 2, 1, 0}},
		{"half for inbound", append(many(10, class(1, 10)), many(10, class(3, 10))...), 100, []int{0, 1, 2, 3, 4, 10, 11, 12, 13, 14}},
		{"half for users too", append(many(10, user(10)), many(10, class(3, 10))...), 100, []int{10, 11, 12, 13, 14, 0, 1, 2, 3, 4}},
		{"what users leave", append(many(2, user(10)), many(10, class(3, 10))...), 100, []int{2, 3, 4, 5, 6, 7, 8, 9, 0, 1}},
		{"what inbound leaves", append(many(10, user(10)), class(3, 10)), 100, []int{10, 0, 1, 2, 3, 4, 5, 6, 7, 8}},
		{"one large import", append(many(10, user(10)), class(3, 90)), 100, []int{10, 0}},
		{"an import too large for any block", append(many(3, user(30)), class(3, 101)), 100, []int{0, 1, 2}},
		{"imports do not overtake", []link.Candidate{class(3, 60), class(3, 50), class(3, 10)}, 100, []int{0}},
		{"users do", []link.Candidate{user(60), user(50), user(10)}, 100, []int{0, 2}},
		{"no class", []link.Candidate{{Size: 1}, class(5, 1)}, 100, nil},
	} {
		got := link.Plan(row.candidates, row.room)
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}

// TestPlanProperty: a plan fits, has its classes in order, keeps its promise to inbound
// messages, and does not change the order of imports.
func TestPlanProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		candidates := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) link.Candidate {
			return link.Candidate{
				Class: link.Class(rapid.IntRange(1, 4).Draw(t, "class")), Size: rapid.IntRange(1, 50).Draw(t, "size"),
			}
		}), 0, 60).Draw(rt, "candidates")
		room := rapid.IntRange(50, 600).Draw(rt, "room")
		plan := link.Plan(candidates, room)

		var block []link.Class
		used, seen := map[link.Class]int{}, map[int]bool{}
		total := 0
		for _, i := range plan {
			if seen[i] {
				rt.Fatalf("%d is in the plan twice", i)
			}
			seen[i] = true
			block = append(block, candidates[i].Class)
			used[candidates[i].Class] += candidates[i].Size
			total += candidates[i].Size
		}
		if total > room {
			rt.Fatalf("%d bytes in a room of %d", total, room)
		}
		if !slices.IsSorted(block) {
			rt.Fatalf("classes %v", block)
		}
		var next int // the first import that waits
		waits := false
		for i, c := range candidates {
			if c.Class != link.ClassInbound {
				continue
			}
			if waits && seen[i] {
				rt.Fatalf("import %d overtakes", i)
			}
			if !seen[i] && !waits {
				waits, next = true, c.Size
			}
		}
		if waits && used[link.ClassInbound]+next <= room/2 {
			rt.Fatalf("imports have %d of %d bytes, and the next of %d waits", used[link.ClassInbound], room, next)
		}
	})
}

func TestClassOf(t *testing.T) {
	t.Parallel()
	ack := link.Leaf{Ack: &link.Ack{Link: forth}}
	bounce := link.Leaf{Message: &link.Message{Link: forth, Code: 1}}
	ordinary := link.Leaf{Message: &link.Message{Link: forth, Expiry: 1}}
	for _, row := range []struct {
		leaves []link.Leaf
		want   link.Class
	}{
		{[]link.Leaf{ack}, link.ClassReturn},
		{[]link.Leaf{ack, bounce}, link.ClassReturn},
		{[]link.Leaf{ack, bounce, ordinary}, link.ClassInbound},
	} {
		if got := link.ClassOf(&link.Import{Leaves: row.leaves}); got != row.want {
			t.Errorf("class %d, want %d", got, row.want)
		}
	}
}

// TestExpected: two at first, one more after each timeout, all in the end, and
// different ones for other links, epochs and seeds.
func TestExpected(t *testing.T) {
	t.Parallel()
	seed := ledger.HashOf("seed")
	all := link.Expected(seed, 7, forth, 10, 1<<60)
	for waited := range uint64(100) {
		got := link.Expected(seed, 7, forth, 10, waited)
		want := min(10, link.Relays+int(waited/link.RelayTimeout))
		if len(got) != want || !slices.Equal(got, all[:want]) {
			t.Fatalf("after %d blocks %v, in all %v", waited, got, all)
		}
	}
	if sorted := slices.Sorted(slices.Values(all)); !slices.Equal(sorted, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
		t.Errorf("in all %v", all)
	}
	for name, other := range map[string][]int{
		"link": link.Expected(seed, 7, forth.Reverse(), 10, 1<<60), "epoch": link.Expected(seed, 8, forth, 10, 1<<60),
		"seed": link.Expected(ledger.Hash{1}, 7, forth, 10, 1<<60),
	} {
		if slices.Equal(all, other) {
			t.Errorf("another %s has the same order", name)
		}
	}
	if got := link.Expected(seed, 7, forth, 1, 5); !slices.Equal(got, []int{0}) {
		t.Errorf("of one member: %v", got)
	}
	count := make([]int, 8)
	for bucket := range 256 {
		for _, i := range link.Expected(seed, 7, link.Link{Src: link.Place{Service: 1, Bucket: uint8(bucket)}, Dst: main}, 8, 0) {
			count[i]++
		}
	}
	for i, n := range count {
		if n < 40 || n > 90 { // 64 on average, standard deviation 7
			t.Errorf("member %d relays for %d of 256 links", i, n)
		}
	}
}
