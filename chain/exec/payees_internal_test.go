package exec

import (
	"slices"
	"testing"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// TestPayeesHasOwners: who owns a service finds in the index the records that brought it
// fees, each once, and no others.
func TestPayeesHasOwners(t *testing.T) {
	t.Parallel()
	payee, owner, other := ledger.Address{1}, ledger.Address{2}, ledger.Address{3}
	batch := channel.Batch{Payee: payee, Entries: []channel.Entry{{Close: true}}}
	settle := chain.Tx{Kind: chain.KindSettle, Payload: batch.Encode()}
	b := &Committed{Body: &settlement.Result{Income: []settlement.Income{
		{TxIndex: 1, Service: 1, Owner: owner, Amount: 5},
		{TxIndex: 1, Service: 2, Owner: owner, Amount: 5},
		{TxIndex: 1, Service: 3, Owner: payee, Amount: 5},
		{TxIndex: 3, Service: 1, Owner: other, Amount: 5},
	}}}
	for i, want := range [][]ledger.Address{{payee}, {payee, owner}, {payee}, {payee, other}, {payee}} {
		if got := (&mainRules{}).Payees(&settle, b, i); !slices.Equal(got, want) {
			t.Errorf("record %d pays %s, want %s", i, got, want)
		}
	}
	if got := (&mainRules{}).Payees(&chain.Tx{Kind: chain.KindCoopClose}, b, 3); !slices.Equal(got, []ledger.Address{other}) {
		t.Errorf("an agreed close pays %s", got)
	}
}
