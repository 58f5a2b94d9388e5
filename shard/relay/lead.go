package relay

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// errForgotten means a block of main that a shard cannot verify any more, as it has
// forgotten the committee of that epoch.
var errForgotten = errors.New("the shard has forgotten that epoch of main")

// maxLead is how many bytes of committees and proofs a relay of hand-overs has at most:
// one committee of committee.MaxSeats members fits at any rate, and the whole stays below
// chain.MaxTxSize.
const maxLead = 512 << 10

// maxLeads is how many relays of hand-overs a shard elsewhere is brought in a round: what it
// has is what one node says, and one that lies would have any number of them. A shard that
// lacks more is led further in the rounds after, and by who runs it at once.
const maxLeads = 4

// lead returns the hand-overs that a shard has to be brought before anything that is
// proved against blocks of main, none if it knows their committees. They are relays of
// their own, because one with a hand-over that somebody else brought first is refused as
// a whole. There are most at most, and whole is false if they do not lead to all blocks.
// The blocks themselves go with what is proved against them: see heads. s is changed to
// what the shard then has.
func (r *Relay) lead(s *Survey, most int, blocks ...*cert.Certificate) (list []*shardblock.Relay, whole bool, err error) {
	size, last := 0, s.Last
	for _, c := range blocks {
		if c.Checkpoint.Epoch < s.First {
			return nil, false, errForgotten
		}
		for e := last + 1; e <= c.Checkpoint.Epoch; e++ {
			signed, statement, err := r.cfg.Main.Handover(e)
			if err != nil {
				return nil, false, fmt.Errorf("lead a shard to epoch %d of main: %w", e, err)
			}
			row, err := shardblock.RowOf(statement)
			if err != nil {
				return nil, false, fmt.Errorf("lead a shard to epoch %d of main: %w", e, err)
			}
			size += len(row.Value) + len(row.Proof)
			if n := len(list); n == 0 || len(list[n-1].News.Handovers) == shardblock.MaxHandovers || size > maxLead {
				if n == most {
					s.Last = last
					return list, false, nil
				}
				list, size = append(list, &shardblock.Relay{Kind: shardblock.KindHead}), len(row.Value)+len(row.Proof)
			}
			news := &list[len(list)-1].News
			news.Handovers = append(news.Handovers, shardblock.Handover{Certificate: signed, Record: row})
			last = e
		}
	}
	s.Last = last
	return list, true, nil
}

// heads returns those of blocks of main that a shard does not know, each once: what a
// relay that is proved against them has to have with it.
func (s *Survey) heads(blocks ...*cert.Certificate) (list []cert.Certificate) {
	for _, c := range blocks {
		have := s.knows(c.Checkpoint.Height)
		for i := range list {
			have = have || list[i].Checkpoint.Height == c.Checkpoint.Height
		}
		if !have {
			list = append(list, *c)
		}
	}
	return list
}

// source is how the blocks of a chain are proved to a shard.
type source struct {
	main func(height uint64) (cert.Certificate, bool) // of main: the certificate of a block

	// Of a shard: what is anchored of it, and how that is proved.
	head    cert.Certificate
	row     shardblock.Row
	anchors anchor.State
	chain   Chain
	history *history
}

// provable reports whether a block can be proved to a shard with s. It makes no proofs.
func (p *source) provable(s *Survey, height uint64) bool {
	if p.main != nil {
		c, ok := p.main(height)
		return ok && c.Checkpoint.Epoch >= s.First
	}
	size := p.anchors.Tree.Size
	if height > size || p.head.Checkpoint.Epoch < s.First {
		return false
	}
	return height+anchor.Window > size || p.history.reach(p.chain, &p.anchors)
}

// gone reports whether a block can never be proved any more to a shard with s.
func (p *source) gone(s *Survey, height uint64) bool {
	if p.main != nil {
		c, ok := p.main(height)
		return ok && c.Checkpoint.Epoch < s.First
	}
	return forgotten(height, p.anchors.Tree.Size)
}

// certificate returns that of the block of main against which a block is proved.
func (p *source) certificate(height uint64) cert.Certificate {
	if p.main == nil {
		return p.head
	}
	c, _ := p.main(height)
	return c
}

// letter returns the import of a block's leaves, without what leads to the head.
func (p *source) letter(height uint64) (in shardblock.Import) {
	if p.main != nil {
		return in
	}
	in.Anchors = &p.row
	if size := p.anchors.Tree.Size; height+anchor.Window <= size {
		if proof, ok := p.history.prove(p.chain, &p.anchors, height); ok {
			in.Older = &proof
		}
	}
	return in
}

// anchored returns the source that a statement about a shard's anchors makes.
func anchored(c *cert.Certificate, st *stateproof.Statement, of Chain, h *history) (*source, error) {
	row, err := shardblock.RowOf(st)
	if err != nil {
		return nil, err
	}
	s, err := anchor.DecodeState(st.Value)
	if err != nil {
		return nil, err
	}
	return &source{head: *c, row: row, anchors: s, chain: of, history: h}, nil
}
