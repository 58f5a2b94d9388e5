package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
)

// certificateResult is what is shown of a certificate.
type certificateResult struct {
	Height     uint64      `json:"height"`
	Epoch      uint64      `json:"epoch"`
	BlockHash  ledger.Hash `json:"block_hash"`
	StateRoot  ledger.Hash `json:"state_root"`
	Results    ledger.Hash `json:"results_root"`
	Committee  ledger.Hash `json:"committee"`
	Signers    []uint64    `json:"signers"` // validators
	Members    int         `json:"members"`
	Power      uint64      `json:"power"`
	TotalPower uint64      `json:"total_power"`
	Encoded    string      `json:"certificate"`
	Handovers  int         `json:"handovers"` // in the file
	File       string      `json:"file,omitempty"`
}

func newCertificateResult(c *cert.Certificate, com *committee.Committee) certificateResult {
	cp := &c.Checkpoint
	r := certificateResult{
		Height: cp.Height, Epoch: cp.Epoch, BlockHash: cp.BlockHash, StateRoot: cp.StateRoot, Results: cp.ResultsRoot,
		Committee: cp.CommitteeHash, Signers: []uint64{}, Members: len(com.Members), TotalPower: com.TotalPower(),
		Encoded: hex.EncodeToString(c.Encode()),
	}
	for _, i := range c.Signers() {
		if i < len(com.Members) {
			r.Signers = append(r.Signers, com.Members[i].Validator)
			r.Power += com.Members[i].Power
		}
	}
	return r
}

func (c *cli) queryCertificateCommand() *cobra.Command {
	var out, since string
	cmd := &cobra.Command{
		Use:   "certificate HEIGHT|latest",
		Short: "Show the certificate of a block, and write it to a file",
		Long: `Show the certificate of a block: that members with more than two thirds of the
power signed the state after it. With --out it is written, with all that
'tributary verify certificate' needs to check it without a node: the committee, and
with --since the hand-overs from that of an earlier epoch. '--since 0' begins with
the genesis.

A node that joined by a snapshot has no hand-overs from before it until it has fetched
them from its [state_sync] sources, and one may be missing for good if too few votes for
the end of an epoch carried signatures. The error says from which epoch on there are
any: ask another node with --node, or begin with a later epoch whose committee's hash
somebody you trust tells you.`,
		Args: cobra.ExactArgs(1),
		RunE: c.connected(func(run *run) error { return run.queryCertificate(out, since) }),
	}
	cmd.Flags().StringVar(&out, "out", "", "file to write, which must not exist")
	cmd.Flags().StringVar(&since, "since", "", "with --out: the epoch whose committee is trusted (default that of the block)")
	return cmd
}

func (run *run) queryCertificate(out, since string) error {
	height, err := parseHeight(run.args[0])
	if err != nil {
		return err
	}
	if since != "" && out == "" {
		return usagef("--since is for the file that --out names")
	}
	certificate, com, err := run.certificate(height)
	if err != nil {
		return err
	}
	r := newCertificateResult(&certificate, &com)
	if out != "" {
		file, err := run.certificateFile(&certificate, com, since)
		if err != nil {
			return err
		}
		if err := writeCertificate(out, file); err != nil {
			return err
		}
		r.File, r.Handovers = out, len(file.Handovers)
	}
	return run.conn.cli.print(r, func(t *table) {
		t.field("height", r.Height)
		t.field("epoch", r.Epoch)
		t.field("block hash", r.BlockHash)
		t.field("state root", r.StateRoot)
		t.field("committee", r.Committee)
		if r.Members > 0 {
			t.field("signed by", fmt.Sprintf("%d of %d members, with %d of %d power", len(r.Signers), r.Members, r.Power, r.TotalPower))
		}
		if r.File != "" {
			t.field("written to", fmt.Sprintf("%s, with %s", r.File, plural(r.Handovers, "hand-over")))
		}
	})
}

const (
	// certificateRetry is how often a certificate that is being made is asked for.
	certificateRetry = 100 * time.Millisecond
	// certificateLag is of how many of the last blocks it may still be made: nodes make
	// those of blocks that follow each other fast together.
	certificateLag = 16
)

// certificate reads a certificate. That of the newest blocks may still be made.
func (run *run) certificate(height uint64) (cert.Certificate, committee.Committee, error) {
	const tries = 20
	for try := 1; ; try++ {
		certificate, com, err := run.conn.Certificate(run.ctx, height)
		e, ok := errors.AsType[*client.Error](err)
		if err == nil || try == tries || !ok || e.Reason != "NO_CERTIFICATE" || e.Metadata["height"] == "" {
			return certificate, com, err
		}
		if head, parsed := strconv.ParseUint(e.Metadata["height"], 10, 64); parsed != nil || height != 0 && height+certificateLag < head {
			return certificate, com, err
		}
		select {
		case <-time.After(certificateRetry):
		case <-run.ctx.Done():
			return certificate, com, err
		}
	}
}

// certificateFile makes the file of a certificate that com signed, with the
// hand-overs since an epoch.
func (run *run) certificateFile(certificate *cert.Certificate, com committee.Committee, since string) (*client.CertificateFile, error) {
	epoch := certificate.Checkpoint.Epoch
	begin := epoch
	if since != "" {
		var err error
		if begin, err = strconv.ParseUint(since, 10, 63); err != nil || begin > epoch {
			return nil, usagef("--since is %q, want an epoch from 0 to %d, that of the block", since, epoch)
		}
	}
	first := com
	if begin != epoch || len(com.Members) == 0 {
		var err error
		if first, err = run.firstCommittee(begin); err != nil {
			return nil, err
		}
	}
	trust, err := client.TrustCommittee(run.conn.Domain(), first)
	if err != nil {
		return nil, err
	}
	signed, handovers, err := run.conn.FollowCommittees(run.ctx, trust.WithEpochs(run.conn.Params().Staking.EpochBlocks), epoch)
	if errors.Is(err, client.ErrHandoverGap) {
		return nil, gapRemedy(err)
	}
	if err != nil {
		return nil, err
	}
	if err := signed.Verify(certificate); err != nil {
		return nil, fmt.Errorf("the node's certificate does not hold: %w", err)
	}
	return &client.CertificateFile{Committee: first, Handovers: handovers, Certificate: *certificate}, nil
}

// gapRemedy says what to do about hand-overs that a node does not have.
func gapRemedy(err error) error {
	const ask = "ask a node that keeps more with --node, or trust the committee of a later epoch by a hash from a source that you trust, and begin there with --since"
	if e, ok := errors.AsType[*client.Error](err); ok {
		if first, parsed := strconv.ParseUint(e.Metadata["kept_from_epoch"], 10, 64); parsed == nil && first > 0 {
			return fmt.Errorf("%w; %s, from %d on", err, ask, first-1)
		}
	}
	return fmt.Errorf("%w; %s", err, ask)
}

// firstCommittee returns the committee of the epoch that a file begins with: that of
// the genesis at hand, or else what the node says, which whoever verifies compares.
func (run *run) firstCommittee(epoch uint64) (committee.Committee, error) {
	if epoch == 0 {
		if doc, err := run.conn.cli.genesisAtHand(); err == nil && doc.NetworkID() == run.conn.Domain().Network {
			return doc.Settlement().Committee(), nil
		}
	} else if h, err := run.conn.Handover(run.ctx, epoch); err == nil {
		record, err := committee.DecodeRecord(h.Record.Value)
		return record.Committee, err
	}
	info, err := run.conn.Committee(run.ctx, epoch)
	return info.Record.Committee, err
}

// writeCertificate writes a new file.
func writeCertificate(path string, file *client.CertificateFile) (err error) {
	data, err := file.Encode()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Clean(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // it holds no secret
	if errors.Is(err, os.ErrExist) {
		return usagef("%s is there already: name another file with --out", path)
	}
	if err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	return nil
}
