package layer

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/ledger/kv"
)

// A block whose writes do not fit one batch of the store goes through the
// journal: the writes are committed as a few large values, which badger keeps in
// its value log and hardly counts towards a batch, in one atomic synced batch.
// From then on the block is durable. Its writes are then carried out in as many
// batches as it takes, and the journal is deleted. Whoever opens the layer
// carries out a journal that is still there before anything reads the state.
//
//	"j/" | sequence u32   writes, each: key length u16 | key | 1 + value length
//	                      u32, 0 for a deletion | value
const (
	journalPrefix = "j/"

	// chunkBytes and chunkWrites bound one value of the journal, and the batch
	// that carries it out, but for a single larger write.
	chunkBytes  = 512 << 10
	chunkWrites = 4_096
)

// write is one write to the store; a nil value deletes.
type write struct{ key, value []byte }

// spool is the Writer that collects the writes of one commit. It copies keys and
// keeps values, which whoever writes leaves alone until the commit is over.
type spool struct {
	writes []write
	arena  []byte
}

// spoolArena is the unit in bytes in which a spool takes memory for keys.
const spoolArena = 64 << 10

var _ kv.Writer = (*spool)(nil)

func (s *spool) Set(key, value []byte) error {
	if value == nil {
		return kv.ErrNilValue
	}
	s.add(key, value)
	return nil
}

func (s *spool) Delete(key []byte) error {
	s.add(key, nil)
	return nil
}

func (s *spool) add(key, value []byte) {
	if len(s.arena) < len(key) {
		s.arena = make([]byte, max(spoolArena, len(key)))
	}
	k := s.arena[:len(key):len(key)]
	s.arena = s.arena[copy(k, key):]
	s.writes = append(s.writes, write{key: k, value: value})
}

// put commits writes in one batch. It applies nothing if they do not fit
// (kv.ErrBatchTooLarge).
func put(store kv.Store, writes []write, sync bool) error {
	b := store.NewBatch()
	defer b.Discard()
	for _, w := range writes {
		var err error
		if w.value == nil {
			err = b.Delete(w.key)
		} else {
			err = b.Set(w.key, w.value)
		}
		if err != nil {
			return fmt.Errorf("write key %x: %w", w.key, err)
		}
	}
	return b.Commit(sync)
}

// journalled commits writes that do not fit one batch, durably.
func journalled(store kv.Store, writes []write) error {
	var journal []write
	for len(writes) > 0 {
		chunk, n := encodeChunk(writes)
		key := binary.BigEndian.AppendUint32([]byte(journalPrefix), uint32(len(journal)))
		journal = append(journal, write{key: key, value: chunk})
		writes = writes[n:]
	}
	if err := put(store, journal, true); err != nil {
		return fmt.Errorf("write the journal of %d chunks: %w", len(journal), err)
	}
	return carryOut(store, journal)
}

// replay carries out the journal that a crash left in store, if there is one.
func replay(store kv.Store) error {
	var journal []write
	if err := kv.Scan(store, []byte(journalPrefix), func(key, value []byte) error {
		journal = append(journal, write{key: append([]byte{}, key...), value: append([]byte{}, value...)})
		return nil
	}); err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	if len(journal) == 0 {
		return nil
	}
	return carryOut(store, journal)
}

// carryOut applies a journal that is durable, and deletes it. Doing it again
// changes nothing.
func carryOut(store kv.Store, journal []write) error {
	for i := range journal {
		writes, err := decodeChunk(journal[i].value)
		if err != nil {
			return fmt.Errorf("read chunk %d of the journal: %w", i, err)
		}
		if err := put(store, writes, i == len(journal)-1); err != nil {
			return fmt.Errorf("carry out chunk %d of the journal: %w", i, err)
		}
	}
	for i := range journal {
		journal[i].value = nil
	}
	if err := put(store, journal, false); err != nil {
		return fmt.Errorf("delete the journal: %w", err)
	}
	return nil
}

// encodeChunk encodes the first writes, as many as fit a chunk, and returns how
// many those are.
func encodeChunk(writes []write) (chunk []byte, n int) {
	size := 0
	for n < len(writes) && n < chunkWrites {
		next := 2 + len(writes[n].key) + 4 + len(writes[n].value)
		if n > 0 && size+next > chunkBytes {
			break
		}
		size += next
		n++
	}
	chunk = make([]byte, 0, size)
	for _, w := range writes[:n] {
		chunk = binary.BigEndian.AppendUint16(chunk, uint16(len(w.key))) // a key is at most kv.MaxKeySize
		chunk = append(chunk, w.key...)
		length := uint32(0)
		if w.value != nil {
			length = 1 + uint32(len(w.value))
		}
		chunk = append(binary.BigEndian.AppendUint32(chunk, length), w.value...)
	}
	return chunk, n
}

var errChunk = errors.New("the journal is damaged")

// decodeChunk reads what encodeChunk wrote. Keys and values alias chunk.
func decodeChunk(chunk []byte) ([]write, error) {
	var writes []write
	take := func(n uint64) ([]byte, bool) {
		if n > uint64(len(chunk)) {
			return nil, false
		}
		b := chunk[:n:n]
		chunk = chunk[n:]
		return b, true
	}
	for len(chunk) > 0 {
		head, ok := take(2)
		if !ok {
			return nil, errChunk
		}
		key, ok := take(uint64(binary.BigEndian.Uint16(head)))
		if !ok {
			return nil, errChunk
		}
		head, ok = take(4)
		if !ok {
			return nil, errChunk
		}
		w := write{key: key}
		if length := binary.BigEndian.Uint32(head); length > 0 {
			if w.value, ok = take(uint64(length) - 1); !ok {
				return nil, errChunk
			}
		}
		writes = append(writes, w)
	}
	return writes, nil
}
