package exec

import (
	"iter"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
)

// counted counts what is read of a state.
type counted struct {
	chain.View

	reads int
}

func (c *counted) Get(key []byte) []byte {
	c.reads++
	return c.View.Get(key)
}

func (c *counted) Range(prefix []byte) iter.Seq2[[]byte, []byte] {
	c.reads++
	return c.View.Range(prefix)
}

// TestTicksAreJudgedOnce: peers that send one tick after the other for a height have a node look
// at its state once, and at the next height again.
func TestTicksAreJudgedOnce(t *testing.T) {
	t.Parallel()
	m := &mainRules{params: settlement.LocalParams()}
	v := &counted{View: nothing{}}
	first := m.NeedsTick(v, 5, 0)
	read := v.reads
	if read == 0 {
		t.Fatal("nothing is read")
	}
	if again := m.NeedsTick(v, 5, 0); again != first || v.reads != read {
		t.Errorf("a second look reads %d rows more and says %t, the first one %t", v.reads-read, again, first)
	}
	if m.NeedsTick(v, 6, 0); v.reads == read {
		t.Error("nothing is read for the next height")
	}
}

// nothing is the empty state.
type nothing struct{}

func (nothing) Get([]byte) []byte                      { return nil }
func (nothing) Range([]byte) iter.Seq2[[]byte, []byte] { return func(func([]byte, []byte) bool) {} }
