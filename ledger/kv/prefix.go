package kv

// Prefixed returns the part of s whose keys begin with prefix as a Store of its
// own: prefix is added to keys that go in and cut from keys that come out. Views
// with prefixes of which none begins with another never see each other's keys.
//
// A view holds no lock and no state. Its Close does nothing: the store belongs
// to whoever opened it, and users that read after they were stopped (as the
// stores of the consensus engine do) stay harmless until that store is closed.
func Prefixed(s Store, prefix []byte) Store {
	if v, ok := s.(view); ok { // one view instead of two
		s, prefix = v.s, v.key(prefix)
	}
	p := append([]byte(nil), prefix...)
	return view{reader: reader{r: s, prefix: p}, s: s}
}

// PrefixedWriter returns a Writer that adds prefix to every key and hands the
// writes to w. With it one batch takes the writes of several views.
func PrefixedWriter(w Writer, prefix []byte) Writer {
	if p, ok := w.(*writer); ok { // one writer instead of two
		w, prefix = p.w, append(append([]byte(nil), p.key[:p.n]...), prefix...)
	}
	return &writer{w: w, key: append([]byte(nil), prefix...), n: len(prefix)}
}

// PrefixedSnapshot returns the part of s whose keys begin with prefix. Its Close
// closes s.
func PrefixedSnapshot(s Snapshot, prefix []byte) Snapshot {
	if v, ok := s.(snapshot); ok {
		s, prefix = v.s, v.key(prefix)
	}
	return snapshot{reader: reader{r: s, prefix: append([]byte(nil), prefix...)}, s: s}
}

type reader struct {
	r      Reader
	prefix []byte
}

func (r reader) Get(key []byte) ([]byte, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	return r.r.Get(r.key(key))
}

func (r reader) Iterate(from, to []byte, reverse bool) Iterator {
	if to == nil {
		to = PrefixEnd(r.prefix)
	} else {
		to = r.key(to)
	}
	return &iterator{Iterator: r.r.Iterate(r.key(from), to, reverse), n: len(r.prefix)}
}

func (r reader) key(key []byte) []byte {
	k := make([]byte, len(r.prefix)+len(key))
	copy(k[copy(k, r.prefix):], key)
	return k
}

type iterator struct {
	Iterator

	n int
}

func (it *iterator) Key() []byte { return it.Iterator.Key()[it.n:] }

type view struct {
	reader

	s Store
}

func (v view) NewBatch() Batch {
	b := v.s.NewBatch()
	w := writer{w: b, key: append([]byte(nil), v.prefix...), n: len(v.prefix)}
	return &batch{writer: w, b: b}
}

func (v view) Snapshot() (Snapshot, error) {
	s, err := v.s.Snapshot()
	if err != nil {
		return nil, err
	}
	return snapshot{reader: reader{r: s, prefix: v.prefix}, s: s}, nil
}

func (v view) Close() error { return nil }

type snapshot struct {
	reader

	s Snapshot
}

func (s snapshot) Close() error { return s.s.Close() }

// writer keeps the prefix in key[:n] and builds each key behind it: the stores
// copy what they are given.
type writer struct {
	w   Writer
	key []byte
	n   int
}

func (w *writer) Set(key, value []byte) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	w.key = append(w.key[:w.n], key...)
	return w.w.Set(w.key, value)
}

func (w *writer) Delete(key []byte) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	w.key = append(w.key[:w.n], key...)
	return w.w.Delete(w.key)
}

type batch struct {
	writer

	b Batch
}

func (b *batch) Commit(sync bool) error { return b.b.Commit(sync) }
func (b *batch) Discard()               { b.b.Discard() }
