package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/api/client"
)

// certificate returns a certificate for 127.0.0.1 and the roots that trust it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "node"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// TestTLS speaks to a node that wants encryption, over TCP.
func TestTLS(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	cert, roots := certificate(t)
	server, err := api.New(api.Config{
		Network: api.Network{Name: "test", Domain: n.exec.Domain(), Params: n.exec.Params(), Local: true},
		Pool:    n.exec, State: n.exec, Index: n.exec, Prover: n.layer, Agreement: n.exec, Node: n.nodes["node0"],
		TLS: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13},
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, listener) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	target := listener.Addr().String()
	once := client.WithRetry(client.RetryPolicy{Attempts: 1})
	c, err := client.Dial(within(t), target, client.WithTLS(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}), once)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := c.Status(within(t)); err != nil || s.Moniker != "node0" {
		t.Errorf("status %+v, %v", s, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := client.Dial(within(t), target, client.WithTLS(&tls.Config{MinVersion: tls.VersionTLS13}), once); err == nil {
		t.Error("trusted a certificate that nobody vouches for")
	}
	if _, err := client.Dial(within(t), target, once); err == nil {
		t.Error("a loopback target was not spoken to in plaintext, or the node did not mind")
	}
}
