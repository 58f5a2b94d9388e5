// Package genesis is the document that all nodes of a network start from: its
// name, its time, the consensus parameters, who has how much money, who validates
// with which stake, and which services there are. The voting powers of the first committee are not in
// it: the rules elect that committee from the stakes like any other.
//
// The document is JSON, meant to be read, compared and edited by people before
// the network starts, and never after. It is decoded strictly: unknown,
// repeated or misspelt fields are errors, and Validate names every field that
// is wrong. Amounts are written as on the command line: coins ("12.5"), or
// drops ("10drops").
//
// The network's id, which is part of everything signed, is a hash over the
// document's canonical encoding. Formatting does not enter it, and neither do
// the validators' addresses on the network: they tell a node where to dial
// first and may differ between copies.
//
// It is part of row 6: it translates the document for the rules
// (settlement.Genesis) and for consensus (comet.Genesis).
package genesis

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/home"
	"github.com/tributary-network/tributary/zone"
)

const (
	// FileName is the name of the document below a node's home directory.
	FileName = "config/genesis.json"
	// FormatVersion is the version of the format that this code reads.
	FormatVersion = 2
	// MaxSize bounds a document, in bytes.
	MaxSize = 64 << 20
	// MaxValidators bounds the validators of the first block.
	MaxValidators = 200

	// MaxName bounds a network's name, in bytes: it leaves room in the chain id, also in
	// that of a shard.
	MaxName = 20
)

// Document is a network's genesis. It is a plain value.
type Document struct {
	// Name is 1 to MaxName lower-case letters, digits and hyphens.
	Name string
	// Time is when the chain starts, in whole milliseconds; nodes wait for it.
	Time time.Time
	// Params are the consensus parameters.
	Params settlement.Params
	// Accounts have money from the start. Addresses are distinct.
	Accounts []Account
	// Validators stand for election from the start; the first committee is elected
	// from them. Their stakes are part of the supply.
	Validators []Validator
	// Services are registered from the start, ascending by id; all validators serve
	// them.
	Services []zone.ServiceType
}

// Account is an account that exists from the start.
type Account struct {
	Address ledger.Address
	Balance ledger.Amount // drops, at least 1
	Name    string        // for people; may be empty
}

// Validator is a validator that is registered from the start.
type Validator struct {
	Name      string            // as staking.CheckName takes it
	Operator  ledger.Address    // runs it, and owns its stake; one validator each
	PublicKey ed25519.PublicKey // consensus key, 32 bytes
	BLSKey    bls.PublicKey     // signs seals and certificates
	Proof     bls.Signature     // of possession of the BLS key's secret, for the zero network; see staking.Prove
	Stake     ledger.Amount     // drops of the operator, besides its balance
	MinSelf   ledger.Amount     // the operator promises to keep; 0 means the network's least
	// Commission is the operator's part of the rewards, MaxCommission what it may
	// ever be, and MaxChange by how much it may change in an epoch, in basis points.
	Commission, MaxCommission, MaxChange uint32

	NodeID   string // 40 hexadecimal digits
	Endpoint string // host:port of its p2p listener; may be empty
}

// FieldError is one problem of a document.
type FieldError struct {
	Field   string // such as validators[2].stake
	Problem string
}

// Error names the field and the problem.
func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// Validate checks the document. The error joins a *FieldError for each problem.
func (d Document) Validate() error {
	v := &checker{}
	if !regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`).MatchString(d.Name) || len(d.Name) > MaxName {
		v.fail("name", "%q is not a name of 1 to %d lower-case letters, digits and hyphens", d.Name, MaxName)
	}
	switch {
	case d.Time.IsZero():
		v.fail("time", "missing")
	case d.Time.UnixMilli() <= 0:
		v.fail("time", "%s is before 1970", d.Time.Format(time.RFC3339))
	case !d.Time.Equal(d.Time.Truncate(time.Millisecond)):
		v.fail("time", "%s is finer than a millisecond", d.Time.Format(time.RFC3339Nano))
	}
	v.accounts(d.Accounts)
	v.validators(d.Validators, &d.Params.Staking)
	v.services(d.Services)
	if len(v.problems) == 0 {
		if err := d.Settlement().Validate(); err != nil {
			v.problems = append(v.problems, err)
		}
	}
	return errors.Join(v.problems...)
}

type checker struct{ problems []error }

func (v *checker) fail(field, problem string, args ...any) {
	v.problems = append(v.problems, &FieldError{Field: field, Problem: fmt.Sprintf(problem, args...)})
}

func (v *checker) accounts(accounts []Account) {
	if len(accounts) == 0 {
		v.fail("accounts", "none; a network without money settles nothing")
	}
	seen := make(map[ledger.Address]int, len(accounts))
	for i, a := range accounts {
		at := "accounts[" + strconv.Itoa(i) + "]"
		if first, dup := seen[a.Address]; dup {
			v.fail(at+".address", "%s is that of accounts[%d]", a.Address, first)
		}
		seen[a.Address] = i
		if a.Balance == 0 || a.Balance > ledger.MaxAmount {
			v.fail(at+".balance", "%d drops is not 1 to %d", uint64(a.Balance), uint64(ledger.MaxAmount))
		}
	}
}

func (v *checker) validators(validators []Validator, rules *staking.Params) {
	if n := len(validators); n == 0 || n > MaxValidators {
		v.fail("validators", "%d of them, want 1 to %d", n, MaxValidators)
	}
	first := firsts{}
	for i := range validators {
		at, val := "validators["+strconv.Itoa(i)+"]", &validators[i]
		if rule, ok := errors.AsType[*chain.RuleError](staking.CheckName(val.Name)); ok {
			v.fail(at+".name", "%s", rule.Detail)
		}
		if val.Operator.IsZero() {
			v.fail(at+".operator", "missing")
		} else if j, dup := first.find("operator", val.Operator.String(), i); dup {
			v.fail(at+".operator", "is that of validators[%d]; an account operates one validator", j)
		}
		v.keys(at, i, val, first)
		v.stake(at, val, rules)
		if id, err := hex.DecodeString(val.NodeID); err != nil || len(id) != 20 || hex.EncodeToString(id) != val.NodeID {
			v.fail(at+".node_id", "%q is not 40 lower-case hexadecimal digits", val.NodeID)
		} else if j, dup := first.find("node_id", val.NodeID, i); dup {
			v.fail(at+".node_id", "is that of validators[%d]", j)
		}
		if val.Endpoint != "" && !validEndpoint(val.Endpoint) {
			v.fail(at+".endpoint", "%q is not host:port", val.Endpoint)
		}
	}
}

// keys checks the keys of a validator. A proof of possession costs about 2 ms.
func (v *checker) keys(at string, i int, val *Validator, first firsts) {
	if _, err := ledger.PublicKeyFromBytes(val.PublicKey); err != nil {
		v.fail(at+".public_key", "%v", err)
	} else if j, dup := first.find("public_key", string(val.PublicKey), i); dup {
		v.fail(at+".public_key", "is that of validators[%d]; two nodes with one key sign against each other", j)
	}
	key, err := bls.ParseKey(val.BLSKey)
	switch j, dup := first.find("bls_key", string(val.BLSKey[:]), i); {
	case val.BLSKey.IsZero():
		v.fail(at+".bls_key", "missing; `tributary validator proof` on the validator's machine shows it")
	case err != nil:
		v.fail(at+".bls_key", "%v", err)
	case dup:
		v.fail(at+".bls_key", "is that of validators[%d]", j)
	case len(val.PublicKey) == ledger.PublicKeySize &&
		!staking.Proves(key, ledger.NetworkID{}, val.Operator, ledger.PublicKey(val.PublicKey), val.Proof):
		v.fail(at+".bls_proof", "does not prove that the owner of bls_key registers it in a genesis, for this operator and public_key; `tributary validator proof --genesis --operator %s` on its machine does", val.Operator)
	}
}

func (v *checker) stake(at string, val *Validator, rules *staking.Params) {
	if val.Stake < rules.MinStake || val.Stake > ledger.MaxAmount {
		v.fail(at+".stake", "%d drops is not %d (params.staking.min_stake) to %d", uint64(val.Stake), uint64(rules.MinStake), uint64(ledger.MaxAmount))
	}
	if val.MinSelf > val.Stake {
		v.fail(at+".min_self_stake", "%d drops is more than the stake of %d", uint64(val.MinSelf), uint64(val.Stake))
	}
	if val.MaxCommission > ledger.BasisPoints {
		v.fail(at+".max_commission_bps", "%d is not 0 to %d", val.MaxCommission, ledger.BasisPoints)
	} else if val.Commission > val.MaxCommission {
		v.fail(at+".commission_bps", "%d is more than max_commission_bps, %d", val.Commission, val.MaxCommission)
	}
	if val.MaxChange > ledger.BasisPoints {
		v.fail(at+".max_commission_change_bps", "%d is not 0 to %d", val.MaxChange, ledger.BasisPoints)
	}
}

// firsts remembers which validator first had a value in a field.
type firsts map[[2]string]int

// find returns the validator before i that has the value, if there is one.
func (f firsts) find(field, value string, i int) (first int, found bool) {
	k := [2]string{field, value}
	if first, found = f[k]; !found {
		f[k] = i
	}
	return first, found
}

func validEndpoint(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// Load reads and validates the document in a file.
func Load(path string) (Document, error) {
	data, err := home.ReadFile(path, MaxSize)
	if err != nil {
		return Document{}, fmt.Errorf("read genesis: %w", err)
	}
	d, err := Decode(data)
	if err != nil {
		return Document{}, fmt.Errorf("read genesis %s: %w", path, err)
	}
	if err := d.Validate(); err != nil {
		return Document{}, fmt.Errorf("read genesis %s: %w", path, err)
	}
	return d, nil
}

// Save writes the document to a file that does not exist yet, with mode 0644,
// and makes its directory with mode 0700.
func (d Document) Save(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write genesis: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // public by nature
	if err != nil {
		return fmt.Errorf("write genesis: %w", err)
	}
	_, err = f.Write(d.Encode())
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write genesis %s: %w", path, err)
	}
	return nil
}

// Encode returns the document as indented JSON. Decode of it gives d again.
func (d Document) Encode() []byte {
	data, err := json.MarshalIndent(d.wire(), "", "  ")
	if err != nil { // cannot be: the wire form is strings and integers
		panic(fmt.Sprintf("encode genesis: %v", err))
	}
	return append(data, '\n')
}

// Decode reads a document strictly, but does not Validate it.
func Decode(data []byte) (Document, error) {
	if err := checkKeys(data); err != nil {
		return Document{}, err
	}
	// The version goes first: a document of another one has other fields.
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return Document{}, describe(data, err)
	}
	if head.Version != FormatVersion {
		return Document{}, &FieldError{"version", fmt.Sprintf("%d; this program reads version %d%s", head.Version, FormatVersion, upgrade(head.Version))}
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var w document
	if err := dec.Decode(&w); err != nil {
		return Document{}, describe(data, err)
	}
	return w.document()
}

// upgrade says what to do with a document of an older version.
func upgrade(version int) string {
	if version != 1 {
		return ""
	}
	return ", in which validators have operators, stakes and BLS keys instead of powers: " +
		"start the network anew from what `tributary init` prints, and test networks with 'tributary testnet down --purge' and 'up'"
}
