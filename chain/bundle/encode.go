package bundle

import (
	"fmt"

	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/sumtree"
)

// How a hand-over's row names its committee.
const (
	handoverNext = 1
	handoverPast = 2
)

// Encode returns the file, as FORMAT.md describes it: magic 9, version 1, network 32, and the
// layers main, settlement, service and log, each behind its length 4. It returns ErrForm for
// what is no bundle: too long, or with other numbers of certificates or hand-overs than
// there can be.
func (a *Audit) Encode() ([]byte, error) {
	if n := len(a.Main.Certificates); n == 0 || n > MaxCertificates || len(a.Main.Handovers) > MaxHandovers {
		return nil, fmt.Errorf("encode: %d certificates after %d hand-overs: %w", n, len(a.Main.Handovers), ErrForm)
	}
	w := codec.NewWriter(8 << 10)
	w.Fixed([]byte(Magic))
	w.Uint8(Version)
	w.Fixed(a.Network[:])
	for _, layer := range []func(*codec.Writer){a.Main.write, a.Settled.write, a.Booked.write, a.Logged.write} {
		var part codec.Writer
		layer(&part)
		w.Bytes32(part.Bytes())
	}
	if w.Len() > MaxSize {
		return nil, fmt.Errorf("encode: %d bytes, at most %d; leave hand-overs out: %w", w.Len(), MaxSize, ErrForm)
	}
	return w.Bytes(), nil
}

// write writes the committee behind its length 4, the number of hand-overs 1 and each:
// certificate, 1 or 2, the record after the committee before it behind its length 4, and the
// path; and the number of certificates 1 and each: by whom 1, certificate.
func (m *Main) write(w *codec.Writer) {
	w.Bytes32(m.Committee.Encode())
	w.Uint8(uint8(len(m.Handovers)))
	before := &m.Committee
	for i := range m.Handovers {
		h := &m.Handovers[i]
		writeCertificate(w, &h.Certificate)
		kind := uint8(handoverNext)
		if h.Past {
			kind = handoverPast
		}
		w.Uint8(kind)
		w.Bytes32(h.Record.EncodeAfter(before))
		h.Path.Append(w, nil)
		before = &h.Record.Committee
	}
	w.Uint8(uint8(len(m.Certificates)))
	for i := range m.Certificates {
		w.Uint8(m.Certificates[i].By)
		writeCertificate(w, &m.Certificates[i].Certificate)
	}
}

// writeCertificate writes what is not known of a certificate of main from who signed it:
// height 8, round 4, block hash, state root, outbox root, usage root and results root 32
// each, the bitmap behind its length 2, signature 48.
func writeCertificate(w *codec.Writer, c *cert.Certificate) {
	p := &c.Checkpoint
	w.Uint64(p.Height)
	w.Uint32(p.Round)
	for _, h := range roots(p) {
		w.Fixed(h[:])
	}
	w.String16(string(c.Bitmap))
	w.Fixed(c.Signature[:])
}

// write writes index 8, lane 1, the row of the channel 272 and its path, for lanes but 0 the
// directory behind its length 4 and its path, and the row of the lane 48 and its path, both
// paths after that of the channel, and cumulative 8, units 8, signature 64.
func (s *Settled) write(w *codec.Writer) {
	w.Uint64(s.Index)
	w.Uint8(s.Lane)
	w.Fixed(s.Channel.Value)
	s.Channel.Path.Append(w, nil)
	if s.Lane != 0 {
		w.Bytes32(s.Directory.Value)
		s.Directory.Path.Append(w, &s.Channel.Path)
		w.Fixed(s.LaneRow.Value)
		s.LaneRow.Path.Append(w, &s.Channel.Path)
	}
	w.Uint64(uint64(s.Cumulative))
	w.Uint64(s.Units)
	w.Fixed(s.Signature[:])
}

// write writes shard 4, the row of its anchors behind its length 4 and its path, of the
// checkpoint generation 4, height 8,
// round 4, epoch 8 and six hashes 32 each, the number of hashes of its path 1 and these,
// seq 8, units 8, cumulative 8, usage root 32, left 4, and the number of hashes of the path
// of the booking 1 and these.
func (b *Booked) write(w *codec.Writer) {
	w.Uint32(uint32(b.Shard))
	w.Bytes32(b.Anchor.Value)
	b.Anchor.Path.Append(w, nil)
	p := &b.Checkpoint
	w.Uint32(p.Generation)
	w.Uint64(p.Height)
	w.Uint32(p.Round)
	w.Uint64(p.Epoch)
	for _, h := range roots(p) {
		w.Fixed(h[:])
	}
	w.Fixed(p.CommitteeHash[:])
	writeHashes(w, b.Path)
	w.Uint64(b.Seq)
	w.Uint64(b.Units)
	w.Uint64(uint64(b.Cumulative))
	w.Fixed(b.UsageRoot[:])
	w.Uint32(b.Left)
	writeHashes(w, b.Bookings)
}

// write writes the proof of the entry, and 0, or 1 and the other log: size 8, hash 32,
// units 8, amount 8, and its path.
func (l *Logged) write(w *codec.Writer) {
	l.Proof.Append(w)
	w.Bool(l.Other != nil)
	if o := l.Other; o != nil {
		w.Uint64(o.Root.Size)
		w.Fixed(o.Root.Node.Hash[:])
		w.Uint64(o.Root.Units)
		w.Uint64(uint64(o.Root.Amount))
		sumtree.AppendPath(w, o.Path)
	}
}
