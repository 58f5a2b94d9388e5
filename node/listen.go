package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
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

// Listener is an address that the node listens on.
type Listener struct {
	Purpose  string // p2p, grpc or http
	Address  string // host:port
	Exposure Exposure
}

// exposure classifies an address for clients.
func exposure(c config.Config, address string) Exposure {
	switch {
	case config.Loopback(address):
		return ExposureLoopback
	case c.TLS.ClientCAFile != "":
		return ExposureMutual
	default:
		return ExposureTLS
	}
}

// Listeners lists the addresses that the node listens on while it runs.
func (n *Node) Listeners() []Listener {
	peers := Listener{Purpose: "p2p", Address: n.chain.ListenAddr(), Exposure: ExposurePeers}
	if config.Loopback(peers.Address) {
		peers.Exposure = ExposureLoopback
	}
	list := []Listener{peers}
	if n.grpc != nil {
		address := n.grpc.Addr().String()
		list = append(list, Listener{Purpose: "grpc", Address: address, Exposure: exposure(n.cfg, address)})
	}
	if n.http != nil {
		address := n.http.Addr().String()
		list = append(list, Listener{Purpose: "http", Address: address, Exposure: exposure(n.cfg, address)})
	}
	return list
}

// announce logs one line for each listener.
func (n *Node) announce(ctx context.Context) {
	for _, l := range n.Listeners() {
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
	if secure == nil && !config.Loopback(address) {
		return nil, fmt.Errorf("listen on %s for gRPC: %w", address, api.ErrPlaintext)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for gRPC: %w; change grpc.listen if another program has the port", err)
	}
	return l, nil
}
