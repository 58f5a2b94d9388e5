package memkv_test

import (
	"testing"

	"github.com/tributary-network/tributary/ledger/kv"
	"github.com/tributary-network/tributary/ledger/kv/kvtest"
	"github.com/tributary-network/tributary/ledger/kv/memkv"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	kvtest.Run(t, kvtest.Harness{
		Open: func(*testing.T) kv.Store { return memkv.New() },
		Reopen: func(t *testing.T, s kv.Store) kv.Store {
			t.Helper()
			m, ok := s.(*memkv.Store)
			if !ok {
				t.Fatalf("store is a %T", s)
			}
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			return m.Clone()
		},
	})
}

func TestClone(t *testing.T) {
	t.Parallel()
	a := memkv.New()
	set := func(s kv.Store, k, v string) {
		b := s.NewBatch()
		if err := b.Set([]byte(k), []byte(v)); err != nil {
			t.Fatal(err)
		}
		if err := b.Commit(true); err != nil {
			t.Fatal(err)
		}
	}
	set(a, "k", "1")
	b := a.Clone()
	set(a, "k", "2")
	set(b, "l", "1")
	if v, err := b.Get([]byte("k")); err != nil || string(v) != "1" {
		t.Errorf("clone has k=%s, error %v, want 1", v, err)
	}
	if a.Len() != 1 || b.Len() != 2 {
		t.Errorf("%d and %d keys, want 1 and 2", a.Len(), b.Len())
	}
}
