package exec_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
)

// bundleOf bundles some records and lets n check them.
func (n *node) bundleOf(records ...[]byte) []byte {
	n.t.Helper()
	raw := chain.EncodeRecords(records)
	if err := n.receive(raw); err != nil {
		n.t.Fatalf("Check: %v", err)
	}
	return raw
}

func TestUrgentBundlesComeFirstThenFees(t *testing.T) {
	t.Parallel()
	params := settlement.LocalParams()
	n := newNode(t, &network{}, genesisOf(40, params), exec.Config{}, true)
	l := n.openLot(accountOf(0), accountOf(1), 6, 1_000_000)
	for _, i := range []int{4, 3} { // 4 closes a block before 3
		n.settleAll(l.payer.tx(l.domain, chain.KindRequestClose, (&channel.RequestClose{Channel: channel.Ref{Index: l.first + uint64(i), ID: l.ids[i]}}).Encode()))
	}
	d := n.exec.Domain()
	peer := newNode(t, &network{}, n.gen, exec.Config{}, false)
	for _, txs := range n.net.blocks {
		peer.force(txs)
	}
	poor := peer.bundleOf(accountOf(10).transfer(d, accountOf(11).addr, 1)) // 20 drops
	rich := peer.bundleOf(l.settle(0, 3, 1_000))                            // 50 drops in less than twice the bytes
	poor2 := peer.bundleOf(accountOf(12).transfer(d, accountOf(11).addr, 1))
	late := peer.bundleOf(l.settle(3, 4, 1_000))
	early := peer.bundleOf(l.settle(4, 5, 1_000))
	if got, want := peer.propose(), [][]byte{early, late, rich, poor, poor2}; !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("proposed %v, want urgent by deadline, then by fee, then by arrival", names(got, want))
	}
	if again := peer.propose(); len(again) != 5 {
		t.Errorf("a second proposal has %d bundles, want all 5: a failed round must lose nothing", len(again))
	}
	if got := peer.exec.Propose(peer.height()+1, int64(len(early)+6+len(late)+6), nil); !slices.EqualFunc(got, [][]byte{early, late}, bytes.Equal) {
		t.Errorf("in a small block: %v", names(got, [][]byte{early, late, rich, poor, poor2}))
	}
	peer.net.apply(t, peer.propose())
	if left := peer.propose(); len(left) != 0 {
		t.Errorf("%d bundles are left after the block", len(left))
	}
}

// names says which of all is where in got.
func names(got, all [][]byte) []int {
	places := make([]int, len(got))
	for i, g := range got {
		places[i] = slices.IndexFunc(all, func(a []byte) bool { return bytes.Equal(a, g) })
	}
	return places
}

func TestProposeTakesWhatOnlyTheMempoolKnows(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(3, settlement.LocalParams()), exec.Config{}, false)
	d := n.exec.Domain()
	known := n.bundleOf(accountOf(0).transfer(d, accountOf(1).addr, 1))
	unknown := chain.EncodeRecords([][]byte{accountOf(1).transfer(d, accountOf(0).addr, 1)})
	wrong := chain.EncodeRecords([][]byte{flip(accountOf(2).transfer(d, accountOf(0).addr, 1), -1)})
	got := n.exec.Propose(1, unlimited, [][]byte{[]byte("garbage"), wrong, unknown, known, chain.EncodeTick(1)})
	if want := [][]byte{known, unknown}; !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("proposed %v of known, unknown", names(got, want))
	}
	if err := n.exec.Accept(exec.Block{Height: 1, Txs: got}); err != nil {
		t.Errorf("Accept of the own proposal: %v", err)
	}
}

func TestRecordsInTwoBundlesAreProposedOnce(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(3, settlement.LocalParams()), exec.Config{}, false)
	d := n.exec.Domain()
	a, b, c := accountOf(0).transfer(d, accountOf(1).addr, 1), accountOf(1).transfer(d, accountOf(0).addr, 1), accountOf(2).transfer(d, accountOf(0).addr, 1)
	n.bundleOf(a, b)
	n.bundleOf(b, c)
	if err := n.exec.Check(chain.EncodeRecords([][]byte{a, c}), false); !errors.Is(err, chain.CodeDuplicate.Err()) {
		t.Errorf("Check of a bundle of known records: %v, want DUPLICATE", err)
	}
	rival := accountOf(0).txAt(d, 0, chain.KindTransfer, transfer(accountOf(2).addr, 9))
	if err := n.exec.Check(chain.EncodeRecords([][]byte{rival}), false); !errors.Is(err, chain.CodeNonceUsed.Err()) {
		t.Errorf("Check of a record with a pending nonce: %v, want NONCE_USED", err)
	}
	n.step()
	block, err := n.exec.BlockResult(1)
	if err != nil {
		t.Fatal(err)
	}
	ok := 0
	for _, r := range block.Receipts {
		if r.Code == chain.CodeOK {
			ok++
		}
	}
	if ok != 3 || n.exec.Stats().PoolBundles != 0 {
		t.Errorf("%d of 3 records are executed, %d bundles left", ok, n.exec.Stats().PoolBundles)
	}
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(3, settlement.LocalParams()), exec.Config{}, false)
	d := n.exec.Domain()
	good := accountOf(0).transfer(d, accountOf(1).addr, 1)
	n.force([][]byte{chain.EncodeRecords([][]byte{good})})
	fresh := accountOf(1).transfer(d, accountOf(0).addr, 1)
	other := d
	other.Network[3] ^= 1
	for _, c := range []struct {
		name   string
		bundle []byte
		want   chain.Code
	}{
		{"empty", nil, chain.CodeMalformed},
		{"garbage", []byte("garbage"), chain.CodeMalformed},
		{"trailing byte", append(chain.EncodeRecords([][]byte{fresh}), 0), chain.CodeMalformed},
		{"too large", make([]byte, chain.MaxBundleSize+1), chain.CodeTooLarge},
		{"garbage record", chain.EncodeRecords([][]byte{[]byte("garbage")}), chain.CodeMalformed},
		{"another network", chain.EncodeRecords([][]byte{accountOf(1).txAt(other, 0, chain.KindTransfer, transfer(addrOf(0), 1))}), chain.CodeWrongNetwork},
		{"bad signature", chain.EncodeRecords([][]byte{fresh, flip(accountOf(2).txAt(d, 0, chain.KindTransfer, transfer(addrOf(0), 1)), -5)}), chain.CodeBadSignature},
		{"executed already", chain.EncodeRecords([][]byte{good}), chain.CodeNonceUsed},
		{"tick while no deadline is near", chain.EncodeTick(2), chain.CodeInvalidValue},
		{"tick for a past block", chain.EncodeTick(1), chain.CodeExpired},
		{"tick for a far block", chain.EncodeTick(90), chain.CodeExpired},
	} {
		err := n.exec.Check(c.bundle, false)
		if code, ok := chain.CodeOf(err); !ok || code != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		var coded interface{ Code() uint32 }
		if !errors.As(err, &coded) || coded.Code() != uint32(c.want) {
			t.Errorf("%s: the error does not tell consensus its code", c.name)
		}
	}
	poor := accountOf(9) // no account
	lure := accountOf(2).transfer(d, addrOf(0), 1)
	for _, c := range []struct {
		name    string
		records [][]byte
		want    chain.Code
	}{
		{"no account", [][]byte{poor.txAt(d, 0, chain.KindTransfer, transfer(addrOf(0), 1))}, chain.CodeAccountNotFound},
		{"nonce beyond the window", [][]byte{accountOf(2).txAt(d, 300, chain.KindTransfer, transfer(addrOf(0), 1))}, chain.CodeNonceTooHigh},
		{"fee limit", [][]byte{chain.SignTx(d, keyOf(2), chain.TxFields{Kind: chain.KindTransfer, Zone: zone, Payload: transfer(addrOf(0), 1)})}, chain.CodeFeeTooLow},
		{"one that pays and two that do not", [][]byte{lure, poor.txAt(d, 0, chain.KindTransfer, transfer(addrOf(0), 1)), poor.txAt(d, 1, chain.KindTransfer, transfer(addrOf(0), 1))}, chain.CodeAccountNotFound},
	} {
		if err := n.exec.Check(chain.EncodeRecords(c.records), false); !errors.Is(err, c.want.Err()) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if err := n.exec.Check(chain.EncodeRecords([][]byte{good, fresh}), false); err != nil {
		t.Errorf("a bundle of an executed and a fresh record: %v", err)
	}
}

// addrOf is the address of test account i.
func addrOf(i int) ledger.Address { return accountOf(i).addr }

func TestAcceptRefuses(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(3, settlement.LocalParams()), exec.Config{}, false)
	d := n.exec.Domain()
	good := chain.EncodeRecords([][]byte{accountOf(0).transfer(d, addrOf(1), 1)})
	late := chain.EncodeRecords([][]byte{accountOf(0).txAt(d, 999, chain.KindTransfer, transfer(addrOf(1), 1))})
	huge := make([][]byte, 5)
	for i := range huge {
		huge[i] = chain.EncodeRecords([][]byte{accountOf(0).txAt(d, uint64(i), 99, make([]byte, chain.MaxTxSize-chain.TxOverhead))})
	}
	for _, c := range []struct {
		name string
		txs  [][]byte
		want chain.Code
	}{
		{"nothing", nil, chain.CodeOK},
		{"a good bundle and a tick", [][]byte{good, chain.EncodeTick(1)}, chain.CodeOK},
		{"a record out of date", [][]byte{late}, chain.CodeOK},
		{"garbage", [][]byte{good, []byte("garbage")}, chain.CodeMalformed},
		{"garbage record", [][]byte{chain.EncodeRecords([][]byte{{1}})}, chain.CodeMalformed},
		{"a bundle twice", [][]byte{good, late, good}, chain.CodeDuplicate},
		{"a tick for another block", [][]byte{chain.EncodeTick(2)}, chain.CodeInvalidValue},
		{"a signer's bad signature", [][]byte{chain.EncodeRecords([][]byte{flip(accountOf(0).txAt(d, 0, chain.KindTransfer, transfer(addrOf(1), 2)), -1)})}, chain.CodeBadSignature},
		{"too many bytes", huge, chain.CodeTooLarge},
	} {
		if code, ok := chain.CodeOf(n.exec.Accept(exec.Block{Height: 1, Txs: c.txs})); !ok || code != c.want {
			t.Errorf("%s: %v, want %v", c.name, code, c.want)
		}
	}
}

func TestAFullPoolKeepsRoomForUrgentRecords(t *testing.T) {
	t.Parallel()
	gen := genesisOf(64, settlement.LocalParams())
	n := newNode(t, &network{}, gen, exec.Config{PoolBundles: 16, PendingRecords: 16}, true)
	d := n.exec.Domain()
	l := n.openLot(accountOf(0), accountOf(1), 8, 1_000_000)
	for i := range 8 {
		n.settleAll(l.payer.tx(d, chain.KindRequestClose, (&channel.RequestClose{Channel: channel.Ref{Index: l.first + uint64(i), ID: l.ids[i]}}).Encode()))
	}
	taken := 0
	for i := 2; i < 40; i++ {
		_, err := n.exec.Submit(t.Context(), accountOf(i).transfer(d, addrOf(0), 1))
		var busy *exec.BusyError
		switch {
		case err == nil:
			taken++
		case !errors.Is(err, exec.ErrPoolFull) || !errors.As(err, &busy) || busy.RetryAfter <= 0:
			t.Fatalf("Submit to a full pool: %v", err)
		}
	}
	if taken != 12 {
		t.Errorf("%d ordinary records were taken, want 12 of 16", taken)
	}
	for n.exec.Stats().PoolRecords < 12 { // or the urgent one may take the place of the last of them
		<-n.arrived
	}
	urgent := n.submit(l.settle(0, 1, 1_000))
	for n.exec.Stats().PoolRecords < 13 {
		<-n.arrived
	}
	n.step()
	if s, _ := n.exec.Status(urgent.Hash); s.Stage != exec.StageFinal || s.Receipt.Code != chain.CodeOK {
		t.Errorf("the urgent record is %v", s.Stage)
	}
	n.submit(accountOf(41).transfer(d, addrOf(0), 1)) // there is room again
}

func TestPendingRecordsCountAgainstTheBalance(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(2, settlement.LocalParams()), exec.Config{}, true)
	d, a := n.exec.Domain(), accountOf(0)
	n.submit(a.transfer(d, addrOf(1), fortune*2/3))
	if _, err := n.exec.Submit(t.Context(), a.txAt(d, 1, chain.KindTransfer, transfer(addrOf(1), fortune*2/3))); codeOf(t, err) != chain.CodeInsufficientBalance {
		t.Errorf("spending the same money twice: %v", err)
	}
	if _, err := n.exec.Submit(t.Context(), a.txAt(d, 0, chain.KindTransfer, transfer(addrOf(1), 7))); codeOf(t, err) != chain.CodeNonceUsed {
		t.Errorf("a nonce twice: %v", err)
	}
	n.submit(a.transfer(d, addrOf(1), fortune/4))
}

func TestRecordsAreDroppedWithAReason(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(4, settlement.LocalParams()), exec.Config{MaxAge: 6, RebroadcastBlocks: 3}, true)
	d := n.exec.Domain()
	n.mu.Lock()
	n.fail = func([]byte) error { return errors.New("mempool is full") }
	n.mu.Unlock()
	expiring := n.submit(chain.SignTx(d, keyOf(0), chain.TxFields{Kind: chain.KindTransfer, Zone: zone, MaxFee: fortune, ValidUntil: 2, Payload: transfer(addrOf(1), 1)}))
	waiting := n.submit(accountOf(1).transfer(d, addrOf(0), 1))
	rival := n.submit(accountOf(2).transfer(d, addrOf(0), 1))
	n.force([][]byte{chain.EncodeRecords([][]byte{accountOf(2).txAt(d, 0, chain.KindTransfer, transfer(addrOf(1), 5))})})
	for range 8 {
		n.force(nil)
	}
	for name, hash := range map[string]ledger.Hash{"expired": expiring.Hash, "too old": waiting.Hash, "nonce taken": rival.Hash} {
		s, err := n.exec.Wait(t.Context(), hash, exec.StageFinal)
		if err != nil || s.Stage != exec.StageDropped || s.DropReason == "" {
			t.Errorf("%s: %+v, %v, want DROPPED with a reason", name, s, err)
		}
	}
	if s := n.exec.Stats(); s.PendingRecords != 0 || s.Dropped != 3 {
		t.Errorf("stats %+v", s)
	}
}

// broadcastError is an error of consensus with the code of a refusal.
type broadcastError uint32

func (broadcastError) Error() string  { return "refused" }
func (b broadcastError) Code() uint32 { return uint32(b) }

func TestAFailedBroadcastIsRepeated(t *testing.T) {
	t.Parallel()
	const failures = 3
	for _, row := range []struct {
		name    string
		err     error
		retries uint64
	}{
		{"no room in consensus", errors.New("mempool is full"), failures},
		{"no room here", &exec.BusyError{Reason: exec.ErrPoolFull}, failures},
		{"refused for no reason with a code", broadcastError(1 << 16), failures},
		{"refused by a rule", broadcastError(chain.CodeNonceUsed), 0},
		{"refused by the first of the rules", broadcastError(chain.CodeMalformed), 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, &network{}, genesisOf(2, settlement.LocalParams()), exec.Config{RebroadcastBlocks: 1}, false)
			failed, left := make(chan struct{}, failures), failures
			n.fail = func([]byte) error {
				if left--; left >= 0 {
					failed <- struct{}{}
					return row.err
				}
				return nil
			}
			n.run()
			s := n.submit(accountOf(0).transfer(n.exec.Domain(), addrOf(1), 1))
			for range failures {
				<-failed
				if row.retries == 0 {
					n.force(nil) // after which the record is sent again
				}
			}
			n.await()
			n.step()
			if s, _ := n.exec.Status(s.Hash); s.Stage != exec.StageFinal {
				t.Errorf("the record is %v", s.Stage)
			}
			if got := n.exec.Stats().BroadcastRetries; got != row.retries {
				t.Errorf("%d retries, want %d", got, row.retries)
			}
		})
	}
}

func TestALostBundleIsSentAgain(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(2, settlement.LocalParams()), exec.Config{RebroadcastBlocks: 2}, true)
	s := n.submit(accountOf(0).transfer(n.exec.Domain(), addrOf(1), 1))
	n.await()
	n.mu.Lock()
	n.mempool = nil // consensus lost it
	n.mu.Unlock()
	n.force(nil)
	n.force(nil)
	n.await()
	if got := n.exec.Stats().Rebroadcast; got != 1 {
		t.Errorf("%d records were sent again, want 1", got)
	}
	n.step()
	if s, _ := n.exec.Status(s.Hash); s.Stage != exec.StageFinal {
		t.Errorf("the record is %v", s.Stage)
	}
}

func TestTicksKeepTheClockRunningToADeadline(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(2, settlement.LocalParams()), exec.Config{TickInterval: time.Millisecond, WakeWindow: 50}, true)
	l := n.openLot(accountOf(0), accountOf(1), 1, 1_000_000)
	before := n.exec.Stats().Ticks
	if before != 0 {
		t.Errorf("%d ticks although the deadline is far", before)
	}
	s := n.settleAll(l.payer.tx(l.domain, chain.KindRequestClose, (&channel.RequestClose{Channel: channel.Ref{Index: l.first, ID: l.ids[0]}}).Encode()))
	blocks := 0
	for {
		info, ok, err := n.exec.Channel(l.first)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		if info.State == exec.ChannelClosed {
			if info.Closed.Kind != settlement.EventFinalised {
				t.Errorf("closed by %v", info.Closed.Kind)
			}
			break
		}
		n.await() // a tick
		n.step()
		blocks++
	}
	if want := int(n.exec.Params().DefaultChallenge); blocks != want {
		t.Errorf("the channel closed %d blocks after the request in block %d, want %d", blocks, s[0].Height, want)
	}
	select { // nothing is due any more
	case <-n.arrived:
		n.mu.Lock()
		defer n.mu.Unlock()
		if len(n.mempool) > 0 {
			t.Error("a tick although no deadline is left")
		}
	case <-time.After(20 * time.Millisecond):
	}
}

func TestSubscriptionsNeverMissABlock(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(2, settlement.LocalParams()), exec.Config{RecentBlocks: 4}, false)
	a := accountOf(0)
	slow, ahead := n.exec.Subscribe(1), n.exec.Subscribe(0)
	for range 20 {
		n.force([][]byte{chain.EncodeRecords([][]byte{a.transfer(n.exec.Domain(), addrOf(1), 1)})})
	}
	if kept := n.exec.Stats().Recent; kept != 4 {
		t.Errorf("%d blocks are in memory, want 4", kept)
	}
	for _, sub := range []*exec.Subscription{slow, ahead} {
		for want := uint64(1); want <= 20; want++ {
			b, err := sub.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if b.Height != want || len(b.Receipts) != 1 || b.Receipts[0].Code != chain.CodeOK {
				t.Fatalf("block %+v, want height %d", b, want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := sub.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Next at the head: %v", err)
		}
	}
}

func TestSubmitNeedsASyncedRunningNode(t *testing.T) {
	t.Parallel()
	synced := false
	gen := genesisOf(2, settlement.LocalParams())
	n := newNode(t, &network{}, gen, exec.Config{Synced: func() bool { return synced }}, false)
	raw := accountOf(0).transfer(n.exec.Domain(), addrOf(1), 1)
	if _, err := n.exec.Submit(t.Context(), raw); !errors.Is(err, exec.ErrNotRunning) {
		t.Errorf("before Run: %v", err)
	}
	n.run()
	if _, err := n.exec.Submit(t.Context(), raw); !errors.Is(err, exec.ErrNotSynced) {
		t.Errorf("behind the peers: %v", err)
	}
	synced = true
	n.submit(raw)
}

func TestSubmitNeedsAState(t *testing.T) {
	t.Parallel()
	gen := genesisOf(2, settlement.LocalParams())
	n := &node{t: t, net: new(network), store: memkv.New(), gen: gen, arrived: make(chan struct{}, 1)}
	n.open(exec.Config{})
	n.run()
	raw := accountOf(0).transfer(n.exec.Domain(), addrOf(1), 1)
	if _, err := n.exec.Submit(t.Context(), raw); !errors.Is(err, exec.ErrNotSynced) {
		t.Errorf("Submit before InitChain: %v", err)
	}
	if _, err := n.exec.Simulate(t.Context(), raw); !errors.Is(err, exec.ErrNotSynced) {
		t.Errorf("Simulate before InitChain: %v", err)
	}
	if _, err := n.exec.InitChain(gen.Encode()); err != nil {
		t.Fatal(err)
	}
	n.submit(raw)
}

func FuzzCheck(f *testing.F) {
	n := newNode(f, &network{}, genesisOf(2, settlement.LocalParams()), exec.Config{}, false)
	good := chain.EncodeRecords([][]byte{accountOf(0).transfer(n.exec.Domain(), addrOf(1), 1)})
	f.Add(good)
	f.Add(chain.EncodeTick(1))
	f.Fuzz(func(t *testing.T, bundle []byte) {
		err := n.exec.Check(bundle, false)
		if err == nil && !bytes.Equal(bundle, good) {
			t.Errorf("Check takes %x", bundle)
		}
		_ = n.exec.Accept(exec.Block{Height: 1, Txs: [][]byte{bundle}})
	})
}

func TestThePoolTakesNoMoreThanASignerCanPay(t *testing.T) {
	t.Parallel()
	gen := genesisOf(2, settlement.LocalParams())
	gen.Accounts[0].Balance = 5 * gen.Params.TxFee
	n := newNode(t, &network{}, gen, exec.Config{}, false)
	taken := 0
	for i := range 20 {
		raw := accountOf(0).txAt(n.exec.Domain(), uint64(i), chain.KindTransfer, transfer(addrOf(1), 1))
		err := n.exec.Check(chain.EncodeRecords([][]byte{raw}), false)
		switch {
		case err == nil:
			taken++
		case !errors.Is(err, chain.CodeInsufficientBalance.Err()):
			t.Errorf("record %d: %v", i, err)
		}
	}
	if taken != 5 {
		t.Errorf("%d records of an account that can pay 5 fees were taken", taken)
	}
	n.step()
	if left := n.exec.Stats().PoolRecords; left != 0 {
		t.Errorf("%d records are left", left)
	}
}

func TestAPayeeWithoutMoneyMaySettle(t *testing.T) {
	t.Parallel()
	n := newNode(t, &network{}, genesisOf(1, settlement.LocalParams()), exec.Config{}, true)
	payee := accountOf(50)
	n.settleAll(accountOf(0).txAt(n.exec.Domain(), 0, chain.KindTransfer, transfer(payee.addr, 1)))
	payer := accountOf(0)
	payer.nonce = 1
	l := n.openLot(payer, payee, 3, 100_000)
	raw := l.settle(0, 3, 10_000)
	n.bundleOf(raw) // as a peer sends it
	if s := n.settleAll(raw)[0]; s.Receipt.Code != chain.CodeOK {
		t.Errorf("settled with %v", s.Receipt.Code)
	}
}
