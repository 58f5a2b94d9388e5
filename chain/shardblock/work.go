package shardblock

import (
	"errors"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// work is a block under way, up to its records.
type work struct {
	view   chain.View
	state  *chain.Overlay // of everything but the service
	config Config
	shard  service.Shard
	height uint64
	run    *service.Run
	verify CertificateVerifier
	// verified are certificates, encoded, that were verified for relays that apply and for the
	// one under way, fresh those that were first for this one.
	verified map[string]bool
	fresh    []string
	weight   int64           // of the messages of relays that apply
	limit    int64           // of weight
	brought  map[uint64]Head // heads of the relay under way, by height
	imports  []Imported
	began    *registry.EpochRecord // of the epoch that the block began, nil if none
	under    underWays             // messages under way to the service; nil maps until one is sent
}

func begin(v chain.View, height uint64, verify CertificateVerifier) *work {
	c, s := ReadConfig(v), service.ReadShard(v)
	p := must(service.ReadParams(v))
	return &work{
		view: v, state: chain.NewOverlay(v), config: c, shard: s, height: height, verify: verify, verified: map[string]bool{},
		limit: p.MaxBlockWeight(),
		run:   service.Begin(v, p, service.Domain(c.Network, s.Service), height),
	}
}

// here reports whether the shard owns a place.
func (w *work) here(p link.Place) bool {
	return p.Service == w.shard.Service && w.shard.Owns(service.Place{Zone: p.Zone, Bucket: p.Bucket})
}

func (w *work) links(state *chain.Overlay) *link.Context {
	return &link.Context{State: state, Here: w.here, Void: w.void, Height: w.height, Clock: w.config.Clock + w.height}
}

// relay applies a relay after those before it. If it refuses, nothing has changed.
func (w *work) relay(r *Relay) error {
	w.fresh = nil
	weight := w.weight
	err := w.apply(r)
	if err != nil {
		w.weight = weight
		for _, c := range w.fresh {
			delete(w.verified, c)
		}
	}
	return err
}

func (w *work) apply(r *Relay) error {
	o := chain.NewOverlay(w.state)
	w.brought = map[uint64]Head{}
	if err := w.news(o, r); err != nil {
		return err
	}
	var err error
	switch r.Kind {
	case KindHead: // DecodeRelay wants one of them at least
	case KindEpoch:
		err = w.epoch(o, r.Epoch)
	case KindImport:
		err = w.bring(o, r.Import)
	case KindRelist, KindReack:
		err = w.call(o, r)
	default:
		err = chain.Refuse(chain.CodeUnknownKind, "relay of kind %d", uint8(r.Kind))
	}
	if err != nil {
		return err
	}
	w.state.Merge(o)
	return nil
}

// call lists or acknowledges a link again.
func (w *work) call(o *chain.Overlay, r *Relay) error {
	if s := ReadStatus(o); s.Called != w.height {
		if s.Calls >= MaxCalls {
			return chain.Refuse(chain.CodeNotDue, "%d blocks of epoch %d listed or acknowledged links again, which is as many as may: ask again in the next epoch", s.Calls, s.Epoch)
		}
		s.Calls, s.Called = s.Calls+1, w.height
		o.Set(StatusKey(), s.Encode())
	}
	if r.Kind == KindRelist {
		return w.links(o).Relist(r.Link)
	}
	return w.links(o).Reack(r.Link)
}

// bring applies an import. Once the link takes it nothing can fail: the service sees the
// messages then.
func (w *work) bring(o *chain.Overlay, in *Import) error {
	known, err := w.known(o, in)
	if err != nil {
		return err
	}
	if err := w.related(&in.Link); err != nil {
		return err
	}
	h := handler{w, w.provedIn(o, in)}
	if err := h.weigh(&in.Link); err != nil {
		return err
	}
	receipts, err := w.links(o).Apply(&in.Link, known, h)
	if err != nil {
		return err
	}
	a, _ := known.Anchored(in.Link.Shard, in.Link.Height)
	w.imports = append(w.imports, Imported{Import: &in.Link, Clock: max(a.Clock, a.Newest), Receipts: receipts})
	return nil
}

// related refuses what is of neither main nor this service: there are no such links, and to
// send it back would let the committee of any service fill this one's.
func (w *work) related(in *link.Import) error {
	for _, l := range in.Leaves {
		if from := l.From(); from != (link.Place{}) && from.Service != w.shard.Service {
			return chain.Refuse(chain.CodeForeignPlace, "leaf from %s, which is of service %d, this is %d", from, from.Service, w.shard.Service)
		}
	}
	return nil
}

// void is that of link.Context: what a shard sends that is no message about earnings. To
// refuse it would stop the link for the committees after the one that lied, and to send it
// back would let that fill this shard's links with what is long.
func (w *work) void(m *link.Message) bool {
	return m.Link.Src != link.Place{} &&
		(service.MessageKind(m.Kind) != service.KindEarnings || len(m.Payload) != service.EarningsMessageSize)
}

// known returns what an import may rely on.
func (w *work) known(o *chain.Overlay, in *Import) (link.Anchors, error) {
	source := in.Link.Shard
	if in.Anchors == nil {
		h, ok := w.headAt(o, in.Link.Height)
		switch {
		case source != ledger.MainChain || in.Older != nil:
			return nil, chain.Refuse(chain.CodeNotAnchored, "import of shard %d without its row of anchors", source)
		case !ok:
			return nil, chain.Refuse(chain.CodeNotAnchored, "block %d of the main chain is not known here; bring its certificate too", in.Link.Height)
		}
		return ofMain{h}, nil
	}
	if source == ledger.MainChain {
		return nil, chain.Refuse(chain.CodeInvalidValue, "import of the main chain with a row of anchors")
	}
	key := anchor.Key(source)
	if err := w.prove(o, key, in.Anchors); err != nil {
		return nil, err
	}
	if in.Anchors.Value == nil {
		return nil, chain.Refuse(chain.CodeUnknownShard, "shard %d is not founded", source)
	}
	if _, err := anchor.DecodeState(in.Anchors.Value); err != nil { // cannot be, unless main is corrupt
		return nil, chain.Refuse(chain.CodeMalformed, "%v", err)
	}
	k := anchor.NewKnown(row{key, in.Anchors.Value})
	if in.Older == nil {
		return k, nil
	}
	return k, k.Prove(in.Older)
}

// ofMain is link.Anchors of one block of main, which needs no anchor: its certificate is
// known. The clock of main is its height, and a message of main expires here only once
// its link was told of a later block.
type ofMain struct{ head Head }

// Anchored is that of link.Anchors.
func (m ofMain) Anchored(id ledger.ChainID, height uint64) (link.Anchored, bool) {
	h := &m.head
	return link.Anchored{Outbox: h.OutboxRoot, Clock: h.Height, Newest: h.Height}, id == ledger.MainChain && height == h.Height
}

// Owned is that of link.Anchors.
func (ofMain) Owned(id ledger.ChainID, _ uint64, p link.Place) bool {
	return id == ledger.MainChain && p == link.Place{}
}

// provedIn returns the epoch of the block of main by which an import is proved.
func (w *work) provedIn(o *chain.Overlay, in *Import) uint64 {
	height := in.Link.Height // of main itself
	if in.Anchors != nil {
		height = in.Anchors.Height
	}
	h, _ := w.headAt(o, height)
	return h.Epoch
}

// handler gives messages to the rules of the service, which see them one after the
// other.
type handler struct {
	*work
	epoch uint64 // of the block of main by which they are proved
}

// Execute is that of link.Handler.
func (h handler) Execute(_ *link.Context, m *link.Message) error {
	if result := h.run.Take(h.inbound(m, service.Fresh)); !result.Taken() {
		return chain.Refuse(result.Code, "%s", result.Detail)
	}
	return nil
}

// weigh adds what the messages of an import make a node write, by the state before it, and
// refuses what is more than a block may: alone it has to come in parts, and beside others in
// a later block.
func (h handler) weigh(in *link.Import) error {
	var weight int64
	for i := range in.Leaves {
		if m := in.Leaves[i].Message; m != nil {
			inbound := h.inbound(m, service.Fresh)
			weight += h.run.Weight(&inbound)
		}
	}
	if h.weight+weight > h.limit {
		return chain.Refuse(chain.CodeTooLarge, "the messages may write %d bytes (weight) beside %d of others in the block, which may have %d: bring fewer at once", weight, h.weight, h.limit)
	}
	h.weight += weight
	return nil
}

// Return is that of link.Handler. What comes back from main nobody here sent as a
// message of the service.
func (h handler) Return(_ *link.Context, m, _ *link.Message) {
	if m.Link.Src == (link.Place{}) {
		return
	}
	fate := service.Bounced
	if m.Code == chain.CodeMessageExpired {
		fate = service.Expired
	}
	h.run.Take(h.inbound(m, fate))
}

func (h handler) inbound(m *link.Message, fate service.Fate) service.Inbound {
	return service.Inbound{
		Main: m.Link.Src == link.Place{}, From: service.Place{Zone: m.Link.Src.Zone, Bucket: m.Link.Src.Bucket},
		To:   service.Place{Zone: m.Link.Dst.Zone, Bucket: m.Link.Dst.Bucket},
		Kind: service.MessageKind(m.Kind), Payload: m.Payload, Fate: fate, MainEpoch: h.epoch,
	}
}

// send is the Send of service.Block over the links of the shard.
func (w *work) send(m service.Message) bool {
	place := func(p service.Place) link.Place {
		return link.Place{Service: w.shard.Service, Zone: p.Zone, Bucket: p.Bucket}
	}
	l := link.Link{Src: place(m.From), Dst: place(m.To)}
	p, out := &w.config.Params, link.OutboundAt(w.state, l)
	switch messages, size := out.UnderWay(); {
	case uint64(len(m.Payload)) > p.MessageBytes, messages >= p.UnderWay, size+link.MessageOverhead+uint64(len(m.Payload)) > p.UnderWayBytes,
		!w.room(m.From.Bucket, m.To):
		return false
	}
	_, err := w.links(w.state).Send(link.Draft{
		Link: l, Kind: uint16(m.Kind), Recipient: m.Recipient, Lifetime: p.Lifetime, Payload: m.Payload,
	})
	if err != nil {
		return false
	}
	w.under.add(m.To, 1)
	return true
}

// underWays counts the messages under way to places of the service, to sixteenths of zones,
// by their first places, and in all those above the first of each sixteenth.
type underWays struct {
	places, sixteenths map[service.Place]uint64
	shared             uint64
}

func sixteenthOf(p service.Place) service.Place {
	return service.Place{Zone: p.Zone, Bucket: p.Bucket &^ 15}
}

func (u *underWays) add(to service.Place, n uint64) {
	if n == 0 {
		return
	}
	if u.sixteenths[sixteenthOf(to)] == 0 {
		u.shared--
	}
	u.places[to] += n
	u.sixteenths[sixteenthOf(to)] += n
	u.shared += n
}

// room reports whether another message from a bucket may be under way to a place of the
// service: see Params.shared.
func (w *work) room(from uint8, to service.Place) bool {
	if w.under.places == nil {
		w.under = underWays{places: make(map[service.Place]uint64), sixteenths: make(map[service.Place]uint64)}
		for l, out := range link.Outbounds(w.state, from) {
			if messages, _ := out.Own(); l.Dst.Service == w.shard.Service {
				w.under.add(service.Place{Zone: l.Dst.Zone, Bucket: l.Dst.Bucket}, messages)
			}
		}
	}
	around, shared := w.under.sixteenths[sixteenthOf(to)], w.config.Params.shared()
	if around == 0 {
		return true
	}
	free := shared - min(shared, w.under.shared)
	if w.under.places[to] == 0 {
		return around-1 < free/8
	}
	return around-1 < free/16
}

// refusal gives an error of a certificate the code of the rule that it breaks.
func refusal(err error) error {
	code := chain.CodeBadCertificate
	switch {
	case errors.Is(err, cert.ErrBitmap):
		code = chain.CodeMalformed
	case errors.Is(err, cert.ErrWrongNetwork):
		code = chain.CodeWrongNetwork
	case errors.Is(err, cert.ErrWrongChain):
		code = chain.CodeWrongChain
	case errors.Is(err, cert.ErrWrongEpoch), errors.Is(err, cert.ErrWrongCommittee):
		code = chain.CodeUnknownCommittee
	}
	return chain.Refuse(code, "%v", err)
}
