package layer_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/lanelog"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/ledger/sumtree"
)

// content returns all rows of a store.
func content(tb testing.TB, r kv.Reader) map[string]string {
	tb.Helper()
	rows := make(map[string]string)
	if err := kv.Scan(r, nil, func(k, v []byte) error { rows[string(k)] = string(v); return nil }); err != nil {
		tb.Fatal(err)
	}
	return rows
}

// resum returns a segment with other units in its header.
func resum(object []byte, units uint64) []byte {
	object = bytes.Clone(object)
	binary.BigEndian.PutUint64(object[lanelog.HeaderSize-16:], units)
	return object
}

// TestLogsRefuse: each row breaks one thing, and gets its error, which names the log; nothing changes.
func TestLogsRefuse(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	l := layer.NewLogs(store, layer.LogOptions{})
	s := newScribe(logOf("a", 2))
	s.send(t, l, 1_024)
	s.send(t, l, 400)
	s.send(t, l, 100) // 1,524: a full segment and pieces of 400 and 100
	have := s.log.Size()
	next := s.grow(t, 700) // a full segment and a piece
	claim := s.claim(t)
	other := newScribe(s.id)
	other.grow(t, 3_000)
	for i := range other.entries { // the same log with other results
		other.entries[i].Result = 1
	}
	stranger := newScribe(logOf("b", 2))
	foreign := stranger.grow(t, 10)
	full := next[0].Object
	type row struct {
		parts []layer.Part
		claim *layer.Claim
		want  error
		says  string
	}
	one := func(object []byte, link ...sumtree.Node) []layer.Part {
		return []layer.Part{{Object: object, Link: link}}
	}
	for name, c := range map[string]row{
		"a gap before a piece":       {parts: one(s.piece(t, have+1, have+5)), want: layer.ErrGap, says: "the log has 1524 entries"},
		"a gap before a segment":     {parts: one(s.segment(t, 2_048, 2_100)), want: layer.ErrGap, says: "segment 2 "},
		"reordered":                  {parts: []layer.Part{next[1], next[0]}, want: layer.ErrGap, says: "in order"},
		"one of them missing":        {parts: next[1:], want: layer.ErrGap},
		"cut otherwise":              {parts: one(s.piece(t, 1_500, have+10)), want: layer.ErrBehind, says: "go on from there"},
		"a piece of a full segment":  {parts: one(s.piece(t, 5, 9)), want: layer.ErrBehind},
		"an older state of a full":   {parts: one(s.segment(t, 0, 300)), want: layer.ErrBehind},
		"an older state of the tail": {parts: one(s.segment(t, 1_024, 1_100)), want: layer.ErrBehind},
		"another full segment":       {parts: one(other.segment(t, 0, 1_024)), want: layer.ErrConflict, says: "entries 0 to 1023"},
		"another piece":              {parts: one(other.piece(t, 1_024, 1_424)), want: layer.ErrConflict, says: "open both"},
		"another piece before one that is there": {
			parts: []layer.Part{{Object: other.piece(t, 1_024, 1_424)}, {Object: s.piece(t, 1_424, 1_524)}},
			want:  layer.ErrConflict,
		},
		"another beginning of the segment": {parts: one(other.segment(t, 1_024, 2_048), next[0].Link...), want: layer.ErrMismatch, says: "segment 1 "},
		"more units in the header":         {parts: one(resum(full, 1<<40), next[0].Link...), want: layer.ErrMismatch, says: "units"},
		"no link":                          {parts: one(full), want: lanelog.ErrEncoding, says: "link to the 500 entries"},
		"the link of other entries":        {parts: one(full, s.link(t, have-1, 2_048)...), want: lanelog.ErrEncoding, says: "nodes"},
		"another link":                     {parts: one(full, other.link(t, have, 2_048)...), want: layer.ErrMismatch},
		"a link too rich": {
			parts: one(full, append(slices.Clone(next[0].Link[:1]), append([]sumtree.Node{{Sum: sumtree.Sum{Amount: ledger.MaxAmount}}}, next[0].Link[2:]...)...)...),
			want:  sumtree.ErrSum,
		},
		"a piece that fills the segment": {parts: one(s.piece(t, have, 2_048)), want: layer.ErrParts, says: "seal all its entries"},
		"an object of another log":       {parts: foreign, want: layer.ErrParts, says: stranger.id.String()},
		"a truncated segment":            {parts: one(full[:len(full)-1], next[0].Link...), want: lanelog.ErrEncoding},
		"a truncated piece":              {parts: one(next[1].Object[:500]), want: lanelog.ErrEncoding},
		"no object":                      {parts: one(nil), want: lanelog.ErrEncoding},
		"too many":                       {parts: make([]layer.Part, layer.MaxParts+1), want: layer.ErrParts, says: "at most 64"},
		"another root":                   {parts: next, claim: &layer.Claim{Sum: claim.Sum, Root: ledger.Hash{1}}, want: layer.ErrMismatch, says: "from 1524 on"},
		"more units than are logged":     {parts: next, claim: &layer.Claim{Sum: sumtree.Sum{Units: claim.Units + 1, Amount: claim.Amount}, Root: claim.Root}, want: layer.ErrMismatch, says: "send all entries"},
		"fewer drops than are logged":    {parts: next, claim: &layer.Claim{Sum: sumtree.Sum{Units: claim.Units, Amount: claim.Amount - 1}, Root: claim.Root}, want: layer.ErrMismatch},
		"truncated, by the claim":        {parts: next[:1], claim: claim, want: layer.ErrMismatch, says: "2048 entries"},
		"a claim of what is to come":     {claim: claim, want: layer.ErrMismatch},
	} {
		before := content(t, store)
		_, err := l.Append(s.id, c.parts, c.claim)
		if !errors.Is(err, c.want) || err != nil && (!strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), s.id.String()) && !errors.Is(c.want, layer.ErrParts)) {
			t.Errorf("%s: %v; want %v, saying %q", name, err, c.want, c.says)
		}
		if diff := cmp.Diff(before, content(t, store)); diff != "" {
			t.Fatalf("%s changed the store: %s", name, diff)
		}
	}
	if _, err := l.Append(logOf("c", 0), one(foreign[0].Object), nil); !errors.Is(err, layer.ErrParts) {
		t.Errorf("a new log with another's object: %v", err)
	}
	if _, err := l.Append(s.id, next, claim); err != nil {
		t.Fatal(err)
	}
	s.checkKept(t, l)
	var conflict *layer.ConflictError
	_, err := l.Append(s.id, one(other.segment(t, 1_024, 2_048)), nil)
	want := layer.ConflictError{Log: s.id, First: 1_024, Count: 1_024, Stored: lanelog.Name(full), Given: lanelog.Name(other.segment(t, 1_024, 2_048))}
	if !errors.As(err, &conflict) || *conflict != want {
		t.Errorf("evidence: %+v, %v", conflict, err)
	}
}

// TestLogsCannotOverflow: a log whose sums would wrap is refused where they would.
func TestLogsCannotOverflow(t *testing.T) {
	t.Parallel()
	l := layer.NewLogs(memkv.New(), layer.LogOptions{})
	s := newScribe(logOf("a", 0))
	s.entries = append(s.entries, lanelog.Entry{Amount: ledger.MaxAmount})
	if _, err := l.Append(s.id, []layer.Part{{Object: s.piece(t, 0, 1)}}, nil); err != nil {
		t.Fatal(err)
	}
	s.entries = append(s.entries, lanelog.Entry{Amount: 1})
	if _, err := l.Append(s.id, []layer.Part{{Object: s.piece(t, 1, 2)}}, nil); !errors.Is(err, sumtree.ErrSum) {
		t.Errorf("a drop too many in the tail: %v", err)
	}
	s.entries = s.entries[:1]
	for len(s.entries) < 1_030 {
		s.entries = append(s.entries, lanelog.Entry{})
	}
	if _, err := l.Append(s.id, []layer.Part{{Object: s.segment(t, 0, 1_024), Link: s.link(t, 1, 1_024)}}, nil); err != nil {
		t.Fatal(err)
	}
	s.entries[1_029].Amount = 1
	for name, part := range map[string]layer.Part{
		"piece":   {Object: s.piece(t, 1_024, 1_030)},
		"segment": {Object: s.segment(t, 1_024, 1_030), Link: s.link(t, 1_024, 1_030)},
	} {
		if _, err := l.Append(s.id, []layer.Part{part}, nil); !errors.Is(err, sumtree.ErrSum) {
			t.Errorf("a %s with a drop too many behind full segments: %v", name, err)
		}
	}
}

// TestLogsRepeat: an answer that was lost is got by asking again, also for pieces whose segment is
// full meanwhile; and a tail may be sealed as a whole at any time.
func TestLogsRepeat(t *testing.T) {
	t.Parallel()
	l := layer.NewLogs(memkv.New(), layer.LogOptions{})
	s := newScribe(logOf("a", 0))
	var all []layer.Part
	for _, n := range []int{10, 20, 500, 600, 3, 4} {
		parts := s.grow(t, n)
		all = append(all, parts...)
		claim := s.claim(t)
		if _, err := l.Append(s.id, parts, claim); err != nil {
			t.Fatal(err)
		}
		for from := range all {
			if all[from].Link == nil || from == len(all)-len(parts) {
				if _, err := l.Append(s.id, all[from:], claim); err != nil {
					t.Fatalf("from object %d of %d again: %v", from, len(all), err)
				}
			}
		}
		s.checkKept(t, l)
	}
	whole := s.segment(t, segmentSize, s.log.Size())
	for range 2 {
		if _, err := l.Append(s.id, []layer.Part{{Object: whole}}, s.claim(t)); err != nil {
			t.Fatalf("the tail as one segment: %v", err)
		}
	}
	if items, err := l.Items(s.id, 0, 0); err != nil || len(items) != 2 || items[1].Name != lanelog.Name(whole) {
		t.Errorf("it is kept in %+v, %v", items, err)
	}
	s.checkKept(t, l)
	again := *s
	again.entries = slices.Clone(s.entries)
	again.entries[len(again.entries)-1].Result = 9
	if _, err := l.Append(s.id, []layer.Part{{Object: again.segment(t, segmentSize, s.log.Size())}}, nil); !errors.Is(err, layer.ErrConflict) {
		t.Errorf("another segment of the same entries: %v", err)
	}
	s.send(t, l, 5)
	s.send(t, l, 2_000)
	s.checkKept(t, l)
	// A log that is new here may begin with any segment state, and with nothing.
	fresh := layer.NewLogs(memkv.New(), layer.LogOptions{})
	if head, err := fresh.Append(s.id, nil, nil); err != nil || head.Root.Size != 0 {
		t.Errorf("nothing appended to nothing: %+v, %v", head, err)
	}
	if _, err := fresh.Head(s.id); !errors.Is(err, layer.ErrNotKept) {
		t.Errorf("and then there is a log: %v", err)
	}
	if _, err := fresh.Append(s.id, []layer.Part{{Object: s.segment(t, 0, 600), Link: s.link(t, 0, 600)}}, nil); err != nil {
		t.Error(err)
	}
}

// TestLogsReplace: a store that was left behind takes what it missed from another one, segment by
// segment or piece by piece, and only with a voucher for it.
func TestLogsReplace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before int
		later  []int
		sealed bool // the other store has the tail as one segment
	}{
		"pieces after pieces":           {before: 100, later: []int{50, 50}},
		"a segment after pieces":        {before: 100, later: []int{50, 1_500}},
		"many segments":                 {before: 2_500, later: []int{5_000, 3}},
		"from nothing":                  {before: 0, later: []int{2_500}},
		"a tail in one":                 {before: 1_500, later: []int{20}, sealed: true},
		"nothing":                       {before: 1_500, later: nil},
		"at the border":                 {before: 1_024, later: []int{1_024}},
		"the same tail, sealed already": {before: 1_500, later: nil, sealed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			behind, ahead := layer.NewLogs(memkv.New(), layer.LogOptions{}), layer.NewLogs(memkv.New(), layer.LogOptions{})
			s := newScribe(logOf("a", 0))
			for range 2 { // in two pieces
				parts := s.grow(t, c.before/2)
				for _, l := range []*layer.Logs{behind, ahead} {
					if _, err := l.Append(s.id, parts, nil); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, n := range c.later {
				s.send(t, ahead, n)
			}
			if c.sealed {
				from := s.log.Size() - s.log.Size()%segmentSize
				if _, err := ahead.Append(s.id, []layer.Part{{Object: s.segment(t, from, s.log.Size())}}, nil); err != nil {
					t.Fatal(err)
				}
			}
			from := uint64(0)
			if head, err := behind.Head(s.id); err == nil {
				from = head.Full.Size
			}
			var parts []layer.Part
			if err := ahead.Objects(s.id, from, func(i layer.Item, object []byte) error {
				parts = append(parts, layer.Part{Object: object, Link: i.Link()})
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			wrong := *s.claim(t)
			wrong.Root[0]++
			if _, err := behind.Replace(s.id, parts, wrong); !errors.Is(err, layer.ErrMismatch) {
				t.Errorf("without its voucher: %v", err)
			}
			if _, err := behind.Replace(s.id, parts, *s.claim(t)); err != nil {
				t.Fatal(err)
			}
			s.checkKept(t, behind)
			s.send(t, behind, 700)
			s.checkKept(t, behind)
		})
	}
}

// TestLogsReplaceRefuses: what is there is not replaced by less.
func TestLogsReplaceRefuses(t *testing.T) {
	t.Parallel()
	l := layer.NewLogs(memkv.New(), layer.LogOptions{})
	s, cheap := newScribe(logOf("a", 0)), newScribe(logOf("a", 0))
	s.send(t, l, 100)
	s.send(t, l, 100)
	half := newScribe(s.id)
	if _, err := l.Replace(s.id, half.grow(t, 150), *half.claim(t)); !errors.Is(err, layer.ErrGap) {
		t.Errorf("by fewer entries: %v", err)
	}
	for range 300 {
		e := lanelog.Entry{Units: 1}
		cheap.entries = append(cheap.entries, e)
		if _, err := cheap.log.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Replace(s.id, []layer.Part{{Object: cheap.piece(t, 0, 300)}}, *cheap.claim(t)); !errors.Is(err, layer.ErrMismatch) {
		t.Errorf("by less money: %v", err)
	}
	s.grow(t, 50)
	if _, err := l.Replace(s.id, []layer.Part{{Object: s.piece(t, 150, 250)}}, *s.claim(t)); !errors.Is(err, layer.ErrBehind) {
		t.Errorf("from within: %v", err)
	}
}
