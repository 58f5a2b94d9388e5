package client_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
)

// TestABatchThatFitsNoTransaction is refused before anything is sent, by name of
// the limit, over a stream as well.
func TestABatchThatFitsNoTransaction(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := n.client(t)
	account := c.Account(identityOf(1))
	stream, _ := runStream(t, c)
	batch := channel.Batch{Payee: identityOf(1).Address}
	for i := range uint64(2_500) {
		batch.Entries = append(batch.Entries, channel.Entry{Index: i, Close: true})
	}
	_, unary := account.Settle(within(t), batch)
	_, streamed := account.Over(stream).Settle(within(t), batch)
	for _, err := range []error{unary, streamed} {
		_, asked := errors.AsType[*client.Error](err)
		if !errors.Is(err, chain.CodeTooLarge.Err()) || asked || !strings.Contains(err.Error(), "2500 entries, of which 2500 close their channel") {
			t.Errorf("Settle: %v, want a refusal that nobody was asked for", err)
		}
	}
}
