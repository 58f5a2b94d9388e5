package genesis

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
)

// maxDepth bounds the nesting of a document; the format needs 3.
const maxDepth = 8

// document is the JSON form of a Document.
type document struct {
	Version    int         `json:"version"`
	Name       string      `json:"name"`
	Time       time.Time   `json:"time"`
	Params     params      `json:"params"`
	Validators []validator `json:"validators"`
	Services   []service   `json:"services,omitempty"`
	Accounts   []account   `json:"accounts"`
}

type params struct {
	TxFee            amount   `json:"tx_fee"`
	PaymentFee       amount   `json:"payment_fee"`
	OpenFee          amount   `json:"open_fee"`
	EntryFee         amount   `json:"entry_fee"`
	StepFee          amount   `json:"step_fee"`
	Rent             amount   `json:"rent"`
	MinDeposit       amount   `json:"min_deposit"`
	BurnBps          uint32   `json:"burn_bps"`
	MinChallenge     uint32   `json:"min_challenge"`
	DefaultChallenge uint32   `json:"default_challenge"`
	MaxChallenge     uint32   `json:"max_challenge"`
	MaxLifetime      uint64   `json:"max_lifetime"`
	BlockInterval    uint32   `json:"block_interval"`
	MaxBlockBytes    int64    `json:"max_block_bytes"`
	ReservedBps      uint32   `json:"reserved_bps"`
	MaxStretch       uint32   `json:"max_stretch"`
	Services         []uint32 `json:"services"`
	Staking          stakes   `json:"staking"`
	Registry         fees     `json:"registry"`
	Anchors          anchors  `json:"anchors"`
}

// anchors are the parameters of the anchors of shards.
type anchors struct {
	DueBlocks     uint32 `json:"due_blocks"`
	LateBlocks    uint32 `json:"late_blocks"`
	StalledBlocks uint32 `json:"stalled_blocks"`
	MaxLag        uint32 `json:"max_lag"`
	SetFee        amount `json:"set_fee"`
	HeightFee     amount `json:"height_fee"`
}

func wireAnchors(p *anchor.Params) anchors {
	return anchors{p.DueBlocks, p.LateBlocks, p.StalledBlocks, p.MaxLag, amount(p.SetFee), amount(p.HeightFee)}
}

func (a anchors) params() anchor.Params {
	return anchor.Params{
		DueBlocks: a.DueBlocks, LateBlocks: a.LateBlocks, StalledBlocks: a.StalledBlocks, MaxLag: a.MaxLag,
		SetFee: ledger.Amount(a.SetFee), HeightFee: ledger.Amount(a.HeightFee),
	}
}

// fees are the parameters of the registry.
type fees struct {
	RegisterFee amount `json:"register_service_fee"`
	ServiceFee  amount `json:"service_fee"`
}

type stakes struct {
	EpochBlocks      uint64 `json:"epoch_blocks"`
	Seats            uint32 `json:"seats"`
	PowerCapBps      uint32 `json:"power_cap_bps"`
	MinStake         amount `json:"min_stake"`
	MinSelfStake     amount `json:"min_self_stake"`
	MinDelegation    amount `json:"min_delegation"`
	UnbondingEpochs  uint32 `json:"unbonding_epochs"`
	EvidenceEpochs   uint32 `json:"evidence_epochs"`
	MaxEntries       uint32 `json:"max_entries"`
	EpochReward      amount `json:"epoch_reward"`
	MintCap          amount `json:"mint_cap"`
	RegisterFee      amount `json:"register_fee"`
	StakeFee         amount `json:"stake_fee"`
	DuplicateVoteBps uint32 `json:"duplicate_vote_bps"`
	LightAttackBps   uint32 `json:"light_attack_bps"`
	DowntimeBps      uint32 `json:"downtime_bps"`
	Window           uint32 `json:"window"`
	MaxMissed        uint32 `json:"max_missed"`
	JailEpochs       uint32 `json:"jail_epochs"`
	MeterBps         uint32 `json:"meter_bps"`
	MeterEpochs      uint32 `json:"meter_epochs"`
}

type validator struct {
	Name          string         `json:"name"`
	Operator      ledger.Address `json:"operator"`
	PublicKey     string         `json:"public_key"`
	BLSKey        string         `json:"bls_key"`
	Proof         string         `json:"bls_proof"`
	Stake         amount         `json:"stake"`
	MinSelf       amount         `json:"min_self_stake,omitempty"`
	Commission    uint32         `json:"commission_bps"`
	MaxCommission uint32         `json:"max_commission_bps"`
	MaxChange     uint32         `json:"max_commission_change_bps"`
	NodeID        string         `json:"node_id"`
	Endpoint      string         `json:"endpoint,omitempty"`
}

type account struct {
	Name    string         `json:"name,omitempty"`
	Address ledger.Address `json:"address"`
	Balance amount         `json:"balance"`
}

// amount is a ledger.Amount in the words of the command line.
type amount ledger.Amount

// MarshalText writes coins, or drops if it is less than a hundredth of a coin.
func (a amount) MarshalText() ([]byte, error) {
	if ledger.Amount(a) < ledger.DropsPerCoin/100 {
		return []byte(strconv.FormatUint(uint64(a), 10) + "drops"), nil
	}
	return []byte(ledger.Amount(a).String()), nil
}

// UnmarshalText parses what ledger.ParseAmount does.
func (a *amount) UnmarshalText(text []byte) error {
	v, err := ledger.ParseAmount(string(text))
	*a = amount(v)
	return err
}

func (d Document) wire() document {
	p := d.Params
	w := document{
		Version: FormatVersion, Name: d.Name, Time: d.Time.UTC(),
		Params: params{
			TxFee: amount(p.TxFee), PaymentFee: amount(p.PaymentFee), OpenFee: amount(p.OpenFee), EntryFee: amount(p.EntryFee), StepFee: amount(p.StepFee),
			Rent: amount(p.Rent), MinDeposit: amount(p.MinDeposit), BurnBps: p.BurnBps,
			MinChallenge: p.MinChallenge, DefaultChallenge: p.DefaultChallenge, MaxChallenge: p.MaxChallenge,
			MaxLifetime: p.MaxLifetime, BlockInterval: p.BlockInterval, MaxBlockBytes: p.MaxBlockBytes, ReservedBps: p.ReservedBps,
			MaxStretch: p.MaxStretch, Services: p.Services, Staking: wireStakes(&p.Staking),
			Registry: fees{amount(p.Registry.RegisterFee), amount(p.Registry.ServiceFee)},
			Anchors:  wireAnchors(&p.Anchors),
		},
		Validators: make([]validator, len(d.Validators)),
		Accounts:   make([]account, len(d.Accounts)),
	}
	for i, v := range d.Validators {
		w.Validators[i] = validator{
			v.Name, v.Operator, hex.EncodeToString(v.PublicKey), v.BLSKey.String(), v.Proof.String(), amount(v.Stake), amount(v.MinSelf),
			v.Commission, v.MaxCommission, v.MaxChange, v.NodeID, v.Endpoint,
		}
	}
	for i := range d.Services {
		w.Services = append(w.Services, wireService(&d.Services[i]))
	}
	for i, a := range d.Accounts {
		w.Accounts[i] = account{a.Name, a.Address, amount(a.Balance)}
	}
	return w
}

func (w document) document() (Document, error) {
	p := w.Params
	d := Document{
		Name: w.Name, Time: w.Time.UTC(),
		Params: settlement.Params{
			TxFee: ledger.Amount(p.TxFee), PaymentFee: ledger.Amount(p.PaymentFee), OpenFee: ledger.Amount(p.OpenFee), EntryFee: ledger.Amount(p.EntryFee), StepFee: ledger.Amount(p.StepFee),
			Rent: ledger.Amount(p.Rent), MinDeposit: ledger.Amount(p.MinDeposit), BurnBps: p.BurnBps,
			MinChallenge: p.MinChallenge, DefaultChallenge: p.DefaultChallenge, MaxChallenge: p.MaxChallenge,
			MaxLifetime: p.MaxLifetime, BlockInterval: p.BlockInterval, MaxBlockBytes: p.MaxBlockBytes, ReservedBps: p.ReservedBps,
			MaxStretch: p.MaxStretch, Services: p.Services, Staking: p.Staking.params(),
			Registry: registry.Params{RegisterFee: ledger.Amount(p.Registry.RegisterFee), ServiceFee: ledger.Amount(p.Registry.ServiceFee)},
			Anchors:  p.Anchors.params(),
		},
	}
	for i, v := range w.Validators {
		key, err := hex.DecodeString(v.PublicKey)
		if err != nil {
			return Document{}, &FieldError{fmt.Sprintf("validators[%d].public_key", i), "not hexadecimal"}
		}
		var blsKey bls.PublicKey
		if err := blsKey.UnmarshalText([]byte(v.BLSKey)); err != nil && v.BLSKey != "" {
			return Document{}, &FieldError{fmt.Sprintf("validators[%d].bls_key", i), err.Error()}
		}
		var proof bls.Signature
		if err := proof.UnmarshalText([]byte(v.Proof)); err != nil && v.Proof != "" {
			return Document{}, &FieldError{fmt.Sprintf("validators[%d].bls_proof", i), err.Error()}
		}
		d.Validators = append(d.Validators, Validator{
			v.Name, v.Operator, ed25519.PublicKey(key), blsKey, proof, ledger.Amount(v.Stake), ledger.Amount(v.MinSelf),
			v.Commission, v.MaxCommission, v.MaxChange, v.NodeID, v.Endpoint,
		})
	}
	for i := range w.Services {
		s, err := w.Services[i].service(fmt.Sprintf("services[%d].", i))
		if err != nil {
			return Document{}, err
		}
		d.Services = append(d.Services, s)
	}
	for _, a := range w.Accounts {
		d.Accounts = append(d.Accounts, Account{a.Address, ledger.Amount(a.Balance), a.Name})
	}
	return d, nil
}

func wireStakes(p *staking.Params) stakes {
	return stakes{
		EpochBlocks:      p.EpochBlocks,
		Seats:            p.Seats,
		PowerCapBps:      p.PowerCapBps,
		MinStake:         amount(p.MinStake),
		MinSelfStake:     amount(p.MinSelfStake),
		MinDelegation:    amount(p.MinDelegation),
		UnbondingEpochs:  p.UnbondingEpochs,
		EvidenceEpochs:   p.EvidenceEpochs,
		MaxEntries:       p.MaxEntries,
		EpochReward:      amount(p.EpochReward),
		MintCap:          amount(p.MintCap),
		RegisterFee:      amount(p.RegisterFee),
		StakeFee:         amount(p.StakeFee),
		DuplicateVoteBps: p.DuplicateVoteBps,
		LightAttackBps:   p.LightAttackBps,
		DowntimeBps:      p.DowntimeBps,
		Window:           p.Window,
		MaxMissed:        p.MaxMissed,
		JailEpochs:       p.JailEpochs,
		MeterBps:         p.MeterBps,
		MeterEpochs:      p.MeterEpochs,
	}
}

func (p stakes) params() staking.Params {
	return staking.Params{
		EpochBlocks:      p.EpochBlocks,
		Seats:            p.Seats,
		PowerCapBps:      p.PowerCapBps,
		MinStake:         ledger.Amount(p.MinStake),
		MinSelfStake:     ledger.Amount(p.MinSelfStake),
		MinDelegation:    ledger.Amount(p.MinDelegation),
		UnbondingEpochs:  p.UnbondingEpochs,
		EvidenceEpochs:   p.EvidenceEpochs,
		MaxEntries:       p.MaxEntries,
		EpochReward:      ledger.Amount(p.EpochReward),
		MintCap:          ledger.Amount(p.MintCap),
		RegisterFee:      ledger.Amount(p.RegisterFee),
		StakeFee:         ledger.Amount(p.StakeFee),
		DuplicateVoteBps: p.DuplicateVoteBps,
		LightAttackBps:   p.LightAttackBps,
		DowntimeBps:      p.DowntimeBps,
		Window:           p.Window,
		MaxMissed:        p.MaxMissed,
		JailEpochs:       p.JailEpochs,
		MeterBps:         p.MeterBps,
		MeterEpochs:      p.MeterEpochs,
	}
}

// checkKeys refuses what encoding/json lets pass: repeated names in an object,
// names that differ from a field's only by case, and a second document.
func checkKeys(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := checkValue(dec, data, "", 0); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("line %d: something follows the document", line(data, dec.InputOffset()))
	}
	return nil
}

func checkValue(dec *json.Decoder, data []byte, path string, depth int) error {
	token, err := dec.Token()
	if err != nil {
		return describe(data, err)
	}
	if depth > maxDepth {
		return fmt.Errorf("line %d: nested too deeply", line(data, dec.InputOffset()))
	}
	switch token {
	case json.Delim('{'):
		return checkObject(dec, data, path, depth)
	case json.Delim('['):
		for i := 0; dec.More(); i++ {
			if err := checkValue(dec, data, path+"["+strconv.Itoa(i)+"]", depth+1); err != nil {
				return err
			}
		}
		_, err = dec.Token()
	}
	if err != nil {
		return describe(data, err)
	}
	return nil
}

func checkObject(dec *json.Decoder, data []byte, path string, depth int) error {
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return describe(data, err)
		}
		name, _ := token.(string)
		at := strings.TrimPrefix(path+"."+name, ".")
		switch {
		case seen[name]:
			return &FieldError{at, fmt.Sprintf("given twice, again on line %d", line(data, dec.InputOffset()))}
		case strings.ToLower(name) != name:
			return &FieldError{at, fmt.Sprintf("line %d: field names are lower-case", line(data, dec.InputOffset()))}
		}
		seen[name] = true
		if err := checkValue(dec, data, at, depth+1); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return describe(data, err)
	}
	return nil
}

// describe says where in data a JSON error is.
func describe(data []byte, err error) error {
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("line %d: %w", line(data, syntax.Offset), err)
	case errors.As(err, &wrong):
		return &FieldError{wrong.Field, fmt.Sprintf("line %d: a JSON %s, want %s", line(data, wrong.Offset), wrong.Value, wrong.Type)}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("line %d: the document ends early", line(data, int64(len(data))))
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

// line is the number of the line at offset, from 1.
func line(data []byte, offset int64) int {
	return 1 + bytes.Count(data[:min(int(offset), len(data))], []byte("\n"))
}
