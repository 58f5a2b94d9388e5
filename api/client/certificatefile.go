package client

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

const (
	certificateFormat = "tributary-certificate/1"
	// MaxCertificateFile is the size in bytes of the largest CertificateFile that is
	// written and read: a hand-over takes about 2 KB while the committee stays, so with
	// epochs of an hour that is ten years and more.
	MaxCertificateFile = 256 << 20
)

// Errors of certificate files.
var (
	// ErrCertificateFile means bytes that are no certificate file, or not one as
	// Encode writes it.
	ErrCertificateFile = errors.New("not a certificate file")
	// ErrOtherCommittee means a file that begins with another committee than the
	// trusted one.
	ErrOtherCommittee = errors.New("the file begins with another committee than the trusted one")
)

// CertificateFile is a certificate with all that is needed to verify it without any
// node, for whoever trusts Committee: the hand-overs lead from it to the committee
// that signed.
type CertificateFile struct {
	Committee   committee.Committee
	Handovers   []Handover // ascending by epoch; none if Committee signed
	Certificate cert.Certificate
}

// certificateFile is the JSON form. Binary values are in lower-case hexadecimal, those
// of hand-overs, of which there are many, in base64; a record is as
// committee.Record.EncodeAfter writes it after the committee before.
type certificateFile struct {
	Format      string         `json:"format"`
	Committee   string         `json:"committee"`
	Handovers   []handoverFile `json:"handovers"`
	Certificate string         `json:"certificate"`
}

type handoverFile struct {
	Certificate string `json:"certificate"`
	Record      string `json:"record"`
	Proof       string `json:"proof"`
}

// Encode returns the file, JSON with a line feed at its end.
func (f *CertificateFile) Encode() ([]byte, error) {
	out := certificateFile{
		Format: certificateFormat, Committee: hex.EncodeToString(f.Committee.Encode()),
		Handovers: []handoverFile{}, Certificate: hex.EncodeToString(f.Certificate.Encode()),
	}
	before := f.Committee
	for i := range f.Handovers {
		h := &f.Handovers[i]
		proof, err := h.Record.Proof.Encode()
		if err != nil {
			return nil, fmt.Errorf("encode certificate file: hand-over to epoch %d: %w", h.Epoch, err)
		}
		record, err := committee.DecodeRecord(h.Record.Value)
		if err != nil {
			return nil, fmt.Errorf("encode certificate file: hand-over to epoch %d: %w", h.Epoch, err)
		}
		text := base64.StdEncoding.EncodeToString
		out.Handovers = append(out.Handovers, handoverFile{
			Certificate: text(h.Certificate.Encode()), Record: text(record.EncodeAfter(&before)), Proof: text(proof),
		})
		before = record.Committee
	}
	b, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode certificate file: %w", err)
	}
	if len(b) >= MaxCertificateFile {
		return nil, fmt.Errorf("encode certificate file: %d hand-overs make %d bytes, at most %d; begin with the committee of a later epoch", len(out.Handovers), len(b), MaxCertificateFile)
	}
	return append(b, '\n'), nil
}

// DecodeCertificateFile reads what Encode wrote, byte for byte. It verifies nothing
// else. All errors are ErrCertificateFile.
func DecodeCertificateFile(b []byte) (CertificateFile, error) {
	f, err := decodeCertificateFile(b)
	if err != nil {
		return CertificateFile{}, fmt.Errorf("%w: %w", ErrCertificateFile, err)
	}
	again, err := f.Encode()
	if err != nil {
		return CertificateFile{}, fmt.Errorf("%w: %w", ErrCertificateFile, err)
	}
	switch {
	case bytes.Equal(again, b):
		return f, nil
	case sameJSON(again, b):
		return CertificateFile{}, fmt.Errorf("%w: what it says is right, but another program laid it out anew; use the file as it was made, to the byte", ErrCertificateFile)
	}
	return CertificateFile{}, fmt.Errorf("%w: it is not written as such files are; use the file as it was made, to the byte", ErrCertificateFile)
}

// sameJSON reports whether a and b differ in white space at most.
func sameJSON(a, b []byte) bool {
	var left, right bytes.Buffer
	return json.Compact(&left, a) == nil && json.Compact(&right, b) == nil && bytes.Equal(left.Bytes(), right.Bytes())
}

func decodeCertificateFile(b []byte) (f CertificateFile, err error) {
	if len(b) > MaxCertificateFile {
		return f, fmt.Errorf("%d bytes, at most %d", len(b), MaxCertificateFile)
	}
	var in certificateFile
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return f, err
	}
	if in.Format != certificateFormat {
		return f, fmt.Errorf("format is %q, want %q", in.Format, certificateFormat)
	}
	raw, err := hex.DecodeString(in.Committee)
	if err != nil {
		return f, fmt.Errorf("committee: %w", err)
	}
	if f.Committee, err = committee.Decode(raw); err != nil {
		return f, err
	}
	if raw, err = hex.DecodeString(in.Certificate); err != nil {
		return f, fmt.Errorf("certificate: %w", err)
	}
	if f.Certificate, err = cert.Decode(raw); err != nil {
		return f, err
	}
	before := f.Committee
	for i := range in.Handovers {
		h, err := in.Handovers[i].decode(f.Committee.Epoch+1+uint64(i), &before)
		if err != nil {
			return f, fmt.Errorf("hand-over to epoch %d: %w", f.Committee.Epoch+1+uint64(i), err)
		}
		f.Handovers = append(f.Handovers, h)
	}
	return f, nil
}

// decode reads a hand-over after a committee, which becomes that of its record.
func (in *handoverFile) decode(epoch uint64, before *committee.Committee) (h Handover, err error) {
	h.Epoch = epoch
	raw, err := base64.StdEncoding.Strict().DecodeString(in.Certificate)
	if err != nil {
		return h, fmt.Errorf("certificate: %w", err)
	}
	if h.Certificate, err = cert.Decode(raw); err != nil {
		return h, err
	}
	if raw, err = base64.StdEncoding.Strict().DecodeString(in.Record); err != nil {
		return h, fmt.Errorf("record: %w", err)
	}
	record, err := committee.DecodeRecordAfter(before, raw)
	if err != nil {
		return h, fmt.Errorf("record: %w", err)
	}
	*before = record.Committee
	proof, err := base64.StdEncoding.Strict().DecodeString(in.Proof)
	if err != nil {
		return h, fmt.Errorf("proof: %w", err)
	}
	h.Record.Statement = stateproof.Statement{
		Height: h.Certificate.Checkpoint.Height, Root: h.Certificate.Checkpoint.StateRoot,
		Key: staking.CommitteeKey(epoch), Value: record.Encode(),
	}
	h.Record.Proof, err = stateproof.Decode(proof)
	return h, err
}

// Verify returns the committee that signed the certificate, if hash is that of the
// file's first committee, every hand-over holds, and so does the certificate. An epoch
// has epochBlocks blocks, as the genesis says; 0 if that is not known, see
// Trust.WithEpochs. The errors are ErrOtherCommittee and those of Trust.
func (f *CertificateFile) Verify(d chain.Domain, hash ledger.Hash, epochBlocks uint64) (*Trust, error) {
	if got := f.Committee.Hash(); got != hash {
		return nil, fmt.Errorf("%w: it is %s, the trusted one is %s", ErrOtherCommittee, got, hash)
	}
	t, err := TrustCommittee(d, f.Committee)
	if err != nil {
		return nil, err
	}
	t = t.WithEpochs(epochBlocks)
	for i := range f.Handovers {
		if t, err = t.Next(&f.Handovers[i]); err != nil {
			return nil, err
		}
	}
	if err := t.Verify(&f.Certificate); err != nil {
		return nil, err
	}
	return t, nil
}
