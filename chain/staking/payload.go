package staking

import (
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// Register is the payload of chain.KindRegisterValidator: the signer becomes the
// operator of a new validator and delegates SelfStake to it.
//
//	consensus_key 32 | bls_key 96 | proof 48 | profile | commission u32 |
//	max_commission u32 | max_change u32 | min_self u64 | self_stake u64
//
// where profile is name u16+bytes | count u8 | count x (endpoint u16+bytes).
type Register struct {
	ConsensusKey ledger.PublicKey
	BLSKey       bls.PublicKey
	Proof        bls.Signature // of possession of the BLS key, by the operator; see Prove
	Profile
	Commission    uint32 // basis points of the rewards
	MaxCommission uint32 // Commission at most, for ever; 0 to 10,000
	MaxChange     uint32 // of the commission in an epoch
	MinSelf       ledger.Amount
	SelfStake     ledger.Amount
}

// Encode returns the payload.
func (m *Register) Encode() []byte {
	w := codec.NewWriter(320)
	m.append(w)
	return w.Bytes()
}

func (m *Register) append(w *codec.Writer) {
	w.Fixed(m.ConsensusKey[:])
	w.Fixed(m.BLSKey[:])
	w.Fixed(m.Proof[:])
	m.Profile.append(w)
	w.Uint32(m.Commission)
	w.Uint32(m.MaxCommission)
	w.Uint32(m.MaxChange)
	w.Uint64(uint64(m.MinSelf))
	w.Uint64(uint64(m.SelfStake))
}

func (m *Register) read(r *codec.Reader) {
	r.Into(m.ConsensusKey[:])
	r.Into(m.BLSKey[:])
	r.Into(m.Proof[:])
	m.Profile.read(r)
	m.Commission, m.MaxCommission, m.MaxChange = r.Uint32(), r.Uint32(), r.Uint32()
	m.MinSelf, m.SelfStake = ledger.Amount(r.Uint64()), ledger.Amount(r.Uint64())
}

// DecodeRegister reads the payload of a registration and checks the ranges of
// its fields, but neither key nor proof.
func DecodeRegister(payload []byte) (Register, error) {
	var m Register
	r := codec.NewReader(payload)
	m.read(r)
	if err := finish(r, "registration"); err != nil {
		return Register{}, err
	}
	return m, m.check()
}

// check refuses what is wrong whatever the state and the parameters.
func (m *Register) check() error {
	switch {
	case m.MaxCommission > ledger.BasisPoints || m.MaxChange > ledger.BasisPoints:
		return chain.Refuse(chain.CodeInvalidValue, "max_commission %d and max_change %d, at most %d", m.MaxCommission, m.MaxChange, ledger.BasisPoints)
	case m.Commission > m.MaxCommission:
		return chain.Refuse(chain.CodeCommissionTooHigh, "commission %d, max_commission %d", m.Commission, m.MaxCommission)
	case m.SelfStake > ledger.MaxAmount || m.MinSelf > ledger.MaxAmount:
		return chain.Refuse(chain.CodeAmountOverflow, "self_stake %d or min_self %d exceeds %d", uint64(m.SelfStake), uint64(m.MinSelf), uint64(ledger.MaxAmount))
	}
	return m.Profile.check()
}

// checkKeys refuses keys that cannot be, and a proof of possession that does not
// hold for the operator on the network. It costs about 2 ms.
func (m *Register) checkKeys(network ledger.NetworkID, operator ledger.Address) error {
	if err := m.ConsensusKey.Check(); err != nil {
		return chain.Refuse(chain.CodeBadKey, "consensus key: %v", err)
	}
	key, err := bls.ParseKey(m.BLSKey)
	if err != nil {
		return chain.Refuse(chain.CodeBadKey, "BLS key: %v", err)
	}
	if !Proves(key, network, operator, m.ConsensusKey, m.Proof) {
		return chain.Refuse(chain.CodeBadProof, "no proof that the owner of BLS key %s registers it for %s beside consensus key %s on this network", m.BLSKey, operator, m.ConsensusKey)
	}
	return nil
}

// Edit is the payload of chain.KindEditValidator, sent by the operator. It
// states all it can change, changed or not.
//
//	validator u64 | profile | commission u32 | min_self u64
type Edit struct {
	Validator uint64
	Profile
	Commission uint32
	MinSelf    ledger.Amount // never less than before, nor raised above the self-stake
}

// Encode returns the payload.
func (m *Edit) Encode() []byte {
	w := codec.NewWriter(128)
	w.Uint64(m.Validator)
	m.append(w)
	w.Uint32(m.Commission)
	w.Uint64(uint64(m.MinSelf))
	return w.Bytes()
}

// DecodeEdit reads the payload of an edit and checks the ranges of its fields.
func DecodeEdit(payload []byte) (Edit, error) {
	var m Edit
	r := codec.NewReader(payload)
	m.Validator = r.Uint64()
	m.read(r)
	m.Commission, m.MinSelf = r.Uint32(), ledger.Amount(r.Uint64())
	if err := finish(r, "edit"); err != nil {
		return Edit{}, err
	}
	if m.MinSelf > ledger.MaxAmount {
		return Edit{}, chain.Refuse(chain.CodeAmountOverflow, "min_self %d exceeds %d", uint64(m.MinSelf), uint64(ledger.MaxAmount))
	}
	return m, m.check()
}

// Delegate is the payload of chain.KindDelegate: the signer votes for a
// validator with its money.
//
//	validator u64 | amount u64
type Delegate struct {
	Validator uint64
	Amount    ledger.Amount // at least Params.MinDelegation
}

// Encode returns the payload.
func (m *Delegate) Encode() []byte { return encodeNumbers(m.Validator, uint64(m.Amount)) }

// DecodeDelegate reads the payload of a delegation.
func DecodeDelegate(payload []byte) (Delegate, error) {
	n, err := decodeNumbers(payload, 2, "delegation")
	if err != nil {
		return Delegate{}, err
	}
	m := Delegate{Validator: n[0], Amount: ledger.Amount(n[1])}
	return m, checkAmount(m.Amount)
}

// Redelegate is the payload of chain.KindRedelegate: the signer's stake moves
// from one validator to another at once, and answers for the first one's faults
// until it would have been unbonded.
//
//	from u64 | to u64 | amount u64
type Redelegate struct {
	From, To uint64
	Amount   ledger.Amount // 0: all
}

// Encode returns the payload.
func (m *Redelegate) Encode() []byte { return encodeNumbers(m.From, m.To, uint64(m.Amount)) }

// DecodeRedelegate reads the payload of a redelegation.
func DecodeRedelegate(payload []byte) (Redelegate, error) {
	n, err := decodeNumbers(payload, 3, "redelegation")
	if err != nil {
		return Redelegate{}, err
	}
	m := Redelegate{From: n[0], To: n[1], Amount: ledger.Amount(n[2])}
	if m.From == m.To {
		return m, chain.Refuse(chain.CodeSameValidator, "from validator %d to itself", m.From)
	}
	return m, checkAmount(m.Amount)
}

// Undelegate is the payload of chain.KindUndelegate: the signer's stake is paid
// out when it is unbonded.
//
//	validator u64 | amount u64
type Undelegate struct {
	Validator uint64
	Amount    ledger.Amount // 0: all
}

// Encode returns the payload.
func (m *Undelegate) Encode() []byte { return encodeNumbers(m.Validator, uint64(m.Amount)) }

// DecodeUndelegate reads the payload of an undelegation.
func DecodeUndelegate(payload []byte) (Undelegate, error) {
	n, err := decodeNumbers(payload, 2, "undelegation")
	if err != nil {
		return Undelegate{}, err
	}
	m := Undelegate{Validator: n[0], Amount: ledger.Amount(n[1])}
	return m, checkAmount(m.Amount)
}

// MaxClaims is the largest number of validators of one claim.
const MaxClaims = 64

// Claim is the payload of chain.KindClaimRewards: the signer is paid what it
// earned with each of the validators, its commission included.
//
//	count u8 | count x validator u64
type Claim struct {
	Validators []uint64 // 1 to MaxClaims, ascending
}

// Encode returns the payload.
func (m *Claim) Encode() []byte {
	w := codec.NewWriter(1 + 8*len(m.Validators))
	w.Uint8(uint8(len(m.Validators)))
	for _, v := range m.Validators {
		w.Uint64(v)
	}
	return w.Bytes()
}

// DecodeClaim reads the payload of a claim.
func DecodeClaim(payload []byte) (Claim, error) {
	r := codec.NewReader(payload)
	n := int(r.Uint8())
	if r.Err() == nil && (n == 0 || n > MaxClaims) {
		return Claim{}, chain.Refuse(chain.CodeTooLarge, "claim from %d validators, want 1 to %d", n, MaxClaims)
	}
	m := Claim{Validators: make([]uint64, n)}
	for i := range m.Validators {
		m.Validators[i] = r.Uint64()
	}
	if err := finish(r, "claim"); err != nil {
		return Claim{}, err
	}
	for i := 1; i < n; i++ {
		if m.Validators[i] <= m.Validators[i-1] {
			return Claim{}, chain.Refuse(chain.CodeBadOrder, "validator %d follows %d, want strictly ascending", m.Validators[i], m.Validators[i-1])
		}
	}
	return m, nil
}

// Unjail is the payload of chain.KindUnjail, sent by the operator.
//
//	validator u64
type Unjail struct {
	Validator uint64
}

// Encode returns the payload.
func (m *Unjail) Encode() []byte { return encodeNumbers(m.Validator) }

// DecodeUnjail reads the payload of an unjail.
func DecodeUnjail(payload []byte) (Unjail, error) {
	n, err := decodeNumbers(payload, 1, "unjail")
	if err != nil {
		return Unjail{}, err
	}
	return Unjail{Validator: n[0]}, nil
}

func encodeNumbers(numbers ...uint64) []byte {
	w := codec.NewWriter(8 * len(numbers))
	for _, n := range numbers {
		w.Uint64(n)
	}
	return w.Bytes()
}

func decodeNumbers(payload []byte, count int, what string) ([]uint64, error) {
	r := codec.NewReader(payload)
	numbers := make([]uint64, count)
	for i := range numbers {
		numbers[i] = r.Uint64()
	}
	return numbers, finish(r, what)
}

func checkAmount(a ledger.Amount) error {
	if a > ledger.MaxAmount {
		return chain.Refuse(chain.CodeAmountOverflow, "amount %d exceeds %d", uint64(a), uint64(ledger.MaxAmount))
	}
	return nil
}

func finish(r *codec.Reader, what string) error {
	if err := r.Done(); err != nil {
		return chain.Refuse(chain.CodeMalformed, "%s: %v", what, err)
	}
	return nil
}
