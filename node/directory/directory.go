package directory

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tributary-network/tributary/ledger"
)

const (
	// MaxRecords bounds the records that a Directory keeps.
	MaxRecords = 4096
	// MaxNodes bounds those of one validator: a further one takes the place of its oldest.
	MaxNodes = 8
	// proofAge is how long a proof of a validator that was found right is believed: by
	// then the validator may have another key, or be none.
	proofAge = 10 * time.Minute
	// membersAge is how long it is believed who is in a committee, and maxCommittees of
	// how many chains that is remembered.
	membersAge    = 2 * time.Second
	maxCommittees = 1024
	orderDomain   = "tributary/directory/order/v1"
)

// Config is what a Directory needs.
type Config struct {
	Network ledger.NetworkID
	// Attested reports whether proof is over msg by the BLS key of the validator with a
	// consensus key, and whether there is such a validator: exec.Executor.Attested of
	// the main chain. Nil: nobody is one.
	Attested func(consensusKey, msg, proof []byte) (known, ok bool)
	// Members returns the consensus keys of the committee that serves a chain in the
	// present epoch, as far as the main chain here has come. It may block for a read of
	// the state, and is not called within one. Nil: no committee is known.
	Members func(chain ledger.ChainID) []ledger.PublicKey
	// Own is the key of this node: it decides which of those that are as good it asks
	// first, so that not all nodes ask the same one.
	Own Key
	Now func() time.Time
}

// Directory keeps the newest Record of each node. It is safe for concurrent use.
type Directory struct {
	cfg Config

	mu      sync.Mutex
	records map[Key]Record
	proofs  map[Key]proved
	members map[ledger.ChainID]members
	changed chan struct{} // closed and replaced at each change
}

// members is who is in the committee of a chain.
type members struct {
	keys []ledger.PublicKey
	at   time.Time
}

// proved is a claim that was found right.
type proved struct {
	validator ledger.PublicKey
	proof     string
	at        time.Time
}

// New returns an empty Directory.
func New(c Config) (*Directory, error) {
	if c.Now == nil {
		return nil, errors.New("make directory: it has no clock")
	}
	return &Directory{
		cfg: c, records: make(map[Key]Record), proofs: make(map[Key]proved), members: make(map[ledger.ChainID]members), changed: make(chan struct{}),
	}, nil
}

// Judged is what Judge says of a record.
type Judged struct {
	Node     Key
	Sequence uint64
	Expires  time.Time
	// Validator is whose node it is; zero if that is nobody, or nobody who is known to
	// be a validator.
	Validator ledger.PublicKey
}

// Judge decodes a record that came from anywhere and says whose it is. It errs if it
// is malformed, forged (ErrForged), not of now (ErrExpired, ErrAhead), or older than
// the one that is kept. It takes about 0.1 ms, and some 2 ms more for a new proof of a
// validator.
func (d *Directory) Judge(encoded []byte, now time.Time) (Judged, error) {
	r, err := Decode(encoded)
	if err != nil {
		return Judged{}, err
	}
	if err := r.Fresh(now); err != nil {
		return Judged{}, err
	}
	d.mu.Lock()
	known, found := d.records[r.Node]
	d.mu.Unlock()
	if found && r.Sequence < known.Sequence {
		return Judged{}, fmt.Errorf("record %d of node %s is older than record %d, which is known", r.Sequence, r.Node.ID(), known.Sequence)
	}
	if err := r.Verify(d.cfg.Network); err != nil {
		return Judged{}, err
	}
	validator, err := d.validator(&r, now)
	if err != nil {
		return Judged{}, err
	}
	return Judged{Node: r.Node, Sequence: r.Sequence, Expires: r.Expires(), Validator: validator}, nil
}

// validator returns whose node made a record; zero if nobody's as far as is known.
func (d *Directory) validator(r *Record, now time.Time) (none ledger.PublicKey, err error) {
	if r.Validator == none || d.cfg.Attested == nil {
		return none, nil
	}
	d.mu.Lock()
	p, found := d.proofs[r.Node]
	d.mu.Unlock()
	if found && p.validator == r.Validator && p.proof == string(r.Proof) && now.Sub(p.at).Abs() < proofAge {
		return r.Validator, nil
	}
	switch known, ok := d.cfg.Attested(r.Validator[:], ProofMessage(d.cfg.Network, r.Node), r.Proof); {
	case !known: // or not yet, by the state that this node has
		return none, nil
	case !ok:
		return none, fmt.Errorf("%w: the proof is not by validator %x", ErrForged, r.Validator[:4])
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.prove(r.Node, proved{r.Validator, string(r.Proof), now})
	return r.Validator, nil
}

// prove remembers a claim that was found right. The oldest of too many of a validator is
// forgotten with its record. d.mu is held.
func (d *Directory) prove(node Key, p proved) {
	if _, found := d.proofs[node]; !found {
		oldest, n := Key{}, 0
		for key, other := range d.proofs {
			if other.validator != p.validator {
				continue
			}
			if n++; n == 1 || earlier(other.at, d.proofs[oldest].at, key, oldest) {
				oldest = key
			}
		}
		switch {
		case n >= MaxNodes:
			delete(d.proofs, oldest)
			delete(d.records, oldest)
		case len(d.proofs) >= MaxRecords:
			clear(d.proofs)
		}
	}
	d.proofs[node] = p
}

// earlier reports whether the time a is before b, or of the same times the key of a.
func earlier(a, b time.Time, keyA, keyB Key) bool {
	return a.Before(b) || a.Equal(b) && bytes.Compare(keyA[:], keyB[:]) < 0
}

// owner returns the validator whose node made a record; zero if nobody's as far as is
// known. d.mu is held.
func (d *Directory) owner(r *Record) (none ledger.PublicKey) {
	if p, found := d.proofs[r.Node]; found && p.validator == r.Validator {
		return r.Validator
	}
	return none
}

// Keep takes a record that Judge let through, in place of an older one of its node. If
// there is no room the nodes of validators take that of strangers.
func (d *Directory) Keep(encoded []byte) {
	r, err := Decode(encoded)
	if err != nil {
		return
	}
	now := d.cfg.Now()
	if r.Fresh(now) != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	old, found := d.records[r.Node]
	if found && old.Sequence >= r.Sequence {
		return
	}
	if !found && !d.room(&r, now) {
		return
	}
	d.records[r.Node] = r
	close(d.changed)
	d.changed = make(chan struct{})
}

// room makes room for the record of another node, and reports whether there is some.
// d.mu is held.
func (d *Directory) room(r *Record, now time.Time) bool {
	owner := d.owner(r)
	stranger := owner == ledger.PublicKey{}
	if stranger && len(d.records) < MaxRecords {
		return true
	}
	d.sweep(now)
	if !stranger {
		if last, n := d.oldest(owner); n >= MaxNodes {
			delete(d.records, last)
		}
		if len(d.records) >= MaxRecords {
			if last, n := d.oldest(ledger.PublicKey{}); n > 0 {
				delete(d.records, last)
			}
		}
	}
	return len(d.records) < MaxRecords
}

// oldest returns the oldest of the n records of a validator's nodes, or of those of
// strangers if owner is zero. d.mu is held.
func (d *Directory) oldest(owner ledger.PublicKey) (last Key, n int) {
	for key, r := range d.records {
		if d.owner(&r) != owner {
			continue
		}
		have := d.records[last]
		if n++; n == 1 || r.Sequence < have.Sequence || r.Sequence == have.Sequence && bytes.Compare(key[:], last[:]) < 0 {
			last = key
		}
	}
	return last, n
}

// sweep forgets what has expired.
func (d *Directory) sweep(now time.Time) {
	for key, r := range d.records {
		if r.Fresh(now) != nil {
			delete(d.records, key)
		}
	}
}

// Changed is closed when a record is kept from now on.
func (d *Directory) Changed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

// Entry is a node that hosts a chain.
type Entry struct {
	Node   Key
	NodeID string // of Node, as in peer addresses
	// Validator is whose node it is, zero if nobody's as far as is known.
	Validator ledger.PublicKey
	// Member says that Validator is in the committee of the chain.
	Member bool
	// GRPC is host:port of its API, empty if it has none for others; TLS says what it
	// speaks there.
	GRPC string
	TLS  bool
	// P2P is nodeid@host:port of its peers on the chain, empty if it takes none.
	P2P string
	// Serving says that it has caught up with the chain.
	Serving bool
	Made    time.Time // by its own clock
}

// Hosts returns the nodes that host a chain and whose record holds, those first of whom
// it is likeliest that they serve it: of members of its committee, of other validators,
// of anybody; of these, those that serve before those that catch up; and among equals in
// an order that is this node's own, and stays.
func (d *Directory) Hosts(chain ledger.ChainID) []Entry {
	now := d.cfg.Now()
	committee := d.committee(chain, now)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep(now)
	type ranked struct {
		Entry
		rank  int
		order ledger.Hash
	}
	var list []ranked
	for _, r := range d.records {
		at := slices.IndexFunc(r.Chains, func(h Hosting) bool { return h.Chain == chain })
		if at < 0 {
			continue
		}
		e := d.entry(&r)
		e.Serving = r.Chains[at].Serving
		e.Member = e.Validator != ledger.PublicKey{} && slices.Contains(committee, e.Validator)
		if port := r.Chains[at].Port; port != 0 {
			e.P2P = e.NodeID + "@" + peer(r.Host, port)
		}
		order := ledger.HashOf(orderDomain, d.cfg.Own[:], r.Node[:], binary.BigEndian.AppendUint32(nil, uint32(chain)))
		list = append(list, ranked{e, rank(&e), order})
	}
	slices.SortFunc(list, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), bytes.Compare(a.order[:], b.order[:]))
	})
	var entries []Entry
	for i := range list {
		entries = append(entries, list[i].Entry)
	}
	return entries
}

// entry is the node of a record. d.mu is held.
func (d *Directory) entry(r *Record) Entry {
	return Entry{
		Node: r.Node, NodeID: r.Node.ID(), GRPC: r.GRPC, TLS: r.TLS, Validator: d.owner(r), Made: time.UnixMilli(int64(r.Sequence)), //nolint:gosec // Decode bounds it
	}
}

// Nodes returns all nodes whose record holds, whatever they host: those of validators
// before others, then by NodeID. They have neither P2P nor Serving, and are no Member.
func (d *Directory) Nodes() (entries []Entry) {
	now := d.cfg.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep(now)
	for _, r := range d.records {
		entries = append(entries, d.entry(&r))
	}
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(a.NodeID, b.NodeID))
	})
	return entries
}

// committee returns who is in the committee of a chain.
func (d *Directory) committee(chain ledger.ChainID, now time.Time) []ledger.PublicKey {
	if d.cfg.Members == nil {
		return nil
	}
	d.mu.Lock()
	known, found := d.members[chain]
	d.mu.Unlock()
	if found && now.Sub(known.at).Abs() < membersAge {
		return known.keys
	}
	keys := d.cfg.Members(chain)
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.members) >= maxCommittees {
		clear(d.members)
	}
	d.members[chain] = members{keys, now}
	return keys
}

// rank is 0 for who is asked first.
func rank(e *Entry) (n int) {
	switch {
	case e.Member:
	case e.Validator != ledger.PublicKey{}:
		n = 2
	default:
		n = 4
	}
	if !e.Serving {
		n++
	}
	return n
}

// Records returns the records that hold, by node key.
func (d *Directory) Records() []Record {
	now := d.cfg.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep(now)
	records := make([]Record, 0, len(d.records))
	for _, r := range d.records {
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b Record) int { return bytes.Compare(a.Node[:], b.Node[:]) })
	return records
}
