package settlement

import (
	"errors"
	"iter"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/ledger"
)

// Need is a signature that a transaction needs.
type Need = channel.Need

// empty is the View of no state.
type empty struct{}

func (empty) Get([]byte) []byte                      { return nil }
func (empty) Range([]byte) iter.Seq2[[]byte, []byte] { return func(func([]byte, []byte) bool) {} }

// payload is a decoded payload: exactly one field is set.
type payload struct {
	transfer *Transfer
	open     *channel.Open
	topUp    *channel.TopUp
	extend   *channel.Extend
	batch    *channel.Batch
	request  *channel.RequestClose
	coop     *channel.CoopClose
	stake    *stakeMessage
	service  *serviceMessage
	shard    *shardMessage
}

func decodePayload(tx *chain.Tx) (payload, error) {
	switch tx.Kind {
	case chain.KindTransfer:
		v, err := DecodeTransfer(tx.Payload)
		return payload{transfer: &v}, err
	case chain.KindOpenChannels:
		v, err := channel.DecodeOpen(tx.Payload)
		return payload{open: &v}, err
	case chain.KindTopUp:
		v, err := channel.DecodeTopUp(tx.Payload)
		return payload{topUp: &v}, err
	case chain.KindExtend:
		v, err := channel.DecodeExtend(tx.Payload)
		return payload{extend: &v}, err
	case chain.KindSettle:
		v, err := channel.DecodeBatch(tx.Payload)
		return payload{batch: &v}, err
	case chain.KindRequestClose:
		v, err := channel.DecodeRequestClose(tx.Payload)
		return payload{request: &v}, err
	case chain.KindCoopClose:
		v, err := channel.DecodeCoopClose(tx.Payload)
		return payload{coop: &v}, err
	default:
		if m, err := decodeStake(tx); m != nil {
			return payload{stake: m}, err
		}
		if m, err := decodeService(tx); m != nil {
			return payload{service: m}, err
		}
		if m, err := decodeShard(tx); m != nil {
			return payload{shard: m}, err
		}
		return payload{}, chain.Refuse(chain.CodeUnknownKind, "kind %d", tx.Kind)
	}
}

// fee returns the fee of a transaction with the payload.
func (pl *payload) fee(p *Params) ledger.Amount {
	fee := p.TxFee
	switch {
	case pl.transfer != nil:
		fee += p.PaymentFee * ledger.Amount(len(pl.transfer.Payments)-1)
	case pl.open != nil:
		fee += p.OpenFee * ledger.Amount(len(pl.open.Channels))
	case pl.coop != nil && pl.coop.Rollover != nil:
		fee += p.OpenFee
	case pl.batch != nil:
		fee += p.EntryFee * ledger.Amount(len(pl.batch.Entries))
		for i := range pl.batch.Entries {
			fee += p.stepFee(&pl.batch.Entries[i])
		}
	case pl.stake != nil:
		fee += pl.stake.fee(&p.Staking)
	case pl.service != nil:
		fee += pl.service.fee(&p.Registry)
	case pl.shard != nil:
		fee += pl.shard.fee(p)
	}
	return fee
}

// StepsPerFee is how many steps of a hash lane one StepFee pays for.
const StepsPerFee = 16

// stepFee returns what the hashes of the entry cost.
func (p *Params) stepFee(e *channel.Entry) ledger.Amount {
	if e.Claim != channel.ClaimHash {
		return 0
	}
	return p.StepFee * ((ledger.Amount(e.Step) + StepsPerFee - 1) / StepsPerFee)
}

// Fee returns the fee of tx, TxFee if its payload cannot be decoded. Of a batch
// it looks no further than the fee needs. An update of a service that adds zones costs
// RegisterFee more for each shard of them, which is in its receipt; see FeeAtMost.
func Fee(p Params, tx *chain.Tx) ledger.Amount {
	if tx.Kind == chain.KindSettle {
		var steps ledger.Amount
		n, err := channel.ScanBatch(tx.Payload, func(_ *ledger.Address, e *channel.Entry) bool {
			steps += p.stepFee(e)
			return true
		})
		if err != nil {
			return p.TxFee
		}
		return p.TxFee + p.EntryFee*ledger.Amount(n) + steps
	}
	pl, err := decodePayload(tx)
	if err != nil {
		return p.TxFee
	}
	return pl.fee(&p)
}

// FeeAtMost returns what tx costs at most, whatever the state: what its MaxFee has to be so
// that it is never too low. It is Fee, and for an update of a service as if all its zones
// were new.
func FeeAtMost(p Params, tx *chain.Tx) ledger.Amount {
	fee := Fee(p, tx)
	if tx.Kind != chain.KindUpdateService {
		return fee
	}
	s, err := registry.DecodeService(tx.Payload)
	if err != nil {
		return fee
	}
	return fee + p.Registry.RegisterFee*ledger.Amount(len(s.Zones)*int(s.Shards))
}

// Claims lists the signatures that tx needs against the state in v, its own
// first. Entries that are stale, or whose channel is gone or pays another, need
// none. complete is false if some channel is not in v yet, so that a look at a
// later state may find more.
//
// It refuses what is wrong whatever the state: a payload that cannot be decoded
// or a voucher key that no signature can be valid for. A hash-lane claim that
// does not lead to its root is refused too, with its position, though in a block
// it spoils only its entry.
func Claims(v chain.View, d chain.Domain, tx *chain.Tx) (needs []Need, complete bool, err error) {
	pl, err := decodePayload(tx)
	if err != nil {
		return nil, true, err
	}
	needs, bad, complete, err := pl.needs(v, d, tx)
	if err != nil {
		return nil, true, err
	}
	if len(bad) != 0 {
		return needs, complete, refusePositions(bad)
	}
	return needs, complete, nil
}

// refusePositions names the positions in bad, which all have the same code.
func refusePositions(bad map[int]chain.Code) error {
	e := chain.Refuse(chain.CodeBadPreimage, "%d preimages do not lead to the root of their hash lane", len(bad))
	e.Positions = positions(bad)
	return e
}

// needs lists the signatures; bad has the entries that are wrong without one.
func (pl *payload) needs(v chain.View, d chain.Domain, tx *chain.Tx) (needs []Need, bad map[int]chain.Code, complete bool, err error) {
	needs = append(needs, Need{Claim: tx.Claim(), Entry: channel.SignedTx})
	switch {
	case pl.batch != nil:
		needs, bad, complete = pl.batch.Needs(v, d, needs)
		return needs, bad, complete, nil
	case pl.coop != nil:
		if r := pl.coop.Rollover; r != nil {
			err = channel.CheckVoucherKeys([]channel.OpenParams{*r})
		}
		return pl.coop.Needs(d, needs), nil, true, err
	case pl.open != nil:
		return needs, nil, true, channel.CheckVoucherKeys(pl.open.Channels)
	default:
		return needs, nil, true, nil
	}
}

// Admit runs tx against v as the block at height would, with every signature, those of
// committees of shards too, taken as valid, and returns the receipt. The error is a RuleError that says
// why the transaction would fail; that is also a batch none of whose entries
// would apply. It then has the code of the first entry and the positions, 64 at
// most, of all entries with that code; what is wrong with the others it does not
// say.
func Admit(v chain.View, p Params, d chain.Domain, height uint64, tx *chain.Tx) (Receipt, error) {
	b := begin(v, &p, d, height)
	b.anchors.Proved = func(ledger.Hash) bool { return true }
	r := b.apply(0, &BlockTx{Tx: *tx, Checked: true}, nil)
	if r.Code != chain.CodeOK {
		return r, b.refusal
	}
	if len(r.Entries) == 0 {
		return r, nil
	}
	first := r.Entries[0].Code
	alike := make([]int, 0, 1) // with that code
	for i := range r.Entries {
		switch {
		case r.Entries[i].Applied():
			return r, nil
		case r.Entries[i].Code == first && len(alike) < maxPositions:
			alike = append(alike, i)
		}
	}
	e := chain.Refuse(first, "the entry of channel %d would not apply", r.Entries[0].Index)
	if len(r.Entries) > 1 {
		e = chain.Refuse(first, "none of the %d entries would apply; the first is of channel %d", len(r.Entries), r.Entries[0].Index)
	}
	e.Positions = alike
	return r, e
}

// Urgent reports whether tx belongs into the reserved lane of the block at
// height, and by which sigma it must be in: it settles, and nine of ten of its
// entries would redeem money of channels that are closing or close to their
// expiry. With more entries that can wait the whole transaction waits.
func Urgent(v chain.View, height uint64, tx *chain.Tx) (urgent bool, deadline uint64) {
	if tx.Kind != chain.KindSettle {
		return false, 0
	}
	return channel.Urgent(v, tx.Payload, Clock(v, height))
}

// asRule returns the RuleError in err. Anything else is our own bug.
func asRule(err error) *chain.RuleError {
	var e *chain.RuleError
	if !errors.As(err, &e) {
		panic(err)
	}
	return e
}
