package genesis_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/genesis"
)

func consensusKey(i int) ed25519.PublicKey {
	seed := sha256.Sum256(fmt.Appendf(nil, "validator %d", i))
	return ed25519.PublicKey(ed25519.NewKeyFromSeed(seed[:])[ed25519.SeedSize:])
}

func address(name string) ledger.Address {
	return ledger.NewPrivateKey(sha256.Sum256([]byte(name))).Address(0)
}

func document() genesis.Document {
	d := genesis.Document{
		Name:   "local-test",
		Time:   time.Date(2026, 5, 4, 3, 2, 1, 987_000_000, time.UTC),
		Params: settlement.LocalParams(),
		Accounts: []genesis.Account{
			{Address: address("alice"), Balance: 12_500_000, Name: "alice"},
			{Address: address("bob"), Balance: 7},
		},
	}
	for i := range 4 {
		d.Validators = append(d.Validators, genesis.Validator{
			Name: fmt.Sprintf("validator%d", i), PublicKey: consensusKey(i), Power: int64(10 + i),
			NodeID: fmt.Sprintf("%040x", i+1), Endpoint: fmt.Sprintf("127.0.0.1:%d", 40_000+100*i),
		})
	}
	return d
}

func TestDocumentSurvivesEncoding(t *testing.T) {
	t.Parallel()
	want := document()
	got, err := genesis.Decode(want.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after Encode and Decode (-want +got):\n%s", diff)
	}
	if err := got.Validate(); err != nil {
		t.Errorf("Validate: %v", err)
	}
	if got.NetworkID() != want.NetworkID() {
		t.Error("the network id changed")
	}
}

func TestDocumentSurvivesTheDisk(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config", "genesis.json")
	want := document()
	if err := want.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := genesis.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after Save and Load (-want +got):\n%s", diff)
	}
	if err := want.Save(path); err == nil {
		t.Error("Save replaced a genesis")
	}
}

func TestValidateNamesTheField(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		spoil func(*genesis.Document)
		field string
	}{
		{"no name", func(d *genesis.Document) { d.Name = "" }, "name"},
		{"name in capitals", func(d *genesis.Document) { d.Name = "Local" }, "name"},
		{"long name", func(d *genesis.Document) { d.Name = strings.Repeat("x", 41) }, "name"},
		{"no time", func(d *genesis.Document) { d.Time = time.Time{} }, "time"},
		{"early time", func(d *genesis.Document) { d.Time = time.Unix(-5, 0) }, "time"},
		{"fine time", func(d *genesis.Document) { d.Time = d.Time.Add(time.Microsecond) }, "time"},
		{"no accounts", func(d *genesis.Document) { d.Accounts = nil }, "accounts"},
		{"account twice", func(d *genesis.Document) { d.Accounts[1].Address = d.Accounts[0].Address }, "accounts[1].address"},
		{"empty account", func(d *genesis.Document) { d.Accounts[1].Balance = 0 }, "accounts[1].balance"},
		{"too rich", func(d *genesis.Document) { d.Accounts[0].Balance = ledger.MaxAmount + 1 }, "accounts[0].balance"},
		{"no validators", func(d *genesis.Document) { d.Validators = nil }, "validators"},
		{"nameless validator", func(d *genesis.Document) { d.Validators[2].Name = "" }, "validators[2].name"},
		{"unprintable validator", func(d *genesis.Document) { d.Validators[2].Name = "a\nb" }, "validators[2].name"},
		{"no key", func(d *genesis.Document) { d.Validators[3].PublicKey = nil }, "validators[3].public_key"},
		{"small-order key", func(d *genesis.Document) { d.Validators[3].PublicKey = make([]byte, 32) }, "validators[3].public_key"},
		{"key twice", func(d *genesis.Document) { d.Validators[3].PublicKey = d.Validators[0].PublicKey }, "validators[3].public_key"},
		{"powerless", func(d *genesis.Document) { d.Validators[1].Power = 0 }, "validators[1].power"},
		{"almighty", func(d *genesis.Document) { d.Validators[1].Power = 1 << 50 }, "validators[1].power"},
		{"bad node id", func(d *genesis.Document) { d.Validators[1].NodeID = strings.Repeat("A", 40) }, "validators[1].node_id"},
		{"node id twice", func(d *genesis.Document) { d.Validators[1].NodeID = d.Validators[0].NodeID }, "validators[1].node_id"},
		{"bad endpoint", func(d *genesis.Document) { d.Validators[1].Endpoint = ":26656" }, "validators[1].endpoint"},
		{"endpoint without port", func(d *genesis.Document) { d.Validators[1].Endpoint = "host:0" }, "validators[1].endpoint"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := document()
			test.spoil(&d)
			var field *genesis.FieldError
			if err := d.Validate(); !errors.As(err, &field) || field.Field != test.field {
				t.Errorf("Validate: %v, want an error about %s", err, test.field)
			}
		})
	}
}

func TestValidateReportsEveryProblem(t *testing.T) {
	t.Parallel()
	d := document()
	d.Name, d.Validators[0].Power, d.Accounts[0].Balance = "", 0, 0
	err := d.Validate()
	for _, field := range []string{"name:", "validators[0].power:", "accounts[0].balance:"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("Validate: %v, want a line with %s", err, field)
		}
	}
}

func TestValidateAsksTheRules(t *testing.T) {
	t.Parallel()
	d := document()
	d.Params.BurnBps = 10_001
	if err := d.Validate(); err == nil {
		t.Error("Validate took parameters that the rules refuse")
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	good := string(document().Encode())
	for _, test := range []struct {
		name, text, want string
	}{
		{"nothing", "", "ends early"},
		{"not JSON", "name = 1", "line 1"},
		{"cut off", good[:len(good)/2], "ends early"},
		{"two documents", good + good, "follows the document"},
		{"unknown field", strings.Replace(good, `"time"`, `"when"`, 1), "when"},
		{"field in capitals", strings.Replace(good, `"time"`, `"Time"`, 1), "lower-case"},
		{"field twice", strings.Replace(good, `"time"`, `"name": "x", "time"`, 1), "given twice"},
		{"nested field twice", strings.Replace(good, `"burn_bps"`, `"rent": "1", "burn_bps"`, 1), "params.rent: given twice"},
		{"other version", strings.Replace(good, `"version": 1`, `"version": 2`, 1), "version"},
		{"no version", strings.Replace(good, `"version": 1,`, ``, 1), "version"},
		{"amount as number", strings.Replace(good, `"balance": "12.5"`, `"balance": 12.5`, 1), "balance"},
		{"amount too fine", strings.Replace(good, `"balance": "12.5"`, `"balance": "12.0000001"`, 1), "decimals"},
		{"amount as text", strings.Replace(good, `"balance": "12.5"`, `"balance": "a lot"`, 1), "a lot"},
		{"power as text", strings.Replace(good, `"power": 10`, `"power": "10"`, 1), "power"},
		{"key not hexadecimal", strings.Replace(good, `"public_key": "`, `"public_key": "x`, 1), "validators[0].public_key"},
		{"bad address", strings.Replace(good, `"trib1`, `"trib1q`, 1), "parse address"},
		{"bad time", strings.Replace(good, `"time": "2026`, `"time": "26`, 1), "time"},
		{"deep", strings.Repeat("[", 5000), "nested too deeply"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.text == good {
				t.Fatal("the row changes nothing")
			}
			_, err := genesis.Decode([]byte(test.text))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Decode: %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestNetworkIDCoversWhatNodesMustShare(t *testing.T) {
	t.Parallel()
	id := document().NetworkID()
	for _, test := range []struct {
		name   string
		change func(*genesis.Document)
		same   bool
	}{
		{"name", func(d *genesis.Document) { d.Name = "local-other" }, false},
		{"time", func(d *genesis.Document) { d.Time = d.Time.Add(time.Millisecond) }, false},
		{"time zone", func(d *genesis.Document) { d.Time = d.Time.In(time.FixedZone("x", 3600)) }, true},
		{"parameter", func(d *genesis.Document) { d.Params.BurnBps++ }, false},
		{"balance", func(d *genesis.Document) { d.Accounts[0].Balance++ }, false},
		{"account", func(d *genesis.Document) { d.Accounts[0].Address = address("carol") }, false},
		{"account's name", func(d *genesis.Document) { d.Accounts[0].Name = "x" }, true},
		{"validator's key", func(d *genesis.Document) { d.Validators[0].PublicKey = consensusKey(9) }, false},
		{"validator's power", func(d *genesis.Document) { d.Validators[0].Power++ }, false},
		{"validator's name", func(d *genesis.Document) { d.Validators[0].Name = "x" }, false},
		{"fewer validators", func(d *genesis.Document) { d.Validators = d.Validators[:3] }, false},
		{"node id", func(d *genesis.Document) { d.Validators[0].NodeID = strings.Repeat("f", 40) }, true},
		{"endpoint", func(d *genesis.Document) { d.Validators[0].Endpoint = "example.org:1" }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := document()
			test.change(&d)
			if got := d.NetworkID() == id; got != test.same {
				t.Errorf("same network id: %v, want %v", got, test.same)
			}
		})
	}
}

func TestTranslations(t *testing.T) {
	t.Parallel()
	d := document()
	g := d.Comet()
	if err := g.Validate(); err != nil {
		t.Fatalf("genesis for consensus: %v", err)
	}
	if g.ChainID != d.ChainID() || !strings.HasPrefix(g.ChainID, "local-test-") || len(g.ChainID) != len("local-test-")+8 {
		t.Errorf("chain id %q", g.ChainID)
	}
	if len(g.Validators) != 4 || g.Validators[2].Power != 12 || !bytes.Equal(g.Validators[2].PubKey, consensusKey(2)) {
		t.Errorf("validators %+v", g.Validators)
	}
	state := d.Settlement()
	if !bytes.Equal(g.AppState, state.Encode()) {
		t.Error("consensus is not given the genesis of the rules")
	}
	peers := d.Peers(d.Validators[1].NodeID)
	if len(peers) != 3 || peers[1] != d.Validators[2].NodeID+"@127.0.0.1:40200" {
		t.Errorf("peers %q", peers)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(document().Encode())
	f.Add([]byte(`{"version":1}`))
	f.Add([]byte(`{"version":1,"accounts":[{"balance":"1drops"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := genesis.Decode(data)
		if err != nil || d.Validate() != nil {
			return
		}
		again, err := genesis.Decode(d.Encode())
		if err != nil {
			t.Fatalf("decode what was encoded: %v", err)
		}
		if again.NetworkID() != d.NetworkID() {
			t.Error("the network id changed")
		}
	})
}
