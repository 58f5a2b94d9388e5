package bundle

import (
	"fmt"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// Trust is what a reader knows to be right.
type Trust struct {
	Network ledger.NetworkID
	// Committee is the hash of a committee of main (committee.Committee.Hash). Zero trusts
	// Checkpoint alone.
	Committee ledger.Hash
	// Checkpoint is the hash of a checkpoint of main (cert.Checkpoint.Hash) that the first
	// committee of the bundle signed. Zero trusts Committee alone; if both are set either
	// is enough.
	Checkpoint ledger.Hash
	// EpochBlocks is how many blocks of main an epoch has (staking.Params.EpochBlocks of the
	// genesis): then no committee can sign a height out of its epoch. With 0 heights are not
	// checked.
	EpochBlocks uint64
}

// Verify reads a bundle and proves all of it, or returns an *Error. It takes some
// milliseconds, most of them for the pairings of each certificate.
func Verify(file []byte, t Trust) (*Report, error) {
	a, err := Decode(file)
	if err != nil {
		return nil, err
	}
	return a.Verify(t)
}

// Verify is Verify for a bundle that was decoded.
func (a *Audit) Verify(t Trust) (*Report, error) {
	v := verifier{Audit: a, trust: t}
	for _, layer := range []func() *Error{v.main, v.settlement, v.service, v.log} {
		if err := layer(); err != nil {
			return nil, err
		}
	}
	return &v.report, nil
}

// verifier goes down the layers of a bundle.
type verifier struct {
	*Audit

	trust  Trust
	schema stateproof.Schema
	report Report
}

// signers is a committee that is trusted by now.
type signers struct {
	com  *committee.Committee
	keys []*bls.Key
}

// main proves the certificates, from the first committee on.
func (v *verifier) main() *Error {
	if v.Network != v.trust.Network {
		return refuse(LayerMain, StepNetwork, fmt.Errorf("%w: it is of %s, the reader's is %s", ErrNetwork, v.Network, v.trust.Network))
	}
	if err := v.trusted(); err != nil {
		return refuse(LayerMain, StepTrust, err)
	}
	var err error
	if v.schema, err = stateproof.NewSchema(settlement.Tables()); err != nil {
		return refuse(LayerMain, StepForm, err)
	}
	now, err := open(&v.Main.Committee)
	if err != nil {
		return refuse(LayerMain, StepTrust, err)
	}
	if n := len(v.Main.Certificates); n == 0 || n > MaxCertificates {
		return refuse(LayerMain, StepCertificate, fmt.Errorf("%w: %d certificates, want 1 or %d", ErrForm, n, MaxCertificates))
	}
	known := []signers{now}
	for i := range v.Main.Handovers {
		if now, err = v.next(now, &v.Main.Handovers[i]); err != nil {
			return refuse(LayerMain, StepHandover, fmt.Errorf("hand-over %d: %w", i+1, err))
		}
		known = append(known, now)
	}
	for i := range v.Main.Certificates {
		c := &v.Main.Certificates[i]
		if int(c.By) >= len(known) {
			return refuse(LayerMain, StepCertificate, fmt.Errorf("%w: by committee %d of %d", ErrForm, c.By, len(known)))
		}
		if err := v.certified(known[c.By], &c.Certificate); err != nil {
			return refuse(LayerMain, StepCertificate, err)
		}
	}
	v.report.reached(v.Audit)
	return nil
}

// trusted returns ErrUntrusted unless the reader trusts the first committee.
func (v *verifier) trusted() error {
	got := v.Main.Committee.Hash()
	if t := v.trust.Committee; !t.IsZero() && t == got {
		return nil
	}
	if t := v.trust.Checkpoint; !t.IsZero() {
		for i := range v.Main.Certificates {
			if c := &v.Main.Certificates[i]; c.By == 0 && c.Checkpoint.CommitteeHash == got && c.Checkpoint.Hash() == t {
				return nil
			}
		}
		if h := v.Main.Handovers; len(h) > 0 && h[0].Certificate.Checkpoint.CommitteeHash == got && h[0].Certificate.Checkpoint.Hash() == t {
			return nil
		}
	}
	return fmt.Errorf("%w: it begins with the committee %s of epoch %d; give its hash if you know it to be right, or a bundle with hand-overs from the one that you trust",
		ErrUntrusted, got, v.Main.Committee.Epoch)
}

func open(c *committee.Committee) (signers, error) {
	keys, err := c.Keys()
	return signers{c, keys}, err
}

// certified returns nil if a trusted committee signed a checkpoint of main.
func (v *verifier) certified(s signers, c *cert.Certificate) error {
	if err := c.Verify(v.Network, ledger.MainChain, s.com, s.keys); err != nil {
		return err
	}
	epochs := v.epochs()
	if h := c.Checkpoint.Height; h == 0 || epochs != nil && epochs.Epoch(h) != s.com.Epoch {
		return fmt.Errorf("%w: height %d, epoch %d", ErrHeight, h, s.com.Epoch)
	}
	return nil
}

// epochs says which blocks are in which epoch, nil if the reader does not know.
func (v *verifier) epochs() *staking.Params {
	if v.trust.EpochBlocks == 0 {
		return nil
	}
	return &staking.Params{EpochBlocks: v.trust.EpochBlocks}
}

// next returns the committee that a hand-over leads to.
func (v *verifier) next(now signers, h *Handover) (signers, error) {
	if err := v.certified(now, &h.Certificate); err != nil {
		return signers{}, err
	}
	p, epoch := &h.Certificate.Checkpoint, h.Record.Committee.Epoch
	row := Row{Path: h.Path}
	key := staking.CommitteeKey(epoch)
	if h.Past {
		key, row.Value = staking.PastCommitteeKey(epoch), h.Record.EncodeShort()
		if epoch >= p.Epoch {
			return signers{}, fmt.Errorf("%w: committee of epoch %d in the past of epoch %d", ErrRow, epoch, p.Epoch)
		}
	} else {
		row.Value = h.Record.Encode()
		if epoch != p.Epoch+1 {
			return signers{}, fmt.Errorf("%w: committee of epoch %d after epoch %d", ErrRow, epoch, p.Epoch)
		}
		if epochs := v.epochs(); epochs != nil && !epochs.EpochBlock(p.Height) {
			return signers{}, fmt.Errorf("%w: hand-over to epoch %d by block %d, want %d or %d", ErrHeight, epoch, p.Height, epochs.LastBlock(p.Epoch)-1, epochs.LastBlock(p.Epoch))
		}
	}
	if err := v.row(p, key, &row); err != nil {
		return signers{}, fmt.Errorf("committee of epoch %d: %w", epoch, err)
	}
	if len(h.Record.Committee.Members) == 0 {
		return signers{}, fmt.Errorf("%w: the committee of epoch %d has no members", ErrRow, epoch)
	}
	return open(&h.Record.Committee)
}

// row returns nil if the certified state has a row.
func (v *verifier) row(p *cert.Checkpoint, key []byte, r *Row) error {
	root, err := v.schema.Root(key, r.Value, &r.Path)
	if err == nil && root != p.StateRoot {
		err = fmt.Errorf("%w: it leads to the state %s, certified is %s", stateproof.ErrInvalid, root, p.StateRoot)
	}
	return err
}

// paidBy is the checkpoint that the settlement path begins with, and bookedBy that of the
// service path.
func (a *Audit) paidBy() *cert.Checkpoint { return &a.Main.Certificates[0].Checkpoint }

func (a *Audit) bookedBy() *cert.Checkpoint {
	return &a.Main.Certificates[len(a.Main.Certificates)-1].Checkpoint
}

// domain is where vouchers are signed for.
func (a *Audit) domain() chain.Domain {
	return chain.Domain{Network: a.Network, Chain: ledger.MainChain}
}
