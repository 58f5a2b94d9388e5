package keystore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/home"
	"github.com/tributary-network/tributary/node/keystore"
)

// cheap keeps scrypt out of the way of the tests.
const cheap = 2

func open(t *testing.T, o keystore.Options) (*keystore.Keystore, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	if o.WorkFactor == 0 {
		o.WorkFactor = cheap
	}
	k, err := keystore.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return k, dir
}

func newKey(t *testing.T) keystore.Key {
	t.Helper()
	key, err := keystore.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func unasked(t *testing.T) keystore.Passphrase {
	t.Helper()
	return func() (string, error) {
		t.Error("a passphrase was asked for")
		return "", errors.New("unasked")
	}
}

func TestStoreIsMadeByItsFirstKey(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "home", "keys")
	k, err := keystore.Open(dir, keystore.Options{Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := k.List(); err != nil || len(list) != 0 {
		t.Errorf("List: %v, %v", list, err)
	}
	if _, err := k.Load("alice", nil); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("Load: %v", err)
	}
	if _, err := os.Lstat(filepath.Dir(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("reading made a directory: %v", err)
	}
	key, err := keystore.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Add("alice", key, nil); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info, err)
	}
}

func TestAddLoadList(t *testing.T) {
	t.Parallel()
	store, dir := open(t, keystore.Options{Plain: true})
	secret := keystore.Fixed("correct horse")
	alice, faucet := newKey(t), keystore.FromSeed([32]byte{1})
	if err := errors.Join(store.Add("alice", alice, secret), store.Add("faucet", faucet, nil)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		key        keystore.Key
		passphrase keystore.Passphrase
	}{"alice": {alice, secret}, "faucet": {faucet, unasked(t)}} {
		got, err := store.Load(name, want.passphrase)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Encode(), want.key.Encode()) {
			t.Errorf("%s is another key after loading", name)
		}
	}
	list, err := store.List()
	if err != nil {
		t.Fatal(err)
	}
	want := []keystore.Info{
		{Name: "alice", Public: alice.Private().Public(), Encrypted: true},
		{Name: "faucet", Public: faucet.Private().Public()},
	}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	for _, name := range []string{"alice.age", "alice.pub", "faucet.key", "faucet.pub"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o600 {
			t.Errorf("mode of %s is %v", name, info.Mode())
		}
	}
	words, _ := alice.Words()
	for _, name := range []string{"alice.age", "alice.pub"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte(strings.Fields(words)[0]+" ")) {
			t.Errorf("%s holds the words in the clear", name)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	store, dir := open(t, keystore.Options{})
	secret := keystore.Fixed("correct horse")
	if err := store.Add("alice", newKey(t), secret); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "plain.key"), keystore.FromSeed([32]byte{1}).Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	load := func(name string, p keystore.Passphrase) error {
		_, err := store.Load(name, p)
		return err
	}
	tests := []struct {
		name string
		err  error
		is   error
	}{
		{"second key of a name", store.Add("alice", newKey(t), secret), keystore.ErrExists},
		{"import over a key", store.Import("alice", nil, secret, secret), keystore.ErrExists},
		{"plain key", store.Add("bob", newKey(t), nil), keystore.ErrPlain},
		{"plain key that lies there", load("plain", nil), keystore.ErrPlain},
		{"wrong passphrase", load("alice", keystore.Fixed("wrong horse")), keystore.ErrPassphrase},
		{"no passphrase", load("alice", nil), keystore.ErrPassphrase},
		{"rotate with a wrong passphrase", store.Rotate("alice", keystore.Fixed("wrong horse"), secret), keystore.ErrPassphrase},
		{"nobody", load("bob", secret), keystore.ErrNotFound},
	}
	for _, tt := range tests {
		if !errors.Is(tt.err, tt.is) {
			t.Errorf("%s: %v, want %v", tt.name, tt.err, tt.is)
		}
	}
	for _, name := range []string{"", ".", "../alice", "Alice", "a/b", "-a", "a.b", strings.Repeat("a", 64)} {
		if err := store.Add(name, newKey(t), secret); !errors.Is(err, keystore.ErrName) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if err := store.Add("bob", newKey(t), keystore.Fixed("")); err == nil {
		t.Error("an empty passphrase was taken")
	}
	if err := load("alice", secret); err != nil {
		t.Errorf("the key itself suffered: %v", err)
	}
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	secret := keystore.Fixed("correct horse")
	tests := []struct {
		name  string
		spoil func(dir, file string) error
		want  string
	}{
		{"file readable by group", func(_, file string) error { return os.Chmod(file, 0o640) }, "run chmod 600 "},
		{"file writable by all", func(_, file string) error { return os.Chmod(file, 0o602) }, "run chmod 600 "},
		{"symbolic link", func(dir, file string) error {
			return errors.Join(os.Rename(file, filepath.Join(dir, "moved")), os.Symlink("moved", file))
		}, "symbolic link"},
		{"directory readable by all", func(dir, _ string) error { return os.Chmod(dir, 0o755) }, "run chmod 700 "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			store, dir := open(t, keystore.Options{})
			if err := store.Add("alice", newKey(t), secret); err != nil {
				t.Fatal(err)
			}
			if err := tt.spoil(dir, filepath.Join(dir, "alice.age")); err != nil {
				t.Fatal(err)
			}
			store, err := keystore.Open(dir, keystore.Options{WorkFactor: cheap})
			if err == nil {
				_, err = store.Load("alice", secret)
			}
			if !errors.Is(err, home.ErrNotPrivate) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %v, want %q and the file", err, tt.want)
			}
		})
	}
}

func TestPublicKeyFile(t *testing.T) {
	t.Parallel()
	store, dir := open(t, keystore.Options{})
	secret, key := keystore.Fixed("correct horse"), newKey(t)
	if err := store.Add("alice", key, secret); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "alice.pub")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if info, err := store.Info("alice"); err != nil || !info.Public.IsZero() {
		t.Errorf("without its file: %+v, %v", info, err)
	}
	if _, err := store.Load("alice", secret); err != nil {
		t.Fatal(err)
	}
	if info, err := store.Info("alice"); err != nil || info.Public != key.Private().Public() {
		t.Errorf("after loading: %+v, %v", info, err)
	}
	// A stranger's public key would have people pay the stranger.
	if err := os.WriteFile(file, []byte(newKey(t).Private().Public().String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Load("alice", secret); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("with a stranger's public key: %v", err)
	}
}

func TestExportImportRotate(t *testing.T) {
	t.Parallel()
	store, dir := open(t, keystore.Options{})
	other, _ := open(t, keystore.Options{})
	first, second, wire := keystore.Fixed("first passphrase"), keystore.Fixed("second passphrase"), keystore.Fixed("for the journey")
	key := newKey(t)
	if err := store.Add("alice", key, first); err != nil {
		t.Fatal(err)
	}
	if err := store.Rotate("alice", first, second); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Load("alice", first); !errors.Is(err, keystore.ErrPassphrase) {
		t.Errorf("the old passphrase still opens it: %v", err)
	}
	exported, err := store.Export("alice", second, wire)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(exported), "-----BEGIN AGE ENCRYPTED FILE-----\n") {
		t.Errorf("exported %.40q, want armoured text", exported)
	}
	if err := other.Import("alice", exported, second, first); !errors.Is(err, keystore.ErrPassphrase) {
		t.Errorf("import with a wrong passphrase: %v", err)
	}
	if err := other.Import("alice", exported, wire, first); err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(filepath.Join(dir, "alice.age"))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Import("copy", binary, second, first); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "copy"} {
		got, err := other.Load(name, first)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Encode(), key.Encode()) {
			t.Errorf("%s is another key after the journey", name)
		}
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	store, dir := open(t, keystore.Options{Plain: true})
	secret := keystore.Fixed("correct horse")
	if err := errors.Join(store.Add("alice", newKey(t), secret), store.Add("faucet", newKey(t), nil)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "faucet"} {
		if err := store.Delete(name); err != nil {
			t.Fatal(err)
		}
		if err := store.Delete(name); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("deleted twice: %v", err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if err := store.Add("alice", newKey(t), secret); err != nil {
		t.Errorf("the name is not free: %v", err)
	}
}

// TestOpensWithAge shows that no key is lost with this program.
func TestOpensWithAge(t *testing.T) {
	t.Parallel()
	store, dir := open(t, keystore.Options{})
	key := newKey(t)
	if err := store.Add("alice", key, keystore.Fixed("correct horse")); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(filepath.Join(dir, "alice.age"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	identity, err := age.NewScryptIdentity("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	r, err := age.Decrypt(file, identity)
	if err != nil {
		t.Fatal(err)
	}
	var content bytes.Buffer
	if _, err := content.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	if words, _ := key.Words(); !strings.Contains(content.String(), words) {
		t.Error("the file does not hold the words")
	}
}

// TestWorkFactorIsBounded keeps a hostile file from occupying the machine.
func TestWorkFactorIsBounded(t *testing.T) {
	t.Parallel()
	store, _ := open(t, keystore.Options{WorkFactor: 6})
	if err := store.Add("alice", newKey(t), keystore.Fixed("correct horse")); err != nil {
		t.Fatal(err)
	}
	exported, err := store.Export("alice", keystore.Fixed("correct horse"), keystore.Fixed("for the journey"))
	if err != nil {
		t.Fatal(err)
	}
	weak, _ := open(t, keystore.Options{WorkFactor: 2})
	if err := weak.Import("alice", exported, keystore.Fixed("for the journey"), keystore.Fixed("correct horse")); err == nil || !strings.Contains(err.Error(), "work factor") {
		t.Errorf("import of a file with 16 times the work: %v", err)
	}
	for _, factor := range []int{-1, 25} {
		if _, err := keystore.Open(t.TempDir(), keystore.Options{WorkFactor: factor}); err == nil {
			t.Errorf("work factor %d was taken", factor)
		}
	}
}

// TestDerive holds the Ed25519 vectors of SLIP-0010.
func TestDerive(t *testing.T) {
	t.Parallel()
	seed := []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	tests := []struct {
		path []uint32
		want string
	}{
		{nil, "2b4be7f19ee27bbf30c667b642d5f4aa69fd169872f8fc3059c08ebae2eb19e7"},
		{[]uint32{0}, "68e0fe46dfb67e368c75379acec591dad19df3cde26e63b93a8e704f1dade7a3"},
		{[]uint32{0, 1}, "b1d0bad404bf35da785a64ca1ac54b2617211d2777696fbffaf208f746ae84f2"},
		{[]uint32{0, 1, 2}, "92a5b23c0b8a99e37d07df3fb9966917f5d06e02ddbd909c7e184371463e9fc9"},
		{[]uint32{0, 1, 2, 2}, "30d1dc7e5fc04c31219ab25a27ae00b50f6fd66622f6e9c913253d6511d1e662"},
		{[]uint32{0, 1, 2, 2, 1000000000}, "8f94d394a8e8fd6b1bc2f3f49f5c47e385281d5c17e65324b0f62483e37e8793"},
	}
	for _, tt := range tests {
		if got := fmt.Sprintf("%x", keystore.Derive(seed, tt.path...)); got != tt.want {
			t.Errorf("m/%v = %s, want %s", tt.path, got, tt.want)
		}
	}
}

// TestGoldenKeys pins what the words of a key mean: whoever wrote them down must
// find the same account in every later version.
func TestGoldenKeys(t *testing.T) {
	t.Parallel()
	words := strings.Repeat("abandon ", 23) + "art"
	tests := []struct {
		account uint32
		public  string
		address string
	}{
		{0, "ddd6050b43063a270b7cabd615c91c3df0f9c6c687b559da90cab0c2f2cb4eec", "trib1qzxtk6kkd5t5ne86w6q933kpr8mcjryvpqdghptt"},
		{1, "95cd866b2b3bc91082ab452e61bf01c7c0b09f6f6f5e1141bcba2df06446dea1", "trib1qqzakt9zp3hhfgm8deckhm5mnlkyx9ducvydjg9l"},
	}
	for _, tt := range tests {
		key, err := keystore.FromWords("  "+strings.ToUpper(words)+"\n", tt.account)
		if err != nil {
			t.Fatal(err)
		}
		if got := key.Private().Public().String(); got != tt.public {
			t.Errorf("account %d: public key %s, want %s", tt.account, got, tt.public)
		}
		if got := key.Private().Address(0).String(); got != tt.address {
			t.Errorf("account %d: address %s, want %s", tt.account, got, tt.address)
		}
	}
	for name, words := range map[string]string{
		"12 words":       strings.Repeat("abandon ", 11) + "about",
		"wrong checksum": strings.Repeat("abandon ", 24),
		"unknown word":   strings.Repeat("abandon ", 23) + "artt",
		"nothing":        "",
	} {
		if _, err := keystore.FromWords(words, 0); err == nil {
			t.Errorf("%s were taken", name)
		}
	}
	if _, err := keystore.FromWords(words, 1<<31); err == nil {
		t.Error("account 2^31 was taken")
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	words, _ := key.Words()
	seed := key.Private().Seed()
	var out bytes.Buffer
	fmt.Fprintf(&out, "%v %+v %#v %s %v", key, key, key, key, []any{&key})
	slog.New(slog.NewJSONHandler(&out, nil)).Info("key", slog.Any("key", key))
	slog.New(slog.NewTextHandler(&out, nil)).Info("key", slog.Any("key", key))
	for _, secret := range []string{words, strings.Join(strings.Fields(words)[:3], " "), fmt.Sprintf("%x", seed), fmt.Sprintf("%v", seed[:4])} {
		if strings.Contains(out.String(), strings.Trim(secret, "[]")) {
			t.Errorf("printed a secret: %s", out.String())
		}
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	seed := strings.Repeat("01", 32)
	tests := []struct {
		name  string
		input string
		ok    bool
	}{
		{"seed", `{"version":1,"seed":"` + seed + `"}`, true},
		{"words", `{"version":1,"words":"` + strings.Repeat("abandon ", 23) + `art","account":7}`, true},
		{"both", `{"version":1,"words":"` + strings.Repeat("abandon ", 23) + `art","seed":"` + seed + `"}`, false},
		{"neither", `{"version":1}`, false},
		{"account of a seed", `{"version":1,"seed":"` + seed + `","account":1}`, false},
		{"short seed", `{"version":1,"seed":"01"}`, false},
		{"later version", `{"version":2,"seed":"` + seed + `"}`, false},
		{"unknown field", `{"version":1,"seed":"` + seed + `","x":1}`, false},
		{"two keys", `{"version":1,"seed":"` + seed + `"}{}`, false},
		{"nothing", ``, false},
	}
	for _, tt := range tests {
		_, err := keystore.Decode([]byte(tt.input))
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err != nil && strings.Contains(err.Error(), "0101") {
			t.Errorf("%s: the error shows the seed: %v", tt.name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(keystore.FromSeed([ledger.SeedSize]byte{1}).Encode())
	f.Add([]byte(`{"version":1,"words":"` + strings.Repeat("abandon ", 23) + `art","account":7}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := keystore.Decode(data)
		if err != nil {
			return
		}
		again, err := keystore.Decode(key.Encode())
		if err != nil {
			t.Fatalf("decode what was encoded: %v", err)
		}
		if key.Private().Public() != again.Private().Public() {
			t.Fatal("another key")
		}
	})
}

func TestPrompt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	long := write("long", "correct horse\nbattery staple\n", 0o600)
	tests := []struct {
		name   string
		prompt keystore.Prompt
		want   string // "" = error
		fault  string // of Ask
		choose string // fault of Choose
	}{
		{"file", keystore.Prompt{File: long}, "correct horse", "", ""},
		{"file with carriage return", keystore.Prompt{File: write("dos", "correct horse\r\n", 0o600)}, "correct horse", "", ""},
		{"file before environment", keystore.Prompt{File: long, Environ: []string{"TRIBUTARY_PASSPHRASE=x"}}, "correct horse", "", ""},
		{"file of the environment", keystore.Prompt{Environ: []string{"TRIBUTARY_PASSPHRASE_FILE=" + long}}, "correct horse", "", ""},
		{"environment", keystore.Prompt{Environ: []string{"TRIBUTARY_PASSPHRASE=battery staple"}}, "battery staple", "", ""},
		{"too short to choose", keystore.Prompt{Environ: []string{"TRIBUTARY_PASSPHRASE=x"}}, "x", "", "shorter than 8"},
		{"open file", keystore.Prompt{File: write("open", "correct horse", 0o644)}, "", "chmod 600", "chmod 600"},
		{"empty file", keystore.Prompt{File: write("empty", "\n", 0o600)}, "", "is empty", "is empty"},
		{"no file", keystore.Prompt{File: filepath.Join(dir, "nothing")}, "", "no such file", "no such file"},
		{"nobody to ask", keystore.Prompt{}, "", "no terminal", "no terminal"},
	}
	for _, tt := range tests {
		got, err := tt.prompt.Ask("alice")()
		check(t, tt.name+", ask", got, err, tt.want, tt.fault)
		if tt.choose != "" {
			tt.want = ""
		}
		got, err = tt.prompt.Choose("alice")()
		check(t, tt.name+", choose", got, err, tt.want, tt.choose)
	}
}

func check(t *testing.T, name, got string, err error, want, fault string) {
	t.Helper()
	switch {
	case fault == "" && (err != nil || got != want):
		t.Errorf("%s: %q, %v, want %q", name, got, err, want)
	case fault != "" && (err == nil || !strings.Contains(err.Error(), fault)):
		t.Errorf("%s: %v, want %q", name, err, fault)
	}
}
