// Package codec writes and reads the canonical binary form of everything that
// is hashed, signed or stored by consensus.
//
// Integers are big-endian and of fixed width, except Uvarint, which is the
// minimal base-128 encoding. Byte strings have a fixed length or are preceded by
// it. There are no optional fields, no tags and no padding: a decoder that
// accepts some bytes has read exactly those a Writer would produce, so one value
// has one encoding. A Reader keeps the first error and returns zero values from
// then on; callers read all fields and check Done once.
//
// It belongs to row 0 of the dependency order and imports nothing of this
// module.
package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Errors of decoding. They are wrapped with the offset at which they occurred.
var (
	// ErrShort means that the input ended within a field.
	ErrShort = errors.New("input ends within a field")
	// ErrTrailing means that bytes remain after the last field.
	ErrTrailing = errors.New("bytes remain after the last field")
	// ErrVarint means a varint that is not minimal or exceeds its range.
	ErrVarint = errors.New("varint is not minimal or too large")
	// ErrLength means a length prefix above the field's limit.
	ErrLength = errors.New("length exceeds the field's limit")
	// ErrBool means a truth value other than 0 or 1.
	ErrBool = errors.New("truth value is neither 0 nor 1")
)

// Writer appends fields to a byte slice. The zero value is ready for use.
type Writer struct {
	buf []byte
}

// NewWriter returns a Writer with room for capacity bytes.
func NewWriter(capacity int) *Writer { return &Writer{buf: make([]byte, 0, capacity)} }

// Bytes returns what was written. It is valid until the next write.
func (w *Writer) Bytes() []byte { return w.buf }

// Len returns the number of bytes written.
func (w *Writer) Len() int { return len(w.buf) }

// Uint8 appends one byte.
func (w *Writer) Uint8(v uint8) { w.buf = append(w.buf, v) }

// Uint16 appends two bytes.
func (w *Writer) Uint16(v uint16) { w.buf = binary.BigEndian.AppendUint16(w.buf, v) }

// Uint32 appends four bytes.
func (w *Writer) Uint32(v uint32) { w.buf = binary.BigEndian.AppendUint32(w.buf, v) }

// Uint64 appends eight bytes.
func (w *Writer) Uint64(v uint64) { w.buf = binary.BigEndian.AppendUint64(w.buf, v) }

// Uvarint appends v in minimal base-128 form, one to ten bytes.
func (w *Writer) Uvarint(v uint64) { w.buf = binary.AppendUvarint(w.buf, v) }

// Bool appends 1 for true and 0 for false.
func (w *Writer) Bool(v bool) {
	if v {
		w.Uint8(1)
		return
	}
	w.Uint8(0)
}

// Fixed appends b as it is, for fields whose length is fixed by their type.
func (w *Writer) Fixed(b []byte) { w.buf = append(w.buf, b...) }

// Bytes32 appends a four-byte length and b.
func (w *Writer) Bytes32(b []byte) {
	w.Uint32(uint32(len(b)))
	w.Fixed(b)
}

// String16 appends a two-byte length and s.
func (w *Writer) String16(s string) {
	w.Uint16(uint16(len(s)))
	w.buf = append(w.buf, s...)
}

// Reader reads fields in the order they were written. Slices it returns alias
// the input. It is owned by one goroutine.
type Reader struct {
	buf []byte
	off int
	err error
}

// NewReader returns a Reader over b, which must not change while it is read.
func NewReader(b []byte) *Reader { return &Reader{buf: b} }

// Offset returns the number of bytes read.
func (r *Reader) Offset() int { return r.off }

// Remaining returns the number of bytes not yet read.
func (r *Reader) Remaining() int { return len(r.buf) - r.off }

// Err returns the first error, or nil.
func (r *Reader) Err() error { return r.err }

// Done returns the first error, or ErrTrailing if bytes remain.
func (r *Reader) Done() error {
	if r.err == nil && r.off != len(r.buf) {
		r.fail(ErrTrailing)
	}
	return r.err
}

func (r *Reader) fail(err error) {
	if r.err == nil {
		r.err = fmt.Errorf("byte %d: %w", r.off, err)
	}
}

// Fixed reads n bytes. After an error it returns nil.
func (r *Reader) Fixed(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || n > r.Remaining() {
		r.fail(ErrShort)
		return nil
	}
	b := r.buf[r.off : r.off+n : r.off+n]
	r.off += n
	return b
}

// Into reads len(dst) bytes into dst.
func (r *Reader) Into(dst []byte) { copy(dst, r.Fixed(len(dst))) }

// Uint8 reads one byte.
func (r *Reader) Uint8() uint8 {
	if b := r.Fixed(1); b != nil {
		return b[0]
	}
	return 0
}

// Uint16 reads two bytes.
func (r *Reader) Uint16() uint16 {
	if b := r.Fixed(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// Uint32 reads four bytes.
func (r *Reader) Uint32() uint32 {
	if b := r.Fixed(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// Uint64 reads eight bytes.
func (r *Reader) Uint64() uint64 {
	if b := r.Fixed(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Uvarint reads a minimal base-128 number of at most limit.
func (r *Reader) Uvarint(limit uint64) uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.buf[r.off:])
	switch {
	case n == 0:
		r.fail(ErrShort)
		return 0
	case n < 0, v > limit, n > 1 && r.buf[r.off+n-1] == 0:
		r.fail(ErrVarint)
		return 0
	}
	r.off += n
	return v
}

// Bool reads 0 or 1.
func (r *Reader) Bool() bool {
	switch r.Uint8() {
	case 0:
		return false
	case 1:
		return true
	default:
		r.fail(ErrBool)
		return false
	}
}

// Bytes32 reads a four-byte length of at most limit and that many bytes.
func (r *Reader) Bytes32(limit int) []byte {
	n := r.Uint32()
	if r.err == nil && uint64(n) > uint64(limit) {
		r.fail(ErrLength)
	}
	return r.Fixed(int(n))
}

// String16 reads a two-byte length of at most limit and that many bytes.
func (r *Reader) String16(limit int) string {
	n := int(r.Uint16())
	if r.err == nil && n > limit {
		r.fail(ErrLength)
	}
	return string(r.Fixed(n))
}
