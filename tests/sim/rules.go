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
	rows      chain.Changes     // of main: what its state root covers beside the state
	epoch     uint64            // of the committee that signs
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
	a.refuseCode(err)
	return nil
}

func (a *applied) refuseCode(err error) {
	code, _ := chain.CodeOf(err)
	a.refused = append(a.refused, code)
}

// bring applies an encoded delivery to the block of main under way, which takes reports of
// shards and refuses all other messages.
func (n *network) bring(c *link.Context, raw []byte) (imported, error) {
	d, err := decodeDelivery(raw)
	if err != nil {
		return imported{}, chain.Refuse(chain.CodeMalformed, "%v", err)
	}
	in, err := link.DecodeImport(d.imported)
	if err != nil {
		return imported{}, err
	}
	k, err := older(anchor.NewKnown(c.State), &d)
	if err != nil {
		return imported{}, err
	}
	a, _ := k.Anchored(in.Shard, in.Height)
	out := imported{in: in, seen: max(a.Clock, a.Newest)}
	if out.receipts, err = c.Apply(&in, k, reports{}); err != nil {
		return imported{}, err
	}
	for _, l := range in.Leaves {
		if l.Message != nil {
			out.messages = append(out.messages, *l.Message)
		}
	}
	return out, nil
}

// reports is what main does with messages: it takes how full shards were.
type reports struct{}

// Execute is that of link.Handler.
func (reports) Execute(_ *link.Context, m *link.Message) error {
	if m.Kind != shard.KindReport {
		return chain.CodeUnknownKind.Err()
	}
	if _, err := shard.DecodeReport(m.Payload); err != nil {
		return chain.Refuse(chain.CodeMalformed, "%v", err)
	}
	return nil
}

// Return is that of link.Handler.
func (reports) Return(*link.Context, *link.Message) {}
