package relay_test

import (
	"crypto/sha256"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/channel"
	"github.com/tributary-network/tributary/chain/service"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/shardblock"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/shard"
	"github.com/tributary-network/tributary/shard/link"
	"github.com/tributary-network/tributary/shard/relay"
	"github.com/tributary-network/tributary/zone"
)

// signature is one that decodes.
func signature(tb testing.TB) bls.Signature {
	tb.Helper()
	seed := sha256.Sum256([]byte("relay"))
	k, err := bls.NewSecretKey(seed[:])
	if err != nil {
		tb.Fatal(err)
	}
	return k.Sign([]byte("message"))
}

// certifier returns certificates of a shard's heights up to a head.
func certifier(s bls.Signature, id shard.ID, head uint64) func(uint64) (cert.Certificate, bool) {
	return func(h uint64) (cert.Certificate, bool) {
		c := cert.Certificate{Checkpoint: cert.Checkpoint{Chain: id, Height: h, Epoch: h / 10}, Bitmap: []byte{1}, Signature: s}
		if h%5 == 0 {
			c.Checkpoint.OutboxRoot = ledger.Hash{1}
		}
		return c, h > 0 && h <= head
	}
}

func TestFront(t *testing.T) {
	t.Parallel()
	rules := anchor.LocalParams()
	s := signature(t)
	due, early := 100-uint64(rules.DueBlocks), uint64(100)
	for name, c := range map[string]struct {
		anchored, end, redraw, from uint64
		head, certified             uint64
		heights                     int
		due, messages               bool
		generation                  uint32
	}{
		"nothing new":              {anchored: 7, head: 7, certified: 7, from: due},
		"one, and due":             {anchored: 7, head: 8, certified: 8, from: due, heights: 1, due: true},
		"one with messages, early": {anchored: 9, head: 10, certified: 10, from: early, heights: 1, messages: true},
		"one with messages":        {anchored: 9, head: 10, certified: 10, from: early - 1, heights: 1, due: true, messages: true},
		"one without, early":       {anchored: 7, head: 8, certified: 8, from: early - 1, heights: 1},
		"of a lost generation":     {anchored: 7, generation: 1, head: 9, certified: 9, from: due},
		"no certificate":           {anchored: 7, head: 9, certified: 7, from: due},
		"certificates of some":     {anchored: 5, head: 40, certified: 8, from: due, heights: 3, due: true},
		"more than fit":            {head: 200, certified: 200, from: due, heights: anchor.MaxHeights, due: true, messages: true},
		"to the end":               {anchored: 6, end: 8, head: 20, certified: 20, from: due, heights: 2, due: true},
		"before a redraw":          {anchored: 6, redraw: 5, head: 20, certified: 20, from: due},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			row := anchor.State{End: c.end, RedrawEpoch: c.redraw, From: c.from, Generation: c.generation}
			row.Tree.Size = c.anchored
			f := relay.FrontOf(3, &row, &rules, 100, c.head, certifier(s, 3, c.certified))
			if len(f.Certificates) != c.heights || f.Due != c.due || f.Messages != c.messages {
				t.Errorf("%d heights, due %v, messages %v; want %d, %v, %v", len(f.Certificates), f.Due, f.Messages, c.heights, c.due, c.messages)
			}
			for i, one := range f.Certificates {
				if one.Checkpoint.Height != c.anchored+1+uint64(i) {
					t.Errorf("certificate %d is of height %d", i, one.Checkpoint.Height)
				}
			}
		})
	}
}

// TestPost: what goes into one transaction is what main's rules take, whatever there is.
func TestPost(t *testing.T) {
	t.Parallel()
	rules := anchor.LocalParams()
	s := signature(t)
	for _, counts := range [][]uint64{{1}, {64}, {64, 64}, {1, 64}, {64, 1}, {3, 1, 64, 2}, make([]uint64, 20), {60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60}} {
		var fronts []relay.Front
		for i, n := range counts {
			id, row := shard.ID(len(counts)+1-i), anchor.State{}
			fronts = append(fronts, relay.FrontOf(id, &row, &rules, 100, n+1, certifier(s, id, n+1)))
		}
		post, last := relay.Post(fronts, 1<<40)
		raw := post.Encode()
		if _, err := anchor.DecodeAnchors(raw); err != nil {
			t.Errorf("%v: %v", counts, err)
		}
		total := 0
		for i := range post.Runs {
			total += len(post.Runs[i].Heads)
			if last[post.Runs[i].Chain] != post.Runs[i].Last() {
				t.Errorf("%v: shard %d ends with %d, not %d", counts, post.Runs[i].Chain, last[post.Runs[i].Chain], post.Runs[i].Last())
			}
		}
		if want := min(len(fronts), anchor.MaxRuns); len(post.Runs) != want || total > anchor.MaxHeights {
			t.Errorf("%v: %d runs with %d heights, want %d runs", counts, len(post.Runs), total, want)
		}
	}
}

// TestPostIsLight: as many heights as weigh no more than may be, and where members take
// turns one at least, whatever the committee.
func TestPostIsLight(t *testing.T) {
	t.Parallel()
	rules, params := anchor.LocalParams(), settlement.LocalParams()
	s := signature(t)
	for _, members := range []int{4, 100, 1_024} {
		for _, size := range []int64{chain.MaxBundleSize, params.MaxBlockBytes} {
			params.MaxBlockBytes = size
			turns := func(h uint64) (cert.Certificate, bool) {
				c, ok := certifier(s, 2, 64)(h)
				c.Bitmap = slices.Repeat([]byte{0xff}, (members+7)/8)
				c.Bitmap[0] = byte(h) // each height has other signers
				return c, ok
			}
			row := anchor.State{}
			post, _ := relay.Post([]relay.Front{relay.FrontOf(2, &row, &rules, 100, 64, turns)}, params.MaxAnchorWeight())
			if len(post.Runs) != 1 || anchor.Weight(&post) > params.MaxAnchorWeight() {
				t.Errorf("%d members, blocks of %d bytes: %d runs of weight %d, at most %d", members, size, len(post.Runs), anchor.Weight(&post), params.MaxAnchorWeight())
			}
		}
	}
}

func TestClaim(t *testing.T) {
	t.Parallel()
	payee := ledger.Address{1, 2, 3}
	v := rows{}
	for index, c := range map[uint64]channel.Channel{
		0: {Payee: payee, Deposit: 1_000, Redeemed: 300, Lane0: channel.Lane{Redeemed: 300}, LanesUsed: 1},
		1: {Payee: payee, Deposit: 1_000, Redeemed: 900, Lane0: channel.Lane{Redeemed: 900}, LanesUsed: 1},
		2: {Payee: ledger.Address{1, 9}, Deposit: 1_000},
		4: {Payee: payee, Deposit: 1_000, Redeemed: 300, Lane0: channel.Lane{Redeemed: 300}, LanesUsed: 1, FeesNumber: 1},
	} {
		v[string(channel.Key(index))] = c.Encode()
	}
	fees := channel.Fees{Zone: zone.Fees{ShareBps: 1_000}, Service: zone.Fees{ShareBps: 5_000, Entry: 1}}
	v[string(channel.FeesKey(1))] = fees.Encode()
	entry := func(index uint64, cumulative ledger.Amount) channel.Entry {
		return channel.Entry{Index: index, Claim: channel.ClaimVoucher, Cumulative: cumulative}
	}
	for name, c := range map[string]struct {
		entries []channel.Entry
		left    int
		worth   ledger.Amount
	}{
		"new":                   {[]channel.Entry{entry(0, 500)}, 1, 200},
		"paid":                  {[]channel.Entry{entry(0, 300)}, 0, 0},
		"more than the deposit": {[]channel.Entry{entry(1, 5_000)}, 1, 100},
		"another's":             {[]channel.Entry{entry(2, 500)}, 0, 0},
		"closed":                {[]channel.Entry{entry(3, 500)}, 0, 0},
		"net of fees":           {[]channel.Entry{entry(4, 500)}, 1, 200 - 20 - 90 - 1},
		"some":                  {[]channel.Entry{entry(0, 301), entry(1, 800), entry(1, 901), entry(7, 1)}, 2, 2},
	} {
		s := service.Settlement{Batch: channel.Batch{Payee: payee, Entries: c.entries}}
		got := relay.ClaimOf(v, &channel.Rules{}, &s, nil)
		if len(got.Batch.Entries) != c.left || got.Worth != c.worth || (got.Paid != 0) != (c.left > 0) {
			t.Errorf("%s: %d entries worth %d, want %d and %d", name, len(got.Batch.Entries), got.Worth, c.left, c.worth)
		}
	}
	if relay.Worthwhile(5, 5) || !relay.Worthwhile(6, 5) {
		t.Error("a settlement is worth its fee if it pays more")
	}
}

func TestAccount(t *testing.T) {
	t.Parallel()
	seed := sha256.Sum256([]byte("relayer"))
	key := ledger.NewPrivateKey(seed)
	p := settlement.LocalParams()
	g := settlement.Genesis{Name: "test", Time: 1, Params: p, Accounts: []settlement.GenesisAccount{{Address: key.Address(2), Balance: 100 * chain.NonceWindow * p.TxFee}}}
	changes, err := g.State()
	if err != nil {
		t.Fatal(err)
	}
	v := rows{}
	v.apply(changes)
	a := relay.NewAccount(ledger.NetworkID{1}, key, 2)
	payload := link.Link{Src: link.Place{Service: 1}}.Encode()
	nonces := map[uint64]bool{}
	for range chain.NonceWindow {
		raw, nonce, err := a.Sign(v, &p, 10, chain.KindReack, payload)
		if err != nil {
			t.Fatal(err)
		}
		tx, err := chain.DecodeTx(chain.Domain{Network: ledger.NetworkID{1}, Chain: ledger.MainChain}, raw)
		if err != nil || tx.Nonce != nonce || nonces[nonce] || tx.MaxFee != settlement.Fee(p, &tx) || tx.ValidUntil <= 10 {
			t.Fatalf("nonce %d, fee %d until %d: %v", tx.Nonce, tx.MaxFee, tx.ValidUntil, err)
		}
		nonces[nonce] = true
	}
	if _, _, err := a.Sign(v, &p, 10, chain.KindReack, payload); !errors.Is(err, relay.ErrNoNonce) {
		t.Errorf("with all nonces in use: %v", err)
	}
	if _, nonce, err := a.Sign(v, &p, 10_000, chain.KindReack, payload); err != nil || nonce != 0 {
		t.Errorf("when their time is up: nonce %d, %v", nonce, err)
	}
	other := relay.NewAccount(ledger.NetworkID{1}, key, 3)
	if _, _, err := other.Sign(v, &p, 10, chain.KindReack, payload); !errors.Is(err, relay.ErrNoAccount) {
		t.Errorf("without an account: %v", err)
	}
	p.TxFee *= 101 * chain.NonceWindow
	if _, _, err := a.Sign(v, &p, 20_000, chain.KindReack, payload); !errors.Is(err, relay.ErrPoor) {
		t.Errorf("with too little: %v", err)
	}
}

// TestReserve: what is under way counts as paid, for every record and before a settlement,
// which leaves the reserve in the account.
func TestReserve(t *testing.T) {
	t.Parallel()
	key := ledger.NewPrivateKey([ledger.SeedSize]byte{7})
	p := settlement.LocalParams()
	payload := link.Link{Src: link.Place{Service: 1}}.Encode()
	state := func(balance ledger.Amount) rows {
		g := settlement.Genesis{Name: "test", Time: 1, Params: p, Accounts: []settlement.GenesisAccount{{Address: key.Address(2), Balance: balance}}}
		changes, err := g.State()
		if err != nil {
			t.Fatal(err)
		}
		v := rows{}
		v.apply(changes)
		return v
	}
	a := relay.NewAccount(ledger.NetworkID{1}, key, 2)
	raw, _, err := a.Sign(state(ledger.DropsPerCoin), &p, 10, chain.KindReack, payload)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := chain.DecodeTx(chain.Domain{Network: ledger.NetworkID{1}, Chain: ledger.MainChain}, raw)
	if err != nil {
		t.Fatal(err)
	}
	fee := tx.MaxFee
	if _, _, err := a.Sign(state(2*fee-1), &p, 10, chain.KindReack, payload); !errors.Is(err, relay.ErrPoor) {
		t.Errorf("two records for less than their fees: %v", err)
	}
	for name, c := range map[string]struct {
		balance ledger.Amount
		spares  bool
	}{
		"nothing": {0, false}, "the fees": {2 * fee, false},
		"one drop too little": {2*fee + relay.SettleReserve - 1, false}, "the reserve": {2*fee + relay.SettleReserve, true},
	} {
		if got := a.Spares(c.balance, fee); got != c.spares {
			t.Errorf("%s: spares %v", name, got)
		}
	}
}

// TestHistory: the proofs are those of chain/anchor, at every size, and none is made of a
// height of which another version is anchored.
func TestHistory(t *testing.T) {
	t.Parallel()
	const top = 200
	var list []cert.Checkpoint
	for h := range uint64(top) {
		list = append(list, cert.Checkpoint{Chain: 3, Height: h + 1, OutboxRoot: ledger.Hash{byte(h), 1}})
	}
	c := checkpoints{list: list}
	h := new(relay.History)
	for size := uint64(1); size <= top; size += 9 {
		var s anchor.State
		for i := range size {
			s.Tree.Push(list[i].Encode())
		}
		for height := uint64(1); height <= size; height += 7 {
			want, err := anchor.Prove(list[:size], height)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := h.Prove(&c, &s, height)
			if diff := cmp.Diff(want, got); !ok || diff != "" {
				t.Fatalf("height %d of %d: %v %s", height, size, ok, diff)
			}
		}
		if _, ok := h.Prove(&c, &s, size+1); ok {
			t.Errorf("height %d of %d is proved", size+1, size)
		}
	}
	if c.read > top {
		t.Errorf("%d certificates were read of %d heights", c.read, top)
	}
	var other anchor.State
	for i := range top {
		one := list[i]
		one.Round = uint32(i / 150)
		other.Tree.Push(one.Encode())
	}
	for range 3 {
		if _, ok := h.Prove(&c, &other, 3); ok {
			t.Error("a height is proved of which another version is anchored")
		}
	}
	if _, ok := h.Prove(&checkpoints{list: list[:5]}, &anchor.State{Tree: other.Tree}, 3); ok {
		t.Error("a height is proved with certificates that are not here")
	}
}

// checkpoints is a chain of which only certificates are there.
type checkpoints struct {
	bare

	list []cert.Checkpoint
	read int
}

func (c *checkpoints) Certificate(height uint64) (cert.Certificate, error) {
	if height > uint64(len(c.list)) {
		return cert.Certificate{}, errNothing
	}
	c.read++
	return cert.Certificate{Checkpoint: c.list[height-1]}, nil
}

// TestHelp: a link that stands still is listed again where nobody has the leaves,
// acknowledged again where only that is missing, and left alone otherwise.
func TestHelp(t *testing.T) {
	t.Parallel()
	a, b := newPlace(1, 0), newPlace(2, 100)
	quiet := func(*link.Context) {}
	l := link.Link{Src: a.at(0), Dst: b.at(0)}
	a.block(t, nil, known{b, 0}, func(c *link.Context) {
		for range 3 {
			if _, err := c.Send(link.Draft{Link: l}); err != nil {
				t.Fatal(err)
			}
		}
	})
	if relist, reack := relay.Help(a.state, link.RelistBlocks, b.state, 1, b.at(0), b.at(3), false); len(relist)+len(reack) > 0 {
		t.Error("it is helped too soon")
	}
	height := uint64(link.RelistBlocks + 1)
	if relist, reack := relay.Help(a.state, height, b.state, 1, b.at(0), b.at(3), true); len(relist)+len(reack) > 0 {
		t.Error("it is helped although the leaves are there")
	}
	if relist, reack := relay.Help(a.state, height, b.state, 1, b.at(0), b.at(3), false); len(relist) != 1 || len(reack) > 0 {
		t.Errorf("lost leaves: %v and %v", relist, reack)
	}
	if relist, reack := relay.Help(a.state, height, b.state, 1, b.at(1), b.at(3), false); len(relist)+len(reack) > 0 {
		t.Error("it is not for these places")
	}
	in, err := a.boxes[0].Import(a.id, 1, 0, 3)
	if err != nil {
		t.Fatal(err)
	}
	b.block(t, []link.Import{in}, known{a, 1}, quiet)
	if relist, reack := relay.Help(a.state, height, b.state, 30, b.at(0), b.at(3), false); len(relist)+len(reack) > 0 {
		t.Error("the acknowledgement is new, and asked for again")
	}
	if relist, reack := relay.Help(a.state, height, b.state, height, b.at(0), b.at(3), false); len(relist) > 0 || len(reack) != 1 {
		t.Errorf("a lost acknowledgement: %v and %v", relist, reack)
	}
	a.block(t, nil, known{b, 0}, func(c *link.Context) {
		if _, err := c.Send(link.Draft{Link: l}); err != nil {
			t.Fatal(err)
		}
	})
	if relist, reack := relay.Help(a.state, height, b.state, height, b.at(0), b.at(3), false); len(relist) != 1 || len(reack) != 1 {
		t.Errorf("a lost acknowledgement and lost leaves: %v and %v", relist, reack)
	}
	if relist, reack := relay.Help(a.state, height, b.state, height, b.at(0), b.at(3), true); len(relist) > 0 || len(reack) != 1 {
		t.Errorf("a lost acknowledgement, and leaves that are there: %v and %v", relist, reack)
	}
}

// TestMissing: leaves that nobody has are noticed, and go on once they are listed again.
func TestMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(7)
	l := link.Link{Src: w.a.at(0), Dst: w.b.at(0)}
	send := func(c *link.Context) {
		if _, err := c.Send(link.Draft{Link: l, Lifetime: link.MaxLifetime}); err != nil {
			t.Fatal(err)
		}
	}
	w.a.block(t, nil, known{w.b, 0}, send)
	w.a.block(t, nil, known{w.b, 0}, send)
	w.a.lost[1] = true
	w.provA = 2
	if load := w.carry(t, w.toB, w.a, w.b, 2, false, 0); len(load.Missing) != 1 || load.Missing[0] != l || load.Waiting != 1 {
		t.Fatalf("%+v", load)
	}
	for w.a.head() < link.RelistBlocks+1 {
		w.a.block(t, nil, known{w.b, 0}, func(*link.Context) {})
	}
	w.a.block(t, nil, known{w.b, 0}, func(c *link.Context) {
		if err := c.Relist(l); err != nil {
			t.Fatal(err)
		}
	})
	if load := w.carry(t, w.toB, w.a, w.b, w.a.head(), false, 0); len(load.Missing) != 0 {
		t.Fatalf("%+v", load)
	}
	for len(w.b.got[l]) < 2 {
		w.carry(t, w.toB, w.a, w.b, w.a.head(), false, 0)
	}
	for code := range w.b.codes {
		if code != chain.CodeOK {
			t.Errorf("an import was refused with %s", code)
		}
	}
}

// TestNonsense: what another node says of a shard is looked at before it is used.
func TestNonsense(t *testing.T) {
	t.Parallel()
	way := func(next, acked uint64) relay.Way { return relay.Way{Out: link.Outbound{Next: next, Acked: acked}} }
	for name, c := range map[string]struct {
		survey relay.Survey
		sane   bool
	}{
		"nothing":              {relay.Survey{}, false},
		"right":                {relay.Survey{Heads: []uint64{3, 9}, First: 1, Last: 2, Ways: []relay.Way{way(9, 4)}}, true},
		"too few links":        {relay.Survey{First: 1, Last: 2}, false},
		"too many links":       {relay.Survey{Ways: []relay.Way{way(9, 4), way(1, 1)}}, false},
		"too many blocks":      {relay.Survey{Heads: make([]uint64, 1_000), Ways: []relay.Way{way(9, 4)}}, false},
		"blocks in no order":   {relay.Survey{Heads: []uint64{9, 3}, Ways: []relay.Way{way(9, 4)}}, false},
		"too many epochs":      {relay.Survey{Last: shardblock.KeptMain, Ways: []relay.Way{way(9, 4)}}, false},
		"as many as it keeps":  {relay.Survey{First: 5, Last: 4 + shardblock.KeptMain, Ways: []relay.Way{way(9, 4)}}, true},
		"no epochs":            {relay.Survey{First: 3, Last: 2, Ways: []relay.Way{way(9, 4)}}, false},
		"more acked than sent": {relay.Survey{Ways: []relay.Way{way(4, 9)}}, false},
		"more than there fit":  {relay.Survey{Ways: []relay.Way{way(1<<40, 9)}}, false},
	} {
		if got := c.survey.Sane(1); got != c.sane {
			t.Errorf("%s: %v", name, got)
		}
	}
}
