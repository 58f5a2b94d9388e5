package relay_test

import (
	"slices"
	"testing"

	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/relay"
)

// reads counts what is read of a state.
type reads struct {
	rows

	n int
}

func (r *reads) Get(key []byte) []byte {
	r.n++
	return r.rows.Get(key)
}

// manyWays returns a destination with messages of so many links in its state, and the links.
func manyWays(tb testing.TB, n int) (*reads, []link.Link) {
	tb.Helper()
	v, list := &reads{rows: rows{}}, make([]link.Link, n)
	for i := range list {
		list[i] = link.Link{Src: link.Place{Service: 1, Bucket: uint8(i)}, Dst: link.Place{Service: 1, Zone: 1, Bucket: uint8(i / 256)}}
	}
	return v, list
}

// TestSights: where links stand is read once for each block of the destination, and what is
// read of one state is not used for another.
func TestSights(t *testing.T) {
	t.Parallel()
	a, b := newPlace(1, 0), newPlace(2, 100)
	l := link.Link{Src: a.at(0), Dst: b.at(0)}
	a.block(t, nil, known{b, 0}, func(c *link.Context) {
		if _, err := c.Send(link.Draft{Link: l}); err != nil {
			t.Fatal(err)
		}
	})
	v, links := manyWays(t, 500)
	links = append(links, l)
	s := new(relay.Sights)
	want := s.At(v, 1, 7, links[400:])
	for range 50 {
		if got := s.At(v, 1, 7, links[400:]); !slices.Equal(got, want) {
			t.Fatal("other ways of the same state")
		}
	}
	s.At(v, 1, 7, links)
	if most := 2 * len(links); v.n > most {
		t.Errorf("%d rows were read of %d links in 52 looks, at most %d", v.n, len(links), most)
	}
	in, err := a.boxes[0].Import(a.id, 1, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	b.block(t, []link.Import{in}, known{a, 1}, func(*link.Context) {})
	v.rows = b.state
	for _, at := range [][2]uint64{{1, 8}, {2, 8}, {1, 7}} {
		before := v.n
		got := s.At(v, at[0], at[1], links)
		if got[len(got)-1].In.Next != 1 || v.n-before != 2*len(links) {
			t.Errorf("of another state: message %d comes next, %d rows were read", got[len(got)-1].In.Next, v.n-before)
		}
	}
}
