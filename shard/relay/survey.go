package relay

import (
	"errors"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/shard/link"
)

// Survey is what a shard has, as far as it decides what is brought to it.
type Survey struct {
	Height uint64 // of its last block
	// Epoch is the newest of main that it was told of, and Ended says that it makes no
	// blocks any more.
	Epoch uint64
	Ended bool
	// Heads are the heights of main that it remembers, ascending; First and Last the
	// epochs whose committees of main it has.
	Heads       []uint64
	First, Last uint64
	// Ways are those of the links that were asked for, in their order.
	Ways []Way
}

// sights are ways at a destination, as far as they were looked at: they change with its
// blocks alone, and rounds come far more often.
type sights struct {
	hosted, height uint64
	ways           map[link.Link]Way
}

// at returns the ways of links at a chain whose state after the block at height is in v.
// hosted names what this node runs of it.
func (s *sights) at(v chain.View, hosted, height uint64, links []link.Link) []Way {
	if s.ways == nil || s.hosted != hosted || s.height != height {
		*s = sights{hosted, height, make(map[link.Link]Way, len(links))}
	}
	list := make([]Way, len(links))
	for i, l := range links {
		way, ok := s.ways[l]
		if !ok {
			way = WayAt(v, l)
			s.ways[l] = way
		}
		list[i] = way
	}
	return list
}

// SurveyAt returns what a shard has by its state after the block at height. links are
// MaxWays at most.
func SurveyAt(v chain.View, height uint64, links []link.Link) Survey {
	status := shardblock.ReadStatus(v)
	s := Survey{Height: height, Epoch: status.Epoch, Ended: status.Ended > 0 && height >= status.Ended}
	for _, h := range shardblock.Heads(v) {
		s.Heads = append(s.Heads, h.Height)
	}
	s.First, s.Last = shardblock.MainEpochs(v)
	for _, l := range links {
		s.Ways = append(s.Ways, WayAt(v, l))
	}
	return s
}

// errNonsense means that another node answered what no shard can be.
var errNonsense = errors.New("an answer about a shard that cannot be right")

// sane reports whether an answer of another node about so many links can be that of a
// shard. What it leads to wrongly nobody takes; this bounds what it costs.
func (s *Survey) sane(links int) bool {
	if len(s.Ways) != links || len(s.Heads) > shardblock.MaxHeads || !slices.IsSorted(s.Heads) {
		return false
	}
	if s.First > s.Last || s.Last-s.First >= shardblock.KeptMain {
		return false
	}
	for i := range s.Ways {
		if out := &s.Ways[i].Out; out.Kept > out.Acked || out.Acked > out.Next || out.Next-out.Kept > link.ReturnCap {
			return false
		}
	}
	return true
}

// newest returns the height of the newest block of main that the shard remembers, 0 if it
// remembers none.
func (s *Survey) newest() uint64 {
	if len(s.Heads) == 0 {
		return 0
	}
	return s.Heads[len(s.Heads)-1]
}

// knows reports whether the shard remembers a block of main.
func (s *Survey) knows(height uint64) bool {
	_, ok := slices.BinarySearch(s.Heads, height)
	return ok
}
