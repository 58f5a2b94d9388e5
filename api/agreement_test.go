package api_test

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/api"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	consensusv1 "github.com/tributary-network/tributary/proto/tributary/consensus/v1"
	stakingv1 "github.com/tributary-network/tributary/proto/tributary/staking/v1"
)

func TestCertificatesAreServed(t *testing.T) {
	t.Parallel()
	s := newStakeWorld(t, 3)
	height := s.height()
	resp := s.certificate(height)
	certificate, err := cert.Decode(resp.GetCertificate().GetCertificate())
	if err != nil {
		t.Fatal(err)
	}
	com, err := committee.Decode(resp.GetCommittee())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := com.Keys()
	if err != nil {
		t.Fatal(err)
	}
	if err := certificate.Verify(s.domain.Network, s.domain.Chain, &com, keys); err != nil {
		t.Error(err)
	}
	got := resp.GetCertificate()
	if _, root := s.exec.Head(); string(root) != string(got.GetStateRoot()) {
		t.Errorf("state root %x, want %x", got.GetStateRoot(), root)
	}
	if got.GetName() != api.CertificateName(height) || got.GetHeight() != height || got.GetSigners() != 1 || got.GetMembers() != 3 ||
		3*got.GetPower() <= 2*got.GetTotalPower() || got.GetEpoch() != 0 {
		t.Errorf("%v", got)
	}
	latest, err := s.agreement().GetCertificate(s.ctx(), &consensusv1.GetCertificateRequest{Name: "certificates/latest"})
	if err != nil || latest.GetCertificate().GetHeight() != height {
		t.Errorf("latest: %v, %v", latest, err)
	}
}

func TestCertificatesThatAreNotThere(t *testing.T) {
	t.Parallel()
	s := newStakeWorld(t, 1, func(s *stakeWorld, c *exec.Config) { s.mute, c.KeepReceipts = true, 5 })
	s.reach(20)
	get := func(name string) error {
		_, err := s.agreement().GetCertificate(s.ctx(), &consensusv1.GetCertificateRequest{Name: name})
		return err
	}
	none := wantProblem(t, get("certificates/18"), codes.NotFound, api.ReasonNoCertificate)
	if m := none.status.Message(); none.info.GetMetadata()["endpoints"] != "10.0.0.0:26656" || !strings.Contains(m, "any other node may have it, such as those at 10.0.0.0:26656") {
		t.Errorf("a certificate that cannot be made: %q, %v", m, none.info)
	}
	wantProblem(t, get("certificates/latest"), codes.NotFound, api.ReasonNoCertificate)
	wantProblem(t, get("certificates/21"), codes.NotFound, api.ReasonBlockNotFound)
	p := wantProblem(t, get("certificates/2"), codes.DataLoss, api.ReasonPruned)
	if p.info.GetMetadata()["kept_from"] != "16" || !strings.Contains(p.status.Message(), "certificate of block 2: kept from height 16") {
		t.Errorf("a pruned certificate: %v", p.status)
	}
	for _, name := range []string{"", "certificates/", "certificates/0", "certificates/01", "certificates/x", "blocks/1", "certificates/99999999999999999999"} {
		wantProblem(t, get(name), codes.InvalidArgument, api.ReasonInvalidField)
	}
	_, err := s.agreement().GetHandover(s.ctx(), &consensusv1.GetHandoverRequest{Name: "committees/1"})
	wantProblem(t, err, codes.NotFound, api.ReasonNoHandover)
}

// A light block that is gone is refused with the first that is not.
func TestLightBlocksThatAreGone(t *testing.T) {
	t.Parallel()
	s := newStakeWorld(t, 1)
	s.reach(9)
	s.node.mu.Lock()
	for height := range uint64(6) {
		delete(s.node.headers, height)
	}
	s.node.mu.Unlock()
	_, err := s.agreement().GetLightBlock(s.ctx(), &consensusv1.GetLightBlockRequest{Height: 5})
	if p := wantProblem(t, err, codes.DataLoss, api.ReasonPruned); p.info.GetMetadata()["kept_from"] != "6" || !strings.Contains(p.status.Message(), "from height 6") {
		t.Errorf("%v", p.status)
	}
	if _, err := s.agreement().GetLightBlock(s.ctx(), &consensusv1.GetLightBlockRequest{Height: 6}); err != nil {
		t.Error(err)
	}
}

// Where everything is kept, elections are shown that the state has forgotten.
func TestElectionsOfAnArchive(t *testing.T) {
	t.Parallel()
	s := newStakeWorld(t, 3, func(_ *stakeWorld, c *exec.Config) { c.KeepReceipts = exec.KeepAll })
	for s.epoch() < 11 {
		s.nextEpoch()
		for s.exec.Stats().CertificateHeight < s.height() {
			if t.Context().Err() != nil {
				t.Fatal("no certificate")
			}
		}
	}
	old := &consensusv1.GetElectionRequest{Name: "committees/1"}
	_, err := s.agreement().GetCommittee(s.ctx(), &consensusv1.GetCommitteeRequest{Name: old.GetName()})
	wantProblem(t, err, codes.DataLoss, api.ReasonPruned)
	election, err := s.agreement().GetElection(s.ctx(), old)
	if err != nil {
		t.Fatal(err)
	}
	record, err := committee.DecodeRecord(election.GetRecord())
	if err != nil {
		t.Fatal(err)
	}
	candidates, err := committee.DecodeCandidates(election.GetCandidates())
	if err != nil || record.Check(candidates) != nil || record.Committee.Epoch != 1 {
		t.Errorf("%+v of %d candidates: %v, %v", record, len(candidates), err, record.Check(candidates))
	}
}

func TestCommitteesAndElections(t *testing.T) {
	t.Parallel()
	s := newStakeWorld(t, 3)
	m := staking.Delegate{Validator: 1, Amount: 700 * coin}
	s.do(s.payer, chain.KindDelegate, m.Encode())
	s.nextEpoch()
	s.nextEpoch()
	for _, name := range []string{"0", "1", "2", "latest"} {
		got, err := s.agreement().GetCommittee(s.ctx(), &consensusv1.GetCommitteeRequest{Name: "committees/" + name})
		if err != nil {
			t.Fatal(err)
		}
		record, key := committee.Record{}, staking.CommitteeKey(got.GetEpoch())
		if past := name == "0"; past {
			com, failed := committee.Decode(got.GetCommittee())
			if failed != nil {
				t.Fatal(failed)
			}
			key = staking.PastCommitteeKey(0)
			record, err = committee.DecodeShort(got.GetProof().GetValue(), &com)
		} else {
			record, err = committee.DecodeRecord(got.GetProof().GetValue())
		}
		if err != nil || string(record.Committee.Encode()) != string(got.GetCommittee()) || record.Committee.Epoch != got.GetEpoch() ||
			string(got.GetProof().GetKey()) != string(key) {
			t.Errorf("committee %s: %v, %v", name, got, err)
		}
		if number, err := strconv.ParseUint(name, 10, 64); err == nil && number != got.GetEpoch() {
			t.Errorf("committee %s is of epoch %d", name, got.GetEpoch())
		}
		election, err := s.agreement().GetElection(s.ctx(), &consensusv1.GetElectionRequest{Name: "committees/" + name})
		if err != nil {
			t.Fatal(err)
		}
		candidates, err := committee.DecodeCandidates(election.GetCandidates())
		if err != nil || len(candidates) != 3 {
			t.Fatalf("candidates of %s: %v, %v", name, candidates, err)
		}
		if err := record.Check(candidates); err != nil {
			t.Errorf("election %s: %v", name, err)
		}
		if string(election.GetRecord()) != string(record.Encode()) || election.GetSeats() != record.Rules.Seats ||
			string(election.GetSeed()) != string(record.Seed[:]) || string(election.GetCommittee()) != string(got.GetCommittee()) {
			t.Errorf("election %s: %v", name, election)
		}
	}
	get := func(name string) error {
		_, err := s.agreement().GetCommittee(s.ctx(), &consensusv1.GetCommitteeRequest{Name: name})
		_, again := s.agreement().GetElection(s.ctx(), &consensusv1.GetElectionRequest{Name: name})
		if reasonOf(err) != reasonOf(again) {
			t.Errorf("%s: %v and %v", name, err, again)
		}
		return err
	}
	wantProblem(t, get("committees/3"), codes.NotFound, api.ReasonCommitteeNotFound)
	wantProblem(t, get("committees/9223372036854775807"), codes.NotFound, api.ReasonCommitteeNotFound)
	wantProblem(t, get("committees/-1"), codes.InvalidArgument, api.ReasonInvalidField)
	for s.epoch() < 11 { // the state remembers 4+3+2 epochs
		s.nextEpoch()
	}
	if p := wantProblem(t, get("committees/1"), codes.DataLoss, api.ReasonPruned); p.info.GetMetadata()["kept_from_epoch"] != "2" {
		t.Errorf("a forgotten committee: %v", p.status)
	}
	if _, err := s.agreement().GetCommittee(s.ctx(), &consensusv1.GetCommitteeRequest{Name: "committees/2"}); err != nil {
		t.Error(err)
	}

	without := newWorld(t)
	_, err := consensusv1.NewConsensusServiceClient(without.conn).GetCommittee(without.ctx(), &consensusv1.GetCommitteeRequest{Name: "committees/0"})
	wantProblem(t, err, codes.NotFound, api.ReasonCommitteeNotFound)
}

func TestCommitteesAreHandedOver(t *testing.T) {
	t.Parallel()
	s := newStakeWorld(t, 3)
	for s.epoch() < 12 { // longer than the state remembers
		s.certificate(s.height())
		s.reach(s.height() + 1)
	}
	known := s.gen.Committee()
	for epoch := uint64(1); epoch <= 12; epoch++ {
		resp, err := s.agreement().GetHandover(s.ctx(), &consensusv1.GetHandoverRequest{Name: "committees/" + strconv.FormatUint(epoch, 10)})
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := cert.Decode(resp.GetCertificate())
		if err != nil {
			t.Fatal(err)
		}
		keys, err := known.Keys()
		if err != nil {
			t.Fatal(err)
		}
		if err := certificate.Verify(s.domain.Network, s.domain.Chain, &known, keys); err != nil {
			t.Fatalf("hand-over to epoch %d: %v", epoch, err)
		}
		record, err := committee.DecodeRecord(resp.GetProof().GetValue())
		if err != nil || record.Committee.Epoch != epoch || string(resp.GetProof().GetAppHash()) != string(certificate.Checkpoint.StateRoot[:]) {
			t.Fatalf("hand-over to epoch %d: %v, %v", epoch, record, err)
		}
		known = record.Committee
	}
	for name, reason := range map[string]string{"committees/0": api.ReasonInvalidField, "committees/14": api.ReasonCommitteeNotFound} {
		_, err := s.agreement().GetHandover(s.ctx(), &consensusv1.GetHandoverRequest{Name: name})
		if reasonOf(err) != reason {
			t.Errorf("%s: %v, want %s", name, err, reason)
		}
	}
}

func TestLightBlocks(t *testing.T) {
	t.Parallel()
	s := newStakeWorld(t, 1)
	for asked, want := range map[uint64]uint64{0: s.height(), 2: 2} {
		resp, err := s.agreement().GetLightBlock(s.ctx(), &consensusv1.GetLightBlockRequest{Height: asked})
		if err != nil || resp.GetHeight() != want || len(resp.GetSignedHeader()) == 0 || resp.GetValidatorSet()[0] != byte(want) {
			t.Errorf("%d: %v, %v", asked, resp, err)
		}
	}
	_, err := s.agreement().GetLightBlock(s.ctx(), &consensusv1.GetLightBlockRequest{Height: 99})
	wantProblem(t, err, codes.NotFound, api.ReasonBlockNotFound)
	s.node.mu.Lock()
	delete(s.node.headers, 1)
	s.node.mu.Unlock()
	_, err = s.agreement().GetLightBlock(s.ctx(), &consensusv1.GetLightBlockRequest{Height: 1})
	wantProblem(t, err, codes.DataLoss, api.ReasonPruned)
}

// stakeWatch reads a watch of staking.
type stakeWatch struct {
	t      *testing.T
	stream stakingv1.StakingService_WatchStakingClient
}

func (s *stakeWorld) watchStaking(req *stakingv1.WatchStakingRequest) *stakeWatch {
	s.t.Helper()
	t, ok := s.t.(*testing.T)
	if !ok {
		s.t.Fatal("not in a test")
	}
	ctx, cancel := context.WithCancel(s.ctx())
	t.Cleanup(cancel)
	stream, err := s.staking().WatchStaking(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	return &stakeWatch{t, stream}
}

func (w *stakeWatch) next() *stakingv1.WatchStakingResponse {
	w.t.Helper()
	m, err := w.stream.Recv()
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// events returns the next n events, wherever they are, of any kind but the end of
// an epoch.
func (w *stakeWatch) events(n int) (list []*stakingv1.StakingEvent) {
	w.t.Helper()
	for len(list) < n {
		for _, e := range w.next().GetEvents() {
			if e.GetKind() != stakingv1.StakingEvent_KIND_EPOCH_ENDED {
				list = append(list, e)
			}
		}
	}
	return list
}

func TestStakingIsWatched(t *testing.T) {
	t.Parallel()
	s := newStakeWorld(t, 2)
	all := s.watchStaking(&stakingv1.WatchStakingRequest{})
	if m := all.next(); m.GetHeight() != s.height() || len(m.GetEvents()) > 0 || m.GetGap() != nil || m.GetHeadHeight() != s.height() {
		t.Errorf("at first: %v", m)
	}
	begin := s.height() + 1
	delegate, redelegate := staking.Delegate{Validator: 0, Amount: 100 * coin}, staking.Redelegate{From: 0, To: 1, Amount: 30 * coin}
	s.do(s.payer, chain.KindDelegate, delegate.Encode())
	s.do(s.payer, chain.KindRedelegate, redelegate.Encode())
	s.do(s.other, chain.KindDelegate, delegate.Encode())
	s.accuse(1)
	kinds := []stakingv1.StakingEvent_Kind{
		stakingv1.StakingEvent_KIND_DELEGATED, stakingv1.StakingEvent_KIND_REDELEGATED, stakingv1.StakingEvent_KIND_DELEGATED,
		stakingv1.StakingEvent_KIND_SLASHED, stakingv1.StakingEvent_KIND_TOMBSTONED,
	}
	check := func(name string, w *stakeWatch, want ...int) {
		t.Helper()
		for i, e := range w.events(len(want)) {
			if e.GetKind() != kinds[want[i]] {
				t.Errorf("%s: event %d is %v, want %v", name, i, e, kinds[want[i]])
			}
			if (e.TxIndex == nil) != (want[i] >= 3) || e.GetHeight() < begin {
				t.Errorf("%s: %v", name, e)
			}
			if e.GetKind() == stakingv1.StakingEvent_KIND_SLASHED && (e.GetFault() != stakingv1.StakingEvent_FAULT_DUPLICATE_VOTE || e.GetFaultHeight() == 0 || e.GetAmount() == 0) {
				t.Errorf("%s: %v", name, e)
			}
		}
	}
	check("all, live", all, 0, 1, 2, 3, 4)
	zero, one := api.ValidatorName(0), api.ValidatorName(1)
	check("all, from the index", s.watchStaking(&stakingv1.WatchStakingRequest{FromHeight: begin}), 0, 1, 2, 3, 4)
	check("of a validator", s.watchStaking(&stakingv1.WatchStakingRequest{FromHeight: begin, Validator: one}), 1, 3, 4)
	check("of an account", s.watchStaking(&stakingv1.WatchStakingRequest{FromHeight: begin, Account: s.payer.addr.String()}), 0, 1)
	check("of either", s.watchStaking(&stakingv1.WatchStakingRequest{FromHeight: begin, Account: s.other.addr.String(), Validator: one}), 1, 2, 3, 4)
	check("of one where most is", s.watchStaking(&stakingv1.WatchStakingRequest{FromHeight: begin, Validator: zero}), 0, 1, 2)
	for _, req := range []*stakingv1.WatchStakingRequest{{Validator: "x"}, {Account: "x"}, {Validator: s.payer.addr.String()}} {
		_, err := s.watchStaking(req).stream.Recv()
		wantProblem(t, err, codes.InvalidArgument, api.ReasonInvalidField)
	}
	s.stop()
	if _, err := all.stream.Recv(); errors.Is(err, io.EOF) || err == nil {
		for err == nil { // what was under way
			_, err = all.stream.Recv()
		}
	} else {
		wantProblem(t, err, codes.Unavailable, api.ReasonShuttingDown)
	}
}

func TestAWatchOfStakingTellsOfGapsAndSilence(t *testing.T) {
	t.Parallel()
	s := newStakeChain(t, 1, func(_ *stakeWorld, c *exec.Config) { c.KeepReceipts = 4 })
	s.open(func(c *api.Config) { c.Heartbeat = 5 * time.Millisecond })
	s.reach(19)
	w := s.watchStaking(&stakingv1.WatchStakingRequest{FromHeight: 3})
	if m := w.next(); m.GetHeight() != 2 {
		t.Errorf("at first: %v", m)
	}
	if m := w.next(); m.GetGap().GetFromHeight() != 3 || m.GetGap().GetToHeight() != m.GetHeight() || m.GetHeight() != 15 {
		t.Errorf("the gap: %v", m)
	}
	for {
		if m := w.next(); m.GetHeight() == 19 {
			if len(m.GetEvents()) > 0 || m.GetHeadHeight() != 19 {
				t.Errorf("the silence: %v", m)
			}
			break
		}
	}
}

// Evidence goes to consensus, and what proves nothing is refused.
func TestSubmitEvidence(t *testing.T) {
	t.Parallel()
	s := newStakeWorld(t, 1)
	if _, err := s.agreement().SubmitEvidence(s.ctx(), &consensusv1.SubmitEvidenceRequest{Evidence: []byte("proof")}); err != nil {
		t.Error(err)
	}
	_, err := s.agreement().SubmitEvidence(s.ctx(), &consensusv1.SubmitEvidenceRequest{Evidence: []byte("rumour")})
	wantProblem(t, err, codes.InvalidArgument, api.ReasonBadEvidence)
}
