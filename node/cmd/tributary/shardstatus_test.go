package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/node/keystore"
	"github.com/tributary-network/tributary/shard"
)

// TestShardProblem: what a node says of a shard that ended is passed on, with the code that
// fits, and of one that there never was what to do.
func TestShardProblem(t *testing.T) {
	t.Parallel()
	heirs := map[string]string{"heirs": "shards/10, shards/11"}
	for _, row := range []struct {
		name string
		e    client.Error
		id   shard.ID
		code int
		want string
	}{
		{"there is none", client.Error{Code: codes.NotFound, Message: "no"}, 9, exitNotFound, "there is no shard 9; 'tributary shard map'"},
		{"it ended", client.Error{Code: codes.NotFound, Message: "what it had went to others", Metadata: heirs}, 9, exitNotFound, "what it had went to others"},
		{"nobody answers who kept it", client.Error{Code: codes.Unavailable, Message: "none of those answered", Metadata: heirs}, 9, exitUnavailable, "none of those answered"},
		{"of an account", client.Error{Code: codes.NotFound, Message: "no shard of it"}, 0, exitNotFound, "no shard of it"},
	} {
		err := shardProblem(fmt.Errorf("%w: %w", chain.CodeUnknownShard.Err(), &row.e), row.id)
		if got := exitCode(err); got != row.code || !strings.Contains(err.Error(), row.want) || row.id == 0 && strings.Contains(err.Error(), "shard 0") {
			t.Errorf("%s: code %d, %v", row.name, got, err)
		}
	}
}

// TestPublicKeyNeedsNoPassphrase: a hint wants the public half of a key, which lies beside it.
func TestPublicKeyNeedsNoPassphrase(t *testing.T) {
	t.Parallel()
	c := &cli{home: t.TempDir()}
	dir, err := c.homeDir()
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keystore.Open(dir.Keys(), keystore.Options{WorkFactor: 10})
	if err != nil {
		t.Fatal(err)
	}
	key, err := keystore.NewKey()
	if err == nil {
		err = ring.Add("carol", key, keystore.Fixed("a passphrase that nobody is asked for"))
	}
	if err != nil {
		t.Fatal(err)
	}
	conn := &connection{cli: c}
	for _, name := range []string{"carol", "carol@1"} {
		if got, err := conn.publicKey(name); err != nil || got != key.Private().Public() {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	if _, err := conn.publicKey("dave"); exitCode(err) != exitNotFound {
		t.Errorf("no key: %v", err)
	}
	if _, err := conn.publicKey(""); exitCode(err) != exitUsage {
		t.Errorf("no name: %v", err)
	}
}

// TestBookingThatFailsInPart: what was booked before another part failed is shown.
func TestBookingThatFailsInPart(t *testing.T) {
	t.Parallel()
	failed := errors.New("the second shard is away")
	for _, output := range []string{"table", "json"} {
		var out bytes.Buffer
		c := &cli{stdout: &out, stderr: &out, output: output}
		err := c.finishBooking([]bookingResult{{Stage: "final", Shard: 7, Applied: 1}}, failed)
		if !errors.Is(err, failed) || !strings.Contains(out.String(), "final") {
			t.Errorf("%s: %v, %s", output, err, out.String())
		}
		if out.Reset(); c.finishBooking(nil, failed) == nil || out.Len() > 0 {
			t.Errorf("%s: nothing was booked: %s", output, out.String())
		}
	}
}
