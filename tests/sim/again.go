package sim

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/shard/link"
)

// again asks a chain to list a link once more: its messages at the source, or its
// acknowledgement at the destination. It stands among the imports of a block and
// needs no signature. A shard takes a relay instead.
type again struct {
	l    link.Link
	acks bool
}

// againTag begins an encoded again; no delivery begins with it.
const againTag = 0xff

func isDelivery(raw []byte) bool { return len(raw) > 0 && raw[0] != againTag }

func (a *again) encode() []byte {
	w := codec.NewWriter(2 + link.Size)
	w.Uint8(againTag)
	w.Bool(a.acks)
	for _, p := range []link.Place{a.l.Src, a.l.Dst} {
		w.Uint32(p.Service)
		w.Uint8(p.Zone)
		w.Uint8(p.Bucket)
	}
	return w.Bytes()
}

// item returns what a chain is asked with.
func (a *again) item(n *node) []byte {
	if n.isMain() {
		return a.encode()
	}
	r := shardblock.Relay{Kind: shardblock.KindRelist, Link: a.l}
	if a.acks {
		r.Kind = shardblock.KindReack
	}
	return r.Encode()
}

func decodeAgain(raw []byte) (a again, ok bool) {
	if isDelivery(raw) {
		return again{}, false
	}
	r := codec.NewReader(raw)
	r.Uint8()
	a.acks = r.Bool()
	for _, p := range []*link.Place{&a.l.Src, &a.l.Dst} {
		p.Service, p.Zone, p.Bucket = r.Uint32(), r.Uint8(), r.Uint8()
	}
	return a, r.Done() == nil
}

func (a *again) apply(c *link.Context) error {
	if a.l.Src == a.l.Dst {
		return chain.Refuse(chain.CodeInvalidValue, "link from %s to itself", a.l.Src)
	}
	if a.acks {
		return c.Reack(a.l)
	}
	return c.Relist(a.l)
}
