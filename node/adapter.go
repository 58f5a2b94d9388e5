package node

import (
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/consensus/comet"
)

// application is an Executor in the words of consensus. The two do not know
// each other.
type application struct{ *exec.Executor }

// Finalize implements comet.Application.
func (a application) Finalize(b comet.Block) (comet.Outcome, error) {
	out, err := a.Executor.Finalize(exec.Block(b))
	if err != nil {
		return comet.Outcome{}, err
	}
	results := make([]comet.TxResult, len(out.Results))
	for i, r := range out.Results {
		results[i] = comet.TxResult(r)
	}
	return comet.Outcome{AppHash: out.AppHash, Results: results}, nil
}
