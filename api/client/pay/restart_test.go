package pay_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/api/client/journal"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/ledger"
)

// victimEnv makes the test binary play the payee that is killed.
const victimEnv = "TRIBUTARY_TEST_PAYEE_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimEnv); dir != "" {
		if err := victim(dir, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

const victimLanes = 4

// victim accepts vouchers in batches, goes on from what its journal says, and
// after each batch that is on disk tells what every lane owes.
func victim(dir string, out io.Writer) error {
	ctx := context.Background()
	record, key := testChannel(1)
	record.Deposit = ledger.MaxAmount
	payer, err := pay.OpenPayer(pay.PayerConfig{Domain: testDomain, Account: payerID})
	if err != nil {
		return err
	}
	c, err := payer.Track(record, key)
	if err != nil {
		return err
	}
	payee, err := pay.OpenPayee(pay.PayeeConfig{
		Domain: testDomain, Account: payeeID, Dir: dir, Durable: true,
		Journal: journal.Config{CompactAt: 64 << 10}, // so that compactions are hit as well
	})
	if err != nil {
		return err
	}
	list(payee, record)
	for lane := range uint8(victimLanes) {
		if best, ok := payee.Best(record.ID, lane); ok {
			if err := c.CatchUp(ctx, lane, &pay.RefusalError{Reason: pay.OutOfDate, Best: &best}); err != nil {
				return err
			}
		}
	}
	for {
		offers := make([]pay.Offer, 32)
		for i := range offers {
			v, err := c.Pay(ctx, uint8(i%victimLanes), 1, 1)
			if err != nil {
				return err
			}
			offers[i].Voucher = v
		}
		for _, r := range payee.AcceptBatch(ctx, offers) {
			if r.Err != nil {
				return r.Err
			}
		}
		owed, _ := c.Owed(0)
		if _, err := fmt.Fprintln(out, uint64(owed)); err != nil {
			return err
		}
	}
}

// TestKill kills a payee at a random moment, again and again. What it had told to
// be safe is there every time, and every claim verifies.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	record, _ := testChannel(1)
	record.Deposit = ledger.MaxAmount
	told := uint64(0)
	for round := range 4 {
		told = max(told, killed(t, dir, 20+35*round))
		p := openPayee(t, pay.PayeeConfig{Dir: dir}, record)
		for lane := range uint8(victimLanes) {
			best, ok := p.Best(record.ID, lane)
			if !ok || uint64(best.Owed()) < told {
				t.Fatalf("round %d: lane %d owes %d after the kill, %d was told to be safe", round, lane, best.Owed(), told)
			}
			if !best.Verify(testDomain, record.VoucherKey) {
				t.Fatalf("round %d: the claim of lane %d does not verify", round, lane)
			}
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killed runs a victim until it has told some lines, kills it and returns what
// the last whole line says.
func killed(t *testing.T, dir string, lines int) uint64 {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), victimEnv+"="+dir)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told := uint64(0)
	r := bufio.NewReader(stdout)
	for n := 0; ; n++ {
		line, err := r.ReadString('\n')
		if err != nil { // what is left of the pipe has been read, to the last whole line
			break
		}
		if told, err = strconv.ParseUint(strings.TrimSpace(line), 10, 64); err != nil {
			t.Fatal(err)
		}
		if n == lines {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // killed
	if told == 0 {
		t.Fatalf("the payee told nothing: %s", complaint.String())
	}
	return told
}

// TestPayeeRestart: everything a payee knew about claims is there again, hash
// lanes and what was redeemed included, through any number of restarts.
func TestPayeeRestart(t *testing.T) {
	t.Parallel()
	record, key := testChannel(1)
	f := newFakeChain()
	f.add(record)
	c := track(t, openPayer(t, pay.PayerConfig{}), record, key)
	dir := t.TempDir()
	open := func() *pay.Payee { return openPayee(t, pay.PayeeConfig{Dir: dir, Chain: f}, record) }
	p := open()
	restart := func() {
		t.Helper()
		before := snapshot(t, p, record)
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		p = open()
		if diff := cmp.Diff(before, snapshot(t, p, record)); diff != "" {
			t.Fatalf("after a restart (-before +after):\n%s", diff)
		}
	}
	reveal := func(lane uint8) {
		t.Helper()
		r, err := c.Reveal(t.Context(), lane)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.AcceptReveal(t.Context(), r, 5); err != nil {
			t.Fatal(err)
		}
	}
	commit := func(lane uint8) {
		t.Helper()
		commitment, err := c.CommitHash(t.Context(), lane, pay.HashTerms{UnitPrice: 5, Steps: 10})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.AcceptCommitment(t.Context(), commitment); err != nil {
			t.Fatal(err)
		}
	}

	mustAccept(t, p, mustPay(t, c, 0, 100))
	mustAccept(t, p, mustPay(t, c, 1, 10))
	mustAccept(t, p, mustPay(t, c, 0, 100))
	restart()
	commit(1)
	restart() // a commitment without a reveal
	reveal(1)
	reveal(1)
	restart()
	reveal(1)
	if err := pay.NewRedeemer(p, testFees()).Redeem(t.Context()); err != nil {
		t.Fatal(err)
	}
	record, _ = f.get(record.ID)
	if record.Redeemed != 225 {
		t.Fatalf("redeemed %d, want 225", record.Redeemed)
	}
	record.Lanes = nil // a list leaves them out
	restart()
	f.reads = 0
	mustAccept(t, p, mustPay(t, c, 1, 10))
	if f.reads != 0 {
		t.Errorf("the payee read the channel %d times for lanes it could know", f.reads)
	}
	restart()
}

// snapshot is what a payee says about a channel.
func snapshot(t *testing.T, p *pay.Payee, record pay.Channel) []any {
	t.Helper()
	b, ok := p.Balance(record.ID)
	all := []any{b, ok}
	for lane := range uint8(3) {
		best, ok := p.Best(record.ID, lane)
		all = append(all, best, ok)
	}
	return all
}

// TestOldBackups restores a week-old copy of a payee, of its payer, and of both.
// Nothing is paid twice, nothing owed is lost but what nobody has any more, and
// they go on.
func TestOldBackups(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name         string
		payer, payee bool // restored
		want         ledger.Amount
	}{
		{"payee", false, true, 600}, // the next voucher covers all
		{"payer", true, false, 600}, // the payee tells it
		{"both", true, true, 400},   // 200 are known to nobody
		{"neither", false, false, 600},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			record, key := testChannel(1)
			f := newFakeChain()
			f.add(record)
			payerDir, payeeDir := filepath.Join(t.TempDir(), "payer"), filepath.Join(t.TempDir(), "payee")
			run := func(amounts ...ledger.Amount) {
				payer := openPayer(t, pay.PayerConfig{Dir: payerDir, Durable: true, Chain: f})
				payee := openPayee(t, pay.PayeeConfig{Dir: payeeDir, Durable: true, Chain: f}, record)
				c := track(t, payer, record, key)
				pipe := pay.NewPipe(1)
				done := make(chan error, 1)
				go func() { done <- payee.Serve(t.Context(), pipe) }()
				for _, amount := range amounts {
					if a, err := c.PayOver(t.Context(), pipe, 0, amount, 1); err != nil || a.Delta < amount {
						t.Fatalf("paying %d: %+v, %v", amount, a, err)
					}
				}
				pipe.Close()
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				if err := pay.NewRedeemer(payee, testFees()).Redeem(t.Context()); err != nil {
					t.Fatal(err)
				}
				for _, err := range []error{payer.Close(), payee.Close()} {
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			run(100, 100)
			oldPayer, oldPayee := t.TempDir(), t.TempDir()
			copyDir(t, payerDir, oldPayer)
			copyDir(t, payeeDir, oldPayee)
			f.refuseWith(func(*channel.Batch) error { return errLost }) // what follows is not redeemed
			func() {
				payer := openPayer(t, pay.PayerConfig{Dir: payerDir, Durable: true})
				payee := openPayee(t, pay.PayeeConfig{Dir: payeeDir, Durable: true}, record)
				c := track(t, payer, record, key)
				for range 2 {
					mustAccept(t, payee, mustPay(t, c, 0, 100))
				}
				for _, err := range []error{payer.Close(), payee.Close()} {
					if err != nil {
						t.Fatal(err)
					}
				}
			}()
			f.refuseWith(nil)
			if tt.payer {
				payerDir = oldPayer
			}
			if tt.payee {
				payeeDir = oldPayee
			}
			record, _ = f.get(record.ID)
			run(100, 100)
			if got, _ := f.get(record.ID); got.Redeemed != tt.want {
				t.Errorf("redeemed %d, want %d", got.Redeemed, tt.want)
			}
		})
	}
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// TestCompactedJournals writes enough for many compactions and starts again: the
// journals are small, and nothing has been forgotten.
func TestCompactedJournals(t *testing.T) {
	t.Parallel()
	dirs := []string{t.TempDir(), t.TempDir()}
	small := journal.Config{CompactAt: 4 << 10}
	f := newFakeChain()
	var records []pay.Channel
	var keys []ledger.PrivateKey
	for i := range 5 {
		record, key := testChannel(uint64(i))
		records, keys = append(records, record), append(keys, key)
	}
	f.add(records...)
	open := func() (*pay.Payer, *pay.Payee) {
		payer := openPayer(t, pay.PayerConfig{Dir: dirs[0], Journal: small})
		return payer, openPayee(t, pay.PayeeConfig{Dir: dirs[1], Journal: small, Chain: f}, records...)
	}
	payer, payee := open()
	var channels []*pay.PayerChannel
	for i := range records {
		channels = append(channels, track(t, payer, records[i], keys[i]))
	}
	commitment, err := channels[4].CommitHash(t.Context(), 2, pay.HashTerms{UnitPrice: 1, Steps: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if err := payee.AcceptCommitment(t.Context(), commitment); err != nil {
		t.Fatal(err)
	}
	for round := range 60 {
		for i, c := range channels {
			a := mustAccept(t, payee, mustPay(t, c, uint8(round%2), ledger.Amount(1+i)))
			if err := payee.Wait(t.Context(), a.Seq); err != nil {
				t.Fatal(err)
			}
		}
		r, err := channels[4].Reveal(t.Context(), 2)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := payee.AcceptReveal(t.Context(), r, 1); err != nil {
			t.Fatal(err)
		}
		if round == 30 {
			if err := pay.NewRedeemer(payee, testFees()).Redeem(t.Context(), records[0].ID, records[4].ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := payee.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	var before []any
	for _, r := range records {
		before = append(before, snapshot(t, payee, r)...)
	}
	for _, err := range []error{payer.Close(), payee.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range dirs {
		if snaps, err := filepath.Glob(filepath.Join(dir, "*.snap")); err != nil || len(snaps) != 1 {
			t.Errorf("snapshots %q, %v, want one", snaps, err)
		}
	}
	payer, payee = open()
	var after []any
	for i, r := range records {
		after = append(after, snapshot(t, payee, r)...)
		c := track(t, payer, r, keys[i])
		if c.Signed() != channels[i].Signed() {
			t.Errorf("payer of channel %d remembers %d, want %d", i, c.Signed(), channels[i].Signed())
		}
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the payee remembers (-before +after):\n%s", diff)
	}
}
