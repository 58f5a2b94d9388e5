package relay_test

import (
	"testing"

	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/relay"
)

// TestWatch: another version of a height is suspected, whoever has it; the same block of
// another round, another generation or another shard is not; and runs that main refused do
// not take the place of those that it took.
func TestWatch(t *testing.T) {
	t.Parallel()
	run := func(first, last uint64, change func(*cert.Checkpoint)) cert.Run {
		s, list := signature(t), []cert.Certificate(nil)
		for h := first; h <= last; h++ {
			c := cert.Certificate{Checkpoint: cert.Checkpoint{Network: ledger.NetworkID{1}, Chain: 3, Height: h}, Bitmap: []byte{1}, Signature: s}
			change(&c.Checkpoint)
			list = append(list, c)
		}
		out, err := cert.Join(list)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	same := func(*cert.Checkpoint) {}
	other := func(p *cert.Checkpoint) { p.StateRoot[0] = 9 }
	for name, c := range map[string]struct {
		posts []relay.Posted
		want  int
	}{
		"the same again":     {[]relay.Posted{{Run: run(1, 9, same), Taken: true}, {Run: run(3, 5, same)}}, 0},
		"another round":      {[]relay.Posted{{Run: run(1, 9, same), Taken: true}, {Run: run(3, 5, func(p *cert.Checkpoint) { p.Round = 2 })}}, 0},
		"another generation": {[]relay.Posted{{Run: run(1, 9, same), Taken: true}, {Run: run(3, 5, func(p *cert.Checkpoint) { p.Generation = 1; p.StateRoot[0] = 1 })}}, 0},
		"another shard":      {[]relay.Posted{{Run: run(1, 9, same), Taken: true}, {Run: run(3, 5, func(p *cert.Checkpoint) { p.Chain = 4; p.StateRoot[0] = 1 })}}, 0},
		"other heights":      {[]relay.Posted{{Run: run(1, 2, same), Taken: true}, {Run: run(3, 5, other)}}, 0},
		"another state":      {[]relay.Posted{{Run: run(1, 9, same), Taken: true}, {Run: run(9, 11, other)}}, 1},
		"refused before":     {[]relay.Posted{{Run: run(9, 11, other)}, {Run: run(1, 9, same), Taken: true}}, 1},
		"both refused":       {[]relay.Posted{{Run: run(9, 11, other)}, {Run: run(1, 9, same)}}, 0},
		"told twice":         {[]relay.Posted{{Run: run(1, 9, same), Taken: true}, {Run: run(9, 11, other)}, {Run: run(9, 12, other)}}, 1},
	} {
		if got := relay.Suspects(c.posts); got != c.want {
			t.Errorf("%s: %d conflicts, want %d", name, got, c.want)
		}
	}
	many := []relay.Posted{{Run: run(1, 9, same), Taken: true}}
	for range 100 {
		many = append(many, relay.Posted{Run: run(20, 20, same)})
	}
	if got := relay.Suspects(append(many, relay.Posted{Run: run(9, 9, other)})); got != 1 {
		t.Errorf("after many others: %d conflicts, want 1", got)
	}
}
