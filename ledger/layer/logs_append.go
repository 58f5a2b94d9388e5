package layer

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/lanelog"
	"github.com/tributary-network/tributary/ledger/sumtree"
)

// Part is an object to append to a log, with what ties it to what is there.
type Part struct {
	// Object is a piece (lanelog.SealPiece), or a segment (lanelog.Seal), which takes the
	// place of the pieces that are there of it.
	Object []byte
	// Link has the nodes of the entries that a segment has more than is there of it
	// (lanelog.Piece.Nodes): without them nobody who does not have the key could tell that
	// it begins with what is there. It is empty if that is nothing and the segment is
	// full, if the segment has no more, and for a piece.
	Link []sumtree.Node
}

// Claim is what a voucher says of a log.
type Claim struct {
	sumtree.Sum // units and cumulative amount

	Root ledger.Hash // usage root
}

// part is a Part that was read.
type part struct {
	raw   []byte
	name  ledger.Hash
	piece bool
	first uint64
	count int
	root  sumtree.Node   // of a segment
	nodes []sumtree.Node // of a piece, or the link of a segment
}

func (p *part) end() uint64 { return p.first + uint64(p.count) }

func (p *part) String() string {
	if p.piece {
		return fmt.Sprintf("piece %s (entries %d to %d)", p.name, p.first, p.end()-1)
	}
	return fmt.Sprintf("segment %d %s (entries %d to %d)", p.first/lanelog.SegmentEntries, p.name, p.first, p.end()-1)
}

// segment returns the number of the first entry of the segment that has entry.
func segment(entry uint64) uint64 { return entry - entry%lanelog.SegmentEntries }

func readPart(p Part) (out part, id lanelog.ID, err error) {
	out = part{raw: p.Object, piece: lanelog.IsPiece(p.Object), nodes: p.Link}
	if out.piece {
		h, err := lanelog.ReadPiece(p.Object)
		if err != nil {
			return part{}, id, err
		}
		out.first, out.count, out.nodes, id = h.First, h.Count, h.Nodes, h.ID
	} else {
		h, err := lanelog.ReadHeader(p.Object)
		if err != nil {
			return part{}, id, err
		}
		out.first, out.count, out.root, id = h.First, h.Count, h.Root, h.ID
	}
	out.name = lanelog.Name(p.Object)
	return out, id, nil
}

// readParts reads the objects of a call, which have to be of the log id and to follow one
// another.
func readParts(id lanelog.ID, in []Part) ([]part, error) {
	if len(in) > MaxParts {
		return nil, fmt.Errorf("%w: %d objects, at most %d: send the rest in another call", ErrParts, len(in), MaxParts)
	}
	parts := make([]part, len(in))
	for i := range in {
		p, of, err := readPart(in[i])
		if err != nil {
			return nil, fmt.Errorf("object %d of %d for log %s: %w", i, len(in), id, err)
		}
		if of != id {
			return nil, fmt.Errorf("object %d of %d: %w: it is of log %s, want %s", i, len(in), ErrParts, of, id)
		}
		if i > 0 {
			before := &parts[i-1]
			whole := !p.piece && p.first == segment(before.first) && p.end() >= before.end()
			if p.first != before.end() && !whole {
				return nil, fmt.Errorf("object %d of %d for log %s: %w: %v after %v; send them in order", i, len(in), id, ErrGap, &p, before)
			}
		}
		parts[i] = p
	}
	return parts, nil
}

// Append appends objects to the log id, in their order, all or none, and returns what the log
// is then, durably. A claim says what it has to be with them; nil claims nothing. Objects must
// not be modified meanwhile.
//
// What is there already is taken again without an error, and made good if it was lost; a
// claim is looked at only if it is of the whole log then. The errors: lanelog.ErrEncoding for what
// is no object of a log, ErrParts, ErrGap, ErrBehind, ErrConflict, ErrMismatch, sumtree.ErrSum,
// ErrDropping, and badgerkv.ErrNoSpace.
func (l *Logs) Append(id lanelog.ID, parts []Part, claim *Claim) (Head, error) {
	return l.append(id, parts, claim, false)
}

// Replace is Append for a store that was left behind and takes what it missed from another one,
// which has no links from here: what is there behind the last full segment is dropped if the
// objects do not go on after it but begin with it, and each segment has the link of all its
// entries, Item.Link of the other store. The claim has to be that of a voucher whose signature was
// verified, and of no fewer entries, units and drops than there are: it is what says that the
// new entries are the log's, where Append has links.
func (l *Logs) Replace(id lanelog.ID, parts []Part, claim Claim) (Head, error) {
	return l.append(id, parts, &claim, true)
}

func (l *Logs) append(id lanelog.ID, in []Part, claim *Claim, replace bool) (head Head, err error) {
	parts, err := readParts(id, in)
	if err != nil {
		return Head{}, fmt.Errorf("append: %w", err)
	}
	a := appender{id: id, parts: parts, claim: claim, replace: replace}
	w := &logWrite{space: true, apply: func(b *logBatch) (err error) {
		head, err = a.apply(b)
		return err
	}}
	for i := range parts {
		w.bytes += len(parts[i].raw)
	}
	if err := l.submit(w); err != nil {
		return Head{}, fmt.Errorf("append: %w", err)
	}
	return head, nil
}

// appender is one call of Append or Replace.
type appender struct {
	id      lanelog.ID
	parts   []part
	claim   *Claim
	replace bool
}

// apply checks the call against what is there and stages what it writes.
func (a *appender) apply(b *logBatch) (Head, error) {
	row, err := a.begin(b)
	if err != nil {
		return Head{}, err
	}
	was := row.clone()
	known, err := a.known(b, &row)
	if err == nil && a.replace {
		known, err = a.cut(b, &row, known)
	}
	if err != nil {
		return Head{}, err
	}
	for i := known; i < len(a.parts); i++ {
		if err := a.add(b, &row, &a.parts[i]); err != nil {
			return Head{}, err
		}
	}
	vouched, err := a.confirm(&was, &row)
	if err != nil {
		return Head{}, err
	}
	if (vouched || known < len(a.parts)) && row.size() > 0 {
		b.set(logKey(a.id), row.encode())
	}
	return row.head(a.id)
}

// begin returns the log as it is, which is empty if there is none.
func (a *appender) begin(b *logBatch) (logRow, error) {
	row, there, err := b.log(a.id)
	if err != nil || there {
		return row, err
	}
	mark, err := b.get(dropKey(a.id))
	if err == nil && mark != nil {
		err = fmt.Errorf("log %s: %w, its time is over", a.id, ErrDropping)
	}
	return row, err
}

// confirm compares the log with the claim if that is of all of it, and with what it was before if
// that was replaced. It reports whether the row says anything else now.
func (a *appender) confirm(was, now *logRow) (changed bool, err error) {
	if a.replace && now.size() < was.size() {
		return false, fmt.Errorf("log %s: %w: replaced it has %d entries, and had %d", a.id, ErrGap, now.size(), was.size())
	}
	if a.claim == nil || len(a.parts) > 0 && a.parts[len(a.parts)-1].end() != now.size() {
		return false, nil
	}
	if err := a.check(now); err != nil {
		return false, err
	}
	if a.replace {
		if err := grows(a.id, was, now); err != nil {
			return false, err
		}
	}
	if now.vouched == now.size() && now.vouchedRoot == a.claim.Root {
		return false, nil
	}
	now.vouched, now.vouchedRoot = now.size(), a.claim.Root
	return true, nil
}

// known returns how many of the objects are there: up to the last that is, as they follow one
// another, and pieces go when their segment comes. It has those written again that are lost.
func (a *appender) known(b *logBatch, row *logRow) (int, error) {
	known := 0
	for i := len(a.parts) - 1; i >= 0; i-- {
		p := &a.parts[i]
		item, ok, err := b.item(a.id, p.first)
		if err != nil {
			return 0, err
		}
		if !ok || item.Name != p.name {
			replaced := a.replace && p.first >= row.full.Size
			if ok && i < known && item.Count == p.count && item.Piece == p.piece && !replaced {
				return 0, &ConflictError{Log: a.id, First: p.first, Count: p.count, Stored: item.Name, Given: p.name}
			}
			continue
		}
		known = max(known, i+1)
		_, err = object(b.get, p.name)
		if errors.Is(err, ErrLost) {
			b.set(objectKey(p.name), p.raw)
		} else if err != nil {
			return 0, err
		}
	}
	return known, nil
}

// cut drops what is there behind the full segments if the objects that are not known do not go on
// after it, and returns from which of them on they are to be appended then.
func (a *appender) cut(b *logBatch, row *logRow, known int) (int, error) {
	if known == len(a.parts) || row.part.Size == 0 {
		return known, nil
	}
	if p := &a.parts[known]; p.piece && p.first >= row.size() {
		return known, nil
	}
	for i := range a.parts {
		if a.parts[i].first == row.full.Size {
			return i, dropTail(b, a.id, row)
		}
	}
	return known, nil
}

// add appends one object to row, and stages what it changes.
func (a *appender) add(b *logBatch, row *logRow, p *part) error {
	if err := a.place(b, row, p); err != nil {
		return err
	}
	sum, err := row.sum()
	if err != nil {
		return err
	}
	item := Item{First: p.first, Count: p.count, Piece: p.piece, Name: p.name, Before: sum}
	tail := row.part.Clone()
	if p.piece {
		if err := lanelog.Extend(&tail, p.count, p.nodes); err != nil {
			return fmt.Errorf("%v of log %s: %w", p, a.id, err)
		}
		if tail.Size == lanelog.SegmentEntries {
			return fmt.Errorf("%v of log %s: %w: the segment is full with it; seal all its entries as a segment and send that, with the nodes of these as its link", p, a.id, ErrParts)
		}
		for i := range p.nodes {
			if item.Sum, err = item.Sum.Add(p.nodes[i].Sum); err != nil {
				return err
			}
		}
	} else {
		if item.Before, err = row.full.Sum(); err != nil {
			return err
		}
		item.Sum = p.root.Sum
		if err := a.link(&tail, p); err != nil {
			return err
		}
		if err := dropTail(b, a.id, row); err != nil {
			return err
		}
	}
	if _, err := item.Before.Add(item.Sum); err != nil {
		return fmt.Errorf("%v of log %s: %w", p, a.id, err)
	}
	row.part = tail
	if item.Full() {
		if item.Nodes, err = row.seal(p.root); err != nil {
			return fmt.Errorf("%v of log %s: %w", p, a.id, err)
		}
	} else if !p.piece {
		item.Nodes = tail.Peaks
	}
	if err := item.check(); err != nil {
		return fmt.Errorf("%v of log %s: %w", p, a.id, err)
	}
	b.set(itemKey(a.id, p.first), item.encode())
	b.set(objectKey(p.name), p.raw)
	return nil
}

// place returns an error unless the object goes on where the log ends.
func (a *appender) place(b *logBatch, row *logRow, p *part) error {
	size := row.size()
	from := size // where it has to begin
	if !p.piece {
		from = row.full.Size
	}
	switch {
	case p.first > from:
		return fmt.Errorf("%v of log %s: %w: the log has %d entries; send what follows them first", p, a.id, ErrGap, size)
	case p.first == from && (p.piece || p.end() >= size):
		if p.piece || p.end() > size {
			return nil
		}
		// The same entries in one object. If they were that before, it is another one.
		item, ok, err := b.item(a.id, p.first)
		if err != nil || !ok || item.Piece || item.End() != p.end() {
			return err
		}
		return &ConflictError{Log: a.id, First: p.first, Count: p.count, Stored: item.Name, Given: p.name}
	}
	item, ok, err := b.item(a.id, p.first)
	if err != nil {
		return err
	}
	if ok && item.Count == p.count && item.Piece == p.piece {
		return &ConflictError{Log: a.id, First: p.first, Count: p.count, Stored: item.Name, Given: p.name}
	}
	return fmt.Errorf("%v of log %s: %w, in other objects: the log has %d entries; go on from there", p, a.id, ErrBehind, size)
}

// link makes tail, the frontier over what is there of a segment, that of the segment p.
func (a *appender) link(tail *sumtree.Frontier, p *part) error {
	more := p.count - int(tail.Size)
	switch {
	case tail.Size == 0 && len(p.nodes) == 0 && p.count == lanelog.SegmentEntries:
		return tail.PushNode(lanelog.SegmentLevel, p.root)
	case more > 0:
		if err := lanelog.Extend(tail, more, p.nodes); err != nil {
			return fmt.Errorf("%v of log %s: its link to the %d entries that are there of it: %w", p, a.id, tail.Size, err)
		}
	}
	root, err := tail.Root()
	if err != nil {
		return err
	}
	if root.Node != p.root {
		return fmt.Errorf("%v of log %s: %w: with its link it has %d units, %d drops and the root %s, its header says %d, %d and %s; one of both is of another log, seal it again from the entries that were sent",
			p, a.id, ErrMismatch, root.Units, uint64(root.Amount), root.Node.Hash, p.root.Units, uint64(p.root.Amount), p.root.Hash)
	}
	return nil
}

// seal moves the last segment, which is full and has that root, to the full ones, and returns
// the nodes that it completes.
func (l *logRow) seal(root sumtree.Node) ([]sumtree.Node, error) {
	nodes := []sumtree.Node{root}
	left := len(l.full.Peaks)
	for n := l.full.Size / lanelog.SegmentEntries; n&1 == 1; n >>= 1 {
		left--
		node, err := sumtree.Join(l.full.Peaks[left], nodes[len(nodes)-1])
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, node)
	}
	if err := l.full.PushNode(lanelog.SegmentLevel, root); err != nil {
		return nil, err
	}
	l.part = sumtree.Frontier{}
	return nodes, nil
}

// dropTail removes what is there behind the full segments.
func dropTail(b *logBatch, id lanelog.ID, row *logRow) error {
	for at := row.full.Size; at < row.size(); {
		item, ok, err := b.item(id, at)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("log %s: nothing says what entry %d is in: %w", id, at, errRow)
		}
		b.delete(itemKey(id, at))
		b.delete(objectKey(item.Name))
		at = item.End()
	}
	row.part = sumtree.Frontier{}
	return nil
}

// check compares the log with the claim.
func (a *appender) check(row *logRow) error {
	root, err := row.root()
	if err != nil {
		return fmt.Errorf("log %s: %w", a.id, err)
	}
	switch c := a.claim; {
	case root.Hash() == c.Root && root.Sum == c.Sum:
		return nil
	case root.Sum != c.Sum:
		return fmt.Errorf("log %s: %w: its %d entries are %d units and %d drops, the voucher says %d and %d; send all entries that the voucher is of, and no more",
			a.id, ErrMismatch, root.Size, root.Units, uint64(root.Amount), c.Units, uint64(c.Amount))
	default:
		return fmt.Errorf("log %s: %w: the root of its %d entries is %s, the voucher for the same units and drops says %s; compare the entries of payer and payee from %d on",
			a.id, ErrMismatch, root.Size, root.Hash(), c.Root, row.vouched)
	}
}

// grows returns ErrMismatch if a log was more before.
func grows(id lanelog.ID, was, now *logRow) error {
	a, err := was.sum()
	if err != nil {
		return err
	}
	b, err := now.sum()
	if err != nil {
		return err
	}
	if b.Units < a.Units || b.Amount < a.Amount {
		return fmt.Errorf("log %s: %w: replaced it is %d units and %d drops, and was %d and %d; one of both is not the payer's",
			id, ErrMismatch, b.Units, uint64(b.Amount), a.Units, uint64(a.Amount))
	}
	return nil
}

// Repair puts an object back that is lost here, from another store: the log has to have it, by
// its name. What is not lost stays. It returns ErrNotKept for an object of no log here.
func (l *Logs) Repair(raw []byte) error {
	p, id, err := readPart(Part{Object: raw})
	if err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	w := &logWrite{space: true, bytes: len(raw), apply: func(b *logBatch) error {
		item, ok, err := b.item(id, p.first)
		if err != nil {
			return err
		}
		if !ok || item.Name != p.name {
			return fmt.Errorf("%v of log %s: %w", &p, id, ErrNotKept)
		}
		_, err = object(b.get, p.name)
		if errors.Is(err, ErrLost) {
			b.set(objectKey(p.name), raw)
			return nil
		}
		return err
	}}
	if err := l.submit(w); err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	return nil
}

// object returns the bytes of an object that should be there, checked by its name.
func object(get getter, name ledger.Hash) ([]byte, error) {
	raw, err := get(objectKey(name))
	switch {
	case errors.Is(err, kv.ErrClosed):
		return nil, err
	case err != nil: // a value that the store cannot read is no worse than one that it lost
		return nil, fmt.Errorf("object %s: %w: %w", name, ErrLost, err)
	case raw == nil:
		return nil, fmt.Errorf("object %s: %w: take it from another node that keeps the log", name, ErrLost)
	}
	if got := lanelog.Name(raw); got != name {
		return nil, fmt.Errorf("object %s: %w: its bytes are those of %s; take it from another node that keeps the log", name, ErrLost, got)
	}
	return raw, nil
}
