package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/home"
	"github.com/tributary-network/tributary/node/testnet"
)

const (
	defaultNode = "127.0.0.1:9090"
	// probeTimeout bounds how long it may take to find out that a node speaks
	// TLS.
	probeTimeout = 2 * time.Second
)

// target is the node that a command talks to.
type target struct {
	address string
	ca      string           // file of the authority that signed its certificate; "" for the system's
	pin     string           // file of the node's very own certificate; "" unless it is the home directory's
	network *testnet.Running // nil unless it is of a network on this machine
}

// target finds the node: --node, TRIBUTARY_NODE, the running test network, the
// node of the home directory, and at last the default address.
func (c *cli) target() (target, error) {
	t := target{address: c.node, ca: c.ca}
	flag := "--node"
	if t.address == "" {
		t.address, flag = c.getenv("TRIBUTARY_NODE"), "TRIBUTARY_NODE"
	}
	if t.address != "" {
		if err := checkAddress(flag, t.address); err != nil {
			return t, err
		}
	}
	if t.ca == "" {
		t.ca = c.getenv("TRIBUTARY_CA")
	}
	dir := c.network
	if dir == "" {
		var err error
		if dir, err = c.defaultTestnetDir(); err != nil {
			return t, err
		}
	}
	switch r, err := testnet.Find(dir); {
	case err == nil && (t.address == "" || ofNetwork(r, t.address)):
		t.network = &r
		if t.address == "" {
			t.address = r.Nodes[0].GRPC
		}
		if t.ca == "" {
			t.ca = r.CA
		}
	case err != nil && c.network != "":
		return t, err
	case err != nil && !errors.Is(err, testnet.ErrNoNetwork):
		return t, err
	}
	if t.network != nil {
		return t, nil
	}
	own, certificate := c.homeNode()
	if t.address == "" {
		t.address = own
	}
	if t.ca == "" && t.address == own {
		t.pin = certificate
	}
	return t, nil
}

// checkAddress refuses what is no host:port, nor a unix: path. name is where the
// address comes from.
func checkAddress(name, address string) error {
	if path, ok := strings.CutPrefix(address, "unix:"); ok && path != "" {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	n, numeric := strconv.ParseUint(port, 10, 16)
	if err != nil || host == "" || numeric != nil || n == 0 || strings.ContainsAny(host, "/ ") {
		return usagef("%s is %q, want host:port, such as %s", name, address, defaultNode)
	}
	return nil
}

func ofNetwork(r testnet.Running, address string) bool {
	for _, n := range r.Nodes {
		if n.GRPC == address {
			return true
		}
	}
	return false
}

// homeNode is the address of the home directory's own node, if it has one, and
// the file of its certificate, "" for none.
func (c *cli) homeNode() (address, certificate string) {
	dir, err := c.homeDir()
	if err != nil {
		return defaultNode, ""
	}
	settings, err := config.Load(string(dir), nil, nil)
	if err != nil || settings.GRPC.Listen == "" {
		return defaultNode, ""
	}
	address, err = dialable(settings.GRPC.Listen)
	if err != nil {
		return defaultNode, ""
	}
	if settings.TLS.CertFile != "" {
		certificate = settings.Path(settings.TLS.CertFile)
	}
	return address, certificate
}

// dialable returns where to dial a node of this machine that listens on address.
func dialable(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// defaultTestnetDir is where a network lies unless --dir or --testnet says
// otherwise: HOME/testnet, or HOME if that is a network's directory.
func (c *cli) defaultTestnetDir() (string, error) {
	dir, err := c.homeDir()
	if err != nil {
		return "", err
	}
	if testnet.Exists(string(dir)) {
		return string(dir), nil
	}
	return filepath.Join(string(dir), "testnet"), nil
}

// security returns how to check the node's certificate; nil for what the client
// does by itself.
func (t target) security() (*tls.Config, error) {
	switch {
	case t.ca != "":
		return trust(t.ca)
	case t.pin != "":
		return pinned(t.pin)
	}
	return nil, nil //nolint:nilnil // nothing special, no error
}

// trust returns a configuration that trusts the authority in a file.
func trust(file string) (*tls.Config, error) {
	roots, err := api.LoadAuthority(file)
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots}, nil
}

// pinned returns a configuration that trusts the first certificate in a file and
// no other, whatever name it is for.
func pinned(file string) (*tls.Config, error) {
	data, err := home.ReadFile(file, maxInput)
	if err != nil {
		return nil, fmt.Errorf("read the node's certificate: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("read the node's certificate: %s holds none", file)
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection compares the certificate itself
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || !bytes.Equal(s.PeerCertificates[0].Raw, block.Bytes) {
				return fmt.Errorf("the node shows another certificate than %s", file)
			}
			return nil
		},
	}, nil
}

// unreachable says what to do if a node does not answer at all.
func (t target) unreachable(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != codes.Unavailable || e.Reason != "" {
		return err
	}
	text := err.Error()
	switch {
	case t.ca == "" && t.pin == "" && speaksTLS(ctx, t.address):
		return exitf(exitUnavailable, "the node at %s speaks TLS, and its certificate is not known here: name the authority that signed it with --ca, or the node's home with --home", t.address)
	case strings.Contains(text, "first record does not look like a TLS handshake"):
		return exitf(exitUnavailable, "the node at %s speaks no TLS: leave --ca and TRIBUTARY_CA out (%w)", t.address, err)
	case strings.Contains(text, "x509: certificate signed by unknown authority"):
		return exitf(exitUnavailable, "the certificate of the node at %s is not trusted: name the authority that signed it with --ca (%w)", t.address, err)
	case strings.Contains(text, "x509: "):
		return exitf(exitUnavailable, "the certificate of the node at %s does not hold: name the node by a name in it, or its home with --home (%w)", t.address, err)
	}
	return exitf(exitUnavailable, "no node answers at %s; start a network with 'tributary testnet up', or name a node with --node (%w)", t.address, err)
}

// speaksTLS reports whether who listens at address speaks TLS.
func speaksTLS(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}} //nolint:gosec // nothing is sent
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was written
	return true
}
