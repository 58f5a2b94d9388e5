package settlement

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/bits"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/shard/link"
)

// What the main chain tells the homes of channels: see chain/channel's notices. A channel
// has a home if the service that it names is registered and has the zone of its payer.
// The service has the zone of its payee too: no other channel opens.
//
// An open or a top-up sends its notice at once and is refused if the link to the home
// is full, before anything changes. Everything else cannot be refused: what it has to
// tell is sent at the end of the block, and what does not fit waits, one row for each
// channel, which says what is to be told and takes the totals from the channel when it
// is sent. While something waits for a home nothing is opened there, so that what waits
// goes first.
//
// Notices live as long as messages can. One that expires all the same comes back, and
// waits to be sent again if it still says something. One that the home refused is
// dropped: the home knows better, as it does of a channel that is closed. So is one that
// it calls expired before it can be. Whoever brings what is to be sent again pays for it,
// or a shard could have the chain send it for ever for nothing.

// What waits to be told of a channel.
const (
	tellOpened  = 1 << iota // with all lanes that were redeemed
	tellChanged             // deposit or deadline: also that the payer requested the close
	tellClosed              // and nothing else: the home forgets the channel
	// tellFirst goes with tellOpened: no notice that opens the channel was ever sent. One
	// that is to be sent once more says nothing of what the home knows, as another one may
	// be under way.
	tellFirst
)

const (
	// tellRows is how many rows of what waits one block sends at most, and tellHome
	// how many of those for one home.
	tellRows = 4096
	tellHome = 1024
)

// told is what a home is to be told of a channel.
type told struct {
	flags    uint8
	payer    ledger.Address // if tellClosed
	redeemed ledger.Amount  // likewise
	lanes    uint64         // redeemed ones
	stored   bool           // it waits in the state
}

// done reports whether nothing is left to be told.
func (t *told) done() bool { return t.flags == 0 && t.lanes == 0 }

// merge adds what came later.
func (t *told) merge(next *told) {
	t.flags |= next.flags
	t.lanes |= next.lanes
	if next.flags&tellClosed != 0 {
		t.payer, t.redeemed = next.payer, next.redeemed
	}
	if t.flags&tellClosed != 0 {
		t.lanes = 0
		if t.flags&tellFirst != 0 {
			t.flags = 0 // the home never heard of it
			return
		}
		t.flags = tellClosed
	}
}

const toldSize = 1 + ledger.AddressSize + 8 + 8

// encode returns the row: flags u8 | payer 21 | redeemed u64 | lanes u64.
func (t *told) encode() []byte {
	w := codec.NewWriter(toldSize)
	w.Uint8(t.flags)
	w.Fixed(t.payer[:])
	w.Uint64(uint64(t.redeemed))
	w.Uint64(t.lanes)
	return w.Bytes()
}

func decodeTold(b []byte) (*told, error) {
	r := codec.NewReader(b)
	t := &told{flags: r.Uint8(), stored: true}
	r.Into(t.payer[:])
	t.redeemed, t.lanes = ledger.Amount(r.Uint64()), r.Uint64()
	return t, r.Done()
}

func readTold(b []byte) *told {
	t, err := decodeTold(b)
	if err != nil {
		panic(fmt.Errorf("read what waits to be told: %w", err))
	}
	return t
}

func placeKey(prefix byte, p link.Place) []byte {
	k := make([]byte, 0, 1+link.PlaceSize+8)
	k = binary.BigEndian.AppendUint32(append(k, prefix), p.Service)
	return append(k, p.Zone, p.Bucket)
}

// waitingKey returns the state key of what waits to be told of a channel.
func waitingKey(home link.Place, index uint64) []byte {
	return binary.BigEndian.AppendUint64(placeKey(prefixWaiting, home), index)
}

// Waiting returns of how many channels a home has yet to be told something for which its
// link had no room.
func Waiting(v chain.View, home link.Place) uint64 {
	b := v.Get(placeKey(prefixHome, home))
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func (b *block) setWaiting(home link.Place, n uint64) {
	if k := placeKey(prefixHome, home); n == 0 {
		b.state.Delete(k)
	} else {
		b.state.Set(k, binary.BigEndian.AppendUint64(nil, n))
	}
}

// waitingHomes returns the homes for which something waits, ascending.
func waitingHomes(v chain.View) (homes []link.Place) {
	for k := range v.Range([]byte{prefixHome}) {
		homes = append(homes, link.Place{Service: binary.BigEndian.Uint32(k[1:]), Zone: k[5], Bucket: k[6]})
	}
	return homes
}

// linkTo is the link from the main chain to a home.
func linkTo(home link.Place) link.Link { return link.Link{Dst: home} }

// hasRoom reports whether a link takes one more message of any size.
func hasRoom(v chain.View, l link.Link) bool {
	out := link.OutboundAt(v, l)
	messages, size := out.UnderWay()
	return messages < link.MaxUnacked && size+link.MessageOverhead+link.MaxPayload <= link.MaxUnackedBytes
}

// home returns the home of a channel of payer that names service, and ok=false if it
// has none.
func (b *block) home(service uint32, payer ledger.Address) (place link.Place, ok bool) {
	if service == 0 {
		return link.Place{}, false
	}
	s := b.serviceOf(service)
	if s == nil || !s.Zones.Has(payer.Zone()) {
		return link.Place{}, false
	}
	return link.Place{Service: service, Zone: payer.Zone(), Bucket: payer.Bucket()}, true
}

// roomFor refuses, with the code of a link that is full, channels of payer that name
// services, in any order, whose homes could not be told of all of them now.
func (b *block) roomFor(payer ledger.Address, services []uint32, size int) error {
	count := make(map[link.Place]uint64)
	for _, s := range services {
		if home, ok := b.home(s, payer); ok {
			count[home]++
		}
	}
	for _, home := range slices.SortedFunc(maps.Keys(count), link.Place.Compare) {
		out := link.OutboundAt(b.state, linkTo(home))
		messages, bytes := out.UnderWay()
		retry, _ := link.RetryAfter(chain.CodeLinkFull)
		n := count[home]
		switch waiting := Waiting(b.state, home); {
		case waiting > 0:
			return chain.Refuse(chain.CodeLinkFull, "%d channels wait for room on the link to their home %s; send again in %d blocks", waiting, home, retry)
		case messages+n > link.MaxUnacked:
			return chain.Refuse(chain.CodeLinkFull, "the link to home %s has %d messages under way and cannot take %d more, at most %d; send again in %d blocks",
				home, messages, n, uint64(link.MaxUnacked), retry)
		case bytes+n*uint64(link.MessageOverhead+size) > link.MaxUnackedBytes:
			return chain.Refuse(chain.CodeLinkBytes, "the link to home %s has %d bytes under way and cannot take %d messages more, at most %d bytes; send again in %d blocks",
				home, bytes, n, uint64(link.MaxUnackedBytes), retry)
		}
	}
	return nil
}

// send sends a notice, or returns false if the link to home is full.
func (b *block) send(home link.Place, payer ledger.Address, kind channel.NoticeKind, origin ledger.Hash, payload []byte) bool {
	_, err := b.links.Send(link.Draft{
		Link: linkTo(home), Kind: uint16(kind), OriginTx: origin, Recipient: payer, Lifetime: link.MaxLifetime, Payload: payload,
	})
	if err == nil {
		return true
	}
	if code, _ := chain.CodeOf(err); code != chain.CodeLinkFull && code != chain.CodeLinkBytes {
		panic(fmt.Errorf("notice to %s: %w", home, err)) // a home is no place of ours, and the payload is short
	}
	return false
}

// announce tells the homes of channels that tx opened, or topped up, for which there is
// room.
func (b *block) announce(tx *chain.Tx, events []Event) {
	for i := range events {
		e := &events[i]
		home, ok := b.home(e.Service, e.Payer)
		if !ok {
			continue
		}
		c, _ := channel.At(b.state, e.Index)
		changed, kind := c.Changed(e.Index), channel.NoticeChanged
		payload := changed.Encode()
		if e.Kind == channel.EventOpened {
			n := c.Opened(e.Index)
			kind, payload = channel.NoticeOpened, n.Encode()
		}
		if !b.send(home, e.Payer, kind, tx.Hash, payload) {
			panic(fmt.Errorf("no room to tell %s of channel %d, which was checked", home, e.Index))
		}
	}
}

// news is what homes are to be told at the end of a block, by home and channel.
type news map[link.Place]map[uint64]*told

func (n news) add(home link.Place, index uint64, next *told) {
	if n[home] == nil {
		n[home] = make(map[uint64]*told)
	}
	if t := n[home][index]; t != nil {
		t.merge(next)
	} else {
		n[home][index] = next
	}
}

// tell sends what a block has to tell homes and what waits, as far as there is room, and
// lets the rest wait.
func (b *block) tell(receipts []Receipt, events []Event) {
	n := b.gather(receipts, events)
	for _, back := range b.back {
		n.add(back.home, back.index, &back.told)
	}
	homes := waitingHomes(b.state)
	if at := len(homes); at > 0 { // nobody is always the first
		homes = slices.Concat(homes[b.ctx.Height%uint64(at):], homes[:b.ctx.Height%uint64(at)])
	}
	waiting := len(homes)
	for _, home := range slices.SortedFunc(maps.Keys(n), link.Place.Compare) {
		if Waiting(b.state, home) == 0 {
			homes = append(homes, home)
		}
	}
	left := tellRows
	for i, home := range homes {
		fresh := n[home]
		room := hasRoom(b.state, linkTo(home))
		if i < waiting && fresh == nil && (!room || left == 0) {
			continue
		}
		limit := 0
		if room {
			limit = min(left, tellHome)
		}
		left -= b.tellHome(home, fresh, limit)
	}
}

// gather returns what receipts and events say to homes. What opens and top-ups say is
// said already.
func (b *block) gather(receipts []Receipt, events []Event) news {
	n := news{}
	homes := make(map[uint64]link.Place) // of channels that were redeemed and are open
	for i := range events {
		e := &events[i]
		home, ok := b.home(e.Service, e.Payer)
		if !ok {
			continue
		}
		switch {
		case e.Kind.Closed():
			delete(homes, e.Index)
			n.add(home, e.Index, &told{flags: tellClosed, payer: e.Payer, redeemed: e.Redeemed})
		case e.Kind == channel.EventOpened && receipts[e.TxIndex].Kind == chain.KindCoopClose: // the roll-over
			n.add(home, e.Index, &told{flags: tellOpened | tellFirst})
		case e.Kind == channel.EventExtended || e.Kind == channel.EventCloseRequested:
			n.add(home, e.Index, &told{flags: tellChanged})
		case e.Kind == channel.EventRedeemed:
			homes[e.Index] = home
		}
	}
	if len(homes) == 0 {
		return n
	}
	for i := range receipts {
		for j := range receipts[i].Entries {
			e := &receipts[i].Entries[j]
			if home, ok := homes[e.Index]; ok && e.Moved() != 0 {
				n.add(home, e.Index, &told{lanes: 1 << e.Lane})
			}
		}
	}
	return n
}

// tellHome tells a home what is fresh and up to limit of what waits for it, as far as
// there is room, and stores what is left. It returns how many rows it took up.
func (b *block) tellHome(home link.Place, fresh map[uint64]*told, limit int) (rows int) {
	waiting := Waiting(b.state, home)
	all := make(map[uint64]*told, len(fresh))
	if waiting > 0 && limit > 0 {
		b.readWaiting(home, limit, all)
		rows = len(all)
	}
	for index, t := range fresh {
		was := all[index]
		if was == nil && waiting > 0 {
			if row := b.state.Get(waitingKey(home, index)); row != nil {
				was = readTold(row)
			}
		}
		if was != nil {
			was.merge(t)
			t = was
		}
		all[index] = t
	}
	order := slices.Sorted(maps.Keys(all))
	if limit > 0 {
		b.tellThem(home, order, all)
	}
	if len(order) > 0 {
		b.setWaiting(home, b.keep(home, order, all, waiting))
	}
	return rows
}

// readWaiting adds to all up to limit, which is not 0, of what waits for a home.
func (b *block) readWaiting(home link.Place, limit int, all map[uint64]*told) {
	prefix := placeKey(prefixWaiting, home)
	for k, v := range b.state.Range(prefix) {
		if all[binary.BigEndian.Uint64(k[len(prefix):])] = readTold(v); len(all) == limit {
			return
		}
	}
}

// keep stores what was not told of channels, which are in order, and returns of how many
// something waits then, if it were waiting before.
func (b *block) keep(home link.Place, order []uint64, all map[uint64]*told, waiting uint64) uint64 {
	for _, index := range order {
		t, key := all[index], waitingKey(home, index)
		switch {
		case !t.done():
			b.state.Set(key, t.encode())
			if !t.stored {
				waiting++
			}
		case t.stored:
			b.state.Delete(key)
			waiting--
		}
	}
	return waiting
}

// tellThem sends what there is to say of channels, which are in order, until the link is
// full. What was sent, or says nothing any more, is taken out of all.
func (b *block) tellThem(home link.Place, order []uint64, all map[uint64]*told) {
	var lanes []channel.LaneTotal
	var payer ledger.Address
	for _, index := range order {
		t := all[index]
		if t.flags&tellClosed != 0 {
			n := channel.ClosedNotice{Payer: t.payer, Index: index, Redeemed: t.redeemed}
			if !b.send(home, t.payer, channel.NoticeClosed, ledger.Hash{}, n.Encode()) {
				break
			}
			t.flags = 0
			continue
		}
		c, open := channel.At(b.state, index)
		if !open { // its close was told, or it came back and nobody has to know any more
			t.flags, t.lanes = 0, 0
			continue
		}
		payer = c.Payer
		var sent bool
		switch {
		case t.flags&tellOpened != 0:
			n := c.Opened(index)
			if sent = b.send(home, c.Payer, channel.NoticeOpened, ledger.Hash{}, n.Encode()); !sent || !c.Closing() {
				break
			}
			t.flags = tellChanged // how it was opened does not say that it closes
			closing := c.Changed(index)
			sent = b.send(home, c.Payer, channel.NoticeChanged, ledger.Hash{}, closing.Encode())
		case t.flags&tellChanged != 0:
			n := c.Changed(index)
			sent = b.send(home, c.Payer, channel.NoticeChanged, ledger.Hash{}, n.Encode())
		default:
			sent = true
		}
		if !sent {
			break
		}
		t.flags = 0
		for set := t.lanes; set != 0; set &= set - 1 {
			lane := uint8(bits.TrailingZeros64(set))
			l, _ := channel.LaneAt(b.state, index, lane)
			lanes = append(lanes, channel.LaneTotal{Index: index, Lane: lane, Redeemed: l.Redeemed})
		}
	}
	for part := range slices.Chunk(lanes, channel.MaxRedeemedLanes) {
		n := channel.RedeemedNotice{Zone: home.Zone, Bucket: home.Bucket, Lanes: part}
		if !b.send(home, payer, channel.NoticeRedeemed, ledger.Hash{}, n.Encode()) {
			return
		}
		for i := range part {
			all[part[i].Index].lanes &^= 1 << part[i].Lane
		}
	}
}

// returned is a part of a notice that came back and is to be told again.
type returned struct {
	home  link.Place
	index uint64
	told  told
}

// untold takes back a notice, as it comes and as it was sent. It cannot fail: what cannot be
// read, of which there is none, or says nothing any more, is dropped.
func (b *block) untold(m, sent *link.Message) {
	home := m.Link.Src // the notice went there
	again := func(index uint64, t told) { b.back = append(b.back, returned{home, index, t}) }
	// The clock of the main chain is its height, and no home has seen a later block.
	expired := m.Code == chain.CodeMessageExpired && b.ctx.Height > sent.Expiry
	switch channel.NoticeKind(m.Kind) {
	case channel.NoticeOpened:
		if n, err := channel.DecodeOpenedNotice(m.Payload); err == nil && expired {
			again(n.Index, told{flags: tellOpened, lanes: usedLanes(b.state, n.Index)})
		}
	case channel.NoticeChanged:
		n, err := channel.DecodeChangedNotice(m.Payload)
		switch {
		case err != nil:
		case expired:
			again(n.Index, told{flags: tellChanged})
		case m.Code == chain.CodeChannelUnknown: // it was opened before the service was registered
			again(n.Index, told{flags: tellOpened, lanes: usedLanes(b.state, n.Index)})
		}
	case channel.NoticeClosed:
		if n, err := channel.DecodeClosedNotice(m.Payload); err == nil && expired {
			again(n.Index, told{flags: tellClosed, payer: n.Payer, redeemed: n.Redeemed})
		}
	case channel.NoticeRedeemed:
		if n, err := channel.DecodeRedeemedNotice(m.Payload); err == nil && expired {
			for _, l := range n.Lanes {
				again(l.Index, told{lanes: 1 << l.Lane})
			}
		}
	}
}

// usedLanes returns the lanes of a channel on which something was redeemed.
func usedLanes(v chain.View, index uint64) (set uint64) {
	for lane := range uint8(channel.Lanes) {
		if l, ok := channel.LaneAt(v, index, lane); ok && l.Redeemed > 0 {
			set |= 1 << lane
		}
	}
	return set
}

// linksNeedTick reports whether links give the main chain something to do at height
// though nobody sends transactions: something waits for which there is room, or was sent
// so recently that a shard that lives has yet to acknowledge it. For one that does not
// main goes on until it gets another committee, and for that one as long again.
func linksNeedTick(v chain.View, p *Params, height uint64) bool {
	for _, home := range waitingHomes(v) {
		if hasRoom(v, linkTo(home)) {
			return true
		}
	}
	for _, out := range link.Outbounds(v, 0) {
		if out.Unacked() > 0 && height < out.Progress+2*uint64(p.Anchors.StalledBlocks) {
			return true
		}
	}
	return false
}
