package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Somebody new goes through what the README shows: a network, a key, money, a
// channel, vouchers, settlements, questions, the end. Nothing is left.
func TestCommandLineJourney(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name      string
		up        []string
		processes int
	}{
		{"one process", nil, 1},
		{"processes", []string{"--processes"}, 5},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			j := &journey{user: newUser(t)}
			j.key()
			j.up(row.up, row.processes)
			j.look()
			j.fund()
			j.open()
			watch := j.watch()
			j.pay()
			j.stream()
			j.ask()
			if len(row.up) == 0 {
				j.transfer() // opening an encrypted key takes a second, on purpose
			}
			j.close()
			j.watched(watch)
			j.down()
		})
	}
}

// journey is how far somebody has come.
type journey struct {
	*user

	passphrase string // file
	address    string // of dora
	alice      string // her address
	nodes      []jsonNode
	channel    string
	settled    []string // hashes, oldest first
}

// key makes an encrypted key, and backs it up and restores it.
func (j *journey) key() {
	j.t.Helper()
	j.passphrase = j.file("passphrase", "correct horse\nnot this\n")
	var made struct {
		Name      string `json:"name"`
		Address   string `json:"address"`
		Encrypted bool   `json:"encrypted"`
		Words     string `json:"words"`
	}
	j.read(&made, "keys", "add", "dora", "--passphrase-file", j.passphrase, "--show-words")
	if made.Name != "dora" || !made.Encrypted || len(strings.Fields(made.Words)) != 24 {
		j.t.Fatalf("made %+v", made)
	}
	j.address = made.Address
	if list := j.ok("keys", "list"); !strings.Contains(list, "dora") || !strings.Contains(list, j.address) {
		j.t.Fatalf("the list lacks the key: %s", list)
	}
	if shown := j.ok("keys", "show", "dora", "--address"); shown != j.address+"\n" {
		j.t.Fatalf("shown %q, made %q", shown, j.address)
	}
	j.refused(exitNotFound, []string{`"nobody"`}, "keys", "show", "nobody")
	j.refused(exitError, []string{`"dora"`, "already"}, "keys", "add", "dora", "--passphrase-file", j.passphrase)
	j.refused(exitError, []string{"passphrase"}, "keys", "show", "dora", "--words", "--passphrase-file", j.file("wrong", "battery staple\n"))

	again := j.run(made.Words+"\n", "keys", "add", "again", "--recover", "--passphrase-file", j.passphrase)
	if again.code != exitOK || !strings.Contains(again.stdout, j.address) {
		j.t.Fatalf("the words do not give the key back: %v", again)
	}
	j.ok("keys", "delete", "again", "--confirm", j.address)
	if data, err := os.ReadFile(filepath.Join(j.home(), "keys", "dora.age")); err != nil || strings.Contains(string(data), "seed") {
		j.t.Fatalf("the key file: %v", err)
	}
}

// up starts the network in the background.
func (j *journey) up(flags []string, want int) {
	j.t.Helper()
	j.t.Cleanup(func() { j.run("", "testnet", "down", "--purge") })
	var network struct {
		Nodes    []jsonNode `json:"nodes"`
		Accounts []struct {
			Name    string `json:"name"`
			Address string `json:"address"`
		} `json:"accounts"`
	}
	begin := time.Now()
	j.read(&network, append([]string{"testnet", "up", "--detach", "--base-port", "0"}, flags...)...)
	if len(network.Nodes) != 4 || len(network.Accounts) == 0 || network.Accounts[0].Name != "alice" {
		j.t.Fatalf("the network is %+v", network)
	}
	j.t.Logf("ready after %v", time.Since(begin).Round(time.Millisecond))
	j.nodes, j.alice = network.Nodes, network.Accounts[0].Address
	if got := processes(j.t, j.home()); len(got) != want {
		j.t.Errorf("%d processes, want %d", len(got), want)
	}
	j.refused(exitError, []string{"already", "testnet status", "testnet down"}, "testnet", "up")
}

// localShards is how many shards the services of a local genesis have.
const localShards = 8

// look asks how the network does.
func (j *journey) look() {
	j.t.Helper()
	for _, args := range [][]string{{"status"}, {"testnet", "status"}} {
		if text := j.ok(args...); !strings.Contains(text, "ready") || strings.Contains(text, "\x1b") {
			j.t.Errorf("%v says %q", args, text)
		}
	}
	var status struct {
		Node   string `json:"node"`
		Chains []struct {
			State     string `json:"state"`
			Height    uint64 `json:"height"`
			Peers     int    `json:"peers"`
			Validator bool   `json:"validator"`
		} `json:"chains"`
	}
	j.read(&status, "status")
	if len(status.Chains) != 1+localShards || status.Node != j.nodes[0].GRPC {
		j.t.Fatalf("status %+v", status)
	}
	if c := status.Chains[0]; c.State != "ready" || c.Height == 0 || c.Peers != 3 || !c.Validator {
		j.t.Errorf("chain %+v", c)
	}
	var network struct {
		Nodes []jsonNode `json:"nodes"`
	}
	j.read(&network, "testnet", "status")
	for _, n := range network.Nodes {
		if n.State != "ready" || n.Height == 0 {
			j.t.Errorf("node %+v", n)
		}
		j.ok("health", "--address", n.HTTP)
		if text := j.ok("health", "--ready", "--address", n.HTTP); !strings.Contains(text, "chain/main") {
			j.t.Errorf("health of %s says %q", n.Name, text)
		}
		j.ok("status", "--node", n.GRPC)
	}
	if log := j.ok("testnet", "logs", "validator2", "-n", "0"); !strings.Contains(log, "chain started") {
		j.t.Errorf("the log is %q", log)
	}
}

func (j *journey) balance(who string) drops {
	j.t.Helper()
	var account struct {
		Balance drops `json:"balance"`
	}
	j.read(&account, "query", "account", who)
	return account.Balance
}

func (j *journey) fund() {
	j.t.Helper()
	if text := j.ok("testnet", "faucet", "dora", "100"); !strings.Contains(text, j.address) {
		j.t.Errorf("the faucet says %q", text)
	}
	if got := j.balance("dora"); got != coins(100) {
		j.t.Fatalf("dora has %d drops after the faucet", got)
	}
}

func (j *journey) show() jsonChannel {
	j.t.Helper()
	var c jsonChannel
	j.read(&c, "channel", "show", j.channel)
	return c
}

// open opens a channel from alice to bob.
func (j *journey) open() {
	j.t.Helper()
	var opened struct {
		Fee      drops         `json:"fee"`
		Channels []jsonChannel `json:"channels"`
	}
	j.read(&opened, "channel", "open", "--from", "alice", "--to", "bob", "--deposit", "10")
	if len(opened.Channels) != 1 || opened.Fee == 0 {
		j.t.Fatalf("opened %+v", opened)
	}
	j.channel = opened.Channels[0].ID
	var list []jsonChannel
	j.read(&list, "channel", "list", "--payee", "bob")
	want := jsonChannel{ID: j.channel, State: "open", Payer: j.alice, Deposit: coins(10), Remaining: coins(10)}
	if diff := cmp.Diff([]jsonChannel{want}, list); diff != "" {
		j.t.Fatalf("channels (-want +got):\n%s", diff)
	}
	if text := j.ok("channel", "list", "--payer", "alice"); !strings.Contains(text, j.channel) {
		j.t.Errorf("the list is %q", text)
	}
}

func (j *journey) voucher(total string) string {
	j.t.Helper()
	return strings.TrimSpace(j.ok("channel", "voucher", j.channel, total, "--from", "alice"))
}

// pay signs vouchers and settles them.
func (j *journey) pay() {
	j.t.Helper()
	old, voucher := j.voucher("1"), j.voucher("4")
	before := j.balance("bob")
	var tx jsonTx
	j.read(&tx, "settle", "estimate", voucher, "--from", "bob")
	if tx.Stage != "simulated" || tx.Code != "OK" || j.show().Redeemed != 0 {
		j.t.Fatalf("the estimate is %+v", tx)
	}
	estimated := tx.Paid
	j.read(&tx, "settle", "submit", old, voucher, "--from", "bob") // the newest counts
	if tx.Stage != "final" || tx.Code != "OK" || len(tx.Entries) != 1 || tx.Entries[0].Code != "OK" ||
		tx.Entries[0].Redeemed != coins(4) || tx.Paid != estimated || tx.Paid+tx.Burned != coins(4) {
		j.t.Fatalf("settled %+v", tx)
	}
	j.settled = append(j.settled, tx.Hash)
	if got, want := j.balance("bob"), before+tx.Paid-tx.Fee; got != want {
		j.t.Errorf("bob has %d drops, want %d", got, want)
	}
	if c := j.show(); c.Redeemed != coins(4) || c.Remaining != coins(6) {
		j.t.Errorf("the channel is %+v", c)
	}
	j.refused(exitError, []string{"NO_OP_STALE", "channel 0"}, "settle", "submit", voucher, "--from", "bob")
	j.refused(exitError, []string{"deposit is 10", "top it up"}, "channel", "voucher", j.channel, "11", "--from", "alice")
	a := j.run(j.voucher("5")+"\n\n", "settle", "submit", "-", "--from", "carol", "-o", "json") // anyone may
	if err := json.Unmarshal([]byte(a.stdout), &tx); err != nil || tx.Code != "OK" || tx.Paid+tx.Burned != coins(1) {
		j.t.Fatalf("from standard input: %v: %v", err, a)
	}
	j.settled = append(j.settled, tx.Hash)
}

// stream settles vouchers as they come.
func (j *journey) stream() {
	j.t.Helper()
	a := j.run(j.voucher("6")+"\n"+j.voucher("7")+"\n", "settle", "stream", "--from", "bob", "-o", "json")
	if a.code != exitOK || !strings.Contains(a.stderr, "paid") {
		j.t.Fatal(a)
	}
	if c := j.show(); c.Redeemed != coins(7) {
		j.t.Errorf("the channel is %+v after the stream", c)
	}
}

// ask puts every question that there is about what was done.
func (j *journey) ask() {
	j.t.Helper()
	var txs []jsonTx
	j.read(&txs, "settle", "list", "--payee", "bob")
	slices.Reverse(txs)
	for i, hash := range j.settled {
		var tx, again jsonTx
		j.read(&tx, "tx", "show", hash)
		j.read(&again, "settle", "status", hash)
		if diff := cmp.Diff(tx, again); diff != "" || tx.Hash != hash || tx.Stage != "final" {
			j.t.Errorf("two views of %s (-tx +settle):\n%s", hash, diff)
		}
		if i >= len(txs) || txs[i].Hash != hash {
			j.t.Errorf("settlement %d of the list is not %s", i, hash)
		}
		j.ok("tx", "wait", hash)
		if block := j.ok("query", "block", fmt.Sprint(tx.Height)); !strings.Contains(block, hash) {
			j.t.Errorf("block %d lacks %s", tx.Height, hash)
		}
	}
	if text := j.ok("tx", "list", "bob"); !strings.Contains(text, j.settled[0]) || strings.Contains(text, j.settled[1]) {
		j.t.Errorf("the first settlement is bob's, the second is not: %s", text)
	}
	var chain struct {
		Height uint64 `json:"height"`
		Totals struct {
			Supply drops `json:"supply"`
		} `json:"totals"`
	}
	j.read(&chain, "query", "chain")
	if chain.Height == 0 || chain.Totals.Supply == 0 {
		j.t.Errorf("chain %+v", chain)
	}
	if text := j.ok("query", "params"); !strings.Contains(text, "challenge window") {
		j.t.Errorf("params: %q", text)
	}
	if text := j.ok("query", "validators"); !strings.Contains(text, "validator4") {
		j.t.Errorf("validators: %q", text)
	}
}

// transfer tries a transfer, makes it, and finds that one of too much is refused.
func (j *journey) transfer() {
	j.t.Helper()
	before := j.balance("erin")
	dry := j.run("", "tx", "transfer", "erin", "2.5", "--from", "dora", "--passphrase-file", j.passphrase, "--dry-run")
	if dry.code != exitOK || !strings.Contains(dry.stderr, "nothing was submitted") || j.balance("erin") != before {
		j.t.Errorf("a dry run did something: %v", dry)
	}
	j.extra = []string{"TRIBUTARY_PASSPHRASE_FILE=" + j.passphrase}
	j.ok("tx", "transfer", "erin", "2.5", "--from", "dora")
	if got, want := j.balance("erin"), before+coins(5)/2; got != want {
		j.t.Errorf("erin has %d drops, want %d", got, want)
	}
	j.refused(exitError, []string{"INSUFFICIENT_BALANCE", "balance is"}, "tx", "transfer", "erin", "1000", "--from", "dora")
	j.extra = nil
}

// watch begins to watch the channel, from its beginning.
func (j *journey) watch() *background {
	j.t.Helper()
	return j.background("channel", "watch", j.channel, "--from-height", "1", "-o", "json")
}

// close closes the channel as the payee.
func (j *journey) close() {
	j.t.Helper()
	j.ok("channel", "close", j.channel, "--from", "bob")
	c := j.show()
	if c.State != "closed" || c.Closed == nil || c.Closed.How != "payee-closed" || c.Closed.Refunded < coins(3) {
		j.t.Errorf("closed %+v", c)
	}
	j.refused(exitNotFound, []string{"is closed"}, "settle", "submit", j.voucher2(), "--from", "bob")
}

// voucher2 is the encoding of a voucher that needs no open channel to be signed.
func (j *journey) voucher2() string { return j.channel + strings.Repeat("00", 2+8+8+32+64) }

// watched ends the watch and checks what it told.
func (j *journey) watched(b *background) {
	j.t.Helper()
	await(j.t, 20*time.Second, "the watch tells of the close", func(context.Context) bool { return strings.Contains(b.output(), "payee-closed") })
	if code := b.end(j.t, os.Interrupt, 10*time.Second); code != exitOK {
		j.t.Errorf("an interrupted watch ends with %d: %s", code, b.output())
	}
	var last drops
	var kinds []string
	for line := range strings.Lines(b.output()) {
		var e struct {
			Event    string `json:"event"`
			Channel  string `json:"channel"`
			Redeemed drops  `json:"redeemed"`
			Token    string `json:"token"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Channel != j.channel || e.Token == "" || e.Redeemed < last {
			j.t.Fatalf("event %s: %v", line, err)
		}
		last = e.Redeemed
		kinds = append(kinds, e.Event)
	}
	if n := len(kinds); n < 4 || kinds[0] != "opened" || kinds[1] != "redeemed" || kinds[n-1] != "payee-closed" || last != coins(7) {
		j.t.Errorf("events %v, %d drops redeemed", kinds, last)
	}
}

// down ends the network, and looks for what is left of it.
func (j *journey) down() {
	j.t.Helper()
	begin := time.Now()
	j.ok("testnet", "down")
	j.t.Logf("down after %v", time.Since(begin).Round(time.Millisecond))
	if left := processes(j.t, j.home()); len(left) > 0 {
		j.t.Errorf("processes %v are left", left)
	}
	for _, n := range j.nodes {
		for _, address := range []string{n.GRPC, n.HTTP, n.P2P} {
			l, err := net.Listen("tcp", address)
			if err != nil {
				j.t.Errorf("%s of %s is taken: %v", address, n.Name, err)
				continue
			}
			_ = l.Close() // nothing was accepted
		}
	}
	gone(j.t, filepath.Join(j.home(), "testnet"))
	j.refused(exitUnavailable, []string{"no node answers", "testnet up", "--node"}, "status")
	j.refused(exitUnavailable, []string{"no test network runs", j.home()}, "testnet", "status")
	j.ok("testnet", "down") // again
}
