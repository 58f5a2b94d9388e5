package settlement_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// twist makes other bytes of what is signed.
type twist struct {
	name string
	do   func(message []byte) []byte
}

func patched(name string, at int, b byte) twist {
	return twist{name, func(message []byte) []byte {
		message[at] = b
		return message
	}}
}

func flipped(name string, at int) twist {
	return twist{name, func(message []byte) []byte {
		message[at] ^= 1
		return message
	}}
}

// twists change every field of the header, the type to all others, and the body
// at both ends and where channels and lanes are.
func twists(own chain.MessageType) []twist {
	const body = chain.HeaderSize
	all := []twist{
		flipped("magic", 0), flipped("magic's end", 3), patched("version 0", 4, 0), patched("version 2", 4, 2),
		flipped("network", 6), flipped("network's end", 37), flipped("chain", 41), flipped("chain's first byte", 38),
		flipped("body length", 45), flipped("body length's first byte", 42),
		flipped("start of the body", body), flipped("end of the channel", body+31), flipped("lane's first byte", body+32), flipped("lane", body+33),
		{"end", func(m []byte) []byte { m[len(m)-1] ^= 1; return m }},
		{"cut", func(m []byte) []byte { return m[:len(m)-1] }},
		{"longer", func(m []byte) []byte { return append(m, 0) }},
		{"no header", func(m []byte) []byte { return m[body:] }},
		{"nothing", func([]byte) []byte { return nil }},
	}
	for typ := range chain.MessageType(0x20) {
		if typ != own {
			all = append(all, patched(fmt.Sprintf("type %#02x", uint8(typ)), 5, byte(typ)))
		}
	}
	return all
}

// TestReplayOfEveryMessage: a signature over anything but exactly the message
// that is presented is no signature, for every kind of message that the chain
// takes.
func TestReplayOfEveryMessage(t *testing.T) {
	t.Parallel()
	b := newBench(t, smallParams(), 3)
	ref := b.open(0, 1, 10_000)
	entry := func(e channel.Entry, do func([]byte) []byte) settlement.BlockTx {
		e.Signature = voucherKey().Sign(do(e.Signed(b.domain, ref.ID)))
		return b.signed(2, b.batch(1, e))
	}
	links := channel.HashChain(ledger.HashOf("tip"), 4)
	coop := func(spoil func(c *channel.CoopClose, signed []byte)) settlement.BlockTx {
		c := b.coopClose(0, 1, ref, 500, nil)
		terms := c.Terms()
		spoil(c, terms.Signed(b.domain))
		return b.signed(2, c)
	}
	for _, row := range []struct {
		name string
		typ  chain.MessageType
		make func(do func([]byte) []byte) settlement.BlockTx
	}{
		{"voucher", chain.TypeVoucher, func(do func([]byte) []byte) settlement.BlockTx {
			return entry(channel.Entry{Index: ref.Index, Lane: 3, Claim: channel.ClaimVoucher, Cumulative: 500}, do)
		}},
		{"hash lane", chain.TypeHashCommit, func(do func([]byte) []byte) settlement.BlockTx {
			return entry(channel.Entry{
				Index: ref.Index, Lane: 3, Claim: channel.ClaimHash, Step: 2, Preimage: links[2],
				Commit: channel.HashCommit{Root: links[0], UnitPrice: 10, UnitSize: 16, Steps: 4},
			}, do)
		}},
		{"agreement by its payer", chain.TypeCoopClose, func(do func([]byte) []byte) settlement.BlockTx {
			return coop(func(c *channel.CoopClose, signed []byte) { c.PayerSig = b.keys[0].Sign(do(signed)) })
		}},
		{"agreement by its payee", chain.TypeCoopClose, func(do func([]byte) []byte) settlement.BlockTx {
			return coop(func(c *channel.CoopClose, signed []byte) { c.PayeeSig = b.keys[1].Sign(do(signed)) })
		}},
		{"close authority", chain.TypeBatchCloseAuth, func(do func([]byte) []byte) settlement.BlockTx {
			batch := b.batch(1, channel.Entry{Index: ref.Index, Close: true})
			batch.Auth = &channel.Authority{PayeeKey: b.keys[1].Public(), ValidUntil: 1_000}
			auth, err := batch.CloseAuth()
			if err != nil {
				t.Fatal(err)
			}
			batch.Auth.Signature = b.keys[1].Sign(do(auth.Signed(b.domain)))
			return b.signed(2, batch)
		}},
		{"transaction", chain.TypeTx, func(do func([]byte) []byte) settlement.BlockTx {
			unsigned := chain.UnsignedTx(b.domain, b.keys[2].Public(), b.fields(2, payTo(b.addrs[1], 1)))
			return b.decode(chain.AttachSignature(unsigned, b.keys[2].Sign(do(bytes.Clone(unsigned)))))
		}},
	} {
		own := twist{"as it is", func(m []byte) []byte { return m }}
		for i, tw := range append([]twist{own}, twists(row.typ)...) {
			tx := row.make(tw.do)
			changes, res := b.try(tx)
			b.nonces[2]--
			r := &res.Receipts[0]
			code := r.Code
			if len(r.Entries) > 0 && code == chain.CodeOK {
				code = r.Entries[0].Code
			}
			want := chain.CodeBadSignature
			if i == 0 {
				want = chain.CodeOK
			}
			if code != want {
				t.Errorf("%s, %s: %s (%s), want %s", row.name, tw.name, code, r.Detail, want)
			}
			touched := slices.ContainsFunc(changes, func(c chain.Change) bool { return string(c.Key) == string(settlement.ChannelKey(ref.Index)) })
			if i > 0 && (touched || r.Paid != 0) {
				t.Errorf("%s, %s: the channel was changed, or %d paid", row.name, tw.name, r.Paid)
			}
		}
	}
}
