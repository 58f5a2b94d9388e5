package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
)

// codesTable is the gRPC code of every code of the chain.
func codesTable() map[chain.Code]codes.Code {
	return map[chain.Code]codes.Code{
		chain.CodeMalformed:           codes.InvalidArgument,
		chain.CodeTooLarge:            codes.InvalidArgument,
		chain.CodeWrongNetwork:        codes.InvalidArgument,
		chain.CodeWrongChain:          codes.InvalidArgument,
		chain.CodeBadKey:              codes.InvalidArgument,
		chain.CodeBadSignature:        codes.InvalidArgument,
		chain.CodeBadOrder:            codes.InvalidArgument,
		chain.CodeUnknownKind:         codes.InvalidArgument,
		chain.CodeInvalidValue:        codes.InvalidArgument,
		chain.CodeAmountOverflow:      codes.InvalidArgument,
		chain.CodeNonceUsed:           codes.Aborted,
		chain.CodeNonceTooHigh:        codes.Aborted,
		chain.CodeExpired:             codes.FailedPrecondition,
		chain.CodeFeeTooLow:           codes.InvalidArgument,
		chain.CodeInsufficientBalance: codes.FailedPrecondition,
		chain.CodeAccountNotFound:     codes.NotFound,
		chain.CodeSelfPayment:         codes.InvalidArgument,
		chain.CodeDuplicate:           codes.AlreadyExists,
		chain.CodeChannelNotFound:     codes.NotFound,
		chain.CodeChannelClosing:      codes.FailedPrecondition,
		chain.CodeChannelExpired:      codes.FailedPrecondition,
		chain.CodeNotPayer:            codes.PermissionDenied,
		chain.CodeNotPayee:            codes.PermissionDenied,
		chain.CodeStale:               codes.FailedPrecondition,
		chain.CodeUnderfunded:         codes.FailedPrecondition,
		chain.CodePartial:             codes.FailedPrecondition,
		chain.CodeLaneLimit:           codes.InvalidArgument,
		chain.CodeBadPreimage:         codes.InvalidArgument,
		chain.CodeDepositTooSmall:     codes.InvalidArgument,
		chain.CodeExpiryOutOfRange:    codes.FailedPrecondition,
		chain.CodeChallengeRange:      codes.InvalidArgument,
		chain.CodeUnknownService:      codes.InvalidArgument,
		chain.CodeBatchAborted:        codes.FailedPrecondition,
		chain.CodeFinalOutOfRange:     codes.FailedPrecondition,
		chain.CodeChannelMismatch:     codes.InvalidArgument,
		chain.CodePayeeZone:           codes.InvalidArgument,
		chain.CodeValidatorNotFound:   codes.NotFound,
		chain.CodeValidatorJailed:     codes.FailedPrecondition,
		chain.CodeTombstoned:          codes.FailedPrecondition,
		chain.CodeNotOperator:         codes.PermissionDenied,
		chain.CodeKeyUsed:             codes.AlreadyExists,
		chain.CodeOperatorUsed:        codes.AlreadyExists,
		chain.CodeBadProof:            codes.InvalidArgument,
		chain.CodeSelfStakeTooSmall:   codes.FailedPrecondition,
		chain.CodeCommissionTooHigh:   codes.InvalidArgument,
		chain.CodeCommissionJump:      codes.FailedPrecondition,
		chain.CodeDelegationTooSmall:  codes.InvalidArgument,
		chain.CodeDelegationNotFound:  codes.NotFound,
		chain.CodeMoreThanDelegated:   codes.FailedPrecondition,
		chain.CodeRedelegating:        codes.FailedPrecondition,
		chain.CodeTooManyEntries:      codes.FailedPrecondition,
		chain.CodeNotJailed:           codes.FailedPrecondition,
		chain.CodeJailNotOver:         codes.FailedPrecondition,
		chain.CodeNothingToClaim:      codes.FailedPrecondition,
		chain.CodeSameValidator:       codes.InvalidArgument,
		chain.CodeValidatorWorthless:  codes.FailedPrecondition,
		chain.CodeEvidenceExpired:     codes.FailedPrecondition,
		chain.CodeEvidenceOfNoMember:  codes.FailedPrecondition,
		chain.CodeEvidenceKnown:       codes.FailedPrecondition,
		chain.CodeEvidenceFromNowhere: codes.FailedPrecondition,
		chain.CodeLinkFull:            codes.FailedPrecondition,
		chain.CodeLinkBytes:           codes.FailedPrecondition,
		chain.CodeForeignPlace:        codes.FailedPrecondition,
		chain.CodeLinkGap:             codes.FailedPrecondition,
		chain.CodeLinkRepeat:          codes.FailedPrecondition,
		chain.CodeNotAnchored:         codes.FailedPrecondition,
		chain.CodeBadRange:            codes.InvalidArgument,
		chain.CodeReturnsFull:         codes.FailedPrecondition,
		chain.CodeNeverSent:           codes.InvalidArgument,
		chain.CodeNothingNew:          codes.FailedPrecondition,
		chain.CodeMessageExpired:      codes.FailedPrecondition,
		chain.CodeNotDue:              codes.FailedPrecondition,
		chain.CodeLinkNotFound:        codes.NotFound,
		chain.CodeUnknownShard:        codes.NotFound,
		chain.CodeAnchorGap:           codes.FailedPrecondition,
		chain.CodeAnchorStale:         codes.FailedPrecondition,
		chain.CodeAnchorEpoch:         codes.FailedPrecondition,
		chain.CodeUnknownCommittee:    codes.FailedPrecondition,
		chain.CodeBadCertificate:      codes.InvalidArgument,
		chain.CodeAnchorConflict:      codes.FailedPrecondition,
		chain.CodeShardEnded:          codes.FailedPrecondition,
		chain.CodeNoConflict:          codes.InvalidArgument,
		chain.CodeAnchorGeneration:    codes.FailedPrecondition,
		chain.CodeWrongShard:          codes.FailedPrecondition,
		chain.CodeWrongService:        codes.InvalidArgument,
		chain.CodeChannelUnknown:      codes.NotFound,
		chain.CodeAboveDeposit:        codes.FailedPrecondition,
		chain.CodeUnitsFell:           codes.InvalidArgument,
		chain.CodeAdvanceTooSmall:     codes.InvalidArgument,
		chain.CodeWrongSource:         codes.PermissionDenied,
		chain.CodeServiceUsed:         codes.AlreadyExists,
		chain.CodeNotOwner:            codes.PermissionDenied,
		chain.CodeTooManyServices:     codes.FailedPrecondition,
		chain.CodeReshardRefused:      codes.FailedPrecondition,
	}
}

func TestEveryCodeOfTheChain(t *testing.T) {
	t.Parallel()
	table := codesTable()
	for c := chain.Code(1); c < 2_000; c++ {
		want, listed := table[c]
		if c.Known() != listed {
			t.Errorf("code %d (%v): known %v, in the table %v", c, c, c.Known(), listed)
		}
		if !listed {
			want = codes.Internal
		}
		if got := api.RuleStatus(c); got != want {
			t.Errorf("code %v: %v, want %v", c, got, want)
		}
		name, number := "CODE_"+c.String(), chainv1.Code_value["CODE_"+c.String()]
		if listed && chain.Code(number) != c {
			t.Errorf("%s is %d in the messages, want %d", name, number, c)
		}
		if !listed {
			continue
		}
		err := fmt.Errorf("submit: %w", &chain.RuleError{Code: c, Detail: "why", Positions: []int{-1, 3, 70}})
		s, known := api.StatusOf(err)
		p := wantProblem(t, s.Err(), want, c.String())
		if !known || p.info.GetMetadata()["positions"] != "3,70" {
			t.Errorf("code %v: known %v, metadata %v", c, known, p.info.GetMetadata())
		}
		if hasFields := len(p.fields) > 0; hasFields != (want == codes.InvalidArgument) {
			t.Errorf("code %v: fields %v", c, p.fields)
		}
		if (p.precondition != nil) != (want == codes.FailedPrecondition) {
			t.Errorf("code %v: precondition %v", c, p.precondition)
		}
	}
	if n := len(chainv1.Code_name) - 2; n != len(table) { // but for UNSPECIFIED and OK
		t.Errorf("the messages have %d codes, the chain %d", n, len(table))
	}
}

func TestErrorsThatAreNoRules(t *testing.T) {
	t.Parallel()
	secret := errors.New("open /home/secret: no such file")
	for _, row := range []struct {
		name   string
		err    error
		code   codes.Code
		reason string
		retry  bool
		known  bool
	}{
		{"pool full", &exec.BusyError{Reason: exec.ErrPoolFull, RetryAfter: time.Second}, codes.ResourceExhausted, api.ReasonPoolFull, true, true},
		{"too many waiting", &exec.BusyError{Reason: exec.ErrTooManyWaiting}, codes.ResourceExhausted, api.ReasonOverloaded, true, true},
		{"not synced", exec.ErrNotSynced, codes.Unavailable, api.ReasonNotSynced, true, true},
		{"not running", exec.ErrNotRunning, codes.Unavailable, api.ReasonShuttingDown, true, true},
		{"halted", fmt.Errorf("%w: %w", exec.ErrHalted, secret), codes.Unavailable, api.ReasonChainHalted, false, true},
		{"pruned", fmt.Errorf("block 3: %w", exec.ErrPruned), codes.DataLoss, api.ReasonPruned, false, true},
		{"pruned, with what is left", &exec.PrunedError{What: "block 3", KeptFrom: 7}, codes.DataLoss, api.ReasonPruned, false, true},
		{"deadline", context.DeadlineExceeded, codes.DeadlineExceeded, api.ReasonDeadline, false, true},
		{"cancelled", context.Canceled, codes.Canceled, api.ReasonCancelled, false, true},
		{"a fault", secret, codes.Internal, api.ReasonInternal, false, false},
		{"no code of the protocol", &chain.RuleError{Code: 999, Detail: secret.Error()}, codes.Internal, api.ReasonInternal, false, false},
	} {
		s, known := api.StatusOf(row.err)
		p := wantProblem(t, s.Err(), row.code, row.reason)
		if known != row.known || (p.retry > 0) != row.retry {
			t.Errorf("%s: known %v, retry %v", row.name, known, p.retry)
		}
		if strings.Contains(s.String()+p.info.String(), "secret") {
			t.Errorf("%s: internal text in %v", row.name, s)
		}
	}
}

func TestPrunedSaysWhatIsLeft(t *testing.T) {
	t.Parallel()
	s, _ := api.StatusOf(fmt.Errorf("read: %w", &exec.PrunedError{What: "block 3", KeptFrom: 7}))
	p := wantProblem(t, s.Err(), codes.DataLoss, api.ReasonPruned)
	if p.info.GetMetadata()["kept_from"] != "7" || !strings.Contains(s.Message(), "block 3") || !strings.Contains(s.Message(), "from height 7") {
		t.Errorf("%v", s)
	}
	s, _ = api.StatusOf(&exec.PrunedError{What: "seals of epoch 3", KeptFrom: 8, Epochs: true})
	p = wantProblem(t, s.Err(), codes.DataLoss, api.ReasonPruned)
	if p.info.GetMetadata()["kept_from_epoch"] != "8" || p.info.GetMetadata()["kept_from"] != "" || !strings.Contains(s.Message(), "from epoch 8") {
		t.Errorf("%v", s)
	}
}

func TestPageTokens(t *testing.T) {
	t.Parallel()
	p := api.NewPager(ledger.Hash{1}, "ListThings", "a", "b")
	token := p.Token(42, []byte{1, 2, 3})
	size, height, cursor, err := p.Open(7, token, 99)
	if err != nil || size != 7 || height != 42 || !bytes.Equal(cursor, []byte{1, 2, 3}) {
		t.Fatalf("Open = %d, %d, %x, %v", size, height, cursor, err)
	}
	for _, row := range []struct {
		name        string
		size, want  int32
		shouldError bool
	}{
		{"default", 0, api.DefaultPageSize, false},
		{"largest", api.MaxPageSize, api.MaxPageSize, false},
		{"capped", 1 << 30, api.MaxPageSize, false},
		{"negative", -1, 0, true},
	} {
		got, height, _, err := p.Open(row.size, "", 99)
		if (err != nil) != row.shouldError || err == nil && (got != int(row.want) || height != 99) {
			t.Errorf("%s: %d at %d, %v", row.name, got, height, err)
		}
	}
	changed := []byte(token)
	changed[3] ^= 1
	for _, row := range []struct {
		name  string
		pager *api.Pager
		token string
	}{
		{"another filter", api.NewPager(ledger.Hash{1}, "ListThings", "a", "c"), token},
		{"values that only join alike", api.NewPager(ledger.Hash{1}, "ListThings", "ab", ""), token},
		{"another list", api.NewPager(ledger.Hash{1}, "ListOthers", "a", "b"), token},
		{"another network", api.NewPager(ledger.Hash{2}, "ListThings", "a", "b"), token},
		{"changed", p, string(changed)},
		{"cut", p, token[:len(token)-1]},
		{"longer", p, token + "A"},
		{"no base64", p, "!!!"},
		{"huge", p, strings.Repeat("A", 1<<20)},
	} {
		_, _, _, err := row.pager.Open(7, row.token, 99)
		if err == nil {
			t.Errorf("%s: accepted", row.name)
			continue
		}
		s, _ := api.StatusOf(err)
		wantProblem(t, s.Err(), codes.InvalidArgument, api.ReasonInvalidPageToken)
	}
}

func FuzzPageToken(f *testing.F) {
	p := api.NewPager(ledger.Hash{1}, "ListThings", "a")
	f.Add(p.Token(1, []byte{1}))
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, token string) {
		_, height, cursor, err := p.Open(0, token, 5)
		if err == nil && token != "" && p.Token(height, cursor) != token {
			t.Fatalf("two tokens for height %d, cursor %x", height, cursor)
		}
	})
}

func TestResourceNames(t *testing.T) {
	t.Parallel()
	hash := ledger.HashOf("test", []byte("x"))
	if got, err := api.ParseChannelName(api.ChannelName(hash)); err != nil || got != hash {
		t.Errorf("channel: %v, %v", got, err)
	}
	a := accountOf(1).addr
	if got, err := api.ParseAccountName(api.AccountName(a)); err != nil || got != a {
		t.Errorf("account: %v, %v", got, err)
	}
	if got, err := api.ParseBlockName(api.BlockName(7), 9); err != nil || got != 7 {
		t.Errorf("block: %v, %v", got, err)
	}
	if got, err := api.ParseBlockName("blocks/latest", 9); err != nil || got != 9 {
		t.Errorf("latest block: %v, %v", got, err)
	}
	for _, name := range []string{
		"", "channels", "channels/", "channels/12", api.SettlementName(hash), strings.ToUpper(api.ChannelName(hash)),
		"channels/" + strings.ToUpper(hash.String()), api.ChannelName(hash) + "0", "channels/" + strings.Repeat("g", 64),
		"/" + api.ChannelName(hash), api.ChannelName(hash) + "/x", strings.Repeat("channels/", 10_000),
	} {
		_, err := api.ParseChannelName(name)
		wantField(t, name, err)
	}
	for _, name := range []string{"", "accounts/", a.String(), "accounts/trib1", "accounts/" + strings.Repeat("q", 100_000), api.AccountName(a) + "q"} {
		_, err := api.ParseAccountName(name)
		wantField(t, name, err)
	}
	for _, name := range []string{"", "blocks/", "blocks/0", "blocks/-1", "blocks/01", "blocks/1e3", "blocks/99999999999999999999", "block/1"} {
		_, err := api.ParseBlockName(name, 9)
		wantField(t, name, err)
	}
}

// wantField fails unless err is a refusal of a field with a message of bounded
// length.
func wantField(t *testing.T, name string, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("%.80q: accepted", name)
		return
	}
	s, _ := api.StatusOf(err)
	p := wantProblem(t, s.Err(), codes.InvalidArgument, api.ReasonInvalidField)
	if len(p.fields) != 1 || p.fields[0] != "name" || len(s.Message()) > 600 {
		t.Errorf("%.80q: fields %v, %d characters", name, p.fields, len(s.Message()))
	}
}

func FuzzResourceNames(f *testing.F) {
	f.Add(api.ChannelName(ledger.Hash{1}))
	f.Add(api.AccountName(ledger.Address{1}))
	f.Add("blocks/17")
	f.Fuzz(func(t *testing.T, name string) {
		if id, err := api.ParseChannelName(name); err == nil && api.ChannelName(id) != name {
			t.Errorf("two names of channel %v: %q", id, name)
		}
		if height, err := api.ParseBlockName(name, 5); err == nil && name != "blocks/latest" && api.BlockName(height) != name {
			t.Errorf("two names of block %d: %q", height, name)
		}
		if a, err := api.ParseAccountName(name); err == nil && !strings.EqualFold(api.AccountName(a), name) {
			t.Errorf("two names of account %v: %q", a, name)
		}
	})
}

func TestRateLimiter(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	r := api.NewRateLimiter(10, 3, func() time.Time { return now })
	one, two := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for range 3 {
		if _, ok := r.Take(one); !ok {
			t.Fatal("the burst is not granted")
		}
	}
	wait, ok := r.Take(one)
	if ok || wait != 100*time.Millisecond {
		t.Fatalf("after the burst: %v, %v", wait, ok)
	}
	if _, ok := r.Take(two); !ok {
		t.Fatal("another address has no bucket of its own")
	}
	now = now.Add(100 * time.Millisecond)
	if _, ok := r.Take(one); !ok {
		t.Fatal("no token after the wait it named")
	}
	for i := range 50_000 { // memory stays bounded, and newcomers are still limited
		r.Take(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if _, ok := r.Take(netip.MustParseAddr("12.0.0.1")); ok {
		t.Error("the common bucket of newcomers never runs dry")
	}
}

func TestAddressOfCaller(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, addr, want string }{
		{"IPv4", "10.1.2.3:55", "10.1.2.3"},
		{"IPv4 in IPv6", "[::ffff:10.1.2.3]:55", "10.1.2.3"},
		{"IPv6 network", "[2001:db8:1:2:3:4:5:6]:55", "2001:db8:1:2::"},
		{"IPv6 with zone", "[fe80::1%eth0]:55", "fe80::"},
	} {
		host, port, err := net.SplitHostPort(row.addr)
		if err != nil {
			t.Fatal(err)
		}
		addr := &fixedAddr{net.JoinHostPort(host, port)}
		if got := api.AddrIP(addr).String(); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
	if api.AddrIP(nil).IsValid() || api.AddrIP(&net.UnixAddr{Name: "/x"}).IsValid() {
		t.Error("a caller without address has one")
	}
}

type fixedAddr struct{ s string }

func (*fixedAddr) Network() string  { return "tcp" }
func (a *fixedAddr) String() string { return a.s }

func TestRequestIDs(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	ids := api.NewRequestIDs(3, func() time.Time { return now })
	id, body := newID(), [32]byte{1}
	calls := 0
	submit := func() (ledger.Hash, error) { calls++; return ledger.Hash{9}, nil }
	for range 2 {
		if h, err := ids.Do(t.Context(), id, body, submit); err != nil || h != (ledger.Hash{9}) {
			t.Fatalf("Do = %v, %v", h, err)
		}
	}
	if calls != 1 {
		t.Fatalf("submitted %d times", calls)
	}
	_, err := ids.Do(t.Context(), id, [32]byte{2}, submit)
	s, _ := api.StatusOf(err)
	p := wantProblem(t, s.Err(), codes.AlreadyExists, api.ReasonRequestIDReused)
	if p.info.GetMetadata()["original_hash"] != (ledger.Hash{9}).String() {
		t.Errorf("metadata %v", p.info.GetMetadata())
	}

	failing := func() (ledger.Hash, error) { return ledger.Hash{}, exec.ErrNotSynced }
	again := newID()
	if _, err := ids.Do(t.Context(), again, body, failing); !errors.Is(err, exec.ErrNotSynced) {
		t.Fatal(err)
	}
	if _, err := ids.Do(t.Context(), again, [32]byte{3}, submit); err != nil {
		t.Fatalf("an id whose submit failed is kept: %v", err)
	}

	now = now.Add(24*time.Hour + time.Second)
	if _, err := ids.Do(t.Context(), id, [32]byte{4}, submit); err != nil {
		t.Fatalf("after 24 hours: %v", err)
	}
	for range 3 { // more than the limit: the oldest goes
		if _, err := ids.Do(t.Context(), newID(), body, submit); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ids.Do(t.Context(), id, [32]byte{5}, submit); err != nil {
		t.Fatalf("beyond the limit: %v", err)
	}
	for _, bad := range []string{"x", "00000000-0000-0000-0000-000000000000", "f47ac10b-58cc-1372-8567-0e02b2c3d479", "{" + id + "}", strings.ReplaceAll(id, "-", "")} {
		_, err := ids.Do(t.Context(), bad, body, submit)
		s, _ := api.StatusOf(err)
		wantProblem(t, s.Err(), codes.InvalidArgument, api.ReasonInvalidField)
	}
}

func TestRequestIDInFlight(t *testing.T) {
	t.Parallel()
	ids := api.NewRequestIDs(3, time.Now)
	id, body := newID(), [32]byte{1}
	began, finish, first := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := ids.Do(context.Background(), id, body, func() (ledger.Hash, error) {
			close(began)
			<-finish
			return ledger.Hash{}, exec.ErrNotSynced
		})
		first <- err
	}()
	<-began
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ids.Do(ctx, id, body, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("a repeat does not wait: %v", err)
	}
	second := make(chan ledger.Hash, 1)
	go func() {
		h, _ := ids.Do(context.Background(), id, body, func() (ledger.Hash, error) { return ledger.Hash{7}, nil })
		second <- h
	}()
	close(finish)
	if err := <-first; !errors.Is(err, exec.ErrNotSynced) {
		t.Errorf("first: %v", err)
	}
	if h := <-second; h != (ledger.Hash{7}) {
		t.Errorf("the repeat of a failed call got %v", h)
	}
}

// TestErrorDetailsDecode keeps the details within what clients know.
func TestErrorDetailsDecode(t *testing.T) {
	t.Parallel()
	s, _ := api.StatusOf(&exec.BusyError{Reason: exec.ErrPoolFull, RetryAfter: 250 * time.Millisecond})
	for _, d := range s.Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok && r.GetRetryDelay().AsDuration() == 250*time.Millisecond {
			return
		}
	}
	t.Errorf("no RetryInfo of 250 ms in %v", s.Details())
}
