package api

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"google.golang.org/grpc/peer"
)

// limitListener accepts connections within a quota. It closes further ones at
// once, so that whoever opens thousands holds no file descriptors here.
type limitListener struct {
	net.Listener
	conns   *quota
	refused func()
}

// Accept returns the next connection within the quota.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		who := netip.AddrPortFrom(addrIP(conn.RemoteAddr()), 0)
		if l.conns.enter(who, l.conns.total) {
			return &limitedConn{Conn: conn, leave: func() { l.conns.leave(who) }}, nil
		}
		l.refused()
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
	if ip.Is4() || ip.IsLoopback() {
		return ip
	}
	network, err := ip.Prefix(64)
	if err != nil {
		return ip
	}
	return network.Addr()
}

// callerIP returns the address by which the caller of ctx is known.
func callerIP(ctx context.Context) netip.Addr {
	if p, ok := peer.FromContext(ctx); ok {
		return addrIP(p.Addr)
	}
	return netip.Addr{}
}
