package pay

import (
	"sort"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
)

// CheckBatch refuses a batch that no transaction can hold on a network with these
// parameters, with a *chain.RuleError of chain.CodeTooLarge that names the limit:
// a batch has at most channel.MaxEntries entries, chain.MaxTxSize bytes with its
// envelope, and the weight of a block. Entries that close their channel weigh
// most: with blocks of 4 MiB it is full with some 2,300 of them.
func CheckBatch(p *settlement.Params, b *channel.Batch) error {
	if n := len(b.Entries); n > channel.MaxEntries {
		return chain.Refuse(chain.CodeTooLarge, "%d entries, a batch has at most %d", n, channel.MaxEntries)
	}
	payload := b.Encode()
	if len(payload) > maxPayload {
		return chain.Refuse(chain.CodeTooLarge, "the batch takes %d bytes, a transaction has room for %d: the first %d of its %d entries fit", len(payload), maxPayload, fitting(p, b), len(b.Entries))
	}
	if tooHeavy(p, payload) {
		closes := 0
		for i := range b.Entries {
			if b.Entries[i].Close {
				closes++
			}
		}
		return chain.Refuse(chain.CodeTooLarge, "%d entries, of which %d close their channel, make every node write up to %d bytes, a block at most %d: the first %d fit", len(b.Entries), closes, weightOf(payload), p.MaxBlockWeight(), fitting(p, b))
	}
	return nil
}

// SplitBatch returns the batch, or if no transaction can hold it several that one
// each can, with its entries in their order. The entries of a channel stay
// together where they can. What holds for a batch as a whole cannot be split: of
// an atomic batch, or one with a close authority, that does not fit it returns
// CheckBatch's error.
func SplitBatch(p *settlement.Params, b channel.Batch) ([]channel.Batch, error) {
	err := CheckBatch(p, &b)
	if err == nil {
		return []channel.Batch{b}, nil
	}
	if b.Mode == channel.Atomic || b.Auth != nil {
		return nil, err
	}
	var batches []channel.Batch
	for rest := b; len(rest.Entries) > 0; {
		n := fitting(p, &rest)
		if n == 0 { // not on any network that there can be
			return nil, err
		}
		part := rest
		part.Entries = rest.Entries[:ofWholeChannels(rest.Entries, n)]
		rest.Entries = rest.Entries[len(part.Entries):]
		batches = append(batches, part)
	}
	return batches, nil
}

// fitting returns how many of the first entries of b fit a transaction.
func fitting(p *settlement.Params, b *channel.Batch) int {
	part := *b
	return sort.Search(min(len(b.Entries), channel.MaxEntries), func(n int) bool {
		part.Entries = b.Entries[:n+1]
		payload := part.Encode()
		return len(payload) > maxPayload || tooHeavy(p, payload)
	})
}

// ofWholeChannels returns the largest number of entries, at most n, that does not
// split a channel, and n if that is none.
func ofWholeChannels(entries []channel.Entry, n int) int {
	whole := n
	for whole > 0 && whole < len(entries) && entries[whole].Index == entries[whole-1].Index {
		whole--
	}
	if whole == 0 {
		return n
	}
	return whole
}

// tooHeavy reports whether no block can take a transaction with the payload of a
// batch. Parameters without a size of blocks do not say.
func tooHeavy(p *settlement.Params, payload []byte) bool {
	limit := p.MaxBlockWeight()
	return limit > 0 && weightOf(payload) > limit
}

// weightOf returns the weight of a transaction with the payload of a batch.
func weightOf(payload []byte) int64 {
	return settlement.Weight(&chain.Tx{Kind: chain.KindSettle, Payload: payload})
}
