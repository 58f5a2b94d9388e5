// Package genesis is the document that all nodes of a network start from: its
// name, its time, the consensus parameters, who has how much money, and who
// validates.
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

	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

const (
	// FileName is the name of the document below a node's home directory.
	FileName = "config/genesis.json"
	// FormatVersion is the version of the format that this code reads.
	FormatVersion = 1
	// MaxSize bounds a document, in bytes.
	MaxSize = 64 << 20
	// MaxValidators bounds the validators of the first block.
	MaxValidators = 200

	maxName  = 40      // bytes of a network's name, which leaves room in the chain id
	maxPower = 1 << 40 // of one validator
)

// Document is a network's genesis. It is a plain value.
type Document struct {
	// Name is 1 to 40 lower-case letters, digits and hyphens.
	Name string
	// Time is when the chain starts, in whole milliseconds; nodes wait for it.
	Time time.Time
	// Params are the consensus parameters.
	Params settlement.Params
	// Accounts have money from the start. Addresses are distinct.
	Accounts []Account
	// Validators agree on the first block.
	Validators []Validator
}

// Account is an account that exists from the start.
type Account struct {
	Address ledger.Address
	Balance ledger.Amount // drops, at least 1
	Name    string        // for people; may be empty
}

// Validator is a validator of the first block.
type Validator struct {
	Name      string            // 1 to 64 printable characters
	PublicKey ed25519.PublicKey // consensus key, 32 bytes
	Power     int64             // 1 to 2^40
	NodeID    string            // 40 hexadecimal digits
	Endpoint  string            // host:port of its p2p listener; may be empty
}

// FieldError is one problem of a document.
type FieldError struct {
	Field   string // such as validators[2].power
	Problem string
}

// Error names the field and the problem.
func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// Validate checks the document. The error joins a *FieldError for each problem.
func (d Document) Validate() error {
	v := &checker{}
	if !regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`).MatchString(d.Name) || len(d.Name) > maxName {
		v.fail("name", "%q is not a name of 1 to %d lower-case letters, digits and hyphens", d.Name, maxName)
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
	v.validators(d.Validators)
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

func (v *checker) validators(validators []Validator) {
	if n := len(validators); n == 0 || n > MaxValidators {
		v.fail("validators", "%d of them, want 1 to %d", n, MaxValidators)
	}
	keys, ids := map[string]int{}, map[string]int{}
	for i, val := range validators {
		at := "validators[" + strconv.Itoa(i) + "]"
		if n := len([]rune(val.Name)); n == 0 || n > 64 || !printable(val.Name) {
			v.fail(at+".name", "%q is not a name of 1 to 64 printable characters", val.Name)
		}
		if _, err := ledger.PublicKeyFromBytes(val.PublicKey); err != nil {
			v.fail(at+".public_key", "%v", err)
		}
		if first, dup := keys[string(val.PublicKey)]; dup {
			v.fail(at+".public_key", "is that of validators[%d]; two nodes with one key sign against each other", first)
		}
		keys[string(val.PublicKey)] = i
		if val.Power < 1 || val.Power > maxPower {
			v.fail(at+".power", "%d is not 1 to %d", val.Power, int64(maxPower))
		}
		if id, err := hex.DecodeString(val.NodeID); err != nil || len(id) != 20 || hex.EncodeToString(id) != val.NodeID {
			v.fail(at+".node_id", "%q is not 40 lower-case hexadecimal digits", val.NodeID)
		}
		if first, dup := ids[val.NodeID]; dup {
			v.fail(at+".node_id", "is that of validators[%d]", first)
		}
		ids[val.NodeID] = i
		if val.Endpoint != "" && !validEndpoint(val.Endpoint) {
			v.fail(at+".endpoint", "%q is not host:port", val.Endpoint)
		}
	}
}

func printable(s string) bool {
	for _, r := range s {
		if !strconv.IsPrint(r) {
			return false
		}
	}
	return true
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
	info, err := os.Stat(path)
	if err != nil {
		return Document{}, fmt.Errorf("read genesis: %w", err)
	}
	if info.Size() > MaxSize {
		return Document{}, fmt.Errorf("read genesis %s: %d bytes, at most %d", path, info.Size(), MaxSize)
	}
	data, err := os.ReadFile(path)
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
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var w document
	if err := dec.Decode(&w); err != nil {
		return Document{}, describe(data, err)
	}
	if w.Version != FormatVersion {
		return Document{}, &FieldError{"version", fmt.Sprintf("%d; this program reads version %d", w.Version, FormatVersion)}
	}
	return w.document()
}
