package client

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	consensusv1 "github.com/tributary-network/tributary/proto/tributary/consensus/v1"
)

const (
	certificatesPrefix = "certificates/"
	committeesPrefix   = "committees/"
	latestName         = "latest"

	reasonNoCertificate = "NO_CERTIFICATE"
	reasonNoHandover    = "NO_HANDOVER"
	reasonPruned        = "PRUNED"
)

// Certificate reads the certificate of the block at height, 0 for the newest that
// has one, and the committee that signed it, as the node says: nothing is verified.
// See Trust. The committee has no members if the chain has forgotten it. Reason
// NO_CERTIFICATE of an *Error means that the node has none; it comes a moment after
// the block.
func (c *Client) Certificate(ctx context.Context, height uint64) (cert.Certificate, committee.Committee, error) {
	name := certificatesPrefix + latestName
	if height != 0 {
		name = certificatesPrefix + strconv.FormatUint(height, 10)
	}
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*consensusv1.GetCertificateResponse, error) {
		return e.agreement.GetCertificate(ctx, &consensusv1.GetCertificateRequest{Name: name})
	})
	if err != nil {
		return cert.Certificate{}, committee.Committee{}, fmt.Errorf("read %s: %w", name, err)
	}
	var r reader
	certificate, err := cert.Decode(resp.GetCertificate().GetCertificate())
	if err != nil {
		r.fail("certificate", err)
	}
	var com committee.Committee
	if len(resp.GetCommittee()) > 0 {
		if com, err = committee.Decode(resp.GetCommittee()); err != nil {
			r.fail("committee", err)
		}
	}
	if got := certificate.Checkpoint.Height; r.err == nil && height != 0 && got != height {
		r.fail("certificate", fmt.Errorf("of block %d, not %d", got, height))
	}
	return certificate, com, r.err
}

// CommitteeInfo is an epoch's committee, as a node shows it.
type CommitteeInfo struct {
	Record committee.Record
	// Proof is of the record, in the newest state: of staking.CommitteeKey, or of
	// staking.PastCommitteeKey if it is not one of the last two that were elected.
	Proof StateProof
}

// Committee reads the committee of an epoch with the proof of its record. Nothing is
// verified. Reason COMMITTEE_NOT_FOUND of an *Error means that it is not elected
// yet, PRUNED that it is forgotten.
func (c *Client) Committee(ctx context.Context, epoch uint64) (CommitteeInfo, error) {
	return c.committee(ctx, strconv.FormatUint(epoch, 10))
}

// LatestCommittee reads the committee that was elected last, which votes now or from
// the next epoch on.
func (c *Client) LatestCommittee(ctx context.Context) (CommitteeInfo, error) {
	return c.committee(ctx, latestName)
}

func (c *Client) committee(ctx context.Context, id string) (CommitteeInfo, error) {
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*consensusv1.GetCommitteeResponse, error) {
		return e.agreement.GetCommittee(ctx, &consensusv1.GetCommitteeRequest{Name: committeesPrefix + id})
	})
	if err != nil {
		return CommitteeInfo{}, fmt.Errorf("read the committee of epoch %s: %w", id, err)
	}
	var info CommitteeInfo
	if info.Proof, err = stateProofOf(resp.GetProof()); err != nil {
		return info, err
	}
	var r reader
	if string(info.Proof.Key) != string(staking.PastCommitteeKey(resp.GetEpoch())) {
		if info.Record, err = committee.DecodeRecord(info.Proof.Value); err != nil {
			r.fail("proof", err)
		}
		return info, r.err
	}
	com, err := committee.Decode(resp.GetCommittee())
	if err != nil {
		r.fail("committee", err)
		return info, r.err
	}
	if info.Record, err = committee.DecodeShort(info.Proof.Value, &com); err != nil {
		r.fail("proof", err)
	}
	return info, r.err
}

// Verify returns nil if i's proof shows that i's record is that of the committee of
// epoch in the state with application hash appHash, and ErrProof otherwise.
func (i *CommitteeInfo) Verify(epoch uint64, appHash ledger.Hash) error {
	if string(i.Proof.Key) != string(staking.PastCommitteeKey(epoch)) {
		record, err := VerifyCommitteeProof(&i.Proof, epoch, appHash)
		if err == nil && !bytes.Equal(record.Encode(), i.Record.Encode()) {
			err = fmt.Errorf("%w: it is of another record of epoch %d", ErrProof, epoch)
		}
		return err
	}
	if err := i.Proof.Verify(appHash); err != nil {
		return err
	}
	if got := i.Record.Committee.Epoch; got != epoch || !bytes.Equal(i.Proof.Value, i.Record.EncodeShort()) {
		return fmt.Errorf("%w: it is not of this record of epoch %d", ErrProof, got)
	}
	return nil
}

// VerifyCommitteeProof returns the record of an epoch's committee that p proves to
// be in the state with application hash appHash, or ErrProof. The epoch is one of the
// last two whose committees were elected; CommitteeInfo.Verify is for those before, too.
func VerifyCommitteeProof(p *StateProof, epoch uint64, appHash ledger.Hash) (committee.Record, error) {
	if string(p.Key) != string(staking.CommitteeKey(epoch)) {
		return committee.Record{}, fmt.Errorf("%w: key %x is not that of the committee of epoch %d", ErrProof, p.Key, epoch)
	}
	if p.Value == nil {
		return committee.Record{}, fmt.Errorf("%w: it shows that there is no committee of epoch %d", ErrProof, epoch)
	}
	if err := p.Verify(appHash); err != nil {
		return committee.Record{}, err
	}
	record, err := committee.DecodeRecord(p.Value)
	if err != nil {
		return committee.Record{}, fmt.Errorf("%w: %w", ErrProof, err)
	}
	if got := record.Committee.Epoch; got != epoch {
		return committee.Record{}, fmt.Errorf("%w: the committee is that of epoch %d, not %d", ErrProof, got, epoch)
	}
	return record, nil
}

// Election is all that the committee of an epoch was computed from, as a node shows
// it.
type Election struct {
	Record     committee.Record
	Candidates []committee.Candidate
}

// Election reads the election of an epoch's committee. Election.Record.Check
// recomputes it from the candidates; whether the record is the chain's,
// CommitteeInfo.Verify tells. Reason PRUNED of an *Error means that the node no
// longer has the candidates.
func (c *Client) Election(ctx context.Context, epoch uint64) (Election, error) {
	name := committeesPrefix + strconv.FormatUint(epoch, 10)
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*consensusv1.GetElectionResponse, error) {
		return e.agreement.GetElection(ctx, &consensusv1.GetElectionRequest{Name: name})
	})
	if err != nil {
		return Election{}, fmt.Errorf("read the election of epoch %d: %w", epoch, err)
	}
	var r reader
	var e Election
	if e.Record, err = committee.DecodeRecord(resp.GetRecord()); err != nil {
		r.fail("record", err)
	}
	if e.Candidates, err = committee.DecodeCandidates(resp.GetCandidates()); err != nil {
		r.fail("candidates", err)
	}
	if got := e.Record.Committee.Epoch; r.err == nil && got != epoch {
		r.fail("record", fmt.Errorf("of epoch %d, not %d", got, epoch))
	}
	return e, r.err
}

// LightBlock is a header with the votes for it and the validators, in CometBFT's
// protobuf encoding (types.SignedHeader, types.ValidatorSet), for whoever checks
// consensus itself.
type LightBlock struct {
	Height       uint64
	SignedHeader []byte
	ValidatorSet []byte
}

// SubmitEvidence gives the node the proof of a fault of validators, in CometBFT's
// encoding (tendermint.types.Evidence), for the next blocks to punish. Reason
// BAD_EVIDENCE of an *Error means that it proves nothing.
func (c *Client) SubmitEvidence(ctx context.Context, evidence []byte) error {
	_, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*consensusv1.SubmitEvidenceResponse, error) {
		return e.agreement.SubmitEvidence(ctx, &consensusv1.SubmitEvidenceRequest{Evidence: evidence})
	})
	if err != nil {
		return fmt.Errorf("submit evidence: %w", err)
	}
	return nil
}

// LightBlock reads the light block at height, 0 for the newest. Nothing is verified.
func (c *Client) LightBlock(ctx context.Context, height uint64) (LightBlock, error) {
	resp, err := invoke(ctx, c, func(ctx context.Context, e *endpoint) (*consensusv1.GetLightBlockResponse, error) {
		return e.agreement.GetLightBlock(ctx, &consensusv1.GetLightBlockRequest{Height: height})
	})
	if err != nil {
		return LightBlock{}, fmt.Errorf("read light block %d: %w", height, err)
	}
	return LightBlock{Height: resp.GetHeight(), SignedHeader: resp.GetSignedHeader(), ValidatorSet: resp.GetValidatorSet()}, nil
}

// ValidatorProof proves a validator's row: stake, keys, commission and whether it is
// jailed, but not its profile and power.
type ValidatorProof struct {
	Number uint64
	State  StateProof
}

// ProveValidator asks for a proof of a validator's row. A node only proves the
// newest state.
func (c *Client) ProveValidator(ctx context.Context, number uint64) (ValidatorProof, error) {
	resp, err := c.getValidator(ctx, strconv.FormatUint(number, 10), true)
	if err != nil {
		return ValidatorProof{}, err
	}
	state, err := stateProofOf(resp.GetProof())
	return ValidatorProof{Number: number, State: state}, err
}

// VerifyValidatorProof returns the validator that p proves to be in the state with
// application hash appHash, or ErrProof.
func VerifyValidatorProof(p *ValidatorProof, appHash ledger.Hash) (staking.Validator, error) {
	if string(p.State.Key) != string(staking.ValidatorKey(p.Number)) {
		return staking.Validator{}, fmt.Errorf("%w: key %x is not that of validator %d", ErrProof, p.State.Key, p.Number)
	}
	if err := p.State.Verify(appHash); err != nil {
		return staking.Validator{}, err
	}
	v, err := staking.DecodeValidator(p.State.Value)
	if err != nil {
		return staking.Validator{}, fmt.Errorf("%w: %w", ErrProof, err)
	}
	return v, nil
}
