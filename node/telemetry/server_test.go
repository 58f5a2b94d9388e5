package telemetry_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/node/telemetry"
)

// start runs a server until the test ends.
func start(t *testing.T, o telemetry.Options) *telemetry.Server {
	t.Helper()
	r, _ := registry(t)
	o.Gatherer, o.Log = r, slog.New(slog.DiscardHandler)
	server, err := telemetry.Listen(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return server
}

func get(t *testing.T, client *http.Client, url, host string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

func TestServer(t *testing.T) {
	t.Parallel()
	healthy := telemetry.Check{Name: "main", Ready: true, Detail: "height 7"}
	stuck := telemetry.Check{Name: "shard-1", Detail: "no block for 12 s\nalthough work is pending"}
	tests := []struct {
		name   string
		checks []telemetry.Check
		path   string
		host   string
		status int
		body   string // whole, or a part if it ends in "..."
	}{
		{"live", nil, "/livez", "", 200, "ok\n"},
		{"live although not ready", []telemetry.Check{stuck}, "/livez", "", 200, "ok\n"},
		{"ready", []telemetry.Check{healthy}, "/readyz", "", 200, "ready\n"},
		{"ready, verbose", []telemetry.Check{healthy}, "/readyz?verbose", "", 200, "[+]main: height 7\nready\n"},
		{"one chain stuck", []telemetry.Check{healthy, stuck}, "/readyz", "", 503, "[-]shard-1: no block for 12 s although work is pending\nnot ready\n"},
		{"one chain stuck, verbose", []telemetry.Check{healthy, stuck}, "/readyz?verbose=1", "", 503, "[+]main: height 7\n[-]shard-1..."},
		{"no chain yet", nil, "/readyz", "", 503, "not ready\n"},
		{"metrics", nil, "/metrics", "", 200, "tributary_chain_height{chain_id=\"local\"} 7..."},
		{"unknown path", nil, "/debug/pprof/", "", 404, "404..."},
		{"localhost", nil, "/livez", "localhost", 200, "ok\n"},
		{"IPv6 loopback", nil, "/livez", "[::1]", 200, "ok\n"},
		{"a name that someone pointed here", nil, "/metrics", "evil.example:8080", 421, "this address is for local use..."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := start(t, telemetry.Options{Listen: "127.0.0.1:0", Ready: func() []telemetry.Check { return tt.checks }})
			status, body := get(t, http.DefaultClient, "http://"+server.Addr().String()+tt.path, tt.host)
			part, partial := strings.CutSuffix(tt.body, "...")
			if status != tt.status || !partial && body != tt.body || partial && !strings.Contains(body, part) {
				t.Errorf("%d %q, want %d %q", status, body, tt.status, tt.body)
			}
		})
	}
}

func TestServerRefusesMethods(t *testing.T) {
	t.Parallel()
	server := start(t, telemetry.Options{Listen: "127.0.0.1:0", Ready: func() []telemetry.Check { return nil }})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+server.Addr().String()+"/livez", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", response.Status)
	}
}

func TestServerTLS(t *testing.T) {
	t.Parallel()
	// httptest has a certificate for 127.0.0.1 and a client that trusts it.
	other := httptest.NewTLSServer(http.NotFoundHandler())
	defer other.Close()
	server := start(t, telemetry.Options{
		Listen: "0.0.0.0:0",
		TLS:    &tls.Config{Certificates: other.TLS.Certificates, MinVersion: tls.VersionTLS13},
		Ready:  func() []telemetry.Check { return []telemetry.Check{{Name: "main", Ready: true}} },
	})
	_, port, err := net.SplitHostPort(server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	status, body := get(t, other.Client(), "https://127.0.0.1:"+port+"/readyz", "validator0")
	if status != http.StatusOK || body != "ready\n" {
		t.Errorf("%d %q", status, body)
	}
}

func TestListenRefuses(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0"} {
		if _, err := telemetry.Listen(t.Context(), telemetry.Options{Listen: address, Log: log}); !errors.Is(err, api.ErrPlaintext) {
			t.Errorf("%s: %v, want %v", address, err, api.ErrPlaintext)
		}
	}
	first, err := telemetry.Listen(t.Context(), telemetry.Options{Listen: "127.0.0.1:0", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Close() }()
	if _, err := telemetry.Listen(t.Context(), telemetry.Options{Listen: first.Addr().String(), Log: log}); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a port in use: %v", err)
	}
}

// TestShutdownDoesNotHang stops a server while a client keeps a request open.
func TestShutdownDoesNotHang(t *testing.T) {
	t.Parallel()
	r, _ := registry(t)
	entered := make(chan struct{})
	release := make(chan struct{})
	server, err := telemetry.Listen(t.Context(), telemetry.Options{
		Listen: "127.0.0.1:0", Gatherer: r, Log: slog.New(slog.DiscardHandler),
		Ready: func() []telemetry.Check {
			close(entered)
			<-release
			return []telemetry.Check{{Name: "main", Ready: true}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	answered := make(chan int, 1)
	go func() {
		status, _ := get(t, http.DefaultClient, "http://"+server.Addr().String()+"/readyz", "")
		answered <- status
	}()
	<-entered
	stop()
	close(release)
	if status := <-answered; status != http.StatusOK {
		t.Errorf("the request under way got %d", status)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("run: %v", err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the server did not stop")
	}
}
