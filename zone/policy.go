package zone

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

const (
	// MaxName is the largest length of a name or a region in bytes.
	MaxName = 32
	// MaxReplication is the largest number of copies.
	MaxReplication = 16
	// MaxShareBps is the largest share that a fee takes, in basis points: half of what
	// comes to it.
	MaxShareBps = ledger.BasisPoints / 2
	// EntryCapBps is how much of what an entry pays its fee is at most, in basis points: a
	// hundredth. Anybody may submit a voucher, and as many entries as it was signed in
	// steps; without the cap those fees could use up what the payee earned.
	EntryCapBps = 100
	// MaxEntryFee is the largest fee of an entry: a thousand coins.
	MaxEntryFee = 1_000 * ledger.DropsPerCoin
)

// Errors of policies. Each is wrapped with the field and what it may be.
var (
	ErrBadRegion      = errors.New("not a region")
	ErrBadFees        = errors.New("fees out of range")
	ErrBadLimits      = errors.New("limits out of range")
	ErrBadReplication = errors.New("replication out of range")
	ErrBadProofs      = errors.New("not a set of proofs")
)

// Policy is what holds for all shards of a zone.
type Policy struct {
	// Region says where the zone is, for people and for choosing: 1 to MaxName of
	// a-z, 0-9 and "-", beginning with a letter.
	Region string
	// Fees are what the zone takes of settlements of channels whose payers are at home in
	// it, before the service's own. They are burned.
	Fees Fees
	// Limits hold for each shard of the zone.
	Limits Limits
	// Replication is how many providers hold each object of a service that stores,
	// 1 to MaxReplication; 1 where nothing is stored.
	Replication uint8
	// Proofs are the kinds of proofs that count in the zone. That of the service is
	// among them.
	Proofs ProofSet
}

// DefaultPolicy returns the policy to start with in a region: no fees, the
// default limits, one copy, all proofs.
func DefaultPolicy(region string) Policy {
	return Policy{Region: region, Limits: DefaultLimits(), Replication: 1, Proofs: AllProofs}
}

// Validate returns an error that names the first field out of its range.
func (p *Policy) Validate() error {
	if err := checkName(p.Region); err != nil {
		return fmt.Errorf("region %q: %w: %w", p.Region, ErrBadRegion, err)
	}
	if err := p.Fees.Validate(); err != nil {
		return err
	}
	if err := p.Limits.Validate(); err != nil {
		return err
	}
	if p.Replication < 1 || p.Replication > MaxReplication {
		return fmt.Errorf("replication is %d, want 1 to %d: %w", p.Replication, MaxReplication, ErrBadReplication)
	}
	if p.Proofs == 0 || p.Proofs&^AllProofs != 0 {
		return fmt.Errorf("proofs are %08b, want some of %08b: %w", uint8(p.Proofs), uint8(AllProofs), ErrBadProofs)
	}
	return nil
}

// errName says what a name is.
var errName = fmt.Errorf("want 1 to %d of a-z, 0-9 and \"-\", beginning with a letter", MaxName)

func checkName(s string) error {
	if len(s) < 1 || len(s) > MaxName || s[0] < 'a' || s[0] > 'z' {
		return errName
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return errName
		}
	}
	return nil
}

// append writes the canonical encoding: region with its length 2, fees (share 4, entry 8),
// limits 4 each in their order, replication 1, proofs 1.
func (p *Policy) append(w *codec.Writer) {
	w.String16(p.Region)
	p.Fees.append(w)
	for _, v := range p.Limits.fields() {
		w.Uint32(*v)
	}
	w.Uint8(p.Replication)
	w.Uint8(uint8(p.Proofs))
}

func (p *Policy) read(r *codec.Reader) {
	p.Region = r.String16(MaxName)
	p.Fees.read(r)
	for _, v := range p.Limits.fields() {
		*v = r.Uint32()
	}
	p.Replication = r.Uint8()
	p.Proofs = ProofSet(r.Uint8())
}

// Fees are what is taken when the usage of a service is settled: a share of the money,
// and a fee of each entry that pays something.
type Fees struct {
	// ShareBps is the share of the money, in basis points, 0 to MaxShareBps. It is
	// taken of cumulative totals, so that many small settlements pay what one large
	// one does.
	ShareBps uint32
	// Entry is the fee of each entry of a settlement, in drops, 0 to MaxEntryFee, but no
	// more than EntryCapBps of what the entry pays.
	Entry ledger.Amount
}

// Validate returns ErrBadFees for fees out of their ranges.
func (f *Fees) Validate() error {
	switch {
	case f.ShareBps > MaxShareBps:
		return fmt.Errorf("share_bps is %d, want 0 to %d (%d per cent): lower it: %w", f.ShareBps, MaxShareBps, MaxShareBps/100, ErrBadFees)
	case f.Entry > MaxEntryFee:
		return fmt.Errorf("entry_fee is %d drops, want 0 to %d (%s coins): lower it: %w", uint64(f.Entry), uint64(MaxEntryFee), MaxEntryFee, ErrBadFees)
	}
	return nil
}

// Share returns the share of a total, rounded down. The share of a part is the difference
// of two such values, which is never negative and never more than the part. total is a
// valid amount.
func (f *Fees) Share(total ledger.Amount) ledger.Amount { return part(total, f.ShareBps) }

// OfEntry returns the fee of one entry that pays an amount: Entry, but no more than
// EntryCapBps of the amount, rounded down. paid is a valid amount.
func (f *Fees) OfEntry(paid ledger.Amount) ledger.Amount {
	return min(f.Entry, part(paid, EntryCapBps))
}

func part(of ledger.Amount, bps uint32) ledger.Amount {
	hi, lo := bits.Mul64(uint64(of), uint64(bps))
	q, _ := bits.Div64(hi, lo, ledger.BasisPoints) // hi < 10,000 for every amount
	return ledger.Amount(q)
}

func (f *Fees) append(w *codec.Writer) {
	w.Uint32(f.ShareBps)
	w.Uint64(uint64(f.Entry))
}

func (f *Fees) read(r *codec.Reader) {
	f.ShareBps, f.Entry = r.Uint32(), ledger.Amount(r.Uint64())
}

// Limits bound what a shard takes. Its genesis has them, which everybody makes of main's
// state whenever they come, so those of a zone stay as they are: see CheckSuccessor.
type Limits struct {
	// BlockBytes is the size of a block's transactions at most, 2 to 16 MiB: the longest
	// transaction has one.
	BlockBytes uint32
	// HeavyBytes is the size of a block's transactions and messages above which it is
	// heavy, 1 KiB to half of BlockBytes: the limit of shard.Load.Block. Where three in
	// four of main's block times have a block heavier than that, the shard splits.
	HeavyBytes uint32
	// MessageBytes is the size of a message to another shard, 1 to 64 KiB.
	MessageBytes uint32
	// LinkMessages and LinkBytes are what may be on the way on a link: 1 to 2,048
	// messages, and 128 KiB to 4 MiB, more than which no link carries.
	LinkMessages, LinkBytes uint32
	// ExpiryAnchors is after how many anchors a message expires, 8 to 65,536.
	ExpiryAnchors uint32
}

// DefaultLimits are the limits to start with.
func DefaultLimits() Limits {
	return Limits{BlockBytes: 2 << 20, HeavyBytes: 1 << 20, MessageBytes: 64 << 10, LinkMessages: 2_048, LinkBytes: 4 << 20, ExpiryAnchors: 512}
}

func (l *Limits) fields() []*uint32 {
	return []*uint32{&l.BlockBytes, &l.HeavyBytes, &l.MessageBytes, &l.LinkMessages, &l.LinkBytes, &l.ExpiryAnchors}
}

// Validate returns ErrBadLimits with the first limit out of its range.
func (l *Limits) Validate() error {
	for _, r := range []struct {
		name             string
		value, low, high uint32
	}{
		{"block_bytes", l.BlockBytes, 2 << 20, 16 << 20},
		{"heavy_bytes", l.HeavyBytes, 1 << 10, l.BlockBytes / 2},
		{"message_bytes", l.MessageBytes, 1 << 10, 64 << 10},
		{"link_messages", l.LinkMessages, 1, 1 << 11},
		{"link_bytes", l.LinkBytes, 128 << 10, 4 << 20},
		{"expiry_anchors", l.ExpiryAnchors, 8, 1 << 16},
	} {
		if r.value < r.low || r.value > r.high {
			return fmt.Errorf("%s is %d, want %d to %d: %w", r.name, r.value, r.low, r.high, ErrBadLimits)
		}
	}
	return nil
}

// ProofKind is how the providers of a service prove what they did, and with that raise their
// weight when its committees are drawn. Nobody is paid for proofs, so anybody may register
// a service of any kind; and where a kind's own proofs cannot be brought yet, what was
// burned of payments counts. Numbers are part of the protocol.
type ProofKind uint8

// The kinds of proofs.
const (
	// NoProof: stake alone counts.
	NoProof ProofKind = 0
	// Bandwidth: work is what was paid and burned for it.
	Bandwidth ProofKind = 1
	// Storage: work is proved by challenges to what is stored. None can be brought yet.
	Storage ProofKind = 2
	// CallTime: work is the co-signed time of calls. None can be brought yet.
	CallTime ProofKind = 3
)

// String returns the kind's name: "bandwidth".
func (p ProofKind) String() string {
	switch p {
	case NoProof:
		return "none"
	case Bandwidth:
		return "bandwidth"
	case Storage:
		return "storage"
	case CallTime:
		return "call-time"
	default:
		return "unknown"
	}
}

// ProofSet is a set of kinds of proofs: bit n for kind n.
type ProofSet uint8

// AllProofs are all kinds there are.
const AllProofs = ProofSet(1<<NoProof | 1<<Bandwidth | 1<<Storage | 1<<CallTime)

// Proofs returns the set of these kinds. Kinds that do not exist are left out.
func Proofs(kinds ...ProofKind) (s ProofSet) {
	for _, k := range kinds {
		s |= 1 << k & AllProofs
	}
	return s
}

// Has reports whether a kind is in the set.
func (s ProofSet) Has(p ProofKind) bool { return s&AllProofs&(1<<p) != 0 }

// Len returns the number of kinds in the set.
func (s ProofSet) Len() int { return bits.OnesCount8(uint8(s)) }
