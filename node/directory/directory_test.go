package directory_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/directory"
)

// world is a directory whose clock and validators are the test's.
type world struct {
	*directory.Directory

	now     time.Time
	asked   int
	members []ledger.PublicKey // of the committees of all chains
	read    int                // how often they were read
}

// newWorld knows validators 1 and 2, whose proofs are their number behind the message.
func newWorld(tb testing.TB, change ...func(*directory.Config)) *world {
	tb.Helper()
	w := &world{now: epoch}
	cfg := directory.Config{
		Network: network, Now: func() time.Time { return w.now },
		Members: func(ledger.ChainID) []ledger.PublicKey {
			w.read++
			return w.members
		},
		Attested: func(key, msg, proof []byte) (known, ok bool) {
			w.asked++
			if key[0] > 2 || len(msg) == 0 {
				return false, false
			}
			return true, string(proof) == string(append([]byte{'v'}, key[0]))
		},
	}
	for _, f := range change {
		f(&cfg)
	}
	d, err := directory.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	w.Directory = d
	return w
}

// take does what the network does with a record.
func (w *world) take(r directory.Record) (directory.Judged, error) {
	j, err := w.Judge(r.Encode(), w.now)
	if err == nil {
		w.Keep(r.Encode())
	}
	return j, err
}

func hosts(entries []directory.Entry) (ids []string) {
	for _, e := range entries {
		ids = append(ids, e.NodeID[:4])
	}
	return ids
}

func id(node byte) string {
	key, _ := nodeKey(node)
	return key.ID()[:4]
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	runs := func(chain ledger.ChainID, serving bool, more ...func(*directory.Record)) func(*directory.Record) {
		return func(r *directory.Record) {
			r.Chains = []directory.Hosting{{Chain: chain, Port: 5, Serving: serving}}
			for _, f := range more {
				f(r)
			}
		}
	}
	changed := w.Changed()
	for _, r := range []directory.Record{
		record(t, 1, epoch, runs(7, true)),
		record(t, 2, epoch, runs(7, false, claim(1, "v\x01"))),
		record(t, 3, epoch, runs(7, true, claim(2, "v\x02"))),
		record(t, 4, epoch, runs(8, true, claim(2, "v\x02"))),
		record(t, 5, epoch, runs(7, true, claim(3, "nobody"))),
	} {
		if _, err := w.take(r); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-changed:
	default:
		t.Error("nobody is told of changes")
	}
	got := hosts(w.Hosts(7))
	if want := []string{id(3), id(2)}; len(got) != 4 || !slices.Equal(got[:2], want) || !slices.Contains(got, id(1)) || !slices.Contains(got, id(5)) {
		t.Errorf("hosts %v, want %v and then %s and %s", got, want, id(1), id(5))
	}
	e := w.Hosts(8)
	if len(e) != 1 || e[0].Validator != (ledger.PublicKey{2}) || e[0].P2P != e[0].NodeID+"@node.example:5" ||
		e[0].GRPC != "node.example:9090" || !e[0].TLS || !e[0].Made.Equal(epoch) {
		t.Errorf("%+v", e)
	}
	if got := w.Hosts(9); got != nil {
		t.Errorf("%+v", got)
	}

	// A node that leaves a chain says so by its next record, and an older one is refused.
	w.now = w.now.Add(time.Minute)
	if _, err := w.take(record(t, 3, w.now, runs(8, true, claim(2, "v\x02")))); err != nil {
		t.Fatal(err)
	}
	if _, err := w.take(record(t, 3, epoch, runs(7, true))); err == nil || !strings.Contains(err.Error(), "older") {
		t.Errorf("an older record: %v", err)
	}
	if got := hosts(w.Hosts(8)); len(got) != 2 {
		t.Errorf("hosts %v", got)
	}
	if n := len(w.Records()); n != 5 {
		t.Errorf("%d records", n)
	}

	// What is not renewed is forgotten.
	w.now = epoch.Add(directory.Lifetime)
	if got := hosts(w.Hosts(7)); got != nil {
		t.Errorf("hosts %v after their records expired", got)
	}
	if n := len(w.Records()); n != 1 {
		t.Errorf("%d records", n)
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := record(t, 1, epoch, claim(1, "v\x01"))
	want := directory.Judged{Node: good.Node, Sequence: good.Sequence, Expires: epoch.Add(directory.Lifetime), Validator: ledger.PublicKey{1}}
	for range 3 {
		if j, err := w.take(good); err != nil || j.Node != want.Node || j.Sequence != want.Sequence || !j.Expires.Equal(want.Expires) || j.Validator != want.Validator {
			t.Errorf("%+v, %v, want %+v", j, err, want)
		}
	}
	if w.asked != 1 {
		t.Errorf("one proof was checked %d times", w.asked)
	}
	if j, err := w.take(record(t, 2, epoch, claim(7, "x"))); err != nil || j.Validator != (ledger.PublicKey{}) {
		t.Errorf("of a validator that is not known: %+v, %v", j, err)
	}
	forged := record(t, 3, epoch, nil)
	forged.Signature[3]++
	for name, tt := range map[string]struct {
		record directory.Record
		at     time.Duration
		want   error
	}{
		"signature":        {forged, 0, directory.ErrForged},
		"another's proof":  {record(t, 3, epoch, claim(2, "v\x01")), 0, directory.ErrForged},
		"expired":          {good, directory.Lifetime, directory.ErrExpired},
		"of the future":    {good, -time.Hour, directory.ErrAhead},
		"a changed claim":  {record(t, 1, epoch, claim(1, "v\x02")), 0, directory.ErrForged},
		"a claim of other": {record(t, 1, epoch, claim(2, "v\x01")), 0, directory.ErrForged},
	} {
		w.now = epoch.Add(tt.at)
		if _, err := w.take(tt.record); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if _, err := w.Judge([]byte("rubbish"), epoch); err == nil {
		t.Error("rubbish is taken")
	}
	// A proof is looked at again after a while.
	asked := w.asked
	w.now = epoch.Add(11 * time.Minute)
	if _, err := w.take(record(t, 1, w.now, claim(1, "v\x01"))); err != nil || w.asked != asked+1 {
		t.Errorf("an old proof: %v, asked %d times", err, w.asked-asked)
	}
	if _, err := directory.New(directory.Config{}); err == nil {
		t.Error("a directory without a clock")
	}
}

// However many strangers come, a directory has a bound, and is safe to share.
func TestDirectoryIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var all sync.WaitGroup
	for worker := range uint64(4) {
		all.Go(func() {
			for i := range uint64(directory.MaxRecords/4 + 50) {
				var r directory.Record
				binary.BigEndian.PutUint64(r.Node[:], worker<<32|i)
				r.Sequence, r.Lifetime = uint64(epoch.UnixMilli()), directory.Lifetime
				r.Chains = []directory.Hosting{{Chain: 7}}
				w.Keep(r.Encode()) // as if it had been judged
				if i%100 == 0 {
					_ = w.Hosts(7)
				}
			}
		})
	}
	all.Wait()
	if n := len(w.Records()); n != directory.MaxRecords {
		t.Errorf("%d records", n)
	}
	w.Keep([]byte("rubbish"))
	w.now = epoch.Add(directory.Lifetime)
	if _, err := w.take(record(t, 1, w.now, nil)); err != nil || len(w.Records()) != 1 {
		t.Errorf("after all expired: %v, %d records", err, len(w.Records()))
	}
}

// Whom the main chain drew for a shard is asked before other validators, and these before
// strangers; the committee is read once in a while.
func TestMembersComeFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.members = []ledger.PublicKey{{2}}
	hosting := func(serving bool, more func(*directory.Record)) func(*directory.Record) {
		return func(r *directory.Record) {
			r.Chains = []directory.Hosting{{Chain: 7, Serving: serving}}
			if more != nil {
				more(r)
			}
		}
	}
	for _, r := range []directory.Record{
		record(t, 1, epoch, hosting(true, nil)),
		record(t, 2, epoch, hosting(true, claim(1, "v\x01"))),
		record(t, 3, epoch, hosting(false, claim(2, "v\x02"))),
		record(t, 4, epoch, hosting(true, claim(2, "v\x02"))),
		record(t, 5, epoch, hosting(false, nil)),
	} {
		if _, err := w.take(r); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{id(4), id(3), id(2), id(1), id(5)}
	for range 3 {
		entries := w.Hosts(7)
		if got := hosts(entries); !slices.Equal(got, want) {
			t.Fatalf("hosts %v, want %v", got, want)
		}
		if !entries[0].Member || !entries[1].Member || entries[2].Member {
			t.Errorf("members %v", entries)
		}
	}
	if w.read != 1 {
		t.Errorf("the committee was read %d times", w.read)
	}
	w.members, w.now = nil, w.now.Add(time.Minute)
	if got, want := hosts(w.Hosts(7))[0], id(4); got == want && w.Hosts(7)[0].Member || w.read != 2 {
		t.Errorf("%s is a member after it left, read %d times", got, w.read)
	}
}

// Each node has an order of its own among equals, which stays, so that their calls
// spread.
func TestOrderIsOwn(t *testing.T) {
	t.Parallel()
	first := map[string]int{}
	for own := range byte(40) {
		w := newWorld(t, func(c *directory.Config) { c.Own = directory.Key{own} })
		for node := byte(1); node <= 4; node++ {
			if _, err := w.take(record(t, node, epoch, func(r *directory.Record) { r.Chains = []directory.Hosting{{Chain: 7, Serving: true}} })); err != nil {
				t.Fatal(err)
			}
		}
		got := hosts(w.Hosts(7))
		if again := hosts(w.Hosts(7)); !slices.Equal(got, again) {
			t.Errorf("%v, then %v", got, again)
		}
		first[got[0]]++
	}
	for node := byte(1); node <= 4; node++ {
		if n := first[id(node)]; n < 2 || n > 25 {
			t.Errorf("%d of 40 nodes ask node %d first", n, node)
		}
	}
}

// One validator does not fill the directory with nodes, and strangers leave room for
// validators.
func TestRoomOfValidators(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range uint64(directory.MaxRecords) {
		r := directory.Record{Sequence: uint64(epoch.UnixMilli()) + i%7, Lifetime: directory.Lifetime, Chains: []directory.Hosting{{Chain: 7}}}
		binary.BigEndian.PutUint64(r.Node[:], i)
		w.Keep(r.Encode())
	}
	if n := len(w.Records()); n != directory.MaxRecords {
		t.Fatalf("%d records", n)
	}
	for node := byte(1); node <= 30; node++ {
		w.now = epoch.Add(time.Duration(node) * time.Second)
		if _, err := w.take(record(t, node, w.now, func(r *directory.Record) {
			r.Chains = []directory.Hosting{{Chain: 8}}
			claim(1, "v\x01")(r)
		})); err != nil {
			t.Fatal(err)
		}
	}
	got := w.Hosts(8)
	if len(got) != directory.MaxNodes || len(w.Records()) != directory.MaxRecords {
		t.Errorf("%d nodes of one validator, %d records", len(got), len(w.Records()))
	}
	for _, e := range got {
		if e.Validator != (ledger.PublicKey{1}) || !e.Made.After(epoch.Add((30-directory.MaxNodes)*time.Second)) {
			t.Errorf("%+v", e)
		}
	}
	stranger := record(t, 99, w.now, func(r *directory.Record) { r.Chains = []directory.Hosting{{Chain: 8}} })
	if _, err := w.take(stranger); err != nil || len(w.Hosts(8)) != directory.MaxNodes {
		t.Errorf("a stranger took the room of another: %v", err)
	}
}
