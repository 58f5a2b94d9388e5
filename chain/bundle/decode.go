package bundle

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/lanelog"
	"github.com/tributary-network/tributary/ledger/merkle"
	"github.com/tributary-network/tributary/ledger/stateproof"
	"github.com/tributary-network/tributary/ledger/sumtree"
	"github.com/tributary-network/tributary/shard"
)

// Decode reads what Encode wrote, and proves nothing. Every error is an *Error, of StepFrame,
// StepMissing or StepForm. The bundle shares the memory of file.
func Decode(file []byte) (*Audit, error) {
	if len(file) > MaxSize {
		return nil, refuse(LayerFile, StepFrame, fmt.Errorf("%w: %d bytes, at most %d", ErrForm, len(file), MaxSize))
	}
	r := codec.NewReader(file)
	magic, version := string(r.Fixed(len(Magic))), r.Uint8()
	var a Audit
	r.Into(a.Network[:])
	var parts [4][]byte
	for i := range parts {
		parts[i] = r.Bytes32(MaxSize)
	}
	switch err := r.Done(); {
	case magic != Magic:
		return nil, refuse(LayerFile, StepFrame, fmt.Errorf("%w: it does not begin with %q", ErrForm, Magic))
	case version != Version && r.Offset() > len(Magic):
		return nil, refuse(LayerFile, StepFrame, fmt.Errorf("%w: version %d, known is %d; use a newer program", ErrForm, version, Version))
	case err != nil:
		return nil, refuse(LayerFile, StepFrame, fmt.Errorf("%w: %w", ErrForm, err))
	}
	for i, layer := range []struct {
		name Layer
		read func(*codec.Reader) error
	}{
		{LayerMain, func(r *codec.Reader) error { return a.Main.read(r, a.Network) }},
		{LayerSettlement, a.Settled.read},
		{LayerService, func(r *codec.Reader) error { return a.Booked.read(r, a.Network) }},
		{LayerLog, a.Logged.read},
	} {
		if len(parts[i]) == 0 {
			return nil, refuse(layer.name, StepMissing, ErrMissing)
		}
		r := codec.NewReader(parts[i])
		err := layer.read(r)
		if err == nil {
			err = r.Done()
		}
		if err != nil {
			return nil, refuse(layer.name, StepForm, fmt.Errorf("%w: %w", ErrForm, err))
		}
	}
	return &a, nil
}

// roots are the hashes of a checkpoint but for that of the committee, in their order.
func roots(p *cert.Checkpoint) [5]*ledger.Hash {
	return [5]*ledger.Hash{&p.BlockHash, &p.StateRoot, &p.OutboxRoot, &p.UsageRoot, &p.ResultsRoot}
}

func (m *Main) read(r *codec.Reader, network ledger.NetworkID) error {
	raw := r.Bytes32(MaxSize)
	if err := r.Err(); err != nil {
		return err
	}
	var err error
	if m.Committee, err = committee.Decode(raw); err != nil {
		return err
	}
	signers := []*committee.Committee{&m.Committee}
	n := int(r.Uint8())
	if n > MaxHandovers {
		return fmt.Errorf("%d hand-overs, at most %d", n, MaxHandovers)
	}
	m.Handovers = make([]Handover, n)
	for i := range m.Handovers {
		h := &m.Handovers[i]
		if err := h.read(r, network, signers[i]); err != nil {
			return fmt.Errorf("hand-over %d: %w", i, err)
		}
		signers = append(signers, &h.Record.Committee)
	}
	if n = int(r.Uint8()); r.Err() == nil && (n == 0 || n > MaxCertificates) {
		return fmt.Errorf("%d certificates, want 1 or %d", n, MaxCertificates)
	}
	for range n {
		by := r.Uint8()
		if r.Err() != nil {
			break
		}
		if int(by) >= len(signers) {
			return fmt.Errorf("certificate by committee %d of %d", by, len(signers))
		}
		c, err := readCertificate(r, network, signers[by])
		if err != nil {
			return err
		}
		m.Certificates = append(m.Certificates, Certificate{by, c})
	}
	if err := r.Err(); err != nil {
		return err
	}
	if n == 2 && m.Certificates[0].Checkpoint == m.Certificates[1].Checkpoint {
		return errors.New("two certificates of one state")
	}
	return nil
}

func (h *Handover) read(r *codec.Reader, network ledger.NetworkID, before *committee.Committee) (err error) {
	if h.Certificate, err = readCertificate(r, network, before); err != nil {
		return err
	}
	kind := r.Uint8()
	record := r.Bytes32(MaxSize)
	if h.Path, err = stateproof.ReadPath(r, 0, nil); err != nil {
		return err
	}
	switch {
	case kind != handoverNext && kind != handoverPast:
		return fmt.Errorf("kind %d, want %d or %d", kind, handoverNext, handoverPast)
	}
	h.Past = kind == handoverPast
	h.Record, err = committee.DecodeRecordAfter(before, record)
	return err
}

// readCertificate reads a certificate of main by a committee.
func readCertificate(r *codec.Reader, network ledger.NetworkID, by *committee.Committee) (cert.Certificate, error) {
	c := cert.Certificate{Checkpoint: cert.Checkpoint{
		Network: network, Chain: ledger.MainChain, Height: r.Uint64(), Round: r.Uint32(), Epoch: by.Epoch, CommitteeHash: by.Hash(),
	}}
	for _, h := range roots(&c.Checkpoint) {
		r.Into(h[:])
	}
	c.Bitmap = []byte(r.String16(cert.MaxBitmap))
	r.Into(c.Signature[:])
	return c, r.Err()
}

// read reads the path behind the value of a row.
func (w *Row) read(r *codec.Reader, value []byte, siblings int, like *stateproof.Path) (err error) {
	w.Value = value
	w.Path, err = stateproof.ReadPath(r, siblings, like)
	return err
}

func (s *Settled) read(r *codec.Reader) error {
	s.Index, s.Lane = r.Uint64(), r.Uint8()
	if err := s.Channel.read(r, r.Fixed(channel.RowSize), stateproof.PageDepth, nil); err != nil {
		return fmt.Errorf("channel: %w", err)
	}
	if s.Lane != 0 {
		like := &s.Channel.Path
		if err := s.Directory.read(r, r.Bytes32(channel.MaxDirectorySize), 0, like); err != nil {
			return fmt.Errorf("directory: %w", err)
		}
		if err := s.LaneRow.read(r, r.Fixed(channel.LaneRowSize), stateproof.PageDepth, like); err != nil {
			return fmt.Errorf("lane: %w", err)
		}
	}
	s.Cumulative, s.Units = ledger.Amount(r.Uint64()), r.Uint64()
	r.Into(s.Signature[:])
	return r.Err()
}

func (b *Booked) read(r *codec.Reader, network ledger.NetworkID) error {
	b.Shard = shard.ID(r.Uint32())
	if err := b.Anchor.read(r, r.Bytes32(anchor.MaxStateSize), 0, nil); err != nil {
		return fmt.Errorf("anchors: %w", err)
	}
	b.Checkpoint = cert.Checkpoint{
		Network: network, Chain: b.Shard, Generation: r.Uint32(), Height: r.Uint64(), Round: r.Uint32(), Epoch: r.Uint64(),
	}
	for _, h := range roots(&b.Checkpoint) {
		r.Into(h[:])
	}
	r.Into(b.Checkpoint.CommitteeHash[:])
	var err error
	if b.Path, err = readHashes(r); err != nil {
		return err
	}
	b.Seq, b.Units, b.Cumulative = r.Uint64(), r.Uint64(), ledger.Amount(r.Uint64())
	r.Into(b.UsageRoot[:])
	b.Left = r.Uint32()
	if b.Bookings, err = readHashes(r); err != nil {
		return err
	}
	if b.Left>>len(b.Bookings) != 0 {
		return fmt.Errorf("sides %#08x of a path of %d hashes", b.Left, len(b.Bookings))
	}
	return nil
}

func (l *Logged) read(r *codec.Reader) (err error) {
	if l.Proof, err = lanelog.ReadProof(r); err != nil {
		return err
	}
	if !r.Bool() {
		return r.Err()
	}
	o := &Other{Root: sumtree.Root{Size: r.Uint64()}}
	r.Into(o.Root.Node.Hash[:])
	o.Root.Units, o.Root.Amount = r.Uint64(), ledger.Amount(r.Uint64())
	if o.Path, err = sumtree.ReadPath(r); err != nil {
		return err
	}
	l.Other = o
	return r.Err()
}

func writeHashes(w *codec.Writer, path []ledger.Hash) {
	w.Uint8(uint8(len(path)))
	for i := range path {
		w.Fixed(path[i][:])
	}
}

func readHashes(r *codec.Reader) ([]ledger.Hash, error) {
	n := int(r.Uint8())
	if n > merkle.MaxPath {
		return nil, fmt.Errorf("a path of %d hashes, at most %d", n, merkle.MaxPath)
	}
	var path []ledger.Hash
	for range n {
		var h ledger.Hash
		r.Into(h[:])
		path = append(path, h)
	}
	return path, r.Err()
}
