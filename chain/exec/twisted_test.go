package exec_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/exec"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
)

// forge signs with parts of its choice, as a key's owner can.
type forge struct {
	t             *testing.T
	secret, nonce *scalar.Scalar
	torsion       *curve.EdwardsPoint // of order eight
}

func newForge(t *testing.T, secret uint64) *forge {
	t.Helper()
	f := &forge{t: t, secret: scalar.New(), nonce: scalar.New()}
	f.secret.SetUint64(secret)
	f.nonce.SetUint64(0xfedcba0987654321)
	encoded, err := hex.DecodeString("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
	if err != nil {
		t.Fatal(err)
	}
	compressed, err := curve.NewCompressedEdwardsYFromBytes(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if f.torsion, err = curve.NewEdwardsPoint().SetCompressedY(compressed); err != nil {
		t.Fatal(err)
	}
	return f
}

// times returns the encoding of s times the base point, with torsion if twisted.
func (f *forge) times(s *scalar.Scalar, twisted bool) []byte {
	p := curve.NewEdwardsPoint().MulBasepoint(curve.ED25519_BASEPOINT_TABLE, s)
	if twisted {
		p.Add(p, f.torsion)
	}
	c := curve.NewCompressedEdwardsY().SetEdwardsPoint(p)
	return bytes.Clone(c[:])
}

func (f *forge) key(twisted bool) ledger.PublicKey {
	return ledger.PublicKey(f.times(f.secret, twisted))
}

// sign returns R and S for the key: S is what the equation without torsion wants
// if R is that of nonce.
func (f *forge) sign(key ledger.PublicKey, r []byte, nonce *scalar.Scalar, message []byte) ledger.Signature {
	f.t.Helper()
	digest := sha512.Sum512(slices.Concat(r, key[:], message))
	s, err := scalar.NewFromBytesModOrderWide(digest[:])
	if err != nil {
		f.t.Fatal(err)
	}
	s.Mul(s, f.secret)
	s.Add(s, nonce)
	out := make([]byte, scalar.ScalarSize)
	if err := s.ToBytes(out); err != nil {
		f.t.Fatal(err)
	}
	return ledger.Signature(slices.Concat(r, out))
}

// twisted is a signature that implementations are known to disagree about.
type twisted struct {
	name  string
	key   bool // with torsion
	valid bool
	sign  func(f *forge, key ledger.PublicKey, message []byte) ledger.Signature
}

func twistedSignatures() []twisted {
	zero := scalar.New()
	smallR := func(r []byte) func(*forge, ledger.PublicKey, []byte) ledger.Signature {
		return func(f *forge, key ledger.PublicKey, m []byte) ledger.Signature { return f.sign(key, r, zero, m) }
	}
	withR := func(torsion bool) func(*forge, ledger.PublicKey, []byte) ledger.Signature {
		return func(f *forge, key ledger.PublicKey, m []byte) ledger.Signature {
			return f.sign(key, f.times(f.nonce, torsion), f.nonce, m)
		}
	}
	identity := append([]byte{1}, make([]byte, 31)...)
	unreduced := append([]byte{0xee}, bytes.Repeat([]byte{0xff}, 31)...) // the identity too, y not reduced
	unreduced[31] = 0x7f
	eight, _ := hex.DecodeString("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
	return []twisted{
		{"plain", false, true, withR(false)},
		{"torsion in R", false, true, withR(true)},
		{"torsion in the key", true, true, withR(false)},
		{"torsion in both", true, true, withR(true)},
		{"S plus the group order", false, false, func(f *forge, key ledger.PublicKey, m []byte) ledger.Signature {
			sig := withR(false)(f, key, m)
			addOrder(sig[32:])
			return sig
		}},
		{"R the identity", false, false, smallR(identity)},
		{"R of order eight", false, false, smallR(eight)},
		{"R not canonical", false, false, smallR(unreduced)},
		{"of another message", false, false, func(f *forge, key ledger.PublicKey, m []byte) ledger.Signature {
			return withR(false)(f, key, append(bytes.Clone(m), 0))
		}},
	}
}

// addOrder adds the group order to a little-endian scalar.
func addOrder(s []byte) {
	order := []byte{0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 31: 0x10}
	carry := 0
	for i := range s {
		sum := int(s[i]) + int(order[i]) + carry
		s[i], carry = byte(sum), sum>>8
	}
}

// trio is a chain as three nodes see it: one to which records are submitted, one
// that votes for blocks it has never seen a record of, and one that catches up
// with blocks that were agreed on without it.
type trio struct {
	t              *testing.T
	net            *network
	n, voter, late *node
}

func newTrio(t *testing.T, gen settlement.Genesis) *trio {
	t.Helper()
	c := &trio{t: t, net: &network{}}
	c.n = newNode(t, c.net, gen, exec.Config{}, true)
	c.voter = newNode(t, &network{}, gen, exec.Config{}, false)
	c.late = newNode(t, &network{}, gen, exec.Config{}, false)
	return c
}

// follow brings the two others to the height of the first, which must have the
// same state then.
func (c *trio) follow() {
	c.t.Helper()
	for h := c.voter.height(); h < c.n.height(); h++ {
		txs := c.net.blocks[h]
		if err := c.voter.exec.Accept(exec.Block{Height: h + 1, Txs: txs}); err != nil {
			c.t.Fatalf("Accept(%d): %v", h+1, err)
		}
		a, b := c.voter.force(txs), c.late.force(txs)
		c.same(a, b)
	}
	_, hash := c.n.exec.Head()
	_, other := c.late.exec.Head()
	if !bytes.Equal(hash, other) {
		c.t.Fatalf("height %d: app hashes %x and %x", c.n.height(), hash, other)
	}
}

// force makes all apply a block, and wants them to agree. want is whether the
// voter votes for it.
func (c *trio) force(want bool, records ...[]byte) {
	c.t.Helper()
	txs := [][]byte{chain.EncodeRecords(records)}
	err := c.voter.exec.Accept(exec.Block{Height: c.voter.height() + 1, Txs: txs})
	if want != (err == nil) {
		c.t.Errorf("Accept: %v, want it: %v", err, want)
	}
	first := c.n.force(txs)
	c.net.blocks = append(c.net.blocks, txs)
	c.same(first, c.voter.force(txs))
	c.same(first, c.late.force(txs))
}

func (c *trio) same(a, b exec.Outcome) {
	c.t.Helper()
	if !bytes.Equal(a.AppHash, b.AppHash) {
		c.t.Fatalf("app hashes %x and %x", a.AppHash, b.AppHash)
	}
}

// receipt is the first of the last block, the same on all nodes.
func (c *trio) receipt() settlement.Receipt {
	c.t.Helper()
	var leaf []byte
	var first settlement.Receipt
	for i, n := range []*node{c.n, c.voter, c.late} {
		b, err := n.exec.BlockResult(n.height())
		if err != nil {
			c.t.Fatal(err)
		}
		if i == 0 {
			first, leaf = b.Receipts[0], b.Receipts[0].Encode()
		} else if !bytes.Equal(leaf, b.Receipts[0].Encode()) {
			c.t.Errorf("receipts %+v and %+v", first, b.Receipts[0])
		}
	}
	return first
}

// TestTwistedVouchers: signatures that verifiers are known to disagree about have
// one outcome, alone and among others, when a record is submitted, voted for,
// executed, and executed by a node that catches up. A proposer may include what
// nobody else would: all nodes come to the same state.
func TestTwistedVouchers(t *testing.T) {
	t.Parallel()
	c := newTrio(t, genesisOf(4, settlement.LocalParams()))
	payer, payee, f := accountOf(0), accountOf(1), newForge(t, 0x1234567890abcdef)
	const company = 40
	good := c.n.openLot(payer, payee, company, 1_000_000)
	d, cases := c.n.exec.Domain(), twistedSignatures()
	var open channel.Open
	var ids []ledger.Hash
	for i := range cases {
		p := channel.OpenParams{Payee: payee.addr, VoucherKey: f.key(cases[i].key), Deposit: 1_000_000, ExpiresAt: 10_000, Challenge: c.n.exec.Params().DefaultChallenge}
		open.Channels = append(open.Channels, p)
		ids = append(ids, channel.ID(d, payer.addr, payer.nonce, uint16(i), &p))
	}
	opened := c.n.settleAll(payer.tx(d, chain.KindOpenChannels, open.Encode()))[0]
	if opened.Receipt.Code != chain.CodeOK {
		t.Fatalf("open: %v", opened.Receipt.Code)
	}
	c.follow()
	for i, v := range cases {
		entry := channel.Entry{Index: opened.Receipt.FirstChannel + uint64(i), Claim: channel.ClaimVoucher}
		for _, others := range []int{0, company} {
			entry.Cumulative += 500
			entry.Signature = v.sign(f, f.key(v.key), entry.Signed(d, ids[i]))
			b := good.batch(0, others, 10)
			b.Entries = append(b.Entries, entry)
			raw := payee.tx(d, chain.KindSettle, b.Encode())
			_, err := c.n.exec.Submit(t.Context(), raw)
			if (err == nil) != v.valid {
				t.Errorf("%s, with %d others: Submit: %v", v.name, others, err)
			}
			if err != nil && (codeOf(t, err) != chain.CodeBadSignature || !slices.Equal(ruleOf(t, err).Positions, []int{others})) {
				t.Errorf("%s, with %d others: Submit: %v", v.name, others, err)
			}
			c.force(true, raw)
			r, want := c.receipt(), chain.CodeOK
			if !v.valid {
				want = chain.CodeBadSignature
			}
			for j, e := range r.Entries {
				if j < others && e.Code != chain.CodeOK || j == others && (e.Code != want || e.Applied() != v.valid) {
					t.Errorf("%s, with %d others: entry %d: %+v, want %s for the last", v.name, others, j, e, want)
				}
			}
			if params := c.n.exec.Params(); r.Code != chain.CodeOK || r.Fee != params.TxFee+params.EntryFee*ledger.Amount(others+1) {
				t.Errorf("%s, with %d others: %s, the sender paid %d", v.name, others, r.Code, r.Fee)
			}
		}
	}
}

// TestTwistedSenders is the same for the signature of a transaction: nobody votes
// for a block with a bad one, and where it is executed all the same it does
// nothing.
func TestTwistedSenders(t *testing.T) {
	t.Parallel()
	c := newTrio(t, genesisOf(4, settlement.LocalParams()))
	d, rich := c.n.exec.Domain(), accountOf(0)
	for i, v := range twistedSignatures() {
		f := newForge(t, 1_000_003+uint64(i))
		key := f.key(v.key)
		from := ledger.NewAddress(zone, key)
		if s := c.n.settleAll(rich.transfer(d, from, 1_000))[0]; s.Receipt.Code != chain.CodeOK {
			t.Fatalf("%s: funding it: %v", v.name, s.Receipt.Code)
		}
		c.follow()
		unsigned := chain.UnsignedTx(d, key, chain.TxFields{
			Kind: chain.KindTransfer, Zone: zone, MaxFee: 100, Payload: transfer(rich.addr, 7),
		})
		raw := chain.AttachSignature(unsigned, v.sign(f, key, unsigned))
		_, err := c.n.exec.Submit(t.Context(), raw)
		if (err == nil) != v.valid || err != nil && codeOf(t, err) != chain.CodeBadSignature {
			t.Errorf("%s: Submit: %v", v.name, err)
		}
		if err := c.voter.exec.Check(chain.EncodeRecords([][]byte{raw}), false); (err == nil) != v.valid {
			t.Errorf("%s: Check: %v", v.name, err)
		}
		c.force(v.valid, raw)
		r := c.receipt()
		want, paid := chain.CodeOK, ledger.Amount(7)
		if !v.valid {
			want, paid = chain.CodeBadSignature, 0
		}
		if r.Code != want || r.Paid != paid || (r.Fee == 0) == v.valid {
			t.Errorf("%s: %s, paid %d for a fee of %d, want %s", v.name, r.Code, r.Paid, r.Fee, want)
		}
	}
}
