package testnet

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
)

// Ports of a node in its container.
const (
	containerP2P  = 26656
	containerGRPC = 9090
	containerHTTP = 8080

	containerShards = 26700 // and on, for peers within the network of the containers
)

// Files makes the directory of a network whose nodes run in containers that
// reach each other as validator1, validator2 and so on, full nodes as fullnode1 and
// so on. Clients on this machine
// reach them at the ports that o.BasePort says, which the containers must
// publish on 127.0.0.1. As the nodes do not listen on loopback, they use TLS,
// with certificates of an authority made for this network. A directory that holds
// a network already is left as it is.
func Files(o Options) (*Layout, error) {
	o = o.withDefaults()
	if o.BasePort == 0 {
		o.BasePort = DefaultBasePort
	}
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("make files of a test network: %w", err)
	}
	if l, err := Open(o.Dir); !errors.Is(err, fs.ErrNotExist) {
		return l, err
	}
	var sites []site
	for i := range o.nodes() {
		at := func(port int) string { return net.JoinHostPort("0.0.0.0", strconv.Itoa(port)) }
		sites = append(sites, site{
			listen:    addresses{P2P: at(containerP2P), GRPC: at(containerGRPC), HTTP: at(containerHTTP)},
			endpoint:  net.JoinHostPort(o.nodeName(i), strconv.Itoa(containerP2P)),
			published: fixedAddresses("127.0.0.1", o.BasePort, i),
			shards:    containerShards,
		})
	}
	l, err := create(o, sites, true)
	if err != nil {
		return nil, err
	}
	return l, WriteKeys(l.Keys(), l.Operators()...)
}
