// Package shardblock is the whole of a block of a shard: what the service makes of
// records (chain/service), messages that come and go (shard/link), how full the shard
// is (shard/route), and what the shard knows of the main chain.
//
// # A light client in the state
//
// A shard trusts the main chain and nothing else. Its genesis names a committee of
// main; from there on everything is proved. A hand-over leads from the committee of
// one epoch to that of the next: a certificate of the old one, and a statement of the
// state that it certifies. A head is a certificate of one block of main; the state
// remembers some of the last, and a relay can bring any other that it needs, as long as
// its committee is known. Against heads rows of main are proved: the record of an epoch,
// who serves the shard in it, what is anchored of other shards.
// What neither the state knows nor a relay proves no block may rely on, so all nodes
// decide alike.
//
// # Relays
//
// What a shard is told travels as a Relay, in bundles of its own, unsigned: it carries
// its proof, so anybody may bring it, and what was brought before is refused as
// nothing new. A relay may carry all that it needs: hand-overs and a head beside the
// import or the epoch that is proved with them. It applies as a whole or not at all,
// and a block with one that does not apply is invalid.
//
// What lists a link again, or acknowledges it again, is the one kind that carries no proof
// of being needed: its link only has to have rested for link.RelistBlocks blocks of this
// shard. Somebody with as many links could have the shard make blocks for ever though
// nobody uses it, each of which makes the next link due. So there are at most MaxCalls blocks
// with such relays in an epoch. Epochs go on without them, and one such block has room for
// what everybody asks for at a time. Who asks for one link a block from the beginning of an
// epoch on, as long as so many links have rested, uses up the blocks of that epoch: others
// are heard if they ask in one of those blocks, and else have to wait for the next epoch. A
// link that nobody has lost the leaves of needs none of this.
//
// Heads of main cost nobody anything either. What brings a head by itself, and nothing that is
// proved by it, comes Config.BeatBlocks of main's blocks after the newest that the shard knows at
// the earliest: an idle shard makes so few blocks, whoever wants it to make more.
//
// # Neighbours that lie
//
// Whoever has two thirds of another shard of the service can have this one send messages
// back. They fill nothing but links to his own places (link.ReturnCap), where they may keep
// this shard's earnings waiting, netted. Bounces do not count in how congested the shard is, nor
// in the room of a zone (Params): only the shard's own messages do. Those that he says he
// sends back and never does are the shard's own, and count, as if nobody had acknowledged
// them, until an acknowledgement counts fewer bounces (link.Outbound); Params.shared bounds
// them as it does those to a place that stands still. What no honest shard
// sends is passed over in its turn and not sent back, so bounces are short; all of them were brought here in
// blocks, so they do not grow faster than blocks have room.
//
// # A block
//
// Apply is a function from a view and a block to changes and results. Relays come
// first: heads and epochs, then acknowledgements and bounces, then messages; users'
// records follow. While the shard is congested a block with users'
// records is invalid. Messages go through the rules of chain/service as they are
// taken, so what these refuse goes back on its link at once. At last what the block
// earned for payees elsewhere is sent to their homes. service.ErrNotConserved halts
// the chain.
//
// What imports make a node write is bounded as it is for users' records: messages are
// short, and a channel that ends may have the rows of 64 lanes.
//
// Users' records send nothing by themselves: what they add is netted, so that there is
// one message for each payee and block, however many records. So no sender's records
// wait for those of others.
//
// # Committees
//
// When a relay proves the beginning of an epoch the shard learns its committee, which
// votes from the block after the next on, as consensus wants it: see Committee. The
// same relay tells when the map of shards does not have the shard any more. Then the
// first block of that committee is the shard's last, and its heirs begin with its state:
// see Genesis.
//
// # Generations
//
// A shard whose committee does not go on, or whose anchors main could not take any more, is
// taken over: main draws another committee, or names that of the present epoch, which goes
// on from the state at the last anchored height. CometBFT begins anew there, with that
// committee in its genesis and the next height as its first; the shard's id, its heights, its
// state and its links stay. Rules learn of it by the Resume in the first block, before which
// the epoch begins, without changes of validators. What was made beyond that height in the
// generation before nobody ever took from main as anchored, so nobody else has acted by it.
//
// # Load
//
// With the first block of an epoch the shard reports to main how full its blocks were
// (shard.Report), so that main can split and merge shards.
//
// # Wiring
//
// chain/exec runs it: DecodeRelay and Check when a relay comes, Plan for a proposal,
// Apply for a block, NeedsTick for empty blocks. Check costs a product of two pairings
// for each certificate (2 ms) and caches nothing: Verifiers.Certificate is where a node
// remembers what it has verified.
//
// It is row 2 of the dependency order: pure functions of values. Nothing here is
// called from several goroutines at a time, but by those who have a view each.
package shardblock

import (
	"errors"

	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/route"
)

const (
	// MaxHeads is how many blocks of main the state remembers: one stays until another is
	// known that is as many blocks higher, or a multiple.
	MaxHeads = 64
	// KeptMain is of how many epochs the state has the committee of main: the last. Blocks
	// of earlier epochs cannot be proved any more, so what they sent has to be listed again
	// in a newer one.
	KeptMain = 16
	// KeptOwn is how many committees of the shard the state has: the last.
	KeptOwn = 8
	// MaxHandovers is how many hand-overs a relay has at most.
	MaxHandovers = 8
	// MaxNewHeads is how many heads a relay has at most.
	MaxNewHeads = 8
	// MaxCertificates is how many certificates a block's relays may bring at most, each as
	// often as it is needed: one costs every node two milliseconds, once.
	MaxCertificates = 64
	// MaxCalls is how many blocks of an epoch may list or acknowledge links again, each as
	// many as it has room for. See the package comment.
	MaxCalls = 32
	// CommitteeDelay is how many blocks after the one that proves it a committee votes
	// for the first time.
	CommitteeDelay = 2
)

// ErrInvalid means a block that no honest member votes for. What is wrong with it is
// in the text, and a chain.RuleError in the error.
var ErrInvalid = errors.New("invalid block")

// ErrEnded means that the shard made its last block: its heirs go on.
var ErrEnded = errors.New("the shard has ended")

// CertificateVerifier returns nil if members of com with more than two thirds of its
// power signed a block of main, and an error of cert.Certificate.Verify otherwise. It
// depends on its arguments alone.
type CertificateVerifier func(c *cert.Certificate, com *committee.Committee) error

// Verifiers check signatures. A node remembers what it has verified; the outcome is the
// same.
type Verifiers struct {
	Claims      service.Verifier
	Certificate CertificateVerifier
}

// VerifyCertificate returns the CertificateVerifier that remembers nothing: it decodes
// the keys of the committee, 0.2 ms for each, and takes 2 ms for the signature.
func VerifyCertificate(network ledger.NetworkID) CertificateVerifier {
	return func(c *cert.Certificate, com *committee.Committee) error {
		keys, err := com.Keys()
		if err != nil {
			return err
		}
		return c.Verify(network, ledger.MainChain, com, keys)
	}
}

// Block is what the committee agreed on.
type Block struct {
	Height uint64
	Relays []*Relay
	Txs    []service.BlockTx
	// Resume is how the shard goes on from the height before, if this is the first block of
	// a generation that has one, and nil in all others. It is no part of what is proposed:
	// every node has it of main.
	Resume *Resume
}

// size is how full the block is: the bytes of messages, and of users' records the part
// that their booked entries are of all. receipts are those of the records. What books
// nothing costs nothing, so it must not split a shard.
func (b *Block) size(receipts []service.Receipt) (size uint64) {
	for _, r := range b.Relays {
		size += r.load()
	}
	for i := range receipts {
		entries, booked := uint64(len(receipts[i].Entries)), uint64(0)
		for j := range receipts[i].Entries {
			if receipts[i].Entries[j].Applied() {
				booked++
			}
		}
		if booked > 0 {
			size += uint64(len(b.Txs[i].Tx.Raw)) * booked / entries
		}
	}
	return size
}

// Result is what a block did, besides changing the state.
type Result struct {
	// Epoch is that of the committee which signs the block.
	Epoch uint64
	// Generation is what the checkpoint of the block has for one.
	Generation uint32
	// Level is how congested the shard was before the block, which decides whether
	// users may be in it.
	Level   route.Level
	Service service.Result
	// Imports are those of the block's relays that bring messages and
	// acknowledgements, in their order.
	Imports []Imported
	// Outbox is what the block tells other places.
	Outbox *link.Outbox
	// Updates are what consensus must change for the committee that votes
	// CommitteeDelay blocks later, ascending by key.
	Updates []staking.Update
	// Ended says that this is the shard's last block.
	Ended bool
}

// Imported is what became of an import.
type Imported struct {
	Import *link.Import
	// Clock is the anchor clock of the newest checkpoint of the source that was known.
	Clock uint64
	// Receipts are in the order of the leaves; old acknowledgements have none.
	Receipts []link.Receipt
}

// Executed returns the messages of the import that were executed, in their order.
func (i *Imported) Executed() (list []*link.Message) {
	at := 0
	for _, l := range i.Import.Leaves {
		if l.Message == nil {
			continue
		}
		for i.Receipts[at].Result == link.Acked {
			at++
		}
		if i.Receipts[at].Result == link.Executed {
			list = append(list, l.Message)
		}
		at++
	}
	return list
}
