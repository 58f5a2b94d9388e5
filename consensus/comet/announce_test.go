package comet_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// note makes a record as these tests judge them: origin, owner, sequence, seconds until
// it expires after an hour that is fixed, and a text.
func note(origin, owner byte, sequence uint64, seconds uint16, text string) []byte {
	b := binary.BigEndian.AppendUint64([]byte{origin, owner}, sequence)
	return append(binary.BigEndian.AppendUint16(b, seconds), text...)
}

var noteTime = time.Unix(1_800_000_000, 0)

var errForged = errors.New("forged")

// judgeNote is the rule for records of note. base is the hour that is fixed.
func judgeNote(base time.Time) func([]byte, time.Time) (comet.Announcement, error) {
	return func(record []byte, _ time.Time) (comet.Announcement, error) {
		if len(record) < 12 || bytes.HasSuffix(record, []byte("forged")) {
			return comet.Announcement{}, errForged
		}
		if bytes.HasSuffix(record, []byte("panic")) {
			panic("a record that the rule did not expect")
		}
		a := comet.Announcement{
			Sequence: binary.BigEndian.Uint64(record[2:]),
			Expires:  base.Add(time.Duration(binary.BigEndian.Uint16(record[10:])) * time.Second),
		}
		a.Origin[0], a.Origin[1], a.Owner[0] = record[0], record[1], record[1]
		return a, nil
	}
}

func TestAnnouncementTable(t *testing.T) {
	t.Parallel()
	now := noteTime
	var kept [][]byte
	table := comet.NewAnnouncementTable(comet.Announcements{
		Judge: judgeNote(noteTime), Kept: func(r []byte) { kept = append(kept, bytes.Clone(r)) },
	}, func() time.Time { return now })
	has := func(want ...[]byte) {
		t.Helper()
		table.Tick()
		got := table.List()
		slices.SortFunc(want, bytes.Compare)
		slices.SortFunc(got, bytes.Compare)
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("kept %q, want %q", got, want)
		}
	}
	take := func(record []byte, want string) {
		t.Helper()
		if err := table.Heard(record); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", record, err, want)
		}
	}
	first := note(1, 1, 10, 100, "a")
	take(first, "")
	take(first, "known")
	take(note(1, 1, 9, 100, "old"), "not newer")
	take(note(1, 1, 10, 100, "other"), "not newer")
	take(note(2, 1, 1, 100, "forged"), "forged")
	take(note(2, 1, 1, 100, "panic"), "did not expect")
	take(note(2, 1, 1, 0, "expired"), "expired")
	take(nil, "0 bytes")
	take(append(note(2, 1, 1, 1, ""), make([]byte, comet.MaxAnnouncement)...), "2060 bytes")
	has(first)

	// A newer one waits, and of those that wait the newest gets in.
	take(note(1, 1, 11, 100, "b"), "")
	third := note(1, 1, 13, 100, "d")
	take(third, "")
	take(third, "known")
	take(note(1, 1, 12, 100, "c"), "not newer")
	has(first)
	now = now.Add(4 * time.Second)
	has(first)
	now = now.Add(time.Second)
	has(third)
	now = now.Add(time.Second)
	take(note(1, 1, 14, 100, "e"), "")
	has(third)
	now = now.Add(4 * time.Second)
	has(note(1, 1, 14, 100, "e"))

	// An owner has four; a fifth replaces the one that expires first.
	var four [][]byte
	for i := range byte(4) {
		four = append(four, note(10+i, 7, 1, 200-uint16(i), ""))
		take(four[i], "")
	}
	has(append(slices.Clone(four), note(1, 1, 14, 100, "e"))...)
	four[3] = note(20, 7, 1, 150, "")
	take(four[3], "")
	has(append(slices.Clone(four), note(1, 1, 14, 100, "e"))...)

	// Everything expires.
	now = noteTime.Add(100 * time.Second)
	has(four...)
	now = noteTime.Add(200 * time.Second)
	has()
	if len(kept) != 8 {
		t.Errorf("%d records were told of: %q", len(kept), kept)
	}
	take(note(1, 1, 1, 300, "anew"), "") // what is forgotten may begin again
	has(note(1, 1, 1, 300, "anew"))
}

// Whoever comes cannot fill the memory, and not take what owners have.
func TestAnnouncementsAreBounded(t *testing.T) {
	t.Parallel()
	now := noteTime
	judged := func(record []byte, _ time.Time) (a comet.Announcement, err error) {
		copy(a.Origin[:], record[:8])
		copy(a.Owner[:], record[8:16])
		return comet.Announcement{Origin: a.Origin, Owner: a.Owner, Sequence: 1, Expires: noteTime.Add(24 * time.Hour)}, nil
	}
	table := comet.NewAnnouncementTable(comet.Announcements{Judge: judged}, func() time.Time { return now })
	number := uint64(0)
	record := func(owner uint64) []byte {
		number++
		now = now.Add(10 * time.Millisecond) // so that one peer may tell all this
		return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, number), owner)
	}
	for i := range 10 * comet.StrangerAnnouncements {
		if err := table.Heard(record(0)); (err == nil) != (i < comet.StrangerAnnouncements) {
			t.Fatalf("stranger %d: %v", i, err)
		}
	}
	owner := uint64(1)
	for ; len(table.List()) < comet.MaxAnnouncements; owner++ {
		if err := table.Heard(record(owner)); err != nil {
			t.Fatalf("owner %d: %v", owner, err)
		}
	}
	if err := table.Heard(record(owner + 1)); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("one owner too many: %v", err)
	}
	now = noteTime.Add(2 * comet.MaxAnnouncementAge) // whatever they said
	table.Tick()
	if n := len(table.List()); n != 0 {
		t.Errorf("%d are kept for longer than they may be", n)
	}
}

// A peer that tells of too much, or of what is refused, is passed over for a while.
func TestAnnouncementsOfAPeerAreBounded(t *testing.T) {
	t.Parallel()
	now := noteTime
	var asked int
	rule := judgeNote(noteTime)
	table := comet.NewAnnouncementTable(comet.Announcements{Judge: func(r []byte, at time.Time) (comet.Announcement, error) {
		asked++
		return rule(r, at)
	}}, func() time.Time { return now })
	flood := func(n int, text string) int {
		asked = 0
		for i := range n {
			_ = table.Heard(note(byte(i), byte(i>>8), uint64(i), 3000, fmt.Sprint(i, text)))
		}
		return asked
	}
	if n := flood(1000, "forged"); n != 20 {
		t.Errorf("%d forged records were looked at", n)
	}
	now = now.Add(10 * time.Second)
	if n := flood(1000, "forged"); n != 10 {
		t.Errorf("%d forged records were looked at within ten seconds", n)
	}
	now = now.Add(time.Minute)
	if n := flood(5000, ""); n > 1100 {
		t.Errorf("%d records were looked at", n)
	}
}

// Records reach nodes that are not connected to who made them, and those that come
// later; forged ones go nowhere.
func TestAnnouncementsTravel(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "announce", 5)
	base := time.Now()
	var heard atomic.Int32
	n.config = func(c *comet.Config) {
		c.Announcements = &comet.Announcements{Judge: judgeNote(base), Kept: func([]byte) { heard.Add(1) }}
		at := slices.IndexFunc(n.members, func(m *member) bool { return m.addr == c.ListenAddr })
		c.Peers = nil
		if at > 0 { // a line
			c.Peers = []string{n.members[at-1].nodeKey.ID() + "@" + n.members[at-1].addr}
		}
	}
	for i := range 4 {
		n.start(t, i)
	}
	knows := func(i int, want ...[]byte) func() bool {
		return func() bool { return slices.EqualFunc(n.members[i].chain.Announcements(), want, bytes.Equal) }
	}
	a, b := note(1, 1, 1, 3600, "from the first"), note(2, 2, 1, 3600, "from the last")
	if err := n.members[0].chain.Announce(a); err != nil {
		t.Fatal(err)
	}
	if err := n.members[3].chain.Announce(b); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		eventually(t, hangs, fmt.Sprintf("member %d knows both", i), knows(i, a, b))
	}
	if err := n.members[0].chain.Announce(a); !errors.Is(err, comet.ErrAnnouncementOld) {
		t.Errorf("Announce once more = %v", err)
	}
	if err := n.members[0].chain.Announce([]byte("forged")); !errors.Is(err, errForged) {
		t.Errorf("Announce = %v", err)
	}
	for range 5 {
		comet.SendAnnouncement(n.members[1].chain, note(9, 9, 1, 3600, "forged"))
	}
	n.start(t, 4) // later
	eventually(t, hangs, "who comes later knows both", knows(4, a, b))

	// The newest gets around, a node that starts again is told, and one that is left
	// alone still knows.
	n.stop(t, 4)
	newer := note(1, 1, 5, 3600, "newer")
	for _, record := range [][]byte{note(1, 1, 2, 3600, "x"), note(1, 1, 3, 3600, "y"), newer} {
		if err := n.members[0].chain.Announce(record); err != nil {
			t.Fatal(err)
		}
	}
	n.start(t, 4)
	for i := range 5 {
		eventually(t, hangs, fmt.Sprintf("member %d knows the newest", i), knows(i, newer, b))
	}
	if got := heard.Load(); got < 15 || got > 40 {
		t.Errorf("%d records were told of", got)
	}
	n.stop(t, 0)
	if err := n.members[1].chain.Announce(note(3, 3, 1, 0, "")); err == nil {
		t.Error("announced what has expired")
	}
	eventually(t, hangs, "it is known without who made it", knows(4, newer, b))
	for i := range 5 { // no peer was dropped for what it passed on
		if i > 1 && len(n.members[i].chain.Peers()) == 0 {
			t.Errorf("member %d has no peers", i)
		}
	}
}

// A chain without announcements has none, and its peers take no harm.
func TestAnnouncementsOff(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "announce-off", 2)
	n.config = func(c *comet.Config) {
		if c.ListenAddr == n.members[0].addr {
			c.Announcements = &comet.Announcements{Judge: judgeNote(noteTime.Add(24 * 365 * time.Hour))}
		}
	}
	n.startAll(t)
	if err := n.members[1].chain.Announce(note(1, 1, 1, 1, "")); !errors.Is(err, comet.ErrNotRunning) {
		t.Errorf("Announce = %v", err)
	}
	if got := n.members[1].chain.Announcements(); got != nil {
		t.Errorf("%q", got)
	}
	if err := n.members[0].chain.Announce(note(1, 1, 1, 1, "")); err != nil {
		t.Error(err)
	}
	for i := range 3 {
		n.broadcast(t, 1, tx(i))
		n.members[0].app.waitFor(t, 20*time.Second, func(txs int, _ uint64) bool { return txs > i })
	}
	if err := (comet.Config{Dir: "d", ListenAddr: "h:1", Announcements: &comet.Announcements{}}).Validate(); err == nil {
		t.Error("announcements without a judge are taken")
	}
}
