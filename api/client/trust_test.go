package client_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	consensusv1 "github.com/tributary-network/tributary/proto/tributary/consensus/v1"
)

// TestCommitteesAreFollowed goes from the genesis to the newest block without
// believing a node anything, and proves a validator by it.
func TestCommitteesAreFollowed(t *testing.T) {
	t.Parallel()
	s := newStakeNetwork(t, 3)
	c := s.client(t)
	delegate := staking.Delegate{Validator: 1, Amount: 500 * coin}
	if _, err := c.Account(identityOf(0)).Submit(within(t), chain.KindDelegate, delegate.Encode()); err != nil {
		t.Fatal(err)
	}
	s.reach(t, 5*epochBlocks+3)
	certificate, com, err := c.Certificate(within(t), 0)
	if err != nil || certificate.Checkpoint.Height != s.height() || certificate.Checkpoint.Epoch != 5 {
		t.Fatalf("newest: %+v, %v", certificate, err)
	}
	trusted, handovers, err := c.FollowCommittees(within(t), s.trust(t), certificate.Checkpoint.Epoch)
	if err != nil || len(handovers) != 5 || trusted.Epoch() != 5 || trusted.Hash() != com.Hash() {
		t.Fatalf("followed to %v with %d hand-overs: %v", trusted, len(handovers), err)
	}
	if err := trusted.Verify(&certificate); err != nil {
		t.Error(err)
	}
	proof, err := c.ProveValidator(within(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := trusted.VerifyState(&certificate, &proof.State); err != nil {
		t.Error(err)
	}
	v, err := client.VerifyValidatorProof(&proof, certificate.Checkpoint.StateRoot)
	if err != nil || v.Tokens != 1_500*coin || v.Operator != identityOf(firstOperator+1).Address {
		t.Errorf("proved %+v, %v", v, err)
	}
	proof.Number = 2
	if _, err := client.VerifyValidatorProof(&proof, certificate.Checkpoint.StateRoot); !errors.Is(err, client.ErrProof) {
		t.Errorf("proved another: %v", err)
	}
	info, err := c.LatestCommittee(within(t))
	if err != nil {
		t.Fatal(err)
	}
	record, err := client.VerifyCommitteeProof(&info.Proof, 5, certificate.Checkpoint.StateRoot)
	if diff := cmp.Diff(info.Record, record); err != nil || diff != "" {
		t.Errorf("the latest committee: %v (-told +proved)\n%s", err, diff)
	}
	if err := info.Verify(5, certificate.Checkpoint.StateRoot); err != nil {
		t.Errorf("the latest committee: %v", err)
	}
	checkPastCommittee(t, c, certificate.Checkpoint.StateRoot)
	election, err := c.Election(within(t), 5)
	if err != nil || election.Record.Check(election.Candidates) != nil || len(election.Candidates) != 3 {
		t.Errorf("its election: %+v, %v", election, err)
	}
	light, err := c.LightBlock(within(t), 7)
	if err != nil || light.Height != 7 || light.ValidatorSet[0] != 7 {
		t.Errorf("light block: %+v, %v", light, err)
	}
	if same, none, err := c.FollowCommittees(within(t), trusted, 5); err != nil || same != trusted || none != nil {
		t.Errorf("followed to itself: %v, %v, %v", same, none, err)
	}
	if _, _, err := c.FollowCommittees(within(t), trusted, 4); err == nil {
		t.Error("followed backwards")
	}
	if far, _, err := c.FollowCommittees(within(t), trusted, 9); err == nil || far != trusted {
		t.Errorf("followed beyond the last: %v", err)
	}
	if _, err := client.TrustCommittee(s.exec.Domain(), committee.Committee{}); !errors.Is(err, client.ErrNotElected) {
		t.Errorf("trusted nobody: %v", err)
	}
}

// TestGapsAreNamed: hand-overs that a node does not have are a gap, whatever its reason;
// another node fills it.
func TestGapsAreNamed(t *testing.T) {
	t.Parallel()
	s := newStakeNetwork(t, 1)
	s.reach(t, 2*epochBlocks)
	for _, row := range []struct {
		code   codes.Code
		reason string
	}{{codes.DataLoss, "PRUNED"}, {codes.NotFound, "NO_HANDOVER"}} {
		refusal, err := status.New(row.code, "none here").WithDetails(&errdetails.ErrorInfo{
			Reason: row.reason, Domain: "tributary.network", Metadata: map[string]string{"kept_from_epoch": "7"},
		})
		if err != nil {
			t.Fatal(err)
		}
		h := &hostile{refuse: refusal.Err()}
		_, _, err = h.among(t, s).FollowCommittees(within(t), s.trust(t), 2)
		answer, ok := errors.AsType[*client.Error](err)
		if !errors.Is(err, client.ErrHandoverGap) || !ok || answer.Reason != row.reason || answer.Metadata["kept_from_epoch"] != "7" {
			t.Errorf("%s: %v", row.reason, err)
		}
		if to, list, err := h.among(t, s, "node0").FollowCommittees(within(t), s.trust(t), 2); err != nil || len(list) != 2 || to.Epoch() != 2 {
			t.Errorf("%s, with another node: %d hand-overs, %v", row.reason, len(list), err)
		}
	}
}

// forged is a committee of the attacker's own, with everything as it should be but
// who is in it.
func forged(epoch uint64) committee.Record {
	return committee.Hold(epoch, committee.Rules{Seats: 3, PowerCapBps: ledger.BasisPoints}, ledger.Hash{}, []committee.Candidate{
		{Validator: 0, ConsensusKey: keyOf(1).Public(), BLSKey: blsOf(77).Public(), Stake: 1 << 40, SelfStake: 1 << 40},
	})
}

// byAttacker certifies a checkpoint with the attacker's committee.
func byAttacker(t *testing.T, checkpoint cert.Checkpoint, com *committee.Committee) cert.Certificate {
	t.Helper()
	keys, err := com.Keys()
	if err != nil {
		t.Error(err)
	}
	c, _, err := cert.Assemble(checkpoint, com, keys, []cert.Vote{{Member: 0, Signature: blsOf(77).Sign(checkpoint.Message())}})
	if err != nil {
		t.Error(err)
	}
	return c
}

// TestHostileNodesConvinceNobody lets a node answer with everything but the truth.
func TestHostileNodesConvinceNobody(t *testing.T) {
	t.Parallel()
	s := newStakeNetwork(t, 3)
	s.reach(t, 4*epochBlocks)
	decode := func(m *consensusv1.GetHandoverResponse) cert.Certificate {
		c, err := cert.Decode(m.GetCertificate())
		if err != nil {
			t.Error(err)
		}
		return c
	}
	for _, row := range []struct {
		name   string
		change func(h *hostile, req *consensusv1.GetHandoverRequest, m *consensusv1.GetHandoverResponse)
		want   error
	}{
		{"a stale epoch", func(h *hostile, _ *consensusv1.GetHandoverRequest, m *consensusv1.GetHandoverResponse) {
			old, err := h.asked.GetHandover(t.Context(), &consensusv1.GetHandoverRequest{Name: "committees/1"})
			if err != nil {
				t.Error(err)
			}
			m.Certificate, m.Proof = old.GetCertificate(), old.GetProof()
		}, cert.ErrWrongEpoch},
		{"a later epoch", func(h *hostile, _ *consensusv1.GetHandoverRequest, m *consensusv1.GetHandoverResponse) {
			next, err := h.asked.GetHandover(t.Context(), &consensusv1.GetHandoverRequest{Name: "committees/4"})
			if err != nil {
				t.Error(err)
			}
			m.Certificate, m.Proof = next.GetCertificate(), next.GetProof()
		}, cert.ErrWrongEpoch},
		{"another committee's signature", func(_ *hostile, _ *consensusv1.GetHandoverRequest, m *consensusv1.GetHandoverResponse) {
			record := forged(2)
			cp := decode(m).Checkpoint
			cp.CommitteeHash = record.Committee.Hash()
			c := byAttacker(t, cp, &record.Committee)
			m.Certificate = c.Encode()
		}, cert.ErrWrongCommittee},
		{"another's signature under the right name", func(_ *hostile, _ *consensusv1.GetHandoverRequest, m *consensusv1.GetHandoverResponse) {
			c := decode(m)
			c.Signature = blsOf(77).Sign(c.Checkpoint.Message())
			m.Certificate = c.Encode()
		}, cert.ErrBadSignature},
		{"another state", func(_ *hostile, _ *consensusv1.GetHandoverRequest, m *consensusv1.GetHandoverResponse) {
			c := decode(m)
			c.Checkpoint.StateRoot[3]++
			m.Certificate = c.Encode()
		}, cert.ErrBadSignature},
		{"too few signers", func(_ *hostile, _ *consensusv1.GetHandoverRequest, m *consensusv1.GetHandoverResponse) {
			c := decode(m)
			c.Bitmap = []byte{0b110}
			m.Certificate = c.Encode()
		}, cert.ErrTooLittlePower},
		{"a stranger's bit", func(_ *hostile, _ *consensusv1.GetHandoverRequest, m *consensusv1.GetHandoverResponse) {
			c := decode(m)
			c.Bitmap = []byte{0b1001}
			m.Certificate = c.Encode()
		}, cert.ErrStranger},
		{"another network", func(_ *hostile, _ *consensusv1.GetHandoverRequest, m *consensusv1.GetHandoverResponse) {
			c := decode(m)
			c.Checkpoint.Network[0]++
			m.Certificate = c.Encode()
		}, cert.ErrWrongNetwork},
		{"another chain", func(_ *hostile, _ *consensusv1.GetHandoverRequest, m *consensusv1.GetHandoverResponse) {
			c := decode(m)
			c.Checkpoint.Chain++
			m.Certificate = c.Encode()
		}, cert.ErrWrongChain},
		{"its own committee", func(_ *hostile, _ *consensusv1.GetHandoverRequest, m *consensusv1.GetHandoverResponse) {
			record := forged(3)
			m.Proof.Value = record.Encode()
		}, client.ErrProof},
		{"no committee", func(_ *hostile, _ *consensusv1.GetHandoverRequest, m *consensusv1.GetHandoverResponse) {
			m.Proof.Value, m.Proof.Absent = nil, true
		}, client.ErrProof},
		{"another epoch's record", func(h *hostile, _ *consensusv1.GetHandoverRequest, m *consensusv1.GetHandoverResponse) {
			latest, err := h.asked.GetCommittee(t.Context(), &consensusv1.GetCommitteeRequest{Name: "committees/2"})
			if err != nil {
				t.Error(err)
			}
			m.Proof = latest.GetProof()
		}, client.ErrProof},
		{"the right record of another state", func(h *hostile, _ *consensusv1.GetHandoverRequest, m *consensusv1.GetHandoverResponse) {
			now, err := h.asked.GetCommittee(t.Context(), &consensusv1.GetCommitteeRequest{Name: "committees/3"})
			if err != nil {
				t.Error(err)
			}
			m.Proof = now.GetProof()
		}, client.ErrProof},
		{"a root that is not the proof's", func(_ *hostile, _ *consensusv1.GetHandoverRequest, m *consensusv1.GetHandoverResponse) {
			m.Proof.Proof = m.GetProof().GetProof()[:len(m.GetProof().GetProof())-1]
		}, nil},
		{"garbage", func(_ *hostile, _ *consensusv1.GetHandoverRequest, m *consensusv1.GetHandoverResponse) {
			m.Certificate = []byte{1, 2, 3}
		}, nil},
		{"nothing", func(_ *hostile, _ *consensusv1.GetHandoverRequest, m *consensusv1.GetHandoverResponse) {
			m.Proof, m.Certificate = nil, nil
		}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			h := &hostile{}
			h.handover = func(req *consensusv1.GetHandoverRequest, m *consensusv1.GetHandoverResponse) {
				if req.GetName() == "committees/3" {
					row.change(h, req, m)
				}
			}
			got, list, err := h.among(t, s).FollowCommittees(within(t), s.trust(t), 4)
			if err == nil || row.want != nil && !errors.Is(err, row.want) || len(list) != 2 || got.Epoch() != 2 {
				t.Errorf("followed to %v: %v, want %v", got, err, row.want)
			}
			got, list, err = h.among(t, s, "node0").FollowCommittees(within(t), s.trust(t), 4)
			if err != nil || len(list) != 4 || got.Epoch() != 4 {
				t.Errorf("with an honest one: %v, %v", got, err)
			}
		})
	}
}

// What nodes say of certificates, committees and elections is checked against what
// was asked, and the rest by those who verify.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	s := newStakeNetwork(t, 2)
	s.reach(t, 12)
	h := &hostile{}
	c := h.among(t, s)

	h.certificate = func(m *consensusv1.GetCertificateResponse) { m.Committee = m.GetCommittee()[1:] }
	if _, _, err := c.Certificate(within(t), 5); err == nil {
		t.Error("took half a committee")
	}
	h.certificate = func(m *consensusv1.GetCertificateResponse) {
		certificate, err := cert.Decode(m.GetCertificate().GetCertificate())
		if err != nil {
			t.Error(err)
		}
		certificate.Checkpoint.Height++
		m.Certificate.Certificate = certificate.Encode()
	}
	if _, _, err := c.Certificate(within(t), 5); err == nil {
		t.Error("took the certificate of another block")
	}
	h.certificate = func(m *consensusv1.GetCertificateResponse) {
		record := forged(0)
		certificate, err := cert.Decode(m.GetCertificate().GetCertificate())
		if err != nil {
			t.Error(err)
		}
		certificate.Checkpoint.CommitteeHash = record.Committee.Hash()
		certificate = byAttacker(t, certificate.Checkpoint, &record.Committee)
		m.Certificate.Certificate, m.Committee = certificate.Encode(), record.Committee.Encode()
	}
	certificate, com, err := c.Certificate(within(t), 5)
	if err != nil {
		t.Fatal(err)
	}
	if believed, err := client.TrustCommittee(s.exec.Domain(), com); err != nil || believed.Verify(&certificate) != nil {
		t.Errorf("the forgery is no good one: %v", err)
	}
	if err := s.trust(t).Verify(&certificate); !errors.Is(err, cert.ErrWrongCommittee) {
		t.Errorf("the attacker's certificate: %v, want %v", err, cert.ErrWrongCommittee)
	}

	h.committee = func(m *consensusv1.GetCommitteeResponse) {
		record := forged(1)
		m.Proof.Value = record.Encode()
	}
	info, err := c.Committee(within(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.VerifyCommitteeProof(&info.Proof, 1, info.Proof.Root); !errors.Is(err, client.ErrProof) {
		t.Errorf("the attacker's committee: %v, want %v", err, client.ErrProof)
	}
	if err := info.Verify(1, info.Proof.Root); !errors.Is(err, client.ErrProof) {
		t.Errorf("the attacker's committee: %v, want %v", err, client.ErrProof)
	}

	h.election = func(m *consensusv1.GetElectionResponse) {
		list, err := committee.DecodeCandidates(m.GetCandidates())
		if err != nil {
			t.Error(err)
		}
		list[1].Stake++
		m.Candidates = committee.EncodeCandidates(list)
	}
	election, err := c.Election(within(t), 1)
	if err != nil || !errors.Is(election.Record.Check(election.Candidates), committee.ErrWrongCandidates) {
		t.Errorf("other candidates: %v, %v", election, err)
	}
	h.election = func(m *consensusv1.GetElectionResponse) {
		record, err := committee.DecodeRecord(m.GetRecord())
		if err != nil {
			t.Error(err)
		}
		record.Committee.Members[1].Power++
		m.Record = record.Encode()
	}
	election, err = c.Election(within(t), 1)
	if err != nil || !errors.Is(election.Record.Check(election.Candidates), committee.ErrWrongElection) {
		t.Errorf("another outcome: %v, %v", election, err)
	}
	if _, err := c.Election(within(t), 0); err != nil {
		t.Error(err)
	}
}

// newFile is the certificate of the newest block, with the hand-overs from the
// genesis.
func newFile(t *testing.T, s *stakeNetwork) client.CertificateFile {
	t.Helper()
	c := s.client(t)
	certificate, _, err := c.Certificate(within(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	_, handovers, err := c.FollowCommittees(within(t), s.trust(t), certificate.Checkpoint.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	return client.CertificateFile{Committee: s.gen.Committee(), Handovers: handovers, Certificate: certificate}
}

// TestCertificateFiles writes a file, verifies what it reads again, and then changes
// its bytes, one at a time.
func TestCertificateFiles(t *testing.T) {
	t.Parallel()
	s := newStakeNetwork(t, 2)
	s.reach(t, epochBlocks+2)
	file := newFile(t, s)
	raw, err := file.Encode()
	if err != nil {
		t.Fatal(err)
	}
	domain, hash := s.exec.Domain(), s.trust(t).Hash()
	verify := func(raw []byte, hash ledger.Hash) (*client.Trust, error) {
		f, err := client.DecodeCertificateFile(raw)
		if err != nil {
			return nil, err
		}
		return f.Verify(domain, hash, epochBlocks)
	}
	signed, err := verify(raw, hash)
	if err != nil || signed.Epoch() != 1 {
		t.Fatalf("the file: %v, %v", signed, err)
	}
	for name, laid := range map[string]string{"laid out anew": strings.ReplaceAll(string(raw), "  ", "    "), "in one line": strings.ReplaceAll(string(raw), "\n", "")} {
		if _, err := verify([]byte(laid), hash); !errors.Is(err, client.ErrCertificateFile) || !strings.Contains(err.Error(), "laid it out anew") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := verify(raw, ledger.Hash{1}); !errors.Is(err, client.ErrOtherCommittee) {
		t.Errorf("trusting another committee: %v", err)
	}
	short := file
	short.Handovers = nil
	if _, err := short.Verify(domain, hash, epochBlocks); !errors.Is(err, cert.ErrWrongEpoch) {
		t.Errorf("without a hand-over: %v", err)
	}
	named := []error{
		client.ErrCertificateFile, client.ErrOtherCommittee, client.ErrProof, client.ErrWrongHeight,
		cert.ErrWrongNetwork, cert.ErrWrongChain, cert.ErrWrongGeneration, cert.ErrWrongEpoch, cert.ErrWrongCommittee, cert.ErrBitmap, cert.ErrStranger,
		cert.ErrTooLittlePower, cert.ErrBadSignature, bls.ErrBadKey, committee.ErrBadCommittee,
	}
	met := map[error]int{}
	corrupt := func(raw []byte, from, stride int) {
		for at := from; at < len(raw); at += stride {
			bad := bytes.Clone(raw)
			bad[at] ^= 1
			if digit := bytes.IndexByte([]byte("0123456789abcdef"), raw[at]); digit >= 0 { // another digit
				bad[at] = "123456789abcdef0"[digit]
			}
			_, err := verify(bad, hash)
			i := slices.IndexFunc(named, func(e error) bool { return errors.Is(err, e) })
			if i < 0 {
				t.Fatalf("byte %d of %d, %q for %q: %v", at, len(raw), bad[at], raw[at], err)
			}
			met[named[i]]++
		}
	}
	alone := client.CertificateFile{Committee: file.Committee, Certificate: file.Handovers[0].Certificate}
	small, err := alone.Encode()
	if err != nil {
		t.Fatal(err)
	}
	// Signatures cost time, so it is other bytes each time.
	corrupt(small, rand.IntN(3), 3)
	corrupt(raw, rand.IntN(11), 11)
	for _, e := range []error{client.ErrCertificateFile, client.ErrOtherCommittee, client.ErrProof, cert.ErrWrongNetwork, cert.ErrBadSignature} {
		if met[e] == 0 {
			t.Errorf("no change led to %v: %v", e, met)
		}
	}
}

// TestHeightsAreOfTheirEpoch: a committee can certify blocks of its epoch only, and
// hand over by the last two, to whoever knows how long epochs are.
func TestHeightsAreOfTheirEpoch(t *testing.T) {
	t.Parallel()
	com := forged(5).Committee
	plain, err := client.TrustCommittee(chain.Domain{}, com)
	if err != nil {
		t.Fatal(err)
	}
	trust := plain.WithEpochs(10)
	for height, want := range map[uint64]struct{ verify, next error }{
		51: {nil, client.ErrWrongHeight}, 55: {nil, client.ErrWrongHeight}, 58: {nil, client.ErrWrongHeight},
		59: {nil, client.ErrProof}, 60: {nil, client.ErrProof}, // which has none
		0: {client.ErrWrongHeight, client.ErrWrongHeight}, 1: {client.ErrWrongHeight, client.ErrWrongHeight}, 50: {client.ErrWrongHeight, client.ErrWrongHeight},
		61: {client.ErrWrongHeight, client.ErrWrongHeight}, 1e9: {client.ErrWrongHeight, client.ErrWrongHeight}, 1<<64 - 1: {client.ErrWrongHeight, client.ErrWrongHeight},
	} {
		c := byAttacker(t, cert.Checkpoint{Height: height, Epoch: 5, CommitteeHash: com.Hash()}, &com)
		if err := trust.Verify(&c); !errors.Is(err, want.verify) {
			t.Errorf("block %d: %v, want %v", height, err, want.verify)
		}
		if _, err := trust.Next(&client.Handover{Epoch: 6, Certificate: c}); !errors.Is(err, want.next) {
			t.Errorf("hand-over by block %d: %v, want %v", height, err, want.next)
		}
		if err := plain.Verify(&c); err != nil {
			t.Errorf("block %d, without epochs: %v", height, err)
		}
	}
}

func FuzzCertificateFile(f *testing.F) {
	f.Add([]byte("{}"))
	f.Add([]byte(`{"format":"tributary-certificate/1","committee":"","handovers":null,"certificate":""}`))
	record := forged(7)
	file := client.CertificateFile{Committee: record.Committee, Certificate: cert.Certificate{
		Checkpoint: cert.Checkpoint{Height: 9, Epoch: 7, CommitteeHash: record.Committee.Hash()}, Bitmap: []byte{1},
	}}
	raw, err := file.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		file, err := client.DecodeCertificateFile(raw)
		if err != nil {
			if !errors.Is(err, client.ErrCertificateFile) {
				t.Errorf("%v is no %v", err, client.ErrCertificateFile)
			}
			return
		}
		again, err := file.Encode()
		if err != nil || !bytes.Equal(again, raw) {
			t.Errorf("decoded and encoded it is %q, %v; was %q", again, err, raw)
		}
		if _, err := file.Verify(chain.Domain{}, file.Committee.Hash(), 0); err == nil {
			t.Error("it verifies")
		}
	})
}

// checkPastCommittee checks that a committee that is not one of the last two is proved
// by its hash, in the state with application hash root, and nothing else is.
func checkPastCommittee(t *testing.T, c *client.Client, root ledger.Hash) {
	t.Helper()
	past, err := c.Committee(within(t), 2)
	if err != nil {
		t.Fatal(err)
	}
	if len(past.Record.Committee.Members) != 3 || len(past.Proof.Value) > 200 {
		t.Errorf("%d members are proved by %d bytes", len(past.Record.Committee.Members), len(past.Proof.Value))
	}
	if err := past.Verify(2, root); err != nil {
		t.Errorf("a past committee: %v", err)
	}
	for _, row := range []struct {
		name   string
		epoch  uint64
		change func(*client.CommitteeInfo)
	}{
		{"another epoch", 3, func(*client.CommitteeInfo) {}},
		{"another member's power", 2, func(i *client.CommitteeInfo) {
			i.Record.Committee.Members = slices.Clone(i.Record.Committee.Members)
			i.Record.Committee.Members[1].Power++
		}},
		{"another seed", 2, func(i *client.CommitteeInfo) { i.Record.Seed[0]++ }},
		{"no value", 2, func(i *client.CommitteeInfo) { i.Proof.Value = nil }},
		{"another value that fits", 2, func(i *client.CommitteeInfo) {
			i.Record.Seed[0]++
			i.Proof.Value = i.Record.EncodeShort()
		}},
	} {
		wrong := past
		row.change(&wrong)
		if err := wrong.Verify(row.epoch, root); !errors.Is(err, client.ErrProof) {
			t.Errorf("%s: %v, want %v", row.name, err, client.ErrProof)
		}
	}
}
