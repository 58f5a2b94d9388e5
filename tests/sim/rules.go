package sim

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
)

// serviceID is the one service of the simulation.
const serviceID = 7

// network is what everybody knows from the start.
type network struct {
	id     ledger.NetworkID
	places *shard.Map
	seats  map[ledger.ChainID]*seats
	keys   *Keys
	anchor anchor.Params
	main   settlement.Params
	params service.Params
	// underWay is how many messages a shard has under way on a link at most; below
	// link.MaxUnacked, so that links get full. lifetime is that of its messages.
	underWay, lifetime uint64
	// congested is how many unacknowledged messages make a shard full.
	congested uint64
	fault     Fault
}

func (n *network) mainDomain() chain.Domain {
	return chain.Domain{Network: n.id, Chain: ledger.MainChain}
}

func (n *network) serviceDomain() chain.Domain { return service.Domain(n.id, serviceID) }

// owner returns the chain that owns a place.
func (n *network) owner(p link.Place) (ledger.ChainID, bool) {
	if p == (link.Place{}) {
		return ledger.MainChain, true
	}
	return n.places.Owner(p.Service, p.Zone, shard.Bucket(p.Bucket))
}

// place returns the link place of a place of the service.
func place(p service.Place) link.Place {
	return link.Place{Service: serviceID, Zone: p.Zone, Bucket: p.Bucket}
}

// errBlock means a block that no honest member votes for.
var errBlock = errors.New("the block is invalid")

// imported is an import that a block applied, and what became of its leaves.
type imported struct {
	in       link.Import
	receipts []link.Receipt
	// seen is the anchor clock of the newest checkpoint of the source that was known.
	seen uint64
	// messages are those that were executed or refused, in the order of receipts.
	messages []link.Message
}

// applied is what a block does.
type applied struct {
	kept      block // the block with what may be in it
	changes   chain.Changes
	box       *link.Outbox
	imports   []imported
	usage     ledger.Hash
	results   ledger.Hash
	anchored  []cert.Checkpoint // by main
	records   [][]byte          // of main: what its state root covers beside the state
	refused   []chain.Code
	main      settlement.Result
	service   service.Result
	congested int // transactions of users that were kept out
}

// rules applies blocks. What may not be in a block is an error if strict, and else
// left out of it: so proposers and voters share every line.
type rules interface {
	apply(v chain.View, b *block, strict bool) (*applied, error)
}

// refuse leaves something out of a block, or refuses the block.
func (a *applied) refuse(strict bool, err error) error {
	if strict {
		return fmt.Errorf("%w: %w", errBlock, err)
	}
	code, _ := chain.CodeOf(err)
	a.refused = append(a.refused, code)
	return nil
}

// bring applies an encoded delivery to the block under way.
func (n *network) bring(c *link.Context, here ledger.ChainID, raw []byte, h *handler) (imported, error) {
	d, err := decodeDelivery(raw)
	if err != nil {
		return imported{}, chain.Refuse(chain.CodeMalformed, "%v", err)
	}
	in, err := link.DecodeImport(d.imported)
	if err != nil {
		return imported{}, err
	}
	k, err := n.learn(c.State, here, &d)
	if err != nil {
		return imported{}, err
	}
	a, _ := k.Anchored(in.Shard, in.Height)
	out := imported{in: in, seen: max(a.Clock, a.Newest)}
	if out.receipts, err = c.Apply(&in, k, h); err != nil {
		return imported{}, err
	}
	for _, l := range in.Leaves {
		if l.Message != nil {
			out.messages = append(out.messages, *l.Message)
		}
	}
	return out, nil
}

// handler collects messages for the rules of a chain, which see them all at once.
type handler struct {
	inbox []service.Inbound
	// codes says what the rules say of each of inbox; beyond its end they take it.
	codes []chain.Code
}

// Execute is that of link.Handler.
func (h *handler) Execute(_ *link.Context, m *link.Message) error {
	at := len(h.inbox)
	h.inbox = append(h.inbox, service.Inbound{
		Main: m.Link.Src == link.Place{}, From: service.Place{Zone: m.Link.Src.Zone, Bucket: m.Link.Src.Bucket},
		To:   service.Place{Zone: m.Link.Dst.Zone, Bucket: m.Link.Dst.Bucket},
		Kind: service.MessageKind(m.Kind), Payload: m.Payload,
	})
	if at < len(h.codes) && h.codes[at] != chain.CodeOK {
		return chain.Refuse(h.codes[at], "by the rules of the chain")
	}
	return nil
}

// Return is that of link.Handler.
func (h *handler) Return(_ *link.Context, m *link.Message) {
	fate := service.Bounced
	if m.Code == chain.CodeMessageExpired {
		fate = service.Expired
	}
	h.inbox = append(h.inbox, service.Inbound{
		Main: m.Link.Src == link.Place{}, From: service.Place{Zone: m.Link.Src.Zone, Bucket: m.Link.Src.Bucket},
		To:   service.Place{Zone: m.Link.Dst.Zone, Bucket: m.Link.Dst.Bucket},
		Kind: service.MessageKind(m.Kind), Payload: m.Payload, Fate: fate,
	})
}

// verdicts returns what the rules said of the inbox, in the form of handler.codes.
func (h *handler) verdicts(results []service.ImportResult) (codes []chain.Code, agree bool) {
	agree = true
	for i := range h.inbox {
		code := chain.CodeOK
		if h.inbox[i].Fate == service.Fresh && !results[i].Taken() {
			code = results[i].Code
		}
		was := chain.CodeOK
		if i < len(h.codes) {
			was = h.codes[i]
		}
		agree = agree && code == was
		codes = append(codes, code)
	}
	return codes, agree
}
