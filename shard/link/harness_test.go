package link_test

import (
	"bytes"
	"errors"
	"iter"
	"slices"
	"sort"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard/link"
)

// memory is a state in memory.
type memory struct {
	keys []string // ascending
	rows map[string][]byte
}

func newMemory() *memory { return &memory{rows: map[string][]byte{}} }

func (m *memory) Get(key []byte) []byte { return m.rows[string(key)] }

func (m *memory) Range(prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		for _, k := range m.keys[sort.SearchStrings(m.keys, string(prefix)):] {
			if !bytes.HasPrefix([]byte(k), prefix) || !yield([]byte(k), m.rows[k]) {
				return
			}
		}
	}
}

func (m *memory) apply(changes chain.Changes) {
	for _, c := range changes {
		at, found := slices.BinarySearch(m.keys, string(c.Key))
		switch {
		case c.Value != nil:
			if m.rows[string(c.Key)] = bytes.Clone(c.Value); !found {
				m.keys = slices.Insert(m.keys, at, string(c.Key))
			}
		case found:
			delete(m.rows, string(c.Key))
			m.keys = slices.Delete(m.keys, at, at+1)
		}
	}
}

// anchored is what a test says is anchored.
type anchored map[[2]uint64]*posted

type posted struct {
	link.Anchored
	places []link.Place
}

func (a anchored) Anchored(shard ledger.ChainID, height uint64) (link.Anchored, bool) {
	p, ok := a[[2]uint64{uint64(shard), height}]
	if !ok {
		return link.Anchored{}, false
	}
	return p.Anchored, true
}

func (a anchored) Owned(shard ledger.ChainID, height uint64, p link.Place) bool {
	post, ok := a[[2]uint64{uint64(shard), height}]
	return ok && slices.Contains(post.places, p)
}

// handler records what it is told to do, and refuses payloads that begin with "no".
type handler struct {
	executed, returned []link.Message
	answered           []link.Message // what was sent and returned
}

func (h *handler) Execute(c *link.Context, m *link.Message) error {
	c.State.Set([]byte{'!'}, m.Payload) // undone if refused
	if bytes.HasPrefix(m.Payload, []byte("no")) {
		return chain.Refuse(chain.CodeInsufficientBalance, "payload %q", m.Payload)
	}
	h.executed = append(h.executed, *m)
	return nil
}

func (h *handler) Return(_ *link.Context, m, sent *link.Message) {
	h.returned, h.answered = append(h.returned, *m), append(h.answered, *sent)
}

// node is a chain with its places.
type node struct {
	id     ledger.ChainID
	places []link.Place
	state  *memory
	height uint64
	boxes  map[uint64]*link.Outbox
	handler
}

func newNode(id ledger.ChainID, places ...link.Place) *node {
	return &node{id: id, places: places, state: newMemory(), boxes: map[uint64]*link.Outbox{}}
}

func (n *node) context() *link.Context {
	return &link.Context{
		State: chain.NewOverlay(n.state), Height: n.height + 1, Clock: n.height + 1,
		Here: func(p link.Place) bool { return slices.Contains(n.places, p) },
	}
}

// block does what do says as a block, which is anchored at once.
func (n *node) block(tb testing.TB, known anchored, do func(c *link.Context)) *link.Outbox {
	tb.Helper()
	c := n.context()
	do(c)
	changes := c.State.Changes()
	box, err := link.NewOutbox(changes)
	if err != nil {
		tb.Fatal(err)
	}
	n.state.apply(changes)
	n.height++
	n.boxes[n.height] = box
	known[[2]uint64{uint64(n.id), n.height}] = &posted{
		Anchored: link.Anchored{Outbox: box.Root(), Clock: n.height, Newest: n.height}, places: n.places,
	}
	return box
}

// carry returns an import of everything that n's last block has for p.
func (n *node) carry(tb testing.TB, p link.Place) *link.Import {
	tb.Helper()
	begin, end := n.boxes[n.height].Span(p, p)
	in, err := n.boxes[n.height].Import(n.id, n.height, begin, end)
	if err != nil {
		tb.Fatal(err)
	}
	return &in
}

func send(tb testing.TB, c *link.Context, l link.Link, payload string) link.Message {
	tb.Helper()
	m, err := c.Send(draft(l, payload))
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func draft(l link.Link, payload string) link.Draft {
	return link.Draft{
		Link: l, Kind: 7, OriginTx: ledger.HashOf("tx", []byte(payload)),
		Sender: ledger.Address{1, 2}, Recipient: ledger.Address{3, 4}, Payload: []byte(payload),
	}
}

func wantCode(tb testing.TB, what string, err error, want chain.Code) {
	tb.Helper()
	if want == chain.CodeOK && err != nil || want != chain.CodeOK && !errors.Is(err, want.Err()) {
		tb.Errorf("%s: %v, want %s", what, err, want)
	}
}

var (
	here  = link.Place{Service: 1, Zone: 2, Bucket: 3}
	there = link.Place{Service: 1, Zone: 2, Bucket: 200}
	main  = link.Place{}
	forth = link.Link{Src: here, Dst: there}
)
