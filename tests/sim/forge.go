package sim

import (
	"bytes"
	"math"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// forge is a shard of which malicious members hold two thirds or more: they certify
// a block that nobody executed, with messages and acknowledgements of their making,
// or a second version of the last block.
func (w *World) forge() {
	n := w.liar
	if n.over() || n.resume != nil { // the first block of a generation is always one
		return
	}
	sits := w.sitting(n, n.height()+1)
	malicious := func(i int) bool { return sits.malicious[i] }
	box, err := link.NewOutbox(w.lies(n))
	if err != nil {
		w.failf("forge: %v", err)
	}
	c := cert.Checkpoint{
		Height: n.height() + 1, BlockHash: ledger.HashOf("sim/forged", n.digest[:]), StateRoot: ledger.Hash{0xbb},
		OutboxRoot: box.Root(), Generation: w.generation(n),
	}
	w.counts.ForgedCheckpoints++
	if n.height() > 0 && w.chance(30) {
		c.Height = n.height()
		n.twins = append(n.twins, w.certify(n, sits, c, malicious))
		return
	}
	n.blocks = append(n.blocks, stored{digest: n.digest, cert: w.certify(n, sits, c, malicious), forged: true})
	w.counts.Blocks++
	n.keep(w, c.Height, box)
}

// ending reports whether the next block of a shard is its last one.
func (n *node) ending() bool {
	return !n.over() && n.resume == nil && shardblock.ReadStatus(n.view).Ended == n.height()+1
}

// lies returns, as changes of a state, what a corrupt committee would like others to
// believe.
func (w *World) lies(n *node) chain.Changes {
	own := n.rules.(*shardRules).is //nolint:errcheck // liars are shards
	mine := link.Place{Service: serviceID, Zone: own.Zone, Bucket: own.First}
	var changes chain.Changes
	for range 1 + w.pick(3) {
		victim := w.address(w.payeeKey(w.pick(w.payees)))
		to := place(service.HomeOf(victim))
		e := service.EarningsMessage{Payee: victim, Sums: w.lot()}
		if w.chance(20) { // of an epoch that nobody has begun
			e.Epoch = w.epochOf(w.main().height()+1) + 3 + uint64(w.pick(1_000))
		}
		m := link.Message{Link: link.Link{Src: mine, Dst: to}, Kind: uint16(service.KindEarnings), Expiry: 1 << 60, Payload: e.Encode()}
		switch w.pick(10) {
		case 0: // speak for somebody else
			m.Link.Src.Bucket ^= 0x80
			m.Link.Src.Zone ^= 1
		case 1: // speak for main: a channel with a deposit that nobody made
			m.Link.Src = link.Place{}
			o := channel.OpenedNotice{Index: 1 << 20, Payer: victim, Payee: victim, Service: serviceID, Deposit: 1 << 40, ExpiresAt: 1 << 40}
			m.Kind, m.Payload = uint16(service.KindOpened), o.Encode()
		case 2: // the same from the shard itself
			o := channel.OpenedNotice{Index: 1 << 20, Payer: victim, Payee: victim, Service: serviceID, Deposit: 1 << 40, ExpiresAt: 1 << 40}
			m.Kind, m.Payload = uint16(service.KindOpened), o.Encode()
		case 3: // what main never takes
			m.Link.Dst = link.Place{}
		case 4: // a bounce of what was never sent
			m.Expiry, m.Of, m.Code = 0, 1<<30, chain.CodeMessageExpired
		case 5: // acknowledge what was never sent, or was sent and did not arrive
			l := link.Link{Src: to, Dst: mine}
			if l.Src == l.Dst {
				continue
			}
			next := link.OutboundAt(w.ownerOf(to).view, l).Next
			if w.chance(50) {
				next += 5
			}
			in := link.Inbound{Next: next}
			changes = append(changes, chain.Change{Key: link.InboundKey(l), Value: in.Encode()})
			continue
		case 6, 7, 8: // send back what others sent, or something else
			changes = append(changes, w.falseReturns(n)...)
			continue
		}
		if m.Link.Src == m.Link.Dst {
			continue
		}
		m.Seq = link.InboundAt(w.ownerOf(m.Link.Dst).view, m.Link).Next
		changes = append(changes, chain.Change{Key: link.MessageKey(m.Link, m.Seq), Value: m.Encode()})
	}
	slices.SortFunc(changes, func(a, b chain.Change) int { return bytes.Compare(a.Key, b.Key) })
	return slices.CompactFunc(changes, func(a, b chain.Change) bool { return bytes.Equal(a.Key, b.Key) })
}

// lot is more than anybody has earned: a lot, or as much as can be written.
func (w *World) lot() service.Sums {
	s := service.Sums{Amount: 1 << 40, Units: 1 << 40, Work: 1 << 40}
	switch w.pick(6) {
	case 0:
		s.Amount = uint64(ledger.MaxAmount) + w.rng.Uint64N(2)
	case 1:
		s.Units = math.MaxUint64 - w.rng.Uint64N(1_000)
	case 2:
		s.Work = math.MaxUint64
	}
	return s
}

// falseReturns returns, as changes of a state, what a corrupt committee sends back of what
// an honest chain sent it: messages as they were or others in their place, before they are
// acknowledged, after that and again, with an acknowledgement that says anything.
func (w *World) falseReturns(n *node) (changes chain.Changes) {
	var ways []link.Link
	for _, from := range w.running() {
		last := -1
		for key := range from.view.Range(link.BucketPrefix(0)[:1]) {
			if bucket := int(key[1]); bucket != last && w.honest(from) {
				last = bucket
				for l, o := range link.Outbounds(from.view, key[1]) {
					if o.Next > 0 && w.ownerOf(l.Dst) == n {
						ways = append(ways, l)
					}
				}
			}
		}
	}
	if len(ways) == 0 {
		return nil
	}
	way := ways[w.pick(len(ways))]
	victim := w.ownerOf(way.Src).view
	o := link.OutboundAt(victim, way)
	of := o.Next - 1 - w.rng.Uint64N(min(o.Next, 4))
	if w.chance(30) {
		of = max(o.Back, 1) - 1
	}
	known := w.track.messages[numbered{way, of}]
	if known == nil {
		return nil
	}
	sent, err := link.DecodeMessage(known.encoded)
	if err != nil {
		w.failf("forge: %v", err)
	}
	m := link.Message{
		Link: way.Reverse(), Kind: sent.Kind, OriginTx: sent.OriginTx, Sender: sent.Recipient, Recipient: sent.Sender,
		Of: of, Code: chain.CodeMessageExpired, Payload: sent.Payload,
	}
	if w.chance(30) {
		m.Code = chain.CodeInvalidValue
	}
	if e, err := service.DecodeEarningsMessage(sent.Payload); err == nil && w.chance(40) {
		e.Sums = w.lot()
		m.Payload = e.Encode()
	}
	w.counts.ForgedReturns++
	m.Seq = link.InboundAt(victim, m.Link).Next
	for range 1 + w.pick(2) { // and the same once more
		changes = append(changes, chain.Change{Key: link.MessageKey(m.Link, m.Seq), Value: m.Encode()})
		m.Seq++
	}
	if w.chance(40) {
		in := link.Inbound{Next: o.Next - w.rng.Uint64N(min(o.Next, 3)), Bounced: o.Bounced + w.rng.Uint64N(3)}
		if in.Bounced <= in.Next {
			changes = append(changes, chain.Change{Key: link.InboundKey(way), Value: in.Encode()})
		}
	}
	return changes
}
