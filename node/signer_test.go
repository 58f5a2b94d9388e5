package node_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tributary-network/tributary/node"
	"github.com/tributary-network/tributary/node/config"
)

// TestWaitsForTheSigner starts a node whose remote signer does not come: it says
// over HTTP what it waits for, and ends at once and well when it is told to.
func TestWaitsForTheSigner(t *testing.T) {
	t.Parallel()
	o := solo(t)
	dir, err := os.MkdirTemp("", "signer") //nolint:usetesting // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	socket := filepath.Join(dir, "s")
	o.Config.Signer = config.Signer{Mode: config.SignerRemote, Listen: "unix://" + socket}
	out := &buffer{}
	o.Log = slog.New(slog.NewTextHandler(out, nil))
	n, err := node.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	address := n.Listeners()[2].Address
	waitUntil(t, "the node waits for its signer", func() bool { return strings.Contains(out.String(), "waiting for the remote signer") })
	waitUntil(t, "/readyz tells why", func() bool {
		code, body := get(t, "http://"+address+"/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, fmt.Sprintf("waiting for the signer at unix://%s", socket))
	})
	if code, _ := get(t, "http://"+address+"/livez"); code != http.StatusOK {
		t.Errorf("/livez: %d", code)
	}
	began := time.Now()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("to end took %v", took)
	}
}

func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(data)
}
