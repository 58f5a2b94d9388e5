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

	now   time.Time
	asked int
}

// newWorld knows validators 1 and 2, whose proofs are their number behind the message.
func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{now: epoch}
	d, err := directory.New(directory.Config{
		Network: network, Now: func() time.Time { return w.now },
		Attested: func(key, msg, proof []byte) (known, ok bool) {
			w.asked++
			if key[0] > 2 || len(msg) == 0 {
				return false, false
			}
			return true, string(proof) == string(append([]byte{'v'}, key[0]))
		},
	})
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
	others := []string{id(1), id(5)}
	slices.Sort(others)
	if got, want := hosts(w.Hosts(7)), append([]string{id(3), id(2)}, others...); !slices.Equal(got, want) {
		t.Errorf("hosts %v, want %v", got, want)
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
