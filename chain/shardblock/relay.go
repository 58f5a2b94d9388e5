package shardblock

import (
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/shard/link"
)

// Kind says what a relay brings.
type Kind uint8

// The kinds of relays.
const (
	KindHead   Kind = 1 // hand-overs and heads of main, and nothing else
	KindEpoch  Kind = 2 // that an epoch has begun, and who serves the shard in it
	KindImport Kind = 3 // messages and acknowledgements
	KindRelist Kind = 4 // that messages of a link are to be listed again
	KindReack  Kind = 5 // that a link is to be acknowledged again
)

// String returns the kind's name: "import".
func (k Kind) String() string {
	switch k {
	case KindHead:
		return "head"
	case KindEpoch:
		return "epoch"
	case KindImport:
		return "import"
	case KindRelist:
		return "relist"
	case KindReack:
		return "reack"
	default:
		return "unknown"
	}
}

// Relay is what a shard is told: the payload of a bundle that nobody signs.
type Relay struct {
	Kind Kind
	// News is what the state may not know of main and the rest of the relay needs.
	News News
	// Epoch, Import and Link are those of the kind, and nil or zero of others. Link is
	// that of KindRelist and KindReack.
	Epoch  *Epoch
	Import *Import
	Link   link.Link
}

// News is what leads from what the state knows of main to newer blocks of it. Hand-overs
// are new to the state. Heads are new to it in relays of KindHead, and in others they are
// those of the blocks against which the rest of the relay is proved; if the state knows
// them they are passed over.
type News struct {
	// Handovers are of epochs that follow each other, at most MaxHandovers.
	Handovers []Handover
	// Heads are certificates of blocks of main, at most MaxNewHeads. The committee of each
	// is known, or Handovers lead to it.
	Heads []cert.Certificate
}

// Handover leads from the committee of main that signed Certificate to that of the
// epoch after: Record is what the certified state has under staking.CommitteeKey of that
// epoch. The block is one of the last two of its epoch.
type Handover struct {
	Certificate cert.Certificate
	Record      Row
}

// Epoch proves that an epoch of main has begun. Its rows may be of different blocks of
// main.
type Epoch struct {
	Epoch  uint64
	Record Row // under registry.EpochKey
	// Assignment is the row under registry.AssignmentKey of the shard, and Committee the
	// encoded committee.Committee that it names.
	Assignment Row
	Committee  []byte
}

// Import brings messages and acknowledgements of one block of another chain.
type Import struct {
	// Anchors is the row of the source under anchor.Key. Nil means that the source is
	// main, and its block is one that the state remembers or News brings.
	Anchors *Row
	// Older proves a height of the source that is not one of the last anchor.Window
	// which Anchors has; nil otherwise.
	Older *anchor.Proof
	Link  link.Import
}

// Row is what the state of main had under a key after a block that the shard's state
// remembers or News brings: a stateproof.Statement without root and key, which follow
// from the height and the place of the row. It is immutable and safe for concurrent use.
type Row struct {
	Height uint64 // of main
	Value  []byte // nil: absent
	Proof  []byte // encoded stateproof.Proof
}

// RowOf returns the row of a statement.
func RowOf(s *stateproof.Statement) (Row, error) {
	proof, err := s.Proof.Encode()
	return Row{Height: s.Height, Value: s.Value, Proof: proof}, err
}

// maxValue is more than the longest value of a row, in bytes: a committee of
// committee.MaxSeats members.
const maxValue = 1 << 18

// maxCertificate is the longest encoded certificate in bytes.
const maxCertificate = cert.CheckpointSize + 2 + cert.MaxBitmap + 48

// maxOlder is more than the longest encoded anchor.Proof in bytes.
const maxOlder = 4 << 10

func (r *Row) write(w *codec.Writer) {
	w.Uint64(r.Height)
	w.Bool(r.Value != nil)
	if r.Value != nil {
		w.Bytes32(r.Value)
	}
	w.Bytes32(r.Proof)
}

func (r *Row) read(c *codec.Reader) {
	r.Height = c.Uint64()
	if c.Bool() {
		if r.Value = c.Bytes32(maxValue); r.Value == nil {
			r.Value = []byte{}
		}
	}
	r.Proof = c.Bytes32(stateproof.MaxEncodedSize)
}

// Encode returns the canonical encoding, with "bytes" behind their length 4:
//
//	kind u8 | count u8 | count x (certificate bytes | row) | count u8 | count x certificate bytes | body
//
//	body of an epoch:          epoch u64 | record row | assignment row | committee bytes
//	body of an import:         anchors u8 | [row] | older u8 | [proof bytes] | import bytes
//	body of relist and reack:  link 12
//	row:                       height u64 | there u8 | [value bytes] | proof bytes
func (r *Relay) Encode() []byte {
	w := codec.NewWriter(1 << 10)
	w.Uint8(uint8(r.Kind))
	r.News.write(w)
	switch r.Kind {
	case KindEpoch:
		r.Epoch.write(w)
	case KindImport:
		r.Import.write(w)
	case KindRelist, KindReack:
		w.Fixed(r.Link.Encode())
	case KindHead:
	}
	return w.Bytes()
}

func (n *News) write(w *codec.Writer) {
	w.Uint8(uint8(len(n.Handovers)))
	for i := range n.Handovers {
		w.Bytes32(n.Handovers[i].Certificate.Encode())
		n.Handovers[i].Record.write(w)
	}
	w.Uint8(uint8(len(n.Heads)))
	for i := range n.Heads {
		w.Bytes32(n.Heads[i].Encode())
	}
}

func (e *Epoch) write(w *codec.Writer) {
	w.Uint64(e.Epoch)
	e.Record.write(w)
	e.Assignment.write(w)
	w.Bytes32(e.Committee)
}

func (i *Import) write(w *codec.Writer) {
	w.Bool(i.Anchors != nil)
	if i.Anchors != nil {
		i.Anchors.write(w)
	}
	w.Bool(i.Older != nil)
	if i.Older != nil {
		w.Bytes32(i.Older.Encode())
	}
	w.Bytes32(i.Link.Encode())
}

// DecodeRelay reads what Encode wrote. It refuses with CodeTooLarge what is longer than
// chain.MaxTxSize, and with CodeMalformed what no relay is. Values alias b.
func DecodeRelay(b []byte) (*Relay, error) {
	if len(b) > chain.MaxTxSize {
		return nil, chain.Refuse(chain.CodeTooLarge, "relay of %d bytes, at most %d", len(b), chain.MaxTxSize)
	}
	c := codec.NewReader(b)
	r := &Relay{Kind: Kind(c.Uint8())}
	err := r.News.read(c)
	if err == nil {
		err = r.readBody(c)
	}
	if err == nil {
		err = c.Done()
	}
	if _, refused := chain.CodeOf(err); err != nil && !refused {
		err = chain.Refuse(chain.CodeMalformed, "relay: %v", err)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Relay) readBody(c *codec.Reader) (err error) {
	switch r.Kind {
	case KindHead:
		if len(r.News.Handovers) == 0 && len(r.News.Heads) == 0 {
			return chain.Refuse(chain.CodeMalformed, "relay of a head without one")
		}
	case KindEpoch:
		r.Epoch = new(Epoch)
		r.Epoch.read(c)
	case KindImport:
		r.Import = new(Import)
		err = r.Import.read(c)
	case KindRelist, KindReack:
		if raw := c.Fixed(link.Size); c.Err() == nil {
			r.Link, err = link.DecodeLink(raw)
		}
	default:
		return chain.Refuse(chain.CodeUnknownKind, "relay of kind %d", uint8(r.Kind))
	}
	return err
}

func (n *News) read(c *codec.Reader) error {
	count := int(c.Uint8())
	if count > MaxHandovers {
		return chain.Refuse(chain.CodeTooLarge, "%d hand-overs, at most %d", count, MaxHandovers)
	}
	for range count {
		certificate, err := readCertificate(c)
		if err != nil {
			return err
		}
		h := Handover{Certificate: certificate}
		h.Record.read(c)
		n.Handovers = append(n.Handovers, h)
	}
	if count = int(c.Uint8()); count > MaxNewHeads {
		return chain.Refuse(chain.CodeTooLarge, "%d heads, at most %d", count, MaxNewHeads)
	}
	for range count {
		head, err := readCertificate(c)
		if err != nil {
			return err
		}
		n.Heads = append(n.Heads, head)
	}
	return c.Err()
}

func readCertificate(c *codec.Reader) (cert.Certificate, error) {
	raw := c.Bytes32(maxCertificate)
	if c.Err() != nil {
		return cert.Certificate{}, c.Err()
	}
	return cert.Decode(raw)
}

func (e *Epoch) read(c *codec.Reader) {
	e.Epoch = c.Uint64()
	e.Record.read(c)
	e.Assignment.read(c)
	e.Committee = c.Bytes32(maxValue)
}

func (i *Import) read(c *codec.Reader) error {
	if c.Bool() {
		i.Anchors = new(Row)
		i.Anchors.read(c)
	}
	if c.Bool() {
		raw := c.Bytes32(maxOlder)
		if c.Err() != nil {
			return c.Err()
		}
		p, err := anchor.DecodeProof(raw)
		if err != nil {
			return err
		}
		i.Older = &p
	}
	raw := c.Bytes32(link.MaxImportSize)
	if c.Err() != nil {
		return c.Err()
	}
	var err error
	i.Link, err = link.DecodeImport(raw)
	return err
}

// needed returns the heights of main against which the relay is proved.
func (r *Relay) needed() []uint64 {
	switch {
	case r.Epoch != nil:
		return []uint64{r.Epoch.Record.Height, r.Epoch.Assignment.Height}
	case r.Import == nil:
		return nil
	case r.Import.Anchors != nil:
		return []uint64{r.Import.Anchors.Height}
	default:
		return []uint64{r.Import.Link.Height}
	}
}

// checkHeads refuses heads that the rest of the relay is not proved against.
func (r *Relay) checkHeads() error {
	needed := r.needed()
	for i := range r.News.Heads {
		height := r.News.Heads[i].Checkpoint.Height
		at := slices.Index(needed, height)
		if at < 0 {
			return chain.Refuse(chain.CodeMalformed, "relay of kind %s with block %d of the main chain, which it does not need, or twice: leave it out", r.Kind, height)
		}
		needed = slices.DeleteFunc(needed, func(h uint64) bool { return h == height })
	}
	return nil
}

// load is what the relay counts for in how full a block is, in bytes: the messages that
// it brings. Proofs do not count, or who sends them would have shards split.
func (r *Relay) load() (size uint64) {
	if r.Import == nil {
		return 0
	}
	for i := range r.Import.Link.Leaves {
		if m := r.Import.Link.Leaves[i].Message; m != nil {
			size += uint64(m.Size()) //nolint:gosec // not negative
		}
	}
	return size
}

// rank is where in a block a relay stands: what is known of main first, then what ends
// other messages, then messages.
func (r *Relay) rank() int {
	switch {
	case r.Kind == KindHead || r.Kind == KindEpoch:
		return 0
	case r.class() == link.ClassReturn:
		return 1
	default:
		return 2
	}
}

// class is that of the order of blocks.
func (r *Relay) class() link.Class {
	if r.Kind != KindImport {
		return link.ClassReturn
	}
	return link.ClassOf(&r.Import.Link)
}

// committeeOf decodes the record of an epoch's committee of main.
func committeeOf(value []byte, epoch uint64) (committee.Committee, error) {
	rec, err := committee.DecodeRecord(value)
	switch {
	case err != nil:
		return committee.Committee{}, chain.Refuse(chain.CodeMalformed, "record of the committee of epoch %d: %v", epoch, err)
	case rec.Committee.Epoch != epoch:
		return committee.Committee{}, chain.Refuse(chain.CodeMalformed, "record of the committee of epoch %d, want %d", rec.Committee.Epoch, epoch)
	case len(rec.Committee.Members) == 0:
		return committee.Committee{}, chain.Refuse(chain.CodeUnknownCommittee, "the committee of epoch %d has no members", epoch)
	}
	return rec.Committee, nil
}
