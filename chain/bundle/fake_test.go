package bundle_test

import (
	"encoding/binary"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/bundle"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/shardblock/shardtest"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/lanelog"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/ledger/statetree"
	"github.com/tributary-network/tributary/ledger/sumtree"
	"github.com/tributary-network/tributary/shard"
)

const (
	fakeEpoch   = 7
	fakeBlocks  = 20 // of an epoch
	fakeService = 3
	fakeShard   = 5
	fakeZone    = 1
)

func fakeNetwork() ledger.NetworkID { return ledger.HashOf("bundle/network") }

func number(i uint64) []byte { return binary.BigEndian.AppendUint64(nil, i) }

func fakeKey(name string, i uint64) ledger.PrivateKey {
	return ledger.NewPrivateKey(ledger.HashOf("bundle/"+name, number(i)))
}

// voter is a validator that signs checkpoints.
func voter(tb testing.TB, i uint64) (*bls.SecretKey, committee.Member) {
	tb.Helper()
	seed := ledger.HashOf("bundle/voter", number(i))
	secret, err := bls.NewSecretKey(seed[:])
	if err != nil {
		tb.Fatal(err)
	}
	return secret, committee.Member{Validator: i, ConsensusKey: fakeKey("voter", i).Public(), BLSKey: secret.Public(), Power: 10}
}

// committeeOf is four validators from first on.
func committeeOf(tb testing.TB, epoch, first uint64) committee.Committee {
	tb.Helper()
	c := committee.Committee{Epoch: epoch}
	for i := range uint64(4) {
		_, m := voter(tb, first+i)
		c.Members = append(c.Members, m)
	}
	return c
}

// fake is a main chain without rules: a state of whatever rows a test wants, which
// committees certify.
type fake struct {
	tb    testing.TB
	store kv.Store
	tree  *statetree.Tree
}

func newFake(tb testing.TB) *fake {
	tb.Helper()
	f := &fake{tb: tb, store: memkv.New()}
	var err error
	if f.tree, err = statetree.Open(f.store, statetree.Options{Tables: settlement.Tables()}); err != nil {
		tb.Fatal(err)
	}
	return f
}

// block writes rows and returns the certificate of that state by c.
func (f *fake) block(height uint64, c *committee.Committee, o *chain.Overlay) cert.Certificate {
	f.tb.Helper()
	root := f.commit(o.Changes())
	p := cert.Checkpoint{
		Network: fakeNetwork(), Chain: ledger.MainChain, Height: height, Round: 1, Epoch: c.Epoch, StateRoot: root, CommitteeHash: c.Hash(),
		BlockHash: ledger.HashOf("bundle/block", number(height)), ResultsRoot: ledger.HashOf("bundle/results", number(height)),
	}
	return certify(f.tb, p, c, 0, 1, 3)
}

func (f *fake) commit(changes chain.Changes) ledger.Hash {
	f.tb.Helper()
	root, err := f.tree.Prepare(f.tree.Height()+1, changes)
	if err != nil {
		f.tb.Fatal(err)
	}
	b := f.store.NewBatch()
	if err := f.tree.WriteTo(b); err != nil {
		f.tb.Fatal(err)
	}
	if err := b.Commit(true); err != nil {
		f.tb.Fatal(err)
	}
	if err := f.tree.Apply(); err != nil {
		f.tb.Fatal(err)
	}
	return root
}

func (f *fake) prove(key []byte) *stateproof.Statement {
	f.tb.Helper()
	s, err := f.tree.Prove(key)
	if err != nil {
		f.tb.Fatal(err)
	}
	return s
}

func certify(tb testing.TB, p cert.Checkpoint, c *committee.Committee, members ...int) cert.Certificate {
	tb.Helper()
	var votes []cert.Vote
	for _, i := range members {
		secret, _ := voter(tb, c.Members[i].Validator)
		votes = append(votes, cert.Vote{Member: i, Signature: secret.Sign(p.Message())})
	}
	keys, err := c.Keys()
	if err != nil {
		tb.Fatal(err)
	}
	out, bad, err := cert.Assemble(p, c, keys, votes)
	if err != nil || bad != nil {
		tb.Fatal(bad, err)
	}
	return out
}

// book is a log in memory.
type book struct {
	tb     testing.TB
	id     lanelog.ID
	key    lanelog.Key
	list   []lanelog.Entry
	leaves []sumtree.Node
}

// write returns a log of n entries; twist makes it another one from that entry on.
func write(tb testing.TB, id lanelog.ID, n, twist int) *book {
	tb.Helper()
	b := &book{tb: tb, id: id, key: lanelog.Key{9}}
	for i := range n {
		e := lanelog.Entry{
			Start: 1_700_000_000_000 + 40*uint64(i), Duration: 38, Kind: 1, Object: b.key.Object(id, uint64(i), []byte("chunk")),
			Units: uint64(1 + i%3), Amount: ledger.Amount(10 * (1 + i%3)),
		}
		if i >= twist {
			e.Result = 1
		}
		leaf := e.Leaf(b.key, id, uint64(i))
		b.list, b.leaves = append(b.list, e), append(b.leaves, leaf.Node())
	}
	return b
}

// at is a sumtree.Subtree.
func (b *book) at(level uint, index uint64) (sumtree.Node, error) {
	if level == 0 {
		return b.leaves[index], nil
	}
	left, err := b.at(level-1, 2*index)
	if err != nil {
		return sumtree.Node{}, err
	}
	right, err := b.at(level-1, 2*index+1)
	if err != nil {
		return sumtree.Node{}, err
	}
	return sumtree.Join(left, right)
}

func (b *book) root(size int) sumtree.Root {
	b.tb.Helper()
	var f sumtree.Frontier
	for _, n := range b.leaves[:size] {
		if err := f.PushNode(0, n); err != nil {
			b.tb.Fatal(err)
		}
	}
	r, err := f.Root()
	if err != nil {
		b.tb.Fatal(err)
	}
	return r
}

func (b *book) proof(seq, size int) lanelog.Proof {
	b.tb.Helper()
	path, err := sumtree.Path(uint64(seq), uint64(size), b.at)
	if err != nil {
		b.tb.Fatal(err)
	}
	return lanelog.Proof{Entry: b.list[seq], Salt: b.key.Salt(b.id, uint64(seq)), Seq: uint64(seq), Size: uint64(size), Path: path}
}

// other is the log at size beside that at settled.
func (b *book) other(settled, size int) *bundle.Other {
	b.tb.Helper()
	path, err := sumtree.Extension(uint64(min(settled, size)), uint64(max(settled, size)), b.at)
	if err != nil {
		b.tb.Fatal(err)
	}
	return &bundle.Other{Root: b.root(size), Path: path}
}

// plan is a bundle to be made of a fake chain.
type plan struct {
	Lane            uint8
	Settled, Booked int    // entries of the log that main and the shard have seen
	Seq             int    // the entry
	Rows            int    // of other channels and shards in the state
	Heights, At     uint64 // anchored heights of the shard, and that of the booking
	Bookings, Nth   int    // of the block
	Apart           bool   // the paths have a certificate each
	Steps           int    // hand-overs before the committee that signs
	Back            bool   // a committee long after hands over to it
	Quiet           int    // heights of the shard that send nothing, between two that do
	Twist           int    // the booked log is another one from that entry on; 0: it is the same

	change func(*rows) // of what the plan makes
}

// rows are what a plan puts into the state of main and into the block of a shard.
type rows struct {
	channel  channel.Channel
	lane     channel.Lane
	anchor   anchor.State
	bookings []service.Booking
	voucher  channel.Voucher
	payer    ledger.PrivateKey
}

// common is a bundle of lane 0, and of a log that was booked as it was settled.
func common() plan {
	return plan{Settled: 1_000, Booked: 1_000, Seq: 417, Rows: 200, Heights: 120, At: 77, Bookings: 9, Nth: 4}
}

// parts makes what a plan says, and the committee that a reader trusts.
func (p plan) parts(tb testing.TB) *bundle.Parts {
	tb.Helper()
	payer, payee := fakeKey("payer", 1), fakeKey("payee", 1)
	id := ledger.HashOf("bundle/channel")
	log := lanelog.ID{Channel: id, Lane: uint16(p.Lane)}
	size := max(p.Settled, p.Booked)
	settled, booked := write(tb, log, size, size), write(tb, log, size, size)
	if p.Twist > 0 {
		booked = write(tb, log, size, p.Twist)
	}
	paid, kept := settled.root(p.Settled), booked.root(p.Booked)
	r := &rows{
		payer: payer,
		lane:  channel.Lane{Redeemed: paid.Amount, Units: paid.Units, UsageRoot: paid.Hash()},
		channel: channel.Channel{
			ID: id, Payer: payer.Address(fakeZone), Payee: payee.Address(fakeZone), VoucherKey: payer.Public(), Service: fakeService,
			Deposit: 1 << 40, Redeemed: paid.Amount + 5, ExpiresAt: 1 << 30, Challenge: 20, LanesUsed: 1 | 1<<p.Lane,
		},
		voucher: channel.Voucher{ChannelID: id, Lane: uint16(p.Lane), Cumulative: paid.Amount, Units: paid.Units, UsageRoot: paid.Hash()},
		anchor:  anchor.State{Service: fakeService, Zone: fakeZone, Buckets: shard.Range{First: 0, Last: 255}},
	}
	for i := range p.Bookings {
		k := service.Booking{ChannelID: ledger.HashOf("bundle/other", number(uint64(i))), Seq: 1, Units: 1, Cumulative: 10}
		if i == p.Nth {
			k = service.Booking{ChannelID: id, Lane: p.Lane, Seq: 3, Units: kept.Units, Cumulative: kept.Amount, UsageRoot: kept.Hash()}
		}
		r.bookings = append(r.bookings, k)
	}
	if p.change != nil {
		p.change(r)
	}
	out := &bundle.Parts{Voucher: r.voucher, Entry: settled.proof(p.Seq, p.Settled)}
	out.Signature = r.payer.Sign(r.voucher.Signed(chain.Domain{Network: fakeNetwork(), Chain: ledger.MainChain}))
	if p.Settled != p.Booked {
		out.Booked = booked.other(p.Settled, p.Booked)
	}
	var err error
	if out.Booking, err = service.ProveBooking(r.bookings, p.Nth); err != nil {
		tb.Fatal(err)
	}
	out.Block = p.anchored(tb, r)
	p.certified(tb, r, out)
	return out
}

// anchored anchors the heights of the shard, and proves the one with the booking.
func (p plan) anchored(tb testing.TB, r *rows) anchor.Proof {
	tb.Helper()
	var list []cert.Checkpoint
	for h := uint64(1); h <= p.Heights; h++ {
		c := cert.Checkpoint{
			Network: fakeNetwork(), Chain: fakeShard, Height: h, Epoch: fakeEpoch, BlockHash: ledger.HashOf("bundle/shard", number(h)),
			StateRoot: ledger.HashOf("bundle/shard/state", number(h)), CommitteeHash: ledger.HashOf("bundle/shard/committee"),
		}
		if h%uint64(p.Quiet+1) == 0 {
			c.OutboxRoot = ledger.HashOf("bundle/shard/outbox", number(h))
		}
		if h == p.At {
			c.UsageRoot = service.UsageRoot(r.bookings)
		}
		list = append(list, c)
		r.anchor.Tree.Push(c.Encode())
		r.anchor.Last = c
		r.anchor.Outboxes = append(r.anchor.Outboxes, c.OutboxRoot)
		r.anchor.Outboxes = r.anchor.Outboxes[max(0, len(r.anchor.Outboxes)-anchor.Window):]
	}
	proof, err := anchor.Prove(list, p.At)
	if err != nil {
		tb.Fatal(err)
	}
	return proof
}

// certified writes the rows into the state of main, and takes proofs and certificates.
func (p plan) certified(tb testing.TB, r *rows, out *bundle.Parts) {
	tb.Helper()
	f := newFake(tb)
	none := func() *chain.Overlay { return chain.NewOverlay(shardtest.NewState(nil)) }
	o := none()
	index := uint64(3)
	for i := range uint64(p.Rows) {
		filler := r.channel
		filler.ID = ledger.HashOf("bundle/filler", number(i))
		o.Set(channel.Key(i+4), filler.Encode())
		o.Set(channel.DirectoryKey(i+4), channel.Directory{{Lane: 9, Row: i + 100}}.Encode())
	}
	if p.Lane == 0 {
		r.channel.Lane0 = r.lane
	} else {
		o.Set(channel.DirectoryKey(index), channel.Directory{{Lane: p.Lane, Row: 8}}.Encode())
		o.Set(channel.LaneRows().Key(8), r.lane.Encode())
	}
	o.Set(channel.Key(index), r.channel.Encode())
	first := uint64(fakeEpoch)
	com := committeeOf(tb, first, 0)
	out.Committee = com
	signs := &out.Committee
	if p.Back {
		out.Committee = committeeOf(tb, first+30, 2)
	}
	for i := range p.Steps {
		record := committee.Record{Committee: committeeOf(tb, first+uint64(i)+1, uint64(i)), Rules: committee.Rules{Seats: 4}}
		last := none()
		last.Set(staking.CommitteeKey(record.Committee.Epoch), record.Encode())
		epochs := staking.Params{EpochBlocks: fakeBlocks}
		h := bundle.Handover{Certificate: f.block(epochs.LastBlock(signs.Epoch), signs, last), Record: record}
		h.Path = pathOf(tb, f.prove(staking.CommitteeKey(record.Committee.Epoch)))
		out.Handovers = append(out.Handovers, h)
		com, signs = record.Committee, &record.Committee
	}
	height := com.Epoch*fakeBlocks + 2
	out.Certificate = f.block(height, &com, o)
	out.Channel = f.prove(channel.Key(index))
	if p.Lane != 0 {
		out.Directory, out.LaneRow = f.prove(channel.DirectoryKey(index)), f.prove(channel.LaneRows().Key(8))
	}
	o = none()
	o.Set(anchor.Key(fakeShard), r.anchor.Encode())
	other := f.block(height+1, &com, o)
	out.Anchor = f.prove(anchor.Key(fakeShard))
	out.Other = &other
	if !p.Apart { // the rows of the settlement path did not change
		out.Certificate, out.Other = other, nil
		out.Channel = f.prove(channel.Key(index))
		if p.Lane != 0 {
			out.Directory, out.LaneRow = f.prove(channel.DirectoryKey(index)), f.prove(channel.LaneRows().Key(8))
		}
	}
	if p.Back {
		record := committee.Record{Committee: com, Rules: committee.Rules{Seats: 4}, Kept: true}
		last := none()
		last.Set(staking.PastCommitteeKey(com.Epoch), record.EncodeShort())
		h := bundle.Handover{Certificate: f.block(out.Committee.Epoch*fakeBlocks+5, &out.Committee, last), Past: true, Record: record}
		h.Path = pathOf(tb, f.prove(staking.PastCommitteeKey(com.Epoch)))
		out.Handovers = append(out.Handovers, h)
	}
}

func pathOf(tb testing.TB, s *stateproof.Statement) stateproof.Path {
	tb.Helper()
	p, err := s.Proof.Path()
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func trustOf(p *bundle.Parts) bundle.Trust {
	return bundle.Trust{Network: fakeNetwork(), Committee: p.Committee.Hash(), EpochBlocks: fakeBlocks}
}

func mustAssemble(tb testing.TB, p *bundle.Parts) []byte {
	tb.Helper()
	a, err := bundle.Assemble(p)
	if err != nil {
		tb.Fatal(err)
	}
	file, err := a.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	return file
}
