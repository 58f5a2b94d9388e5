package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/node/config"
)

const maxHealthAnswer = 64 << 10

func (c *cli) healthCommand() *cobra.Command {
	var ready bool
	var address string
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the node of the home directory whether it lives, or with --ready makes progress",
		Long: `Ask the node of the home directory for its health over HTTP, for process
supervisors and containers. It ends with 0 if the node lives (with --ready: if
its chain makes progress, or has nothing to do), 4 if it is not ready, and 5 if
it does not answer.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := c.limit(cmd.Context())
			defer cancel()
			target, err := c.healthTarget(address)
			if err != nil {
				return err
			}
			path := "/livez"
			if ready {
				path = "/readyz?verbose"
			}
			code, text, err := target.get(ctx, path)
			if err != nil {
				return exitf(exitUnavailable, "the node does not answer: %w", err)
			}
			result := struct {
				Healthy bool   `json:"healthy"`
				Detail  string `json:"detail"`
			}{code == http.StatusOK, text}
			if err := c.print(result, func(t *table) { t.line("%s", text) }); err != nil {
				return err
			}
			if !result.Healthy {
				return &codedError{exitNotSynced, fmt.Errorf("not ready")}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether the chain makes progress")
	cmd.Flags().StringVar(&address, "address", "", "host:port of the node's HTTP listener (default: that of the settings)")
	return cmd
}

// healthTarget is where a node answers for its health.
type healthTarget struct {
	address string
	tls     *tls.Config // nil for plaintext
}

// healthTarget finds it in the settings unless an address is given.
func (c *cli) healthTarget(address string) (healthTarget, error) {
	if address != "" {
		return healthTarget{address: address}, nil
	}
	dir, err := c.homeDir()
	if err != nil {
		return healthTarget{}, err
	}
	settings, err := config.Load(string(dir), c.environ, nil)
	if err != nil {
		return healthTarget{}, err
	}
	if settings.HTTP.Listen == "" {
		return healthTarget{}, fmt.Errorf("http.listen is off, so the node cannot be asked; use 'tributary status'")
	}
	host, port, err := net.SplitHostPort(settings.HTTP.Listen)
	if err != nil {
		return healthTarget{}, err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	t := healthTarget{address: net.JoinHostPort(host, port)}
	if settings.TLS.CertFile != "" {
		t.tls, err = pinned(settings)
	}
	return t, err
}

// pinned trusts the node's own certificate and no other.
func pinned(settings config.Config) (*tls.Config, error) {
	pem, err := os.ReadFile(settings.Path(settings.TLS.CertFile))
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", settings.TLS.CertFile)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: "localhost"}, nil
}

func (t healthTarget) get(ctx context.Context, path string) (code int, text string, err error) {
	scheme := "http"
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: t.tls, DisableKeepAlives: true}}
	if t.tls != nil {
		scheme = "https"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+t.address+path, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }() // nothing is left of it
	body, err := io.ReadAll(io.LimitReader(response.Body, maxHealthAnswer))
	return response.StatusCode, strings.TrimSpace(string(body)), err
}
