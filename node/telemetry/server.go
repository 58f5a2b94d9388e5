package telemetry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"github.com/tributary-network/tributary/api"
)

const (
	maxConnections  = 64
	maxHeaderBytes  = 16 << 10
	headerTimeout   = 5 * time.Second
	readTimeout     = 10 * time.Second
	writeTimeout    = 30 * time.Second
	idleTimeout     = time.Minute
	shutdownTimeout = 5 * time.Second
)

// Check is the readiness of one thing, usually a chain.
type Check struct {
	Name   string
	Ready  bool
	Detail string // why not, or how it does, on one line
	// Aside is told with the others, but does not decide whether the node is ready.
	Aside bool
}

// Options are the parts of a Server.
type Options struct {
	Listen   string      // host:port; port 0 picks a free one
	TLS      *tls.Config // nil = plaintext, on loopback only
	Ready    func() []Check
	Gatherer prometheus.Gatherer
	Log      *slog.Logger
}

// Server serves health and metrics over HTTP.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen opens the address, so that a port in use shows at once. The error wraps
// api.ErrPlaintext if TLS is missing. Run must be called, or Close.
func Listen(ctx context.Context, o Options) (*Server, error) {
	if o.TLS == nil && !api.Loopback(o.Listen) {
		return nil, fmt.Errorf("listen on %s for health and metrics: %w", o.Listen, api.ErrPlaintext)
	}
	var network net.ListenConfig
	listener, err := network.Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for health and metrics: %w", err)
	}
	listener = netutil.LimitListener(listener, maxConnections)
	if o.TLS != nil {
		secure := o.TLS.Clone()
		secure.NextProtos = []string{"http/1.1"}
		listener = tls.NewListener(listener, secure)
	}
	return &Server{listener: listener, http: &http.Server{
		Handler:           handler(o),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}}, nil
}

// Addr returns the address that is listened on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close gives up a server that is not run.
func (s *Server) Close() error { return s.listener.Close() }

// Run serves until ctx ends, and then lets requests under way finish. It
// returns nil after ctx ended.
func (s *Server) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- s.http.Serve(s.listener) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve health and metrics: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := s.http.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	if served := <-done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// handler routes requests. On loopback, requests that name another host are
// refused: a web page may point a name of its own at 127.0.0.1.
func handler(o Options) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n") // the client left
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		writeReady(w, o.Ready(), r.URL.Query().Has("verbose"))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
		ErrorHandling: promhttp.HTTPErrorOnError,
	}))
	if o.TLS != nil {
		return mux
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), "80")
		}
		if !api.Loopback(host) {
			http.Error(w, "this address is for local use: ask for 127.0.0.1 or localhost", http.StatusMisdirectedRequest)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// writeReady answers 200 if every check is ready and 503 otherwise. It names
// what is not ready, or with verbose everything.
func writeReady(w http.ResponseWriter, checks []Check, verbose bool) {
	var lines strings.Builder
	ready := len(checks) > 0
	for _, c := range checks {
		mark := "[+]"
		if !c.Ready {
			ready, mark = ready && c.Aside, "[-]"
		}
		if verbose || !c.Ready {
			fmt.Fprintf(&lines, "%s%s", mark, c.Name)
			if c.Detail != "" {
				fmt.Fprintf(&lines, ": %s", strings.ReplaceAll(c.Detail, "\n", " "))
			}
			lines.WriteByte('\n')
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	verdict := "ready\n"
	if !ready {
		w.WriteHeader(http.StatusServiceUnavailable)
		verdict = "not ready\n"
	}
	_, _ = io.WriteString(w, lines.String()+verdict) // the client left
}
