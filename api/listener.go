package api

import (
	"net"
	"net/netip"
	"sync"
)

// connLimit lets at most total connections be open, and at most perIP from one
// address. It is safe for concurrent use.
type connLimit struct {
	total   int
	perIP   int
	refused func()

	mu   sync.Mutex
	open int
	byIP map[netip.Addr]int
}

func newConnLimit(total, perIP int, refused func()) *connLimit {
	return &connLimit{total: total, perIP: perIP, refused: refused, byIP: make(map[netip.Addr]int)}
}

// count returns how many connections are open.
func (l *connLimit) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

func (l *connLimit) enter(ip netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.total || l.byIP[ip] >= l.perIP {
		return false
	}
	l.open++
	l.byIP[ip]++
	return true
}

func (l *connLimit) leave(ip netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.byIP[ip]--; l.byIP[ip] == 0 {
		delete(l.byIP, ip)
	}
}

// limitListener accepts connections within a limit. It closes further ones at
// once, so that whoever opens thousands holds no file descriptors here.
type limitListener struct {
	net.Listener
	limit *connLimit
}

// Accept returns the next connection within the limit.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		ip := addrIP(conn.RemoteAddr())
		if l.limit.enter(ip) {
			return &limitedConn{Conn: conn, leave: func() { l.limit.leave(ip) }}, nil
		}
		l.limit.refused()
		_ = conn.Close() // it was never used
	}
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	once  sync.Once
	leave func()
}

// Close closes the connection and gives its place back.
func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.leave)
	return err
}

// addrIP returns the address by which a caller is known: its IPv4 address, or
// the /64 network of its IPv6 address. Everything that has none, such as a unix
// socket, counts as one caller.
func addrIP(a net.Addr) netip.Addr {
	if a == nil {
		return netip.Addr{}
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	ip := ap.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return ip
	}
	network, err := ip.Prefix(64)
	if err != nil {
		return ip
	}
	return network.Addr()
}
