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
// forgotten the committee of that epoch, or the block is lower than all it remembers.
var errForgotten = errors.New("the shard has forgotten that epoch of main")

// lead returns what a shard has to be brought before, or with, something that is
// proved against blocks of main: hand-overs and heads, as the news of relays that each
// fit, none if the shard knows the blocks. s is changed to what the shard then has.
func (r *Relay) lead(s *Survey, blocks ...*cert.Certificate) (list []shardblock.News, err error) {
	news := shardblock.News{}
	flush := func() {
		if len(news.Handovers)+len(news.Heads) > 0 {
			list = append(list, news)
			news = shardblock.News{}
		}
	}
	for _, c := range blocks {
		at := c.Checkpoint
		if s.knows(at.Height) {
			continue
		}
		if at.Epoch < s.First || len(s.Heads) >= shardblock.MaxHeads && at.Height < s.Heads[0] {
			return nil, errForgotten
		}
		for e := s.Last + 1; e <= at.Epoch; e++ {
			if len(news.Handovers) == shardblock.MaxHandovers {
				flush()
			}
			signed, statement, err := r.cfg.Main.Handover(e)
			if err != nil {
				return nil, fmt.Errorf("lead a shard to epoch %d of main: %w", e, err)
			}
			row, err := shardblock.RowOf(statement)
			if err != nil {
				return nil, fmt.Errorf("lead a shard to epoch %d of main: %w", e, err)
			}
			news.Handovers = append(news.Handovers, shardblock.Handover{Certificate: signed, Record: row})
		}
		if len(news.Heads) == shardblock.MaxNewHeads {
			flush()
		}
		news.Heads = append(news.Heads, *c)
		s.learn(at.Height, at.Epoch)
	}
	flush()
	return list, nil
}

// letters puts news before relays, within the relay if there is only one of both: of
// several, a block may have a later one first.
func letters(news []shardblock.News, list ...*shardblock.Relay) []*shardblock.Relay {
	if len(news) == 1 && len(list) == 1 {
		list[0].News = news[0]
		return list
	}
	out := make([]*shardblock.Relay, 0, len(news)+len(list))
	for _, n := range news {
		out = append(out, &shardblock.Relay{Kind: shardblock.KindHead, News: n})
	}
	return append(out, list...)
}

// source is how the blocks of a chain are proved to a shard.
type source struct {
	main func(height uint64) (cert.Certificate, bool) // of main: the certificate of a block

	// Of a shard: what is anchored of it, and how that is proved.
	head    cert.Certificate
	row     shardblock.Row
	anchors anchor.State
	older   func(height, size uint64) (anchor.Proof, bool)
}

// provable reports whether a block can be proved to a shard with s.
func (p *source) provable(s *Survey, height uint64) bool {
	if p.main != nil {
		c, ok := p.main(height)
		return ok && c.Checkpoint.Epoch >= s.First && (len(s.Heads) < shardblock.MaxHeads || height >= s.Heads[0])
	}
	size := p.anchors.Tree.Size
	if height > size || p.head.Checkpoint.Epoch < s.First {
		return false
	}
	if height+anchor.Window > size {
		return true
	}
	_, ok := p.older(height, size)
	return ok
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
		if proof, ok := p.older(height, size); ok {
			in.Older = &proof
		}
	}
	return in
}

// anchored returns the source that a statement about a shard's anchors makes.
func anchored(c *cert.Certificate, st *stateproof.Statement, older func(height, size uint64) (anchor.Proof, bool)) (*source, error) {
	row, err := shardblock.RowOf(st)
	if err != nil {
		return nil, err
	}
	s, err := anchor.DecodeState(st.Value)
	if err != nil {
		return nil, err
	}
	return &source{head: *c, row: row, anchors: s, older: older}, nil
}
