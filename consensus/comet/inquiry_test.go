package comet_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/tributary-network/tributary/consensus/comet"
)

// oracle is an Answerer that says what it is asked, and remembers answers.
type oracle struct {
	mu       sync.Mutex
	asked    int
	answered [][]byte
}

var errLie = errors.New("a lie")

func (o *oracle) Answer(question []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked++
	switch {
	case bytes.Equal(question, []byte("panic")):
		panic("a question that the application did not expect")
	case bytes.Equal(question, []byte("much")):
		return make([]byte, comet.MaxAnswer+1)
	case bytes.Equal(question, []byte("nothing")):
		return nil
	}
	return append([]byte("re: "), question...)
}

func (o *oracle) Answered(answer []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case bytes.Equal(answer, []byte("lie")):
		return errLie
	case bytes.Equal(answer, []byte("panic")):
		panic("an answer that the application did not expect")
	}
	o.answered = append(o.answered, bytes.Clone(answer))
	return nil
}

func (o *oracle) heard() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.answered)
}

// What a peer asks and says is looked at within bounds, and whoever says what is wrong is
// neither asked nor heard for a while.
func TestQuestionsOfAPeerAreBounded(t *testing.T) {
	t.Parallel()
	now := noteTime
	app := &oracle{}
	i := comet.NewInquiry(app, func() time.Time { return now })
	for _, row := range []struct {
		name   string
		kind   byte
		body   []byte
		looked bool
		want   string
	}{
		{"a question", 'q', []byte("x"), true, "re: x"},
		{"one without an answer", 'q', []byte("nothing"), true, ""},
		{"one that is answered too long", 'q', []byte("much"), true, ""},
		{"one that fails", 'q', []byte("panic"), true, ""},
		{"one that is too long", 'q', make([]byte, comet.MaxQuestion+1), false, ""},
		{"no kind of message", 'x', []byte("x"), false, ""},
		{"an answer to nothing", 'a', []byte("x"), false, ""},
	} {
		if answer, looked := i.Heard(row.kind, row.body); looked != row.looked || string(answer) != row.want {
			t.Errorf("%s: answered %q, looked at: %t", row.name, answer, looked)
		}
	}
	if i.HeardNothing() {
		t.Error("an empty message is looked at")
	}

	flood := func() (n int) {
		for range 10 * comet.AskCredit {
			if _, looked := i.Heard('q', []byte("x")); looked {
				n++
			}
		}
		return n
	}
	now = now.Add(time.Hour)
	if n := flood(); n != comet.AskCredit {
		t.Errorf("%d questions were looked at, want %d", n, comet.AskCredit)
	}
	now = now.Add(time.Second)
	if n := flood(); n < 1 || n > 10 {
		t.Errorf("%d questions were looked at within a second", n)
	}

	// As many answers as questions, and not too many.
	answers := func(body string) (n int) {
		for range 10 * comet.AskOpen {
			if _, looked := i.Heard('a', []byte(body)); looked {
				n++
			}
		}
		return n
	}
	for range 3 {
		i.Ask()
	}
	if n := answers("x"); n != 3 || app.heard() != 3 {
		t.Errorf("%d answers to three questions were looked at", n)
	}
	for range 10 * comet.AskOpen {
		i.Ask()
	}
	if _, looked := i.Heard('a', make([]byte, comet.MaxAnswer+1)); looked {
		t.Error("an answer that is too long is looked at")
	}
	if n := answers("x"); n != comet.AskOpen {
		t.Errorf("%d answers were looked at, want %d", n, comet.AskOpen)
	}
	for _, wrong := range []string{"lie", "panic"} {
		i.Ask()
		i.Ask()
		if n := answers(wrong); n != 1 {
			t.Errorf("%d wrong answers were looked at", n)
		}
		now = now.Add(comet.AskShun - time.Second)
		if i.Ask() {
			t.Error("who answered wrongly is asked again at once")
		}
		now = now.Add(time.Second)
	}
	if !i.Ask() || answers("x") != 1 {
		t.Error("who answered wrongly is not heard after a while")
	}
}

// asked is a testApp that nodes ask each other about.
type askedApp struct {
	comet.Application
	*oracle
}

// Nodes ask their peers, which answer; others have no such channel, and stay connected.
func TestNodesAskEachOther(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "ask", 4)
	oracles := make([]*oracle, 4)
	n.wrap = func(i int, app comet.Application) comet.Application {
		if i == 3 {
			return app // of an older node
		}
		oracles[i] = &oracle{}
		return askedApp{app, oracles[i]}
	}
	if err := func() error { n.startAll(t); return n.members[0].chain.Ask([]byte("who")) }(); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		n.waitReady(t, i)
	}
	eventually(t, hangs, "two answers", func() bool {
		_ = n.members[0].chain.Ask([]byte("who"))
		return oracles[0].heard() >= 2
	})
	for _, bad := range [][]byte{nil, make([]byte, comet.MaxQuestion+1)} {
		if err := n.members[0].chain.Ask(bad); err == nil {
			t.Errorf("asked a question of %d bytes", len(bad))
		}
	}
	if err := n.members[3].chain.Ask([]byte("who")); !errors.Is(err, comet.ErrNotRunning) {
		t.Errorf("a node whose application does not answer asks: %v", err)
	}
	for _, word := range [][]byte{nil, []byte("x"), []byte("qpanic"), []byte("alie"), bytes.Repeat([]byte("q"), comet.MaxAnswer)} {
		comet.SendWord(n.members[1].chain, word)
	}
	n.settle(t, 0, 0, 0, 1, 2, 3) // the network is well
	hash, round, err := n.members[0].chain.CommitRound(1)
	info, errBlock := n.members[0].chain.Block(1)
	if err != nil || errBlock != nil || !bytes.Equal(hash, info.Hash) || round > 100 {
		t.Errorf("block 1, %x, was decided in round %d: %x, %v, %v", info.Hash, round, hash, err, errBlock)
	}
	if _, _, err := n.members[0].chain.CommitRound(1 << 40); !errors.Is(err, comet.ErrNotFound) {
		t.Errorf("the round of no block: %v", err)
	}
}
