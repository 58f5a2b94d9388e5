package node

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
	"github.com/tributary-network/tributary/ledger/layer"
	"github.com/tributary-network/tributary/node/home"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
)

// giverWorld are nodes that give one state, each in its own way.
type giverWorld struct {
	manifest layer.Manifest
	chunks   [][]byte

	mu    sync.Mutex
	nodes map[string]func(index int) ([]byte, error) // index -1 asks for the manifest
	asked map[string]int
}

// newGiverWorld makes a state of several chunks; salt makes it another one.
func newGiverWorld(t *testing.T, salt byte) *giverWorld {
	t.Helper()
	l, err := layer.New(memkv.New(), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var changes chain.Changes
	for i := range uint32(3 << 10) {
		value := make([]byte, 1<<10)
		binary.BigEndian.PutUint32(value, i)
		value[5] = salt
		changes = append(changes, chain.Change{Key: binary.BigEndian.AppendUint32([]byte("k"), i), Value: value})
	}
	kept, err := layer.OpenSnapshots(t.TempDir(), 0)
	if _, bad := l.Init(changes); err != nil || bad != nil {
		t.Fatal(err, bad)
	}
	if _, err := l.Prepare(1, nil); err != nil || l.Commit(nil) != nil {
		t.Fatal(err)
	}
	s, err := l.OpenSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	w := &giverWorld{nodes: map[string]func(int) ([]byte, error){}, asked: map[string]int{}}
	if w.manifest, err = kept.Make(t.Context(), s); err != nil || len(w.manifest.Chunks) < 3 {
		t.Fatalf("%d chunks, error %v", len(w.manifest.Chunks), err)
	}
	for i := range w.manifest.Chunks {
		chunk, err := kept.Chunk(1, uint32(i))
		if err != nil {
			t.Fatal(err)
		}
		w.chunks = append(w.chunks, chunk)
	}
	return w
}

// honest gives the state as it is.
func (w *giverWorld) honest(index int) ([]byte, error) {
	if index < 0 {
		return w.manifest.Encode(), nil
	}
	return w.chunks[index], nil
}

func (w *giverWorld) call(_ context.Context, endpoint, _ string, req, resp proto.Message) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[endpoint]++
	give := w.nodes[endpoint]
	switch in := req.(type) {
	case *servicev1.DescribeShardStateRequest:
		raw, err := give(-1)
		proto.Merge(resp, &servicev1.DescribeShardStateResponse{Manifest: raw})
		return err
	case *servicev1.GetShardStateChunkRequest:
		raw, err := give(int(in.GetIndex()))
		proto.Merge(resp, &servicev1.GetShardStateChunkResponse{Chunk: raw})
		return err
	}
	return errors.New("another call")
}

// roomIn is for what is restored into a layer that is empty.
func roomIn(l *layer.Settlement) func() (*layer.Settlement, error) {
	return func() (*layer.Settlement, error) { return l, nil }
}

// TestFetchState: whoever else is asked, a state is restored if one node gives it, and the
// height is the one that is wanted.
func TestFetchState(t *testing.T) {
	t.Parallel()
	w := newGiverWorld(t, 0)
	other := newGiverWorld(t, 1)
	lying := other.manifest
	lying.State.AppHash = w.manifest.State.AppHash
	const most = 8 << 20
	huge := w.manifest
	huge.Bytes = most + 1
	huge.Chunks = append(slices.Clone(huge.Chunks), ledger.Hash{1}) // whatever it takes to say so
	const height = 1                                                // of the blocks after which the state is the same, the first
	gone := status.Error(codes.NotFound, "not here")
	busy := status.Error(codes.ResourceExhausted, "later")
	count := 0
	for name, test := range map[string]struct {
		nodes map[string]func(index int) ([]byte, error)
		fails bool
	}{
		"one":           {map[string]func(int) ([]byte, error){"a": w.honest}, false},
		"none":          {nil, true},
		"gone":          {map[string]func(int) ([]byte, error){"a": func(int) ([]byte, error) { return nil, gone }}, true},
		"empty":         {map[string]func(int) ([]byte, error){"a": func(int) ([]byte, error) { return nil, nil }}, true},
		"another state": {map[string]func(int) ([]byte, error){"a": other.honest, "b": w.honest}, false},
		"another state in disguise": {map[string]func(int) ([]byte, error){
			"a": func(i int) ([]byte, error) {
				if i < 0 {
					return lying.Encode(), nil
				}
				return other.chunks[i], nil
			},
			"b": w.honest,
		}, false},
		"a wrong chunk": {map[string]func(int) ([]byte, error){
			"a": func(i int) ([]byte, error) {
				if i == 1 {
					return []byte("rubbish"), nil
				}
				return w.honest(i)
			},
			"b": w.honest,
		}, false},
		"a wrong chunk of the only one": {map[string]func(int) ([]byte, error){
			"a": func(i int) ([]byte, error) {
				if i == 1 {
					return []byte("rubbish"), nil
				}
				return w.honest(i)
			},
		}, true},
		"one leaves in the middle": {map[string]func(int) ([]byte, error){
			"a": func(i int) ([]byte, error) {
				if i == 1 {
					return nil, gone
				}
				return w.honest(i)
			},
			"b": w.honest,
		}, false},
		"one is always busy": {map[string]func(int) ([]byte, error){
			"a": func(i int) ([]byte, error) {
				if i < 0 {
					return w.honest(i)
				}
				return nil, busy
			},
			"b": w.honest,
		}, false},
		"all who describe it so are always busy": {map[string]func(int) ([]byte, error){
			"a": func(i int) ([]byte, error) {
				if i < 0 {
					return lying.Encode(), nil
				}
				return nil, busy
			},
			"b": w.honest,
		}, false},
		"too large": {map[string]func(int) ([]byte, error){
			"a": func(i int) ([]byte, error) {
				if i < 0 {
					return huge.Encode(), nil
				}
				t.Error("a chunk is asked of who describes a state that is too large")
				return nil, busy
			},
			"b": w.honest,
		}, false},
		"more than was said": {map[string]func(int) ([]byte, error){
			"a": func(i int) ([]byte, error) {
				if i < 0 {
					return lying.Encode(), nil
				}
				return make([]byte, most+1), nil
			},
			"b": w.honest,
		}, false},
		"one that nobody can ask": {map[string]func(int) ([]byte, error){
			"a": func(i int) ([]byte, error) {
				if i < 0 {
					panic("an answer that breaks who reads it")
				}
				return w.honest(i)
			},
			"b": w.honest,
		}, false},
		"it has to be waited for": {map[string]func(int) ([]byte, error){
			"a": func(i int) ([]byte, error) {
				if count++; i < 0 && count < 3 {
					return nil, busy
				}
				return w.honest(i)
			},
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			world := &giverWorld{nodes: test.nodes, asked: map[string]int{}}
			l, err := layer.New(memkv.New(), layer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			f := &stateFetch{
				call: world.call, room: roomIn(l), log: slog.New(slog.DiscardHandler),
				want: &wantedState{stateName{2, w.manifest.State.AppHash}, height}, most: most, patience: time.Millisecond,
			}
			for _, endpoint := range slices.Sorted(maps.Keys(test.nodes)) {
				f.givers = append(f.givers, &giver{endpoint: endpoint})
			}
			err = f.run(t.Context())
			if test.fails {
				if err == nil || !l.Empty() {
					t.Errorf("error %v, empty %t", err, l.Empty())
				}
				return
			}
			if err != nil || l.AppHash() != w.manifest.State.AppHash || l.Height() != height {
				t.Errorf("root %s at height %d, error %v", l.AppHash(), l.Height(), err)
			}
			var value []byte
			_ = l.Read(func(v chain.View) error {
				value = v.Get(binary.BigEndian.AppendUint32([]byte("k"), 77))
				return nil
			})
			if len(value) != 1<<10 || value[3] != 77 {
				t.Errorf("a row of %d bytes", len(value))
			}
		})
	}
}

// TestFetchStateTooLarge: who has nothing but a state that takes more than it may is told so.
func TestFetchStateTooLarge(t *testing.T) {
	t.Parallel()
	w := newGiverWorld(t, 0)
	w.nodes["a"] = w.honest
	f := &stateFetch{
		call: w.call, log: slog.New(slog.DiscardHandler), givers: []*giver{{endpoint: "a"}}, most: w.manifest.Bytes - 1,
		want: &wantedState{stateName{2, w.manifest.State.AppHash}, 1},
	}
	if err := f.run(t.Context()); !errors.Is(err, errStateElsewhere) || !strings.Contains(err.Error(), "shards.max_data") || w.asked["a"] != 1 {
		t.Errorf("asked %v, error %v", w.asked, err)
	}
}

// TestDescriptionOfTheTrusted: what those say who served a shard goes before what more
// nodes say, and what other validators say after it.
func TestDescriptionOfTheTrusted(t *testing.T) {
	t.Parallel()
	w := newGiverWorld(t, 0)
	f := &stateFetch{call: w.call, log: slog.New(slog.DiscardHandler), want: &wantedState{stateName{2, w.manifest.State.AppHash}, 1}}
	for i, trust := range []int{2, 2, 2, 1, 1, 0} {
		m := w.manifest
		m.Bytes -= uint64(trust)
		name := string(rune('a' + i))
		w.nodes[name] = func(int) ([]byte, error) { return m.Encode(), nil }
		f.givers = append(f.givers, &giver{endpoint: name, trust: trust})
	}
	lists, err := f.describe(t.Context())
	if err != nil || len(lists) != 3 {
		t.Fatalf("%d descriptions, error %v", len(lists), err)
	}
	for trust := range lists {
		if got := w.manifest.Bytes - lists[trust].manifest.Bytes; got != uint64(trust) {
			t.Errorf("description %d is of those with trust %d", trust, got)
		}
	}
}

// TestFetchStateGivesUp: a fetch ends with its context while all that is known is busy.
func TestFetchStateGivesUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	w := &giverWorld{asked: map[string]int{}, nodes: map[string]func(int) ([]byte, error){"a": func(int) ([]byte, error) {
		cancel()
		return nil, status.Error(codes.ResourceExhausted, "later")
	}}}
	l, err := layer.New(memkv.New(), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := &stateFetch{
		call: w.call, room: roomIn(l), log: slog.New(slog.DiscardHandler), givers: []*giver{{endpoint: "a"}},
		want: &wantedState{stateName{2, ledger.Hash{1}}, 1},
	}
	if err := f.run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestPreparedByAnybody: who says that it prepares a state is waited for, briefly if it is
// nobody's, and for as long as a validator's does so too.
func TestPreparedByAnybody(t *testing.T) {
	t.Parallel()
	w := newGiverWorld(t, 0)
	for _, row := range []struct {
		name   string
		trusts []int         // of those who prepare it
		ready  time.Duration // when the first of them has; 0 is never
		waits  time.Duration
		fails  bool
	}{
		{name: "nobody's, for ever", trusts: []int{2, 2}, waits: stateDoubt, fails: true},
		{name: "nobody's, soon", trusts: []int{2}, ready: stateDoubt / 2, waits: stateDoubt / 2},
		{name: "a validator's", trusts: []int{1}, ready: 5 * stateDoubt, waits: 5 * stateDoubt},
		{name: "nobody's, while a validator's does", trusts: []int{2, 1}, ready: 5 * stateDoubt, waits: 5 * stateDoubt},
		{name: "nobody's, while who served it does", trusts: []int{2, 2, 0}, ready: 5 * stateDoubt, waits: 5 * stateDoubt},
		{name: "a validator's, for ever", trusts: []int{1, 2}, waits: statePatience, fails: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			f := &stateFetch{call: w.call, log: slog.New(slog.DiscardHandler), want: &wantedState{stateName{2, w.manifest.State.AppHash}, 1}}
			for i, trust := range row.trusts {
				name := string(rune('a' + i))
				w.nodes[name] = func(index int) ([]byte, error) {
					if i > 0 || row.ready == 0 || time.Since(began) < row.ready {
						return nil, status.Error(codes.ResourceExhausted, "later")
					}
					return w.honest(index)
				}
				f.givers = append(f.givers, &giver{endpoint: name, trust: trust})
			}
			lists, err := f.describe(t.Context())
			if row.fails && !errors.Is(err, errStateElsewhere) || !row.fails && (err != nil || len(lists) != 1) {
				t.Errorf("%s: %d descriptions, error %v", row.name, len(lists), err)
			}
			if took := time.Since(began); took < row.waits || took > row.waits+stateRest {
				t.Errorf("%s: it was waited for %v, want %v", row.name, took, row.waits)
			}
		})
	}
}

// TestStatesThatNobodyMakes: a node that makes no states does not say that it prepares one.
func TestStatesThatNobodyMakes(t *testing.T) {
	t.Parallel()
	name := stateName{2, ledger.Hash{1}}
	n := &Node{home: home.Dir(t.TempDir()), log: slog.New(slog.DiscardHandler)}
	n.shards = newShards(n)
	s := newStates(n)
	for range 2 {
		if err := s.want(name); !errors.Is(err, exec.ErrUnknown) || len(s.due) != 0 {
			t.Errorf("without shards: %d are to be made, %v", len(s.due), err)
		}
	}
	n.cfg.Shards.Enabled = true
	for range 2 {
		if err := s.want(name); !errors.Is(err, api.ErrStateInPreparation) || len(s.due) != 1 {
			t.Errorf("with shards: %d are to be made, %v", len(s.due), err)
		}
	}
	s.end(t.Context())
	if err := s.want(name); !errors.Is(err, exec.ErrUnknown) {
		t.Errorf("at the end: %v", err)
	}
}

// TestParts: a part of the store has one owner at a time.
func TestParts(t *testing.T) {
	t.Parallel()
	var p parts
	release, ok := p.take(3)
	if _, again := p.take(3); !ok || again {
		t.Errorf("taken %t, again %t", ok, again)
	}
	other, ok := p.take(4)
	if !ok {
		t.Error("another part is taken too")
	}
	release()
	release() // does nothing
	if release, ok = p.take(3); !ok {
		t.Error("it was not given back")
	}
	release()
	other()
	for name, want := range map[string]bool{"s3": true, "s03": false, "3": false, "s": false, "sx": false, "s99999999999": false} {
		if id, ok := parseShardName(name); ok != want || want && id != 3 {
			t.Errorf("%s: %d, %t", name, id, ok)
		}
	}
}
