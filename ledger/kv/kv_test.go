package kv_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
)

func TestPrefixEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ prefix, want []byte }{
		{nil, nil},
		{[]byte{}, nil},
		{[]byte("a"), []byte("b")},
		{[]byte("a\x00"), []byte("a\x01")},
		{[]byte("a\xff\xff"), []byte("b")},
		{[]byte("\xfe\xff"), []byte("\xff")},
		{[]byte("\xff\xff"), nil},
	} {
		before := bytes.Clone(c.prefix)
		if got := kv.PrefixEnd(c.prefix); !bytes.Equal(got, c.want) || (got == nil) != (c.want == nil) {
			t.Errorf("PrefixEnd(%q) = %q, want %q", c.prefix, got, c.want)
		}
		if !bytes.Equal(before, c.prefix) {
			t.Errorf("PrefixEnd changes %q to %q", before, c.prefix)
		}
	}
}

func TestScan(t *testing.T) {
	t.Parallel()
	s := memkv.New()
	b := s.NewBatch()
	for _, k := range []string{"a", "ba", "bb", "bc", "c"} {
		if err := b.Set([]byte(k), []byte{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(true); err != nil {
		t.Fatal(err)
	}
	errStop := errors.New("stop")
	for _, c := range []struct {
		name, prefix, stop string
		want               []string
		err                error
	}{
		{"all", "", "", []string{"a", "ba", "bb", "bc", "c"}, nil},
		{"prefix", "b", "", []string{"ba", "bb", "bc"}, nil},
		{"none", "d", "", nil, nil},
		{"stopped", "b", "bb", []string{"ba", "bb"}, errStop},
	} {
		var got []string
		err := kv.Scan(s, []byte(c.prefix), func(key, _ []byte) error {
			got = append(got, string(key))
			if string(key) == c.stop {
				return errStop
			}
			return nil
		})
		if d := cmp.Diff(c.want, got); d != "" || !errors.Is(err, c.err) {
			t.Errorf("%s: error %v, want %v (-want +got):\n%s", c.name, err, c.err, d)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := kv.Scan(s, nil, func(_, _ []byte) error { return nil }); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("Scan of a closed store: %v, want %v", err, kv.ErrClosed)
	}
}
