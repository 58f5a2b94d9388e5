package node

import (
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/comet"
)

// application is an Executor in the words of consensus. The two do not know
// each other.
type application struct {
	*exec.Executor

	main *exec.Main // where validators are registered, for all chains
}

var (
	_ comet.Attester = application{}
	_ comet.Answerer = application{} // by the Executor
)

// Attest implements comet.Attester.
func (a application) Attest(msg []byte) []byte { return a.main.Attest(msg) }

// Attested implements comet.Attester.
func (a application) Attested(consensusKey, msg, proof []byte) (known, ok bool) {
	return a.main.Attested(consensusKey, msg, proof)
}

// Accept implements comet.Application.
func (a application) Accept(b comet.Block) error { return a.Executor.Accept(blockOf(b)) }

// Extend implements comet.Application.
func (a application) Extend(b comet.Block) ([]byte, error) { return a.Executor.Extend(blockOf(b)) }

// Finalize implements comet.Application.
func (a application) Finalize(b comet.Block) (comet.Outcome, error) {
	out, err := a.Executor.Finalize(blockOf(b))
	if err != nil {
		return comet.Outcome{}, err
	}
	results := make([]comet.TxResult, len(out.Results))
	for i, r := range out.Results {
		results[i] = comet.TxResult(r)
	}
	updates := make([]comet.ValidatorUpdate, len(out.Updates))
	for i, u := range out.Updates {
		updates[i] = comet.ValidatorUpdate{PubKey: u.ConsensusKey[:], Power: u.Power}
	}
	return comet.Outcome{AppHash: out.AppHash, Results: results, Updates: updates}, nil
}

// blockOf translates a block.
func blockOf(b comet.Block) exec.Block {
	out := exec.Block{Height: b.Height, Time: b.Time, Proposer: b.Proposer, Txs: b.Txs, Hash: b.Hash, Round: b.Round}
	for _, v := range b.LastVotes {
		out.LastVotes = append(out.LastVotes, staking.Vote{Validator: address(v.Validator), Signed: v.Signed})
	}
	for _, m := range b.Evidence {
		out.Evidence = append(out.Evidence, staking.Evidence{
			Kind: staking.EvidenceKind(m.Kind), Validator: address(m.Validator), Height: m.Height,
			Power: m.Power, TotalPower: m.TotalPower,
		})
	}
	return out
}

// address translates a consensus address, which consensus makes 20 bytes long.
func address(b []byte) (a staking.Address) {
	copy(a[:], b)
	return a
}
