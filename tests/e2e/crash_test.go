package e2e_test

import (
	"context"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/testnet"
)

// Validators are killed one after the other, in the middle of whatever they do,
// while payees settle through all of them. Each comes back without help, with
// the same state, and nothing that was reported final is lost.
func TestKilledValidatorsComeBack(t *testing.T) {
	t.Parallel()
	net := network(t)
	l := startLoad(t, net)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- l.run(ctx) }()

	for i, victim := range []int{1, 3, 0} {
		before := l.count()
		await(t, 30*time.Second, "settlements before the kill", func(context.Context) bool { return l.count() >= before+10 })
		if err := net.KillNode(victim); err != nil {
			t.Fatal(err)
		}
		before = l.count()
		await(t, 30*time.Second, "settlements while a validator is down", func(context.Context) bool { return l.count() >= before+5 })
		begin := time.Now()
		if err := net.StartNode(victim); err != nil {
			t.Fatal(err)
		}
		ready, cancel := context.WithTimeout(t.Context(), patience)
		err := net.WaitNodeReady(ready, victim)
		cancel()
		if err != nil {
			t.Fatalf("kill %d: %v", i+1, err)
		}
		t.Logf("kill %d: %s was back after %v", i+1, net.Nodes[victim].Name, time.Since(begin).Round(time.Millisecond))
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	l.verify(t, net)
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.final)
}

// With two of four validators gone there is no progress; the others say so
// within ten seconds and go on when one returns.
func TestQuorumLossShowsAndHeals(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name         string
		lose, regain func(*testnet.Network, int) error
	}{
		{"killed", (*testnet.Network).KillNode, (*testnet.Network).StartNode},
		{"frozen", (*testnet.Network).PauseNode, (*testnet.Network).ResumeNode},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			net := network(t)
			c := dial(t, net, 0)
			account := c.Account(pay.NewIdentity(testKey("somebody"), 0))
			if _, err := c.Faucet(t.Context(), account.Address(), ledger.DropsPerCoin); err != nil {
				t.Fatal(err)
			}
			for range 3 { // load only makes it slower, so one time is enough
				if loseQuorum(t, net, c, account, row.lose, row.regain) <= 10*time.Second {
					return
				}
			}
			t.Error("the loss of the quorum shows late each time")
		})
	}
}

// loseQuorum loses two of four validators and regains them. It returns after what
// time the last of the others said that it was not ready.
func loseQuorum(t *testing.T, net *testnet.Network, c *client.Client, account *client.Account, lose, regain func(*testnet.Network, int) error) (took time.Duration) {
	t.Helper()
	prober, err := testnet.NewProber("")
	if err != nil {
		t.Fatal(err)
	}
	defer prober.Close()
	for _, i := range []int{2, 3} {
		if err := lose(net, i); err != nil {
			t.Fatal(err)
		}
	}
	sent, err := account.Send(t.Context(), chain.KindTransfer, payOne())
	if err != nil {
		t.Fatalf("submit without a quorum: %v", err)
	}
	for _, i := range []int{0, 1} {
		took += await(t, patience, net.Nodes[i].Name+" says that it is not ready", func(ctx context.Context) bool {
			ok, _, err := prober.Ready(ctx, net.Nodes[i])
			return err == nil && !ok
		})
		t.Logf("%s was unhealthy after %v", net.Nodes[i].Name, took.Round(time.Millisecond))
	}
	if s, err := c.Transaction(t.Context(), sent.Hash()); err != nil || s.Height != 0 {
		t.Fatalf("half of the validators agreed on a block: height %d, %v", s.Height, err)
	}
	if err := regain(net, 2); err != nil {
		t.Fatal(err)
	}
	final := await(t, patience, "the transaction is final", func(ctx context.Context) bool {
		s, err := c.Transaction(ctx, sent.Hash())
		return err == nil && s.Receipt != nil && s.Receipt.Code == chain.CodeOK && s.Height != 0
	})
	t.Logf("going on %v after one validator was back", final.Round(time.Millisecond))
	if err := regain(net, 3); err != nil {
		t.Fatal(err)
	}
	ready, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := net.WaitReady(ready); err != nil {
		t.Fatal(err)
	}
	return took
}

// payOne is the payload of a transfer of one drop.
func payOne() []byte {
	t := settlement.Transfer{Payments: []settlement.Payment{{To: testKey("nobody").Address(0), Amount: 1}}}
	return t.Encode()
}
