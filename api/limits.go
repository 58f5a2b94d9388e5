package api

import (
	"cmp"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
)

const (
	// MaxRequestBytes is the size of the largest message that the server takes: as
	// much as the largest legal request may need, a batch of chain.MaxTxSize that
	// comes as fields. A message that is announced and never comes wholly may hold
	// as much, so it is no setting.
	MaxRequestBytes = chain.MaxTxSize + channel.MaxEntries*entrySlack + requestSlack
	// entrySlack is the most that an entry takes more as fields than in the binary
	// encoding: a hash lane, whose twelve fields have tags and lengths, and numbers
	// that may be longer.
	entrySlack = 28
	// requestSlack is room for the same of the rest of a request, and for what is
	// in no transaction: the request id, how to wait, the item's number.
	requestSlack = 1 << 10
)

// Limits bound what clients can make the server do. The zero value of a field
// means its default; the defaults suit a node on the open network.
type Limits struct {
	MaxSendBytes   int    // of one message; default 8 MiB
	MaxHeaderBytes uint32 // of a call's headers; default 16 KiB
	StreamsPerConn uint32 // calls under way on one connection; default 128
	Conns          int    // default 1,024
	ConnsPerIP     int    // default 64
	// RequestsPerSecond and Burst are the token bucket of one IP address, in
	// calls; defaults 1,000 and 2,000. Health checks are free. What is much work
	// counts as several calls: the entries and bytes of submissions, whether
	// unary or on a stream, refused signatures, rows that a list looks through,
	// old blocks that a watch reads; of a booking that another node takes, also what
	// that charges.
	RequestsPerSecond float64
	Burst             int
	// InFlight bounds unary calls under way on the whole server; default 512.
	// Estimates and lists are refused at half of it, opens at three quarters.
	InFlight int
	// SettlementStreams and Watches bound streams on the whole server; defaults
	// 64 and 1,024.
	SettlementStreams int
	Watches           int
	// SharePercent is how much of InFlight, SettlementStreams, Watches,
	// StreamClients and RequestIDs one IP address may use; default 25. On a
	// local network, where all callers are programs on this machine, it is one
	// connection that may use so much of the first three.
	SharePercent int
	// MaxDeadline is the longest a unary call may take; default 30 s.
	MaxDeadline time.Duration

	// Keepalive pings after Ping without traffic and drops a connection that
	// does not answer within PingTimeout; clients may ping every PingMin.
	// Defaults 60 s, 20 s, 10 s.
	Ping        time.Duration
	PingTimeout time.Duration
	PingMin     time.Duration
	// Idle, Age and AgeGrace end connections: without calls for Idle; older
	// than Age, when calls have AgeGrace to end. Defaults 5 min, 30 min, 30 s.
	// Long streams break then, and resume.
	Idle     time.Duration
	Age      time.Duration
	AgeGrace time.Duration
	// Handshake is how long a new connection may take to begin; default 10 s.
	Handshake time.Duration

	// WindowEntries and WindowBytes are the credit of one settlement stream;
	// defaults 20,000 entries (200 ms of checking) and 2 MiB.
	WindowEntries uint32
	WindowBytes   uint64
	// StreamUpdates bounds the updates that a client of StreamSettlements has
	// not acknowledged, those still to come of its open items included; default
	// 20,000.
	StreamUpdates int
	// StreamMemory bounds the memory in bytes of all clients' updates; default
	// 64 MiB, at least 16 KiB for each of SettlementStreams. Half of it is
	// divided evenly among the streams; what lies in the other half belongs to
	// nobody, and nobody gets more than an eighth of the whole.
	StreamMemory int64
	// StreamClients is how many clients are remembered; default 1,024.
	StreamClients int
	// RequestIDs is how many request ids are remembered; default 200,000.
	RequestIDs int
}

// withDefaults fills in the defaults.
func (l Limits) withDefaults() Limits {
	l.MaxSendBytes = cmp.Or(l.MaxSendBytes, 8<<20)
	l.MaxHeaderBytes = cmp.Or(l.MaxHeaderBytes, 16<<10)
	l.StreamsPerConn = cmp.Or(l.StreamsPerConn, 128)
	l.Conns = cmp.Or(l.Conns, 1024)
	l.ConnsPerIP = cmp.Or(l.ConnsPerIP, 64)
	l.RequestsPerSecond = cmp.Or(l.RequestsPerSecond, 1000)
	l.Burst = cmp.Or(l.Burst, 2000)
	l.InFlight = cmp.Or(l.InFlight, 512)
	l.SettlementStreams = cmp.Or(l.SettlementStreams, 64)
	l.Watches = cmp.Or(l.Watches, 1024)
	l.SharePercent = cmp.Or(l.SharePercent, 25)
	l.MaxDeadline = cmp.Or(l.MaxDeadline, 30*time.Second)
	l.Ping = cmp.Or(l.Ping, 60*time.Second)
	l.PingTimeout = cmp.Or(l.PingTimeout, 20*time.Second)
	l.PingMin = cmp.Or(l.PingMin, 10*time.Second)
	l.Idle = cmp.Or(l.Idle, 5*time.Minute)
	l.Age = cmp.Or(l.Age, 30*time.Minute)
	l.AgeGrace = cmp.Or(l.AgeGrace, 30*time.Second)
	l.Handshake = cmp.Or(l.Handshake, 10*time.Second)
	l.WindowEntries = cmp.Or(l.WindowEntries, 20_000)
	l.WindowBytes = cmp.Or(l.WindowBytes, 2<<20)
	l.StreamUpdates = max(cmp.Or(l.StreamUpdates, 20_000), updatesPerItem)
	l.StreamMemory = max(cmp.Or(l.StreamMemory, 64<<20), minStreamMemory*int64(l.SettlementStreams))
	l.StreamClients = cmp.Or(l.StreamClients, 1024)
	l.RequestIDs = cmp.Or(l.RequestIDs, DefaultRequestIDs)
	return l
}
