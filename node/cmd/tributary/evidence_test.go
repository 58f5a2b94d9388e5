package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/node/testnet"
)

// submitsEvidence proves to the network that its second validator voted twice for one
// step, which nobody but the test has seen.
func (s *shell) submitsEvidence(ctx context.Context, t *testing.T, n *testnet.Network) {
	t.Helper()
	fault := filepath.Join(s.home, "fault.pb")
	if err := os.WriteFile(fault, twoVotes(ctx, t, n, 1), 0o600); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(fault)
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Clone(data)
	forged[len(forged)/2] ^= 1
	for _, row := range []struct {
		name, input string
		code        int
		want        string
	}{
		{"nothing", "", exitUsage, "it is empty"},
		{"garbage", "garbage", exitUsage, "begins with the byte 0x67"},
		{"what cannot be decoded", "\x0agarbage", exitError, "BAD_EVIDENCE"},
		{"a changed bit", string(forged), exitError, "BAD_EVIDENCE"},
	} {
		if r := s.run(t, row.input, "evidence", "submit", "-"); r.code != row.code || !strings.Contains(r.stderr, row.want) || r.stdout != "" {
			t.Errorf("evidence of %s: %+v", row.name, r)
		}
	}
	if r := s.run(t, "", "evidence", "submit", fault+"x"); r.code != exitError || !strings.Contains(r.stderr, "no such file") {
		t.Errorf("evidence of no file: %+v", r)
	}
	for range 2 { // what is known already is no error
		if r := parse[evidenceResult](t, s.ok(t, "evidence", "submit", fault, "-o", "json")); r.Kind != duplicateVote || r.Bytes != len(data) {
			t.Errorf("evidence: %+v", r)
		}
	}
	for deadline := time.Now().Add(testTimeout); parse[validatorResult](t, s.ok(t, "validator", "show", "1", "-o", "json")).State != "tombstoned"; {
		if time.Now().After(deadline) {
			t.Fatal("the validator is not punished")
		}
		s.ok(t, "tx", "transfer", "carol", "1", "--from", "alice")
	}
}

// twoVotes returns the evidence that validator i voted for two blocks at the height of
// the head.
func twoVotes(ctx context.Context, t *testing.T, n *testnet.Network, i int) []byte {
	t.Helper()
	c, err := client.Dial(ctx, n.Nodes[0].GRPC)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	light, err := c.LightBlock(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	var signed cmtproto.SignedHeader
	var validators cmtproto.ValidatorSet
	if err := signed.Unmarshal(light.SignedHeader); err != nil {
		t.Fatal(err)
	}
	if err := validators.Unmarshal(light.ValidatorSet); err != nil {
		t.Fatal(err)
	}
	set, err := types.ValidatorSetFromProto(&validators)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(n.Nodes[i].Home, "config", "validator", "priv_validator_key.json"))
	if err != nil {
		t.Fatal(err)
	}
	var key privval.FilePVKey
	if err := cmtjson.Unmarshal(data, &key); err != nil {
		t.Fatal(err)
	}
	index, _ := set.GetByAddress(key.Address)
	var votes [2]*types.Vote
	for i := range votes {
		hash := bytes.Repeat([]byte{byte(i + 1)}, 32)
		vote := &types.Vote{
			Type: cmtproto.PrevoteType, Height: signed.Header.Height, Timestamp: signed.Header.Time,
			BlockID:          types.BlockID{Hash: hash, PartSetHeader: types.PartSetHeader{Total: 1, Hash: hash}},
			ValidatorAddress: key.Address, ValidatorIndex: index,
		}
		if vote.Signature, err = key.PrivKey.Sign(types.VoteSignBytes(signed.Header.ChainID, vote.ToProto())); err != nil {
			t.Fatal(err)
		}
		votes[i] = vote
	}
	evidence, err := types.NewDuplicateVoteEvidence(votes[0], votes[1], signed.Header.Time, set)
	if err != nil {
		t.Fatal(err)
	}
	wire, err := types.EvidenceToProto(evidence)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := wire.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
