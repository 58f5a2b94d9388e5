package comet_test

import (
	"net"
	"sync"
	"testing"
)

// freezer forwards connections to a node and can stop forwarding without
// closing anything, as if the node's process were stopped by a signal.
type freezer struct {
	target string
	addr   string

	wg     sync.WaitGroup
	mu     sync.Mutex
	thaw   *sync.Cond
	frozen bool
	closed bool
	conns  []net.Conn
}

func newFreezer(t *testing.T, target string) *freezer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &freezer{target: target, addr: l.Addr().String()}
	f.thaw = sync.NewCond(&f.mu)
	f.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.forward(c)
		}
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		f.close()
		f.wg.Wait()
	})
	return f
}

func (f *freezer) forward(in net.Conn) {
	out, err := net.Dial("tcp", f.target)
	if err != nil {
		_ = in.Close()
		return
	}
	f.mu.Lock()
	f.conns = append(f.conns, in, out)
	f.mu.Unlock()
	f.wg.Go(func() { f.copy(in, out) })
	f.wg.Go(func() { f.copy(out, in) })
}

func (f *freezer) copy(to, from net.Conn) {
	defer func() { _ = to.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		f.mu.Lock()
		for f.frozen && !f.closed {
			f.thaw.Wait()
		}
		f.mu.Unlock()
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			_ = from.Close()
			return
		}
	}
}

func (f *freezer) freeze(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen = on
	f.thaw.Broadcast()
}

func (f *freezer) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.thaw.Broadcast()
	for _, c := range f.conns {
		_ = c.Close()
	}
}
