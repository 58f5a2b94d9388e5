package bundle

import (
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// VerifyBelow is Verify for a bundle whose main layer is known to hold.
func VerifyBelow(file []byte) (*Report, error) {
	a, err := Decode(file)
	if err != nil {
		return nil, err
	}
	schema, err := stateproof.NewSchema(settlement.Tables())
	if err != nil {
		return nil, err
	}
	v := verifier{Audit: a, schema: schema}
	v.report.reached(a)
	for _, layer := range []func() *Error{v.settlement, v.service, v.log} {
		if err := layer(); err != nil {
			return nil, err
		}
	}
	return &v.report, nil
}
