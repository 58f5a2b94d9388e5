package comet

// attester is an Application's Attester, or that of one that is none, whatever the
// application does.
type attester struct{ adapter *adapter }

// Attest implements Attester.
func (a attester) Attest(msg []byte) (proof []byte) {
	if app, ok := a.adapter.app.(Attester); ok && a.adapter.gate.enter() {
		defer a.adapter.gate.leave()
		_ = contain(func() error { proof = app.Attest(msg); return nil })
	}
	return proof
}

// Attested implements Attester.
func (a attester) Attested(consensusKey, msg, proof []byte) (known, ok bool) {
	if app, is := a.adapter.app.(Attester); is && a.adapter.gate.enter() {
		defer a.adapter.gate.leave()
		if err := contain(func() error { known, ok = app.Attested(consensusKey, msg, proof); return nil }); err != nil {
			return false, false
		}
	}
	return known, ok
}
