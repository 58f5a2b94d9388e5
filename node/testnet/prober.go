package testnet

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"

	"github.com/tributary-network/tributary/api"
)

// maxAnswer bounds what is read of a node's answer, in bytes.
const maxAnswer = 64 << 10

// Prober asks nodes of one network whether they are ready. It is safe for
// concurrent use.
type Prober struct {
	scheme string
	client *http.Client
}

// NewProber returns a Prober for nodes with certificates of the authority in the
// file ca, or without TLS if ca is empty.
func NewProber(ca string) (*Prober, error) {
	if ca == "" {
		return &Prober{"http://", &http.Client{Transport: &http.Transport{}}}, nil
	}
	roots, err := api.LoadAuthority(ca)
	if err != nil {
		return nil, err
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots}
	return &Prober{"https://", &http.Client{Transport: &http.Transport{TLSClientConfig: secure}}}, nil
}

// get asks a node, and returns the status and the text of its answer.
func (p *Prober) get(ctx context.Context, n Node, path string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.scheme+n.HTTP+path, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }() // nothing is left of it
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return response.StatusCode, string(text), err
}

// Close closes idle connections.
func (p *Prober) Close() { p.client.CloseIdleConnections() }
