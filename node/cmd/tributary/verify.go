package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/genesis"
	"github.com/tributary-network/tributary/node/home"
)

func (c *cli) verifyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "verify", Short: "Check what nodes say, without any node"}
	cmd.AddCommand(c.verifyCertificateCommand())
	return cmd
}

// certificateTrust is what somebody who verifies knows already.
type certificateTrust struct {
	genesis   string
	committee string
	network   string
}

// verified is what a certificate proves.
type verified struct {
	Network   ledger.Hash `json:"network_id"`
	Chain     uint32      `json:"chain_id"`
	Height    uint64      `json:"height"`
	Epoch     uint64      `json:"epoch"`
	BlockHash ledger.Hash `json:"block_hash"`
	StateRoot ledger.Hash `json:"state_root"`
	Results   ledger.Hash `json:"results_root"`
	Committee ledger.Hash `json:"committee"`
	Signers   int         `json:"signers"`
	Members   int         `json:"members"`
	Power     uint64      `json:"power"`
	Total     uint64      `json:"total_power"`
	Begin     ledger.Hash `json:"trusted_committee"`
	BeginsAt  uint64      `json:"trusted_epoch"`
	Handovers int         `json:"handovers"`
	By        string      `json:"trusted_by"` // genesis or committee-hash
	Proved    []string    `json:"proved"`
	NotProved []string    `json:"not_proved"`
}

func (c *cli) verifyCertificateCommand() *cobra.Command {
	var trust certificateTrust
	cmd := &cobra.Command{
		Use:   "certificate FILE",
		Short: "Check a block's certificate offline, and say what it proves",
		Long: `Check a certificate that 'tributary query certificate HEIGHT --out FILE' has
written. No node is asked; you say what you trust:

  --genesis FILE          the network's genesis, and so its committee of epoch 0; the
                          file must have the hand-overs from there ('--since 0')
  --committee-hash HEX    the hash of the committee that the file begins with, from
                          somebody you trust ('tributary committee show')

A committee vouches only while its members have something to lose: one older than
the unbonding time proves little, unless you follow the network from the genesis.`,
		Example: `  tributary query certificate latest --since 0 --out block.cert
  tributary verify certificate block.cert --genesis genesis.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			v, err := verifyCertificate(args[0], trust)
			if err != nil {
				return err
			}
			return c.print(v, v.fields)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&trust.genesis, "genesis", "", "file with the network's genesis")
	flags.StringVar(&trust.committee, "committee-hash", "", "hash of the committee to trust, 64 hexadecimal digits")
	flags.StringVar(&trust.network, "network-id", "", "with --committee-hash: the network it is to be of")
	return cmd
}

// verifyCertificate reads and checks a file.
func verifyCertificate(path string, trust certificateTrust) (*verified, error) {
	switch {
	case (trust.genesis == "") == (trust.committee == ""):
		return nil, usagef("whom do you trust? give either --genesis FILE or --committee-hash HEX")
	case trust.network != "" && trust.genesis != "":
		return nil, usagef("--network-id goes with --committee-hash; a genesis says itself which network it is of")
	}
	file, err := readCertificate(path)
	if err != nil {
		return nil, err
	}
	from, err := trust.begin(&file)
	if err != nil {
		return nil, err
	}
	signed, err := file.Verify(from.domain, from.committee, from.epochBlocks)
	if err != nil {
		return nil, fmt.Errorf("%s is refused (%s): %w", path, refusal(err), err)
	}
	return newVerified(&file, signed, trust, from.epochBlocks), nil
}

func readCertificate(path string) (client.CertificateFile, error) {
	data, err := home.ReadFile(path, client.MaxCertificateFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return client.CertificateFile{}, exitf(exitNotFound, "there is no file %s", path)
	case errors.Is(err, home.ErrTooLarge):
		return client.CertificateFile{}, fmt.Errorf("%s is refused (%s): %w", path, refusal(client.ErrCertificateFile), err)
	case err != nil:
		return client.CertificateFile{}, fmt.Errorf("read certificate: %w", err)
	}
	file, err := client.DecodeCertificateFile(data)
	if err != nil {
		return file, fmt.Errorf("%s is refused (%s): %w", path, refusal(err), err)
	}
	return file, nil
}

// beginning is the chain that is meant, the hash of the committee that is trusted, and
// how long the genesis says that epochs are, 0 without it.
type beginning struct {
	domain      chain.Domain
	committee   ledger.Hash
	epochBlocks uint64
}

func (trust *certificateTrust) begin(file *client.CertificateFile) (b beginning, err error) {
	if trust.genesis != "" {
		doc, err := genesis.Load(trust.genesis)
		if err != nil {
			return b, err
		}
		first := doc.Settlement().Committee()
		if len(first.Members) == 0 {
			return b, fmt.Errorf("%s names no committee: its network has no staking, and so no certificates", trust.genesis)
		}
		if file.Committee.Epoch != 0 {
			return b, fmt.Errorf("the file begins with the committee of epoch %d, and a genesis vouches for that of epoch 0: write the file with '--since 0', or give --committee-hash", file.Committee.Epoch)
		}
		return beginning{doc.Domain(), first.Hash(), doc.Params.Staking.EpochBlocks}, nil
	}
	if b.committee, err = ledger.ParseHash(trust.committee); err != nil {
		return b, usagef("--committee-hash: %w", err)
	}
	b.domain = chain.Domain{Network: file.Certificate.Checkpoint.Network, Chain: file.Certificate.Checkpoint.Chain}
	if trust.network != "" {
		if b.domain.Network, err = ledger.ParseHash(trust.network); err != nil {
			return b, usagef("--network-id: %w", err)
		}
		b.domain.Chain = ledger.MainChain
	}
	return b, nil
}

// refusal names the reason for which a file is refused.
func refusal(err error) string {
	for _, r := range []struct {
		err  error
		name string
	}{
		{client.ErrCertificateFile, "NOT_A_CERTIFICATE_FILE"},
		{client.ErrOtherCommittee, "OTHER_COMMITTEE"},
		{client.ErrNotElected, "NO_MEMBERS"},
		{client.ErrProof, "WRONG_PROOF"},
		{client.ErrWrongHeight, "WRONG_HEIGHT"},
		{cert.ErrWrongNetwork, "WRONG_NETWORK"},
		{cert.ErrWrongChain, "WRONG_CHAIN"},
		{cert.ErrWrongGeneration, "WRONG_GENERATION"},
		{cert.ErrWrongEpoch, "WRONG_EPOCH"},
		{cert.ErrWrongCommittee, "WRONG_COMMITTEE"},
		{cert.ErrWrongKeys, "WRONG_KEYS"},
		{cert.ErrBitmap, "BAD_BITMAP"},
		{cert.ErrStranger, "STRANGER"},
		{cert.ErrTooLittlePower, "TOO_LITTLE_POWER"},
		{cert.ErrBadSignature, "BAD_SIGNATURE"},
		{committee.ErrBadCommittee, "BAD_COMMITTEE"},
	} {
		if errors.Is(err, r.err) {
			return r.name
		}
	}
	return "BAD_KEY" // what else a committee's keys can be
}

func newVerified(file *client.CertificateFile, signed *client.Trust, trust certificateTrust, epochBlocks uint64) *verified {
	cp, com := &file.Certificate.Checkpoint, signed.Committee()
	v := &verified{
		Network: cp.Network, Chain: uint32(cp.Chain), Height: cp.Height, Epoch: cp.Epoch, BlockHash: cp.BlockHash,
		StateRoot: cp.StateRoot, Results: cp.ResultsRoot, Committee: signed.Hash(), Members: len(com.Members), Total: com.TotalPower(),
		Begin: file.Committee.Hash(), BeginsAt: file.Committee.Epoch, Handovers: len(file.Handovers), By: "committee-hash",
	}
	for _, i := range file.Certificate.Signers() {
		v.Signers++
		v.Power += com.Members[i].Power
	}
	if trust.genesis != "" {
		v.By = "genesis"
	}
	v.Proved = []string{
		fmt.Sprintf("members with %d of %d power, more than two thirds, signed block %d and the state after it", v.Power, v.Total, v.Height),
		fmt.Sprintf("they are the committee of epoch %d, if the trusted one of epoch %d is", v.Epoch, v.BeginsAt),
	}
	v.NotProved = []string{
		"that the block is the newest, or when it was made",
		"what the state holds: that takes a proof against the state root",
	}
	if epochBlocks != 0 {
		v.Proved = append(v.Proved, fmt.Sprintf("the block is one of epoch %d, of %d blocks, in which they were in office", v.Epoch, epochBlocks))
	} else {
		v.NotProved = append(v.NotProved, fmt.Sprintf("that block %d is one of epoch %d: only the genesis tells how long epochs are", v.Height, v.Epoch))
	}
	switch {
	case v.By == "genesis":
		v.Proved = append(v.Proved, fmt.Sprintf("that one is the genesis's, and each of %s was certified by the committee before", plural(v.Handovers, "hand-over")))
		v.NotProved = append(v.NotProved, "that "+trust.genesis+" is the network's genesis: you say so")
	case v.Handovers > 0:
		v.Proved = append(v.Proved, fmt.Sprintf("each of %s from there was certified by the committee before", plural(v.Handovers, "hand-over")))
		fallthrough
	default:
		v.NotProved = append(v.NotProved, fmt.Sprintf("that committee %s was that of epoch %d: you say so", v.Begin, v.BeginsAt))
	}
	if v.By != "genesis" && trust.network == "" {
		v.NotProved = append(v.NotProved, "that the network is the one you mean: compare its id, or give --network-id")
	}
	return v
}

func (v *verified) fields(t *table) {
	t.field("certificate", "holds")
	t.field("network id", v.Network)
	t.field("height", v.Height)
	t.field("epoch", v.Epoch)
	t.field("block hash", v.BlockHash)
	t.field("state root", v.StateRoot)
	t.field("committee", v.Committee)
	t.field("signed by", fmt.Sprintf("%d of %d members", v.Signers, v.Members))
	for _, text := range v.Proved {
		t.field("proved", text)
	}
	for _, text := range v.NotProved {
		t.field("not proved", text)
	}
}
