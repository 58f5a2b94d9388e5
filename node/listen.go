package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/home"
)

// Exposure says who can reach a listener.
type Exposure string

// The classes of exposure, from least to most.
const (
	ExposureLoopback Exposure = "loopback"          // this machine
	ExposureTLS      Exposure = "network, TLS"      // who reaches the address; encrypted
	ExposureMutual   Exposure = "network, TLS auth" // who shows a certificate of the client authority
	ExposurePeers    Exposure = "network, peers"    // authenticated and encrypted connections of nodes
)

// Purposes of listeners.
const (
	purposeP2P  = "p2p"
	purposeGRPC = "grpc"
	purposeHTTP = "http"
)

// Listener is an address that the node listens on.
type Listener struct {
	Purpose  string // p2p, grpc or http
	Address  string // host:port
	Exposure Exposure
}

// exposure classifies an address for clients.
func exposure(c config.Config, address string) Exposure {
	switch {
	case api.Loopback(address):
		return ExposureLoopback
	case c.TLS.ClientCAFile != "":
		return ExposureMutual
	default:
		return ExposureTLS
	}
}

// Listeners lists the addresses that the node listens on while it runs.
func (n *Node) Listeners() []Listener {
	peers := Listener{Purpose: purposeP2P, Address: n.main.chain.ListenAddr(), Exposure: ExposurePeers}
	if api.Loopback(peers.Address) {
		peers.Exposure = ExposureLoopback
	}
	list := []Listener{peers}
	if n.grpc != nil {
		address := n.grpc.Addr().String()
		list = append(list, Listener{Purpose: purposeGRPC, Address: address, Exposure: exposure(n.cfg, address)})
	}
	if n.http != nil {
		address := n.http.Addr().String()
		list = append(list, Listener{Purpose: purposeHTTP, Address: address, Exposure: exposure(n.cfg, address)})
	}
	return list
}

// announce logs one line for each listener for the given purposes.
func (n *Node) announce(ctx context.Context, purposes ...string) {
	for _, l := range n.Listeners() {
		if !slices.Contains(purposes, l.Purpose) {
			continue
		}
		n.log.LogAttrs(ctx, slog.LevelInfo, "listening", slog.String("for", l.Purpose),
			slog.String("address", l.Address), slog.String("exposure", string(l.Exposure)))
	}
}

// loadTLS loads the node's certificate, if it has one.
func loadTLS(c config.Config) (*tls.Config, error) {
	if c.TLS.CertFile == "" {
		return nil, nil //nolint:nilnil // no certificate, no error
	}
	if _, err := home.ReadPrivate(c.Path(c.TLS.KeyFile)); err != nil {
		return nil, fmt.Errorf("tls.key_file: %w", err)
	}
	return api.LoadTLS(api.TLSFiles{
		Cert: c.Path(c.TLS.CertFile), Key: c.Path(c.TLS.KeyFile), ClientCA: c.Path(c.TLS.ClientCAFile),
	}, time.Now)
}

// listen opens the address of the API. It refuses plaintext off loopback.
func listen(ctx context.Context, address string, secure *tls.Config) (net.Listener, error) {
	if secure == nil && !api.Loopback(address) {
		return nil, fmt.Errorf("listen on %s for gRPC: %w", address, api.ErrPlaintext)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, cannotListen("grpc.listen", address, err)
	}
	return l, nil
}

// probePeers reports whether the address for peers can be listened on. CometBFT
// would tell only after the stores are open and the rest of the node runs.
func probePeers(ctx context.Context, address string) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return cannotListen("p2p.listen", address, err)
	}
	return l.Close()
}

// cannotListen names the setting, the address and the remedy.
func cannotListen(setting, address string, err error) error {
	remedy := "set " + setting + " to an address of this machine"
	if errors.Is(err, syscall.EADDRINUSE) {
		remedy = "stop the program that has the port, or change " + setting
	}
	return fmt.Errorf("%s: cannot listen on %s: %w; %s", setting, address, err, remedy)
}
