package api_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/ledger"
	chainv1 "github.com/tributary-network/tributary/proto/tributary/chain/v1"
	servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"
)

// others are nodes that all answer like one that runs the shards, but for what a test
// makes of their answers.
type others struct {
	node  *shardNode
	names []string
	// answer does what the node of a name does; call makes the call of the true node.
	answer func(ctx context.Context, name string, call func() error, resp proto.Message) error

	mu     sync.Mutex
	asked  []string
	faults []string
}

// Hosts implements api.Forwarder.
func (o *others) Hosts(ledger.ChainID) []string { return o.names }

// Fault implements api.Forwarder.
func (o *others) Fault(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.faults = append(o.faults, name)
}

// Call implements api.Forwarder.
func (o *others) Call(ctx context.Context, name, method string, req, resp proto.Message) error {
	o.mu.Lock()
	o.asked = append(o.asked, name)
	o.mu.Unlock()
	return o.answer(ctx, name, func() error { return o.node.conn.Invoke(ctx, method, req, resp) }, resp)
}

// reset forgets who was asked, and returns it.
func (o *others) reset() (asked, faults []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	asked, faults, o.asked, o.faults = o.asked, o.faults, nil, nil
	return asked, faults
}

// gateway returns a node that runs nothing and asks the others.
func (s *shardWorld) gateway(o *others) *shardNode {
	n := &shardNode{world: s, name: "gateway", listener: bufconn.Listen(1 << 20)}
	n.start(func(c *api.Config) { c.Peers = o })
	return n
}

// refusal is how a node refuses.
func refusal(code codes.Code, reason string) error {
	s, err := status.New(code, "no").WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: api.Domain})
	if err != nil {
		return err
	}
	return s.Err()
}

// TestReadsOfOthers: what others answer is verified as far as they prove it, marked as
// what they say where they do not, and dropped where the proof is none.
func TestReadsOfOthers(t *testing.T) {
	t.Parallel()
	s, here, _ := twoNodes(t)
	c := s.sell(s.elsewhere(s.payer.addr)).told()
	home, payees := s.home(s.payer.addr), s.home(c.payee.addr)
	booked, err := here.services().BookUsage(s.ctx(), signedUsage(c.book(1_000)))
	if err != nil {
		t.Fatal(err)
	}
	s.deliver(home, payees)
	var lie func(resp proto.Message)
	o := &others{node: here, names: []string{"liar", "honest"}}
	o.answer = func(_ context.Context, name string, call func() error, resp proto.Message) error {
		err := call()
		if err == nil && name == "liar" && lie != nil {
			lie(resp)
		}
		return err
	}
	n := s.gateway(o)
	reads := map[string]func() (*servicev1.Source, uint64, error){
		"usage": func() (*servicev1.Source, uint64, error) {
			got, err := n.services().GetUsage(s.ctx(), &servicev1.GetUsageRequest{Channel: c.name()})
			return got.GetSource(), got.GetBooked().GetAmount(), err
		},
		"earnings": func() (*servicev1.Source, uint64, error) {
			got, err := n.services().GetEarnings(s.ctx(), &servicev1.GetEarningsRequest{Payee: api.AccountName(c.payee.addr), Service: "services/content"})
			return got.GetSource(), got.GetTotal().GetAmount(), err
		},
		"booking": func() (*servicev1.Source, uint64, error) {
			got, err := n.services().GetBooking(s.ctx(), &servicev1.GetBookingRequest{
				Name: booked.GetBooking().GetName(), Shard: booked.GetBooking().GetShard(), FullResults: true, Prove: []uint32{0},
			})
			return got.GetSource(), got.GetBooking().GetBooked().GetAmount(), err
		},
	}
	check := func(what, read, served string, evidence servicev1.Evidence, amount uint64) {
		t.Helper()
		source, got, err := reads[read]()
		if err != nil || source.GetServedBy() != served || source.GetEvidence() != evidence || got != amount {
			t.Errorf("%s, %s: %v, %d, %v, want %v by %s and %d", what, read, source, got, err, evidence, served, amount)
		}
	}
	const claimed, verified = servicev1.Evidence_EVIDENCE_CLAIMED, servicev1.Evidence_EVIDENCE_VERIFIED
	check("without certificates", "usage", "liar", claimed, 1_000)
	check("without certificates", "earnings", "liar", claimed, 1_000)
	for _, f := range []*fakeShard{home, payees} {
		f.mu.Lock()
		f.certify = true
		f.mu.Unlock()
	}
	for read := range reads {
		check("with certificates", read, "liar", verified, 1_000)
	}
	o.reset()
	change := func(m proto.Message) {
		switch m := m.(type) {
		case *servicev1.GetUsageResponse:
			m.Booked.Amount, m.Lanes[0].Cumulative = 9_999, 9_999
		case *servicev1.GetEarningsResponse:
			m.Total.Amount = 9_999
		}
	}
	rows := func(m proto.Message) *servicev1.ProvedRows {
		switch m := m.(type) {
		case *servicev1.GetUsageResponse:
			return m.GetProof()
		case *servicev1.GetEarningsResponse:
			return m.GetProof()
		default:
			return &servicev1.ProvedRows{Rows: []*chainv1.StateProof{{Value: make([]byte, 99)}}, Certificate: make([]byte, 99)}
		}
	}
	for _, row := range []struct {
		name     string
		lie      func(m proto.Message)
		served   string
		evidence servicev1.Evidence
		amount   uint64
	}{
		{"another answer than is proved", change, "liar", verified, 1_000},
		{"another value", func(m proto.Message) { rows(m).Rows[0].Value[40] ^= 1 }, "honest", verified, 1_000},
		{"no value", func(m proto.Message) { rows(m).Rows[0].Absent = true }, "honest", verified, 1_000},
		{"another key", func(m proto.Message) { rows(m).Rows[0].Key[5] ^= 1 }, "honest", verified, 1_000},
		{"another height", func(m proto.Message) { rows(m).Rows[0].Height-- }, "honest", verified, 1_000},
		{"another root", func(m proto.Message) { rows(m).Rows[0].AppHash[0] ^= 1 }, "honest", verified, 1_000},
		{"a forged certificate", func(m proto.Message) { p := rows(m); p.Certificate[len(p.GetCertificate())-90] ^= 1 }, "honest", verified, 1_000},
		{"no certificate", func(m proto.Message) { rows(m).Certificate = nil }, "honest", verified, 1_000},
		{"no proof", func(m proto.Message) {
			change(m)
			switch m := m.(type) {
			case *servicev1.GetUsageResponse:
				m.Proof = nil
			case *servicev1.GetEarningsResponse:
				m.Proof = nil
			}
		}, "liar", claimed, 9_999},
	} {
		lie = row.lie
		for _, read := range []string{"usage", "earnings"} {
			check(row.name, read, row.served, row.evidence, row.amount)
			if _, faults := o.reset(); (row.served == "honest") != slices.Equal(faults, []string{"liar"}) {
				t.Errorf("%s: faults %v", row.name, faults)
			}
		}
	}
	for name, spoil := range map[string]func(m *servicev1.GetBookingResponse){
		"another booking": func(m *servicev1.GetBookingResponse) { m.Booking.Name = "bookings/00" },
		"another shard":   func(m *servicev1.GetBookingResponse) { m.Booking.Shard = "shards/2" },
		"another lane":    func(m *servicev1.GetBookingResponse) { m.Booking.Results[0].Lane++ },
		"another height":  func(m *servicev1.GetBookingResponse) { m.Booking.Transaction.Height-- },
		"another proof":   func(m *servicev1.GetBookingResponse) { m.Proof.Entries[0].Proof[30] ^= 1 },
		"a forged one":    func(m *servicev1.GetBookingResponse) { m.Proof.Certificate[len(m.GetProof().GetCertificate())-90] ^= 1 },
	} {
		lie = func(m proto.Message) {
			if m, ok := m.(*servicev1.GetBookingResponse); ok {
				spoil(m)
			}
		}
		check(name, "booking", "honest", verified, 1_000)
	}

	// What is FINAL is what the main chain here has anchored.
	lie = func(m proto.Message) {
		if m, ok := m.(*servicev1.GetBookingResponse); ok {
			m.Booking.Transaction.Stage = chainv1.Stage_STAGE_FINAL
		}
	}
	stage := func() chainv1.Stage {
		got, err := n.services().GetBooking(s.ctx(), &servicev1.GetBookingRequest{Name: booked.GetBooking().GetName(), Shard: booked.GetBooking().GetShard()})
		if err != nil {
			t.Fatal(err)
		}
		return got.GetBooking().GetTransaction().GetStage()
	}
	if got := stage(); got != chainv1.Stage_STAGE_INCLUDED {
		t.Errorf("%v before it is anchored", got)
	}
	s.anchorAll(home.is.ID)
	if got := stage(); got != chainv1.Stage_STAGE_FINAL {
		t.Errorf("%v once it is anchored", got)
	}
	lie = nil
	for read := range reads {
		check("anchored", read, "liar", verified, 1_000)
	}
	got, err := n.services().GetShardStatus(s.ctx(), &servicev1.GetShardStatusRequest{Name: booked.GetBooking().GetShard()})
	if err != nil || got.GetSource().GetServedBy() != "liar" || got.GetSource().GetEvidence() != claimed || got.GetShard().GetHosted() || got.GetShard().GetAnchoring().GetHeight() == 0 {
		t.Errorf("%v, %v", got, err)
	}
}

// TestNextNodeIsAsked: what does not answer the question sends the call to the next node.
func TestNextNodeIsAsked(t *testing.T) {
	t.Parallel()
	s, here, _ := twoNodes(t)
	c := s.sell(s.payee).told()
	var first error
	hang := false
	o := &others{node: here, names: []string{"a", "b", "c", "d"}}
	o.answer = func(ctx context.Context, name string, call func() error, _ proto.Message) error {
		switch {
		case name == "a" && hang:
			<-ctx.Done()
			return status.FromContextError(ctx.Err()).Err()
		case name == "a" && first != nil:
			return first
		}
		return call()
	}
	n := s.gateway(o)
	ask := func() error {
		_, err := n.services().GetUsage(s.ctx(), &servicev1.GetUsageRequest{Channel: c.name()})
		return err
	}
	for _, row := range []struct {
		name string
		err  error
	}{
		{"unavailable", status.Error(codes.Unavailable, "gone")},
		{"not running it", refusal(codes.FailedPrecondition, api.ReasonNotHosted)},
		{"behind", refusal(codes.Unavailable, api.ReasonNotSynced)},
		{"rate limited", refusal(codes.ResourceExhausted, api.ReasonRateLimited)},
		{"overloaded", refusal(codes.ResourceExhausted, api.ReasonOverloaded)},
		{"congested, as one says", refusal(codes.ResourceExhausted, api.ReasonCongested)},
		{"does not know", refusal(codes.NotFound, "CHANNEL_UNKNOWN")},
		{"pruned", refusal(codes.DataLoss, api.ReasonPruned)},
		{"a fault of its own", refusal(codes.Internal, api.ReasonInternal)},
		{"old software", status.Error(codes.Unimplemented, "unknown method")},
		{"nobody's domain", status.Error(codes.InvalidArgument, "who are you")},
		{"not of the rules", refusal(codes.FailedPrecondition, "MOON_PHASE")},
		{"the request, as one says", refusal(codes.InvalidArgument, api.ReasonInvalidField)},
		{"the rules, as one says", refusal(codes.FailedPrecondition, "WRONG_SHARD")},
	} {
		first = row.err
		err := ask()
		if asked, _ := o.reset(); !slices.Equal(asked, []string{"a", "b"}) || err != nil {
			t.Errorf("%s: asked %v, %v", row.name, asked, err)
		}
	}

	// If nobody does better, the doubtful answer is the one.
	o.answer = func(context.Context, string, func() error, proto.Message) error {
		return refusal(codes.ResourceExhausted, api.ReasonRateLimited)
	}
	wantProblem(t, ask(), codes.ResourceExhausted, api.ReasonRateLimited)
	if asked, _ := o.reset(); len(asked) != 3 {
		t.Errorf("asked %v", asked)
	}
	o.answer = func(context.Context, string, func() error, proto.Message) error {
		return refusal(codes.ResourceExhausted, api.ReasonCongested)
	}
	wantProblem(t, ask(), codes.ResourceExhausted, api.ReasonCongested)
	if asked, _ := o.reset(); len(asked) != 2 {
		t.Errorf("two say that the shard is congested, asked %v", asked)
	}
	o.answer = func(context.Context, string, func() error, proto.Message) error {
		return status.Error(codes.Unavailable, "gone")
	}
	wantProblem(t, ask(), codes.Unavailable, api.ReasonNotHosted)

	// A node that hangs has its share of the time, not all of it.
	o.reset()
	hang = true
	o.answer = func(ctx context.Context, name string, call func() error, _ proto.Message) error {
		if name == "a" {
			<-ctx.Done()
			return status.FromContextError(ctx.Err()).Err()
		}
		return call()
	}
	ctx, cancel := context.WithTimeout(s.ctx(), 6*time.Second)
	defer cancel()
	if _, err := n.services().GetUsage(ctx, &servicev1.GetUsageRequest{Channel: c.name()}); err != nil {
		t.Errorf("the first one hangs: %v", err)
	}
}

// TestBookingIsOnce: a booking whose answer is lost goes to the next node, and is one
// booking.
func TestBookingIsOnce(t *testing.T) {
	t.Parallel()
	s, here, _ := twoNodes(t)
	c := s.sell(s.payee).told()
	home := s.home(s.payer.addr)
	lost := 0
	o := &others{node: here, names: []string{"a", "b"}}
	o.answer = func(_ context.Context, name string, call func() error, resp proto.Message) error {
		err := call()
		if err == nil && name == "a" {
			lost++
			proto.Reset(resp)
			return status.Error(codes.Unavailable, "the connection broke")
		}
		return err
	}
	n := s.gateway(o)
	for _, stage := range []chainv1.Stage{chainv1.Stage_STAGE_CHECKED, chainv1.Stage_STAGE_INCLUDED} {
		req := signedUsage(c.book(1_000))
		req.WaitFor, req.RequestId = stage, "1b671a64-40d5-491e-99b0-da01ff1f3341"
		got, err := n.services().BookUsage(s.ctx(), req)
		if err != nil || got.GetBooking().GetApplied() != 1 || got.GetSource().GetServedBy() != "b" {
			t.Fatalf("%v, %v", got, err)
		}
	}
	used, err := here.services().GetUsage(s.ctx(), &servicev1.GetUsageRequest{Channel: c.name()})
	if err != nil || used.GetBooked().GetAmount() != 1_000 || used.GetLanes()[0].GetSeq() != 1 || lost != 2 {
		t.Errorf("%v, %v, %d answers lost", used, err, lost)
	}
	if head, _ := home.Head(); head != 2 {
		t.Errorf("%d blocks", head)
	}

	// A node that took it and then does not wait with us changes nothing.
	broken := false
	o.answer = func(_ context.Context, _ string, call func() error, _ proto.Message) error {
		if broken {
			return status.Error(codes.Unavailable, "gone")
		}
		broken = true
		return call()
	}
	req := signedUsage(c.book(2_000))
	req.WaitFor = chainv1.Stage_STAGE_FINAL
	got, err := n.services().BookUsage(s.ctx(), req)
	if err != nil || got.GetBooking().GetTransaction().GetStage() != chainv1.Stage_STAGE_INCLUDED {
		t.Errorf("%v, %v", got, err)
	}
}

// TestPartOfAProof: of a node whose rows are proved and not all those of the question nothing
// is kept, whatever the next one answers.
func TestPartOfAProof(t *testing.T) {
	t.Parallel()
	s, here, _ := twoNodes(t)
	c := s.sell(s.elsewhere(s.payer.addr)).told()
	home, payees := s.home(s.payer.addr), s.home(c.payee.addr)
	u := c.usage(1_000)
	e := &u.Batch.Entries[0]
	e.Lane = 3 // lane 0 is in the channel's row, others have their own
	e.Signature = c.key.Sign(e.Signed(s.domain, c.id))
	raw := chain.SignTx(service.Domain(s.domain.Network, 1), c.payee.key, chain.TxFields{Kind: chain.KindBookUsage, Zone: c.payee.addr.Zone(), Payload: u.Encode()})
	if _, err := here.services().BookUsage(s.ctx(), signedUsage(raw)); err != nil {
		t.Fatal(err)
	}
	s.deliver(home, payees)
	for _, f := range []*fakeShard{home, payees} {
		f.mu.Lock()
		f.certify = true
		f.mu.Unlock()
	}
	_, st, err := payees.Certified(service.TotalsKey())
	if err != nil {
		t.Fatal(err)
	}
	proof, err := st.Proof.Encode()
	if err != nil {
		t.Fatal(err)
	}
	other := &chainv1.StateProof{Key: st.Key, Value: st.Value, Proof: proof, Height: st.Height, AppHash: st.Root[:]}
	o := &others{node: here, names: []string{"liar", "honest"}}
	o.answer = func(_ context.Context, name string, call func() error, resp proto.Message) error {
		if err := call(); err != nil {
			return err
		}
		switch m := resp.(type) {
		case *servicev1.GetUsageResponse:
			if name == "liar" {
				m.Proof.Rows = m.GetProof().GetRows()[:1]
			} else {
				m.Proof = nil
			}
		case *servicev1.GetEarningsResponse:
			if name == "liar" {
				m.Proof.Rows = []*chainv1.StateProof{other}
			} else {
				m.Proof = nil
			}
		}
		return nil
	}
	n := s.gateway(o)
	usage, err := n.services().GetUsage(s.ctx(), &servicev1.GetUsageRequest{Channel: c.name()})
	if err != nil || usage.GetBooked().GetAmount() != 1_000 || len(usage.GetLanes()) != 1 || usage.GetSource().GetServedBy() != "honest" ||
		usage.GetSource().GetEvidence() != servicev1.Evidence_EVIDENCE_CLAIMED {
		t.Errorf("usage: %v, %v", usage, err)
	}
	earned, err := n.services().GetEarnings(s.ctx(), &servicev1.GetEarningsRequest{Payee: api.AccountName(c.payee.addr), Service: "services/content"})
	if err != nil || earned.GetTotal().GetAmount() != 1_000 || earned.GetSource().GetServedBy() != "honest" ||
		earned.GetSource().GetEvidence() != servicev1.Evidence_EVIDENCE_CLAIMED {
		t.Errorf("earnings: %v, %v", earned, err)
	}
	if _, faults := o.reset(); !slices.Equal(faults, []string{"liar", "liar"}) {
		t.Errorf("faults %v", faults)
	}
}

// TestRefusalIsConfirmed: what one node refuses another one is asked too, and one that lies
// or is behind does not keep a call from those that take it.
func TestRefusalIsConfirmed(t *testing.T) {
	t.Parallel()
	s, here, _ := twoNodes(t)
	c := s.sell(s.payee).told()
	var says map[string]error // who is not in it answers rightly
	o := &others{node: here}
	hangs := status.Error(codes.DeadlineExceeded, "hangs")
	o.answer = func(ctx context.Context, name string, call func() error, _ proto.Message) error {
		switch err := says[name]; {
		case err == hangs: //nolint:errorlint // it is that one
			<-ctx.Done()
			return status.FromContextError(ctx.Err()).Err()
		case err != nil:
			return err
		default:
			return call()
		}
	}
	n := s.gateway(o)
	shard := refusal(codes.FailedPrecondition, "WRONG_SHARD")
	deposit := refusal(codes.FailedPrecondition, "ABOVE_DEPOSIT")
	form := refusal(codes.InvalidArgument, api.ReasonInvalidField)
	unknown := refusal(codes.NotFound, "CHANNEL_UNKNOWN")
	gone := status.Error(codes.Unavailable, "gone")
	for _, row := range []struct {
		name   string
		says   []error // of the nodes a, b, ...
		asked  string
		reason string // empty: the call is taken
	}{
		{"the first one lies", []error{shard, nil, nil}, "ab", ""},
		{"it lies about the request", []error{form, nil, nil}, "ab", ""},
		{"two lie, each in its way", []error{shard, deposit, nil}, "abc", ""},
		{"two say so", []error{shard, shard, nil}, "ab", "WRONG_SHARD"},
		{"the first and the third say so", []error{shard, deposit, shard}, "abc", "WRONG_SHARD"},
		{"each says something else", []error{shard, deposit, form, nil}, "abc", "WRONG_SHARD"},
		{"there is no other one", []error{deposit}, "a", "ABOVE_DEPOSIT"},
		{"the others are gone", []error{deposit, gone, gone}, "abc", "ABOVE_DEPOSIT"},
		{"the second one is gone", []error{deposit, gone, nil}, "abc", ""},
		{"the first one does not know", []error{unknown, deposit, nil}, "abc", ""},
		{"only one knows", []error{unknown, deposit, unknown}, "abc", "ABOVE_DEPOSIT"},
		{"the second one is slow", []error{deposit, hangs}, "ab", "ABOVE_DEPOSIT"},
		{"the second one is slow, and the first lies", []error{deposit, hangs, nil}, "abc", ""},
	} {
		o.names, says = nil, make(map[string]error)
		for i, err := range row.says {
			name := string(rune('a' + i))
			o.names, says[name] = append(o.names, name), err
		}
		ctx, cancel := context.WithTimeout(s.ctx(), 4*time.Second)
		got, err := n.services().GetUsage(ctx, &servicev1.GetUsageRequest{Channel: c.name()})
		cancel()
		if row.reason != "" {
			wantProblem(t, err, status.Code(err), row.reason)
		} else if err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		asked, _ := o.reset()
		if all := strings.Join(asked, ""); all != row.asked || row.reason == "" && got.GetSource().GetServedBy() != row.asked[len(row.asked)-1:] {
			t.Errorf("%s: asked %s, answered by %v", row.name, all, got.GetSource())
		}
	}

	// With no time left the refusal is the answer, and not that the time is over.
	o.names, says = []string{"a", "b"}, map[string]error{"a": shard, "b": hangs}
	ctx, cancel := context.WithTimeout(s.ctx(), 2*time.Second)
	defer cancel()
	_, err := n.services().GetUsage(ctx, &servicev1.GetUsageRequest{Channel: c.name()})
	wantProblem(t, err, codes.FailedPrecondition, "WRONG_SHARD")
}
