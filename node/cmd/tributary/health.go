package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
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
		Short: "Ask a node whether it lives, or with --ready makes progress",
		Long: `Ask a node for its health, for process supervisors and containers. It ends with
0 if the node lives (with --ready: if its main chain makes progress, or has nothing
to do), 4 if it is not ready, and 5 if it does not answer.

The node is that of --node or of a running testnet, which are asked over gRPC;
else the home directory's own, which is asked over HTTP, as is --address.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := c.limit(cmd.Context())
			defer cancel()
			healthy, text, err := c.askHealth(ctx, address, ready)
			if err != nil {
				return err
			}
			result := struct {
				Healthy bool   `json:"healthy"`
				Detail  string `json:"detail"`
			}{healthy, text}
			if err := c.print(result, func(t *table) { t.line("%s", text) }); err != nil {
				return err
			}
			if !healthy {
				return &codedError{exitNotSynced, fmt.Errorf("not ready")}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether the chain makes progress")
	cmd.Flags().StringVar(&address, "address", "", "host:port of the node's HTTP listener")
	return cmd
}

// askHealth asks the node at address over HTTP or, without one, the node that
// target finds.
func (c *cli) askHealth(ctx context.Context, address string, ready bool) (healthy bool, text string, err error) {
	if address != "" && c.node != "" {
		return false, "", usagef("--address and --node exclude each other")
	}
	if address != "" {
		if err := checkAddress("--address", address); err != nil {
			return false, "", err
		}
	}
	if address == "" {
		t, err := c.target()
		if err != nil {
			return false, "", err
		}
		if t.network != nil || c.node != "" || c.getenv("TRIBUTARY_NODE") != "" {
			return c.askStatus(ctx, ready)
		}
	}
	target, err := c.healthTarget(address)
	if err != nil {
		return false, "", err
	}
	path := "/livez"
	if ready {
		path = "/readyz?verbose"
	}
	code, text, err := target.get(ctx, path)
	if err != nil {
		return false, "", exitf(exitUnavailable, "the node does not answer: %w", err)
	}
	return code == http.StatusOK, text, nil
}

// askStatus asks a node over gRPC. One that answers lives.
func (c *cli) askStatus(ctx context.Context, ready bool) (healthy bool, text string, err error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return false, "", err
	}
	defer conn.close()
	s, err := conn.Status(ctx)
	switch {
	case err != nil:
		return false, "", c.late(ctx, conn.target, conn.target.unreachable(ctx, err))
	case !ready:
		return true, "ok", nil
	case len(s.Chains) == 0:
		return false, "the node is starting", nil
	}
	healthy = true
	var lines []string
	for _, ch := range newStatusResult(conn, s).Chains {
		line := "chain/" + ch.Name + ": " + ch.State
		if ch.Reason != "" {
			line += ": " + ch.Reason
		}
		lines = append(lines, line)
		if ch.Name == "main" { // a shard that is behind is no reason to restart the node
			healthy = ch.State == "ready"
		}
	}
	return healthy, strings.Join(lines, "\n"), nil
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
	at, err := dialable(settings.HTTP.Listen)
	if err != nil {
		return healthTarget{}, err
	}
	t := healthTarget{address: at}
	if settings.TLS.CertFile != "" {
		t.tls, err = pinned(settings.Path(settings.TLS.CertFile))
	}
	return t, err
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
