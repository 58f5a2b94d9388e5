package comet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/p2p/conn"
)

// maxHandshakes bounds the connections whose other end has not shown its key yet.
// One more ends the oldest: who is slow gives way to who comes.
const maxHandshakes = 64

// signerSocket accepts connections of a signer: encrypted ones by one key, or, if
// key is nil, any. Whoever reaches the port may connect, so handshakes run beside
// each other.
type signerSocket struct {
	net.Listener
	key    crypto.PrivKey
	allow  p2p.ID
	logger *slog.Logger

	begin   sync.Once
	ready   chan net.Conn // capacity 1: the signer's last connection
	done    chan struct{} // closed when the listener is
	arrived chan struct{} // closed when ready got the first connection
	arrive  sync.Once

	mu       sync.Mutex
	aborted  net.Conn // what Accept returns from now on, or nil
	failed   error
	pending  []net.Conn  // handshakes, the oldest first
	accepted *signerConn // the last that was handed out, until it is closed
}

func newSignerSocket(l net.Listener, key crypto.PrivKey, allow p2p.ID, logger *slog.Logger) *signerSocket {
	return &signerSocket{
		Listener: l, key: key, allow: allow, logger: logger,
		ready: make(chan net.Conn, 1), done: make(chan struct{}), arrived: make(chan struct{}),
	}
}

// wait returns when a signer has connected for the first time.
func (l *signerSocket) wait(ctx context.Context) error {
	l.begin.Do(func() { go l.listen() })
	select {
	case <-l.arrived:
		return nil
	case <-l.done:
		return net.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// abort ends the connection, and gives whoever waits for one, now and from now on,
// one that is closed.
func (l *signerSocket) abort() {
	dead, other := net.Pipe()
	_ = errors.Join(dead.Close(), other.Close()) // closing a pipe does not fail
	l.mu.Lock()
	l.aborted = dead
	if l.accepted != nil {
		_ = l.accepted.Conn.Close()
		l.accepted = nil
	}
	l.mu.Unlock()
	l.offer(dead)
}

// Accept implements net.Listener.
func (l *signerSocket) Accept() (net.Conn, error) {
	l.begin.Do(func() { go l.listen() })
	select {
	case c := <-l.ready:
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.aborted != nil {
			_ = c.Close()
			select {
			case l.ready <- l.aborted: // for the next
			default:
			}
			return l.aborted, nil
		}
		l.accepted = &signerConn{deadlineConn: deadlineConn{Conn: c, limit: signerSilence}, socket: l}
		return l.accepted, nil
	case <-l.done:
		l.mu.Lock()
		defer l.mu.Unlock()
		return nil, l.failed
	}
}

// connected reports whether there is a connection to the signer.
func (l *signerLink) connected() bool {
	l.socket.mu.Lock()
	defer l.socket.mu.Unlock()
	return l.socket.accepted != nil
}

// listen takes connections until the listener is closed.
func (l *signerSocket) listen() {
	for {
		raw, err := l.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			l.end(err)
			return
		}
		if err != nil { // out of files, say
			l.logger.Warn("accept a signer's connection", slog.Any("err", err))
			<-time.After(redialFirst)
			continue
		}
		if l.key == nil {
			l.offer(raw)
			continue
		}
		l.mu.Lock()
		if len(l.pending) == maxHandshakes {
			_ = l.pending[0].Close() // its handshake fails and says so
			l.pending = l.pending[1:]
		}
		l.pending = append(l.pending, raw)
		l.mu.Unlock()
		go l.handshake(raw)
	}
}

func (l *signerSocket) handshake(raw net.Conn) {
	secret, err := pinned(raw, l.key, l.allow)
	l.forget(raw)
	if err != nil {
		l.logger.Warn("connection of a signer refused", slog.String("from", raw.RemoteAddr().String()), slog.Any("err", err))
		_ = raw.Close()
		return
	}
	l.offer(secret)
}

func (l *signerSocket) forget(raw net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, c := range l.pending {
		if c == raw {
			l.pending = append(l.pending[:i:i], l.pending[i+1:]...)
			return
		}
	}
}

// offer makes c the connection that Accept returns next, instead of an older one.
func (l *signerSocket) offer(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		_ = c.Close()
		return
	}
	select {
	case old := <-l.ready:
		_ = old.Close()
	default:
	}
	l.ready <- c
	l.arrive.Do(func() { close(l.arrived) })
}

// end closes what nobody took.
func (l *signerSocket) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
	for _, c := range l.pending {
		_ = c.Close()
	}
	select {
	case c := <-l.ready:
		_ = c.Close()
	default:
	}
	close(l.done)
}

// signerConn is a connection that was handed out.
type signerConn struct {
	deadlineConn
	socket *signerSocket
}

// Close implements net.Conn.
func (c *signerConn) Close() error {
	c.socket.mu.Lock()
	if c.socket.accepted == c {
		c.socket.accepted = nil
	}
	c.socket.mu.Unlock()
	return c.deadlineConn.Close()
}

// pinned makes an encrypted connection to the holder of want's key.
func pinned(raw net.Conn, own crypto.PrivKey, want p2p.ID) (net.Conn, error) {
	if err := raw.SetDeadline(time.Now().Add(signerSilence)); err != nil {
		return nil, err
	}
	secret, err := conn.MakeSecretConnection(raw, own)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	if got := p2p.PubKeyToID(secret.RemotePubKey()); got != want {
		return nil, fmt.Errorf("its connection key is %s, want %s", got, want)
	}
	return secret, raw.SetDeadline(time.Time{})
}

// deadlineConn gives every read and write a limit of its own.
type deadlineConn struct {
	net.Conn
	limit time.Duration
}

func (c *deadlineConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c *deadlineConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
