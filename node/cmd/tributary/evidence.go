package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func (c *cli) evidenceCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "evidence", Short: "Report the faults of validators"}
	cmd.AddCommand(c.evidenceSubmitCommand())
	return cmd
}

// evidenceResult is a proof that a node took.
type evidenceResult struct {
	Kind  string `json:"kind"` // duplicate-vote or light-client-attack
	Bytes int    `json:"bytes"`
}

func (r *evidenceResult) fields(t *table) {
	t.field("evidence", r.Kind)
	t.field("bytes", r.Bytes)
}

// Kinds of evidence.
const (
	duplicateVote     = "duplicate-vote"
	lightClientAttack = "light-client-attack"
)

func (c *cli) evidenceSubmitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "submit FILE",
		Short: "Give a node the proof that validators signed what excludes each other",
		Long: `Give a node the proof of a fault, for one of the next blocks to punish; FILE may be -.
The proof is CometBFT's message tendermint.types.Evidence in protobuf's binary form:
two votes of one validator for one step, or a light block that validators signed
beside the chain. Nodes report what they see by themselves; this is for what only
somebody else has seen, such as a light client.

Anybody may submit one, it costs nothing and pays nothing. The node verifies it
against the validators of its height, and refuses with BAD_EVIDENCE what proves
nothing or is too old ('tributary stake params' shows for how long faults are
punished). What is known already is no error. 'tributary validator show' tells when
the validator is punished.`,
		Example: "  tributary evidence submit fault.pb",
		Args:    cobra.ExactArgs(1),
		RunE: c.connected(func(run *run) error {
			name := run.args[0]
			data, err := run.conn.cli.readInput(name)
			if err != nil {
				return fmt.Errorf("read evidence: %w", err)
			}
			kind, err := evidenceKind(data)
			if err != nil {
				return usagef("%s: %w", name, err)
			}
			if err := run.conn.SubmitEvidence(run.ctx, data); err != nil {
				return err
			}
			r := evidenceResult{kind, len(data)}
			run.conn.cli.note("the node has verified it and tells the others; one of the next blocks punishes it, unless one has already")
			return c.print(r, r.fields)
		}),
	}
}

// evidenceKind tells what evidence is of by its first byte, the field of the message
// that is set. A file in text, which is what most mistakes are, has another.
func evidenceKind(data []byte) (string, error) {
	switch {
	case len(data) == 0:
		return "", errors.New("it is empty, want tendermint.types.Evidence in binary")
	case data[0] == 1<<3|2:
		return duplicateVote, nil
	case data[0] == 2<<3|2:
		return lightClientAttack, nil
	}
	return "", fmt.Errorf("it begins with the byte %#02x, and tendermint.types.Evidence in binary with 0x0a (two votes) or 0x12 (a light client attack); decode what is in JSON, base64 or hexadecimal first", data[0])
}
