package bundle_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"slices"
	"testing"

	"github.com/tributary-network/tributary/consensus/bls"
)

// reader verifies a bundle by FORMAT.md alone, section by section: it uses nothing of this
// module but the pairing. What the page demands besides, and what no bundle that was made by
// Encode breaks, is left out.
type reader struct {
	t *testing.T
	b []byte
}

func (r *reader) take(n int) []byte {
	r.t.Helper()
	if n > len(r.b) {
		r.t.Fatalf("%d bytes wanted, %d are there", n, len(r.b))
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) number(size int) (n uint64) {
	for _, b := range r.take(size) {
		n = n<<8 | uint64(b)
	}
	return n
}

func (r *reader) varint() uint64 {
	n, size := binary.Uvarint(r.b)
	r.take(size)
	return n
}

func (r *reader) bytes32() []byte      { return r.take(int(r.number(4))) }
func (r *reader) part() *reader        { return &reader{r.t, r.bytes32()} }
func (r *reader) hashes() (l [][]byte) { return r.list(int(r.number(1)), 32) }
func (r *reader) nodes() (l [][]byte)  { return r.list(int(r.number(1)), 48) }
func (r *reader) want(what string, ok bool) {
	r.t.Helper()
	if !ok {
		r.t.Errorf("%s does not fit", what)
	}
}

func (r *reader) list(n, size int) (l [][]byte) {
	for range n {
		l = append(l, r.take(size))
	}
	return l
}

func join(parts ...any) []byte {
	var out []byte
	for _, p := range parts {
		switch p := p.(type) {
		case []byte:
			out = append(out, p...)
		case string:
			out = append(out, p...)
		case int: // a byte
			out = append(out, byte(p))
		case uint32:
			out = binary.BigEndian.AppendUint32(out, p)
		case uint64:
			out = binary.BigEndian.AppendUint64(out, p)
		}
	}
	return out
}

func hashOf(parts ...any) []byte {
	h := sha256.Sum256(join(parts...))
	return h[:]
}

// seats is a committee of section 2.
type seats struct {
	epoch   []byte
	members [][]byte
}

func (s *seats) encode() []byte {
	return join(s.epoch, len(s.members)>>8, len(s.members)&255, bytes.Join(s.members, nil))
}

func (s *seats) hash() []byte { return hashOf("trib/committee/1", 0, s.encode()) }

func (r *reader) committee() *seats {
	s := &seats{epoch: r.take(8)}
	s.members = r.list(int(r.number(2)), 144)
	return s
}

// certificate returns the state root and the height of a certificate that s signed.
func (r *reader) certificate(network []byte, s *seats) (root []byte, height uint64) {
	r.t.Helper()
	head := r.take(8)
	round, hashes := r.take(4), r.take(5*32)
	bitmap := r.take(int(r.number(2)))
	signature := r.take(48)
	checkpoint := join(network, uint32(1), uint32(0), head, round, s.epoch, hashes, s.hash())
	r.want("length of a checkpoint", len(checkpoint) == 252)
	var keys []*bls.Key
	var power, total uint64
	for i, m := range s.members {
		votes := binary.BigEndian.Uint64(m[136:])
		total += votes
		if i/8 < len(bitmap) && bitmap[i/8]>>(i%8)&1 == 1 {
			k, err := bls.ParseKey(bls.PublicKey(m[40:136]))
			if err != nil {
				r.t.Fatal(err)
			}
			keys, power = append(keys, k), power+votes
		}
	}
	r.want("power", power >= total*2/3+1)
	r.want("signature", bls.VerifySame(keys, join("trib/checkpoint/1", 0, checkpoint), bls.Signature(signature)))
	return hashes[32:64], binary.BigEndian.Uint64(head)
}

// step is one of a path of section 6.
type step struct {
	side, size, version uint64
	hash                []byte
}

// path returns the root that a path leads to; table is 0 for a key that is in none.
func (r *reader) path(table byte, key, value []byte, after []step) (root []byte, steps []step) {
	v := hashOf(value)
	if table != 0 {
		index := binary.BigEndian.Uint64(key[1:])
		v = hashOf(0, int(table), index, value)
		for s, sibling := range r.list(10, 32) {
			if index>>s&1 == 0 {
				v = hashOf(1, v, sibling)
			} else {
				v = hashOf(1, sibling, v)
			}
		}
		key = join(0, int(table), index/1024)
	}
	version, n, shared := r.varint(), int(r.number(1)), int(r.number(1))
	for range n - shared {
		steps = append(steps, step{r.varint(), r.varint(), r.varint(), r.take(32)})
	}
	steps = append(steps, after[len(after)-shared:]...)
	vi := func(n uint64) []byte { return binary.AppendUvarint(nil, 2*n) }
	root = hashOf(vi(0), vi(1), vi(version), binary.AppendUvarint(nil, uint64(len(key))), key, 0x20, hashOf(v))
	for i, s := range steps {
		left, right := root, s.hash
		if s.side%2 == 1 {
			left, right = right, left
		}
		r.want("height of a step", s.side/2 > uint64(i))
		root = hashOf(vi(s.side/2), vi(s.size), vi(s.version), 0x20, left, 0x20, right)
	}
	return root, steps
}

// handover returns the committee that a hand-over of s leads to.
func (r *reader) handover(network []byte, s *seats) *seats {
	root, _ := r.certificate(network, s)
	kind := r.number(1)
	record := r.part()
	head := record.part()
	fields := head.take(4 + 4 + 8 + 8 + 32 + 32 + 1)
	next := &seats{epoch: head.take(8)}
	r.want("members of a head", head.number(2) == 0 && len(head.b) == 0)
	if record.number(1) == 0 {
		next.members = s.members
	} else {
		for range record.number(2) {
			if i := record.number(2); i == 0 {
				next.members = append(next.members, record.take(144))
			} else {
				next.members = append(next.members, join(s.members[i-1][:136], record.take(8)))
			}
		}
	}
	r.want("record", len(record.b) == 0)
	key, value := join("e", next.epoch), join(fields, next.encode())
	if kind == 2 {
		key, value = join("f", next.epoch), join(fields, next.hash())
	}
	got, _ := r.path(0, key, value, nil)
	r.want("row of a hand-over", bytes.Equal(got, root))
	return next
}

// up is the way of a leaf in a tree of the shape of RFC 6962: whether each hash of the path is
// to the left.
func up(index, size uint64) (left []bool) {
	k := bits.Len64(index ^ (size - 1))
	for s := range k {
		left = append(left, index>>s&1 == 1)
	}
	return append(left, slices.Repeat([]bool{true}, bits.OnesCount64(index>>k))...)
}

// sums are units and drops.
type sums struct{ units, drops uint64 }

func sumOf(node []byte) sums {
	return sums{binary.BigEndian.Uint64(node[32:]), binary.BigEndian.Uint64(node[40:])}
}

// above is the node above two of section 5.
func above(left, right []byte) []byte {
	l, r := sumOf(left), sumOf(right)
	return join(hashOf(1, left, right), l.units+r.units, l.drops+r.drops)
}

// begins reports whether the log later begins with the log earlier: RFC 6962, section 2.1.2,
// from the smaller size m to the larger n.
func begins(m, n uint64, earlier, later []byte, path [][]byte) bool {
	if m&(m-1) == 0 {
		path = slices.Insert(slices.Clone(path), 0, earlier)
	}
	at, last := m-1, n-1
	for at&1 == 1 {
		at, last = at>>1, last>>1
	}
	old, now := path[0], path[0]
	for _, c := range path[1:] {
		if at&1 == 1 || at == last {
			old, now = above(c, old), above(c, now)
			for at&1 == 0 && at != 0 {
				at, last = at>>1, last>>1
			}
		} else {
			now = above(now, c)
		}
		at, last = at>>1, last>>1
	}
	return last == 0 && bytes.Equal(old, earlier) && bytes.Equal(now, later)
}

// TestFormat: the page that describes the format is right, and enough.
func TestFormat(t *testing.T) {
	t.Parallel()
	for _, m := range goldens(t) {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			r := &reader{t, m.file}
			r.want("magic", string(r.take(9)) == "tribaudit" && r.number(1) == 1)
			network := r.take(32)
			r.want("network", bytes.Equal(network, m.Network[:]))
			parts := []*reader{r.part(), r.part(), r.part(), r.part()}
			parts[0].mainLayer(network, &m, parts)
			for _, p := range append(parts, r) {
				r.want("end", len(p.b) == 0)
			}
		})
	}
}

func (r *reader) mainLayer(network []byte, m *made, parts []*reader) {
	coms := []*seats{r.part().committee()}
	r.want("trusted committee", bytes.Equal(coms[0].hash(), m.Committee[:]))
	for range r.number(1) {
		coms = append(coms, r.handover(network, coms[len(coms)-1]))
	}
	var states [][]byte
	var heights []uint64
	for range r.number(1) {
		by := r.number(1)
		root, height := r.certificate(network, coms[by])
		states, heights = append(states, root), append(heights, height)
	}
	r.want("height of the settlement", heights[0] == m.Report.Settled.Main.Height)
	r.want("height of the anchors", heights[len(heights)-1] == m.Report.Booked.Main.Height)
	parts[1].settlementLayer(network, states[0], m, parts, states[len(states)-1])
}

func (r *reader) settlementLayer(network, state []byte, m *made, parts []*reader, last []byte) {
	index, lane := r.number(8), r.number(1)
	row := r.take(272)
	root, steps := r.path('C', join("C", index), row, nil)
	r.want("channel", bytes.Equal(root, state))
	paid := row[210:258]
	if lane != 0 {
		r.want("lanes used", binary.BigEndian.Uint64(row[258:])>>lane&1 == 1)
		directory := r.bytes32()
		root, _ = r.path(0, join("l", index), directory, steps)
		r.want("directory", bytes.Equal(root, state))
		for uint64(directory[0]) != lane {
			directory = directory[9:]
		}
		paid = r.take(48)
		root, _ = r.path('L', join("L", directory[1:9]), paid, steps)
		r.want("lane", bytes.Equal(root, state))
	}
	cumulative, units, signature := r.number(8), r.number(8), r.take(64)
	r.want("paid", cumulative <= binary.BigEndian.Uint64(paid) && units <= binary.BigEndian.Uint64(paid[8:]))
	message := join("trib", 1, 2, network, uint32(1), uint32(82), row[:32], 0, int(lane), cumulative, units, paid[16:])
	r.want("voucher", len(message) == 128 && ed25519.Verify(row[90:122], message, signature))
	r.want("payer and payee", bytes.Equal(row[32:53], m.Report.Payer[:]) && bytes.Equal(row[53:74], m.Report.Payee[:]))
	parts[2].serviceLayer(network, last, row, int(lane), sums{units, cumulative}, paid[16:], m, parts[3])
}

func (r *reader) serviceLayer(network, state, channel []byte, lane int, settled sums, usage []byte, m *made, log *reader) {
	id := r.take(4)
	row := r.bytes32()
	root, _ := r.path(0, join("K", id), row, nil)
	r.want("anchors", bytes.Equal(root, state))
	r.want("home", bytes.Equal(row[:4], channel[122:126]) && row[4] == channel[32] && row[5] <= channel[33] && channel[33] <= row[6])
	size := binary.BigEndian.Uint64(row[123:])
	peaks := (&reader{r.t, row[131:]}).list(bits.OnesCount64(size), 32)
	top := peaks[len(peaks)-1]
	for _, peak := range slices.Backward(peaks[:len(peaks)-1]) {
		top = hashOf(1, peak, top)
	}
	generation, height := r.take(4), r.number(8)
	rest, hashes := r.take(4+8), r.take(6*32)
	r.want("height", height == m.Report.Booked.Height && height <= size)
	h := hashOf(0, network, id, generation, height, rest, hashes)
	path, left := r.hashes(), up(height-1, size)
	r.want("length of the path of the block", len(path) == len(left))
	for s, beside := range path {
		if left[s] {
			h = hashOf(1, beside, h)
		} else {
			h = hashOf(1, h, beside)
		}
	}
	r.want("block", bytes.Equal(h, top))
	seq, units, cumulative, booked := r.number(8), r.number(8), r.number(8), r.take(32)
	sides := r.number(4)
	h = hashOf(0, 1, channel[:32], lane, seq, units, cumulative, booked)
	for s, beside := range r.hashes() {
		if sides>>s&1 == 1 {
			h = hashOf(1, beside, h)
		} else {
			h = hashOf(1, h, beside)
		}
	}
	r.want("booking", bytes.Equal(h, hashes[3*32:4*32]))
	log.logLayer(channel[:32], lane, settled, sums{units, cumulative}, usage, booked, m)
}

func (r *reader) logLayer(channel []byte, lane int, settled, booked sums, root, other []byte, m *made) {
	entry, salt := r.take(62), r.take(16)
	seq, size, path := r.number(8), r.number(8), r.nodes()
	hash := hashOf("trib/log/entry", 0, channel, 0, lane, seq, entry)
	node := join(hashOf(0, salt, hash, entry[46:]), entry[46:])
	var before sums
	left := up(seq, size)
	r.want("length of the path of the entry", len(path) == len(left))
	for s, beside := range path {
		if left[s] {
			node = above(beside, node)
			before = sums{before.units + sumOf(beside).units, before.drops + sumOf(beside).drops}
		} else {
			node = above(node, beside)
		}
	}
	r.want("entry", bytes.Equal(hashOf(2, size, node), root))
	total := sumOf(node)
	r.want("totals", total.units >= settled.units && total.drops >= settled.drops)
	r.want("before", before.units == m.Report.Log.Before.Units && before.drops == uint64(m.Report.Log.Before.Amount))
	r.want("other", (r.number(1) == 1) == !bytes.Equal(root, other))
	if bytes.Equal(root, other) {
		return
	}
	count, top, ways := r.number(8), r.take(48), r.nodes()
	r.want("booked log", bytes.Equal(hashOf(2, count, top), other) && seq < count)
	r.want("booked totals", sumOf(top).units >= booked.units && sumOf(top).drops >= booked.drops)
	if booked.drops > settled.drops {
		r.want("extension", begins(size, count, node, top, ways))
	} else {
		r.want("beginning", begins(count, size, top, node, ways))
	}
}
