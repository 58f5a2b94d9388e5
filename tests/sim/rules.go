package sim

import (
	"errors"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// network is what everybody knows from the start.
type network struct {
	id       ledger.NetworkID
	sessions map[sitting]*session
	keys     *Keys
	params   settlement.Params
	service  service.Params
	// underWay is how many messages a shard has under way on a link at most; below
	// link.MaxUnacked, so that links get full. lifetime is that of its messages.
	underWay, lifetime uint64
	// congested is how many unacknowledged messages make a shard full.
	congested uint64
	// busy says that all blocks of shards were heavy before the run, and those of heirs
	// light: nobody fills half a mebibyte in it.
	busy  bool
	fault Fault
}

func (n *network) mainDomain() chain.Domain {
	return chain.Domain{Network: n.id, Chain: ledger.MainChain}
}

func (n *network) serviceDomain() chain.Domain { return service.Domain(n.id, serviceID) }

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
	// seen is the anchor clock of the newest checkpoint of the source that was known, of
	// main that before the block; after it, it is most.
	seen, most uint64
	// messages are those that were executed or refused, in the order of receipts.
	messages []link.Message
}

// list notes the messages of the import.
func (i *imported) list() {
	for _, l := range i.in.Leaves {
		if l.Message != nil {
			i.messages = append(i.messages, *l.Message)
		}
	}
}

// applied is what a block does.
type applied struct {
	kept     block // the block with what may be in it
	changes  chain.Changes
	box      *link.Outbox
	imports  []imported
	usage    ledger.Hash
	results  ledger.Hash
	anchored []cert.Checkpoint // by main
	epoch    uint64            // of the committee that signs
	// generation is that of the block, of a shard.
	generation uint32
	refused    []chain.Code
	returns    int // imports that bring back what was never sent, which were refused
	main       settlement.Result
	service    service.Result
	congested  int // transactions of users that were kept out
}

// rules applies blocks. What may not be in a block is an error if strict, and else
// left out of it: so proposers and voters share every line.
type rules interface {
	apply(v chain.View, b *block, strict bool) (*applied, error)
}

func (a *applied) refuseCode(err error) {
	code, _ := chain.CodeOf(err)
	a.refused = append(a.refused, code)
}
