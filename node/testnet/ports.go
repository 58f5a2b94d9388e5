package testnet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
)

// Free ports are taken from below the range that operating systems hand out for
// outgoing connections, so that a node that is restarted finds its own free. Between
// the look and the moment a node listens another network may take the port. So a
// process goes through the ports of one of several lots, each once before any again,
// and processes that run beside it begin in other lots, or elsewhere in its own.
const (
	freeLow  = 20_000
	freeHigh = 32_000
	freeLots = 16
	freeLot  = (freeHigh - freeLow) / freeLots
)

// lastPort counts the ports that this process has looked at, from firstPort on.
var (
	firstPort = rand.IntN(freeLot) //nolint:gochecknoglobals // ports are the process's
	lastPort  atomic.Uint32        //nolint:gochecknoglobals // likewise
)

// nextPort returns the next port of this process to look at.
func nextPort() int {
	n := firstPort + int(lastPort.Add(1))
	lot := (os.Getpid() + n/freeLot) % freeLots // the next one after all of its own
	return freeLow + lot*freeLot + n%freeLot
}

// addresses are the host:port a node listens on.
type addresses struct {
	P2P  string
	GRPC string
	HTTP string
}

func (a addresses) list() []string { return []string{a.P2P, a.GRPC, a.HTTP} }

// fixedAddresses counts from base, as DefaultBasePort says.
func fixedAddresses(host string, base, i int) addresses {
	at := func(offset int) string { return net.JoinHostPort(host, strconv.Itoa(base+portStep*i+offset)) }
	return addresses{P2P: at(0), GRPC: at(1), HTTP: at(2)}
}

// freeAddresses picks ports of 127.0.0.1 that no one listens on, n times three.
func freeAddresses(ctx context.Context, n int) ([]addresses, error) {
	var ports []string
	for range freeHigh - freeLow {
		if len(ports) == 3*n {
			break
		}
		if address := net.JoinHostPort("127.0.0.1", strconv.Itoa(nextPort())); probe(ctx, address) == nil {
			ports = append(ports, address)
		}
	}
	if len(ports) < 3*n {
		return nil, fmt.Errorf("find %d free ports between %d and %d: only %d", 3*n, freeLow, freeHigh, len(ports))
	}
	list := make([]addresses, n)
	for i := range list {
		list[i] = addresses{P2P: ports[3*i], GRPC: ports[3*i+1], HTTP: ports[3*i+2]}
	}
	return list, nil
}

// checkFree reports which address another program listens on. remedy is what else
// to do than to stop that program.
func checkFree(ctx context.Context, list []addresses, remedy string) error {
	for _, a := range list {
		for _, address := range a.list() {
			if err := probe(ctx, address); errors.Is(err, syscall.EADDRINUSE) {
				return fmt.Errorf("%w: %s; stop that program ('tributary testnet down' if it is a test network) or %s", ErrPortTaken, address, remedy)
			} else if err != nil {
				return fmt.Errorf("probe %s: %w", address, err)
			}
		}
	}
	return nil
}

// ErrPortTaken says that another program listens on an address of the network.
var ErrPortTaken = errors.New("a port is taken")

// probe listens on address for a moment.
func probe(ctx context.Context, address string) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return l.Close()
}
