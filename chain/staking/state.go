package staking

import (
	"encoding/binary"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// The state of staking. Rows are those of validators; m is the epoch with whose
// end something is over.
//
//	'V' | row u64                             dense: a validator, RowSize bytes
//	'v' | row u64                             its profile
//	'k' | consensus address 20                its row u64
//	'z' | hash of the BLS key 32              its row u64
//	'O' | operator 21                         its row u64
//	'g' | row u64 | delegator 21              a delegation
//	'j' | row u64 | epoch u64                 shares u64 that earn from that epoch on, index
//	'h' | delegator 21 | row u64              nothing: there is that delegation
//	'U' | row u64 | m u64                     the pool of stake that was last elected in epoch m-UnbondingEpochs
//	'q' | m u64 | row u64 | delegator 21      an unbonding, in the order of payment
//	'w' | delegator 21 | row u64              m u64 of each of the delegator's unbondings, ascending
//	'o' | m u64 | row u64                     tokens u64 that redelegations moved away in that epoch
//	'y' | m u64 | row u64 | delegator 21 | destination u64   nothing: one of them
//	'Z' | row u64 | number u32                a slash of what moved away
//	'c' | row u64                             nothing: it can be elected, see Validator.Electable
//	'e' | epoch u64                           the election of its committee, of the last two
//	'f' | epoch u64                           the same of those before, without the committee
//	'i' | epoch u64                           row, power and stake u64 of the members at the election, or epoch u64 that had the same
//	'S' | epoch u64                           the seed that the epoch uses
//	'm'                                       who missed which blocks
//	'P' | position u32                        row u64 of who proposed that block of the window
//	'B' | row u64                             epoch u64 and number u32 of the counted blocks in it that it proposed
//	'G'                                       the progress of the epoch
//
// A chain whose genesis has no validators has none of these: see Context.On.
const (
	prefixValidator  = PrefixValidator
	prefixProfile    = 'v'
	prefixAddress    = 'k'
	prefixBLSKey     = 'z'
	prefixOperator   = 'O'
	prefixDelegation = 'g'
	prefixDelegator  = 'h'
	prefixFresh      = 'j'
	prefixPool       = PrefixPool
	prefixQueue      = 'q'
	prefixEntries    = 'w'
	prefixMoved      = 'o'
	prefixMove       = 'y'
	prefixSlash      = 'Z'
	prefixElectable  = 'c'
	prefixElection   = 'e'
	prefixPast       = 'f'
	prefixSeats      = 'i'
	prefixSeed       = 'S'
	prefixMissed     = 'm'
	prefixProposer   = 'P'
	prefixProposed   = 'B'
	prefixProgress   = 'G'
)

// The prefixes of the keys under which staking holds money; see Held.
const (
	PrefixValidator = 'V'
	PrefixPool      = 'U'
)

// Validators is the dense table of validators.
func Validators() chain.Table { return chain.Table{Prefix: prefixValidator, RowSize: RowSize} }

// ValidatorKey returns the state key of the validator at row.
func ValidatorKey(row uint64) []byte { return Validators().Key(row) }

// CommitteeKey returns the state key of the election of an epoch's committee, a
// committee.Record, from the election until the second one after it.
func CommitteeKey(epoch uint64) []byte { return numbered(prefixElection, epoch) }

// PastCommitteeKey returns the state key of the election of an epoch's committee from
// then on, as committee.Record.EncodeShort writes it.
func PastCommitteeKey(epoch uint64) []byte { return numbered(prefixPast, epoch) }

// SeedKey returns the state key of the seed that an epoch uses.
func SeedKey(epoch uint64) []byte { return numbered(prefixSeed, epoch) }

// DelegationKey returns the state key of a delegation.
func DelegationKey(row uint64, delegator ledger.Address) []byte {
	return append(numbered(prefixDelegation, row), delegator[:]...)
}

// numbered returns a key of a prefix and some numbers.
func numbered(prefix byte, numbers ...uint64) []byte {
	k := make([]byte, 1, 1+8*len(numbers)+ledger.AddressSize+8)
	k[0] = prefix
	for _, n := range numbers {
		k = binary.BigEndian.AppendUint64(k, n)
	}
	return k
}

func profileKey(row uint64) []byte { return numbered(prefixProfile, row) }

func addressKey(a Address) []byte { return append([]byte{prefixAddress}, a[:]...) }

func blsKeyKey(k *bls.PublicKey) []byte {
	h := ledger.HashOf("trib/bls-key/1", k[:])
	return append([]byte{prefixBLSKey}, h[:]...)
}

func operatorKey(a ledger.Address) []byte { return append([]byte{prefixOperator}, a[:]...) }

func delegatorKey(a ledger.Address, row uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte{prefixDelegator}, a[:]...), row)
}

func poolKey(row, due uint64) []byte { return numbered(prefixPool, row, due) }

func queueKey(due, row uint64, a ledger.Address) []byte {
	return append(numbered(prefixQueue, due, row), a[:]...)
}

func entriesKey(a ledger.Address, row uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte{prefixEntries}, a[:]...), row)
}

func movedKey(due, row uint64) []byte { return numbered(prefixMoved, due, row) }

func moveKey(due, row uint64, a ledger.Address, to uint64) []byte {
	return binary.BigEndian.AppendUint64(append(numbered(prefixMove, due, row), a[:]...), to)
}

func slashKey(row uint64, number uint32) []byte {
	return binary.BigEndian.AppendUint32(numbered(prefixSlash, row), number)
}

func electableKey(row uint64) []byte { return numbered(prefixElectable, row) }

func seatsKey(epoch uint64) []byte { return numbered(prefixSeats, epoch) }

func missedKey() []byte { return []byte{prefixMissed} }

func proposerKey(position uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixProposer}, position)
}

func proposedKey(row uint64) []byte { return numbered(prefixProposed, row) }

func progressKey() []byte { return []byte{prefixProgress} }

// progress is what changes with the blocks of an epoch.
type progress struct {
	Validators uint64 // rows
	Position   uint32 // in the windows of missed blocks, of the next counted block
	Counted    uint32 // blocks of the epoch so far
	Dirty      bool   // the next election may have another outcome than the last
	Due        bool   // something that was over with an epoch may be left to do
	JailEnds   uint64 // the last epoch to which a jail lasts
	// MeterFrom is the epoch in which the slash meter began; MeterPower were jailed
	// since.
	MeterFrom, MeterPower uint64
}

func (p *progress) encode() []byte {
	w := codec.NewWriter(42)
	w.Uint64(p.Validators)
	w.Uint32(p.Position)
	w.Uint32(p.Counted)
	w.Bool(p.Dirty)
	w.Bool(p.Due)
	w.Uint64(p.JailEnds)
	w.Uint64(p.MeterFrom)
	w.Uint64(p.MeterPower)
	return w.Bytes()
}

// readProgress returns ok=false if the chain has no staking.
func readProgress(v chain.View) (p progress, ok bool) {
	b := v.Get(progressKey())
	if b == nil {
		return progress{}, false
	}
	r := codec.NewReader(b)
	p.Validators = r.Uint64()
	p.Position, p.Counted, p.Dirty, p.Due, p.JailEnds = r.Uint32(), r.Uint32(), r.Bool(), r.Bool(), r.Uint64()
	p.MeterFrom, p.MeterPower = r.Uint64(), r.Uint64()
	mustRead("progress", r.Done())
	return p, true
}

// mustRead panics if a stored value cannot be decoded: a replica that cannot read
// its own state must stop.
func mustRead(what string, err error) {
	if err != nil {
		panic(fmt.Errorf("read %s: %w", what, err))
	}
}

func rowAt(v chain.View, key []byte) (row uint64, ok bool) {
	b := v.Get(key)
	if b == nil {
		return 0, false
	}
	if len(b) != 8 {
		mustRead("row of a validator", fmt.Errorf("%d bytes, want 8", len(b)))
	}
	return binary.BigEndian.Uint64(b), true
}

func poolAt(v chain.View, row, due uint64) Pool {
	b := v.Get(poolKey(row, due))
	if b == nil {
		return Pool{}
	}
	r := codec.NewReader(b)
	p := Pool{Tokens: ledger.Amount(r.Uint64()), Shares: r.Uint64()}
	mustRead("pool of unbonding stake", r.Done())
	return p
}

func slashAt(v chain.View, row uint64, number uint32) slash {
	r := codec.NewReader(v.Get(slashKey(row, number)))
	s := slash{Epoch: r.Uint64(), Part: r.Uint64(), Whole: r.Uint64()}
	mustRead("slash", r.Done())
	return s
}

func movedAt(v chain.View, due, row uint64) ledger.Amount {
	b := v.Get(movedKey(due, row))
	if b == nil {
		return 0
	}
	r := codec.NewReader(b)
	moved := ledger.Amount(r.Uint64())
	mustRead("moved stake", r.Done())
	return moved
}

// entriesAt returns the ends of a delegator's unbondings from a validator.
func entriesAt(v chain.View, a ledger.Address, row uint64) (due []uint64) {
	b := v.Get(entriesKey(a, row))
	if len(b)%8 != 0 {
		mustRead("list of unbondings", fmt.Errorf("%d bytes", len(b)))
	}
	for ; len(b) > 0; b = b[8:] {
		due = append(due, binary.BigEndian.Uint64(b))
	}
	return due
}
