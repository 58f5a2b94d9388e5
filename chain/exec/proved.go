package exec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/ledger/codec"
	"github.com/tributary-network/tributary/ledger/stateproof"
)

// Other chains believe what a certified state says. A node can prove its newest state
// only, and the certificate of that follows a moment later. So rows that others want to
// be told of (Execution.Proved, Watch) are proved when the block that changed them is
// committed, and the proof waits for the certificate of that very block. Which rows wait
// is in the index, so that a node that was killed proves them at the head it starts from.
//
//	'w' | key             height of the block that changed the row, or at which it was
//	                      asked for: a proof at that height or above has to be certified
//	'c' | key             the newest certified proof: whether the row is there, certificate, statement
//	'd' | height | key    the row 'c' of key has a proof at height
const (
	idxWatched     = 'w'
	idxCertified   = 'c'
	idxCertifiedAt = 'd'
)

const (
	// maxWatched is how many rows wait at most. What is beyond is found by who asks for it.
	maxWatched = 8_192
	// staleProof is after how many blocks a proof that waits gives way to one of the head:
	// its block will have no certificate any more.
	staleProof = maxUncertified / 2
	// maxReproved is how many such rows are proved anew with one block.
	maxReproved = 64
	// maxWatchedKey is the longest key that Watch takes, in bytes.
	maxWatchedKey = 256
)

// watched is a row that is to be proved. first waits for its certificate, and last is that
// of a later change; it takes the place of first when that is certified or given up.
type watched struct {
	since       uint64 // see 'w'
	first, last *stateproof.Statement
}

// proofs are the rows that wait for a certified proof. It is safe for concurrent use.
type proofs struct {
	mu   sync.Mutex
	rows map[string]*watched

	made chan struct{} // closed at the next certificate
}

func newProofs() *proofs {
	return &proofs{rows: make(map[string]*watched), made: make(chan struct{})}
}

// want makes rows wait for a proof at height or above. It returns those for which there is
// room.
func (p *proofs) want(keys [][]byte, height uint64) (taken [][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range keys {
		row := p.rows[string(key)]
		if row == nil && len(p.rows) >= maxWatched {
			continue
		}
		if row == nil {
			row = &watched{}
			p.rows[string(key)] = row
		}
		row.since = max(row.since, height)
		taken = append(taken, key)
	}
	return taken
}

// due returns the rows to be proved at height: those of which there is no proof since
// their last change, and some whose proof waits in vain.
func (p *proofs) due(height uint64) (keys [][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stale := 0
	for key, row := range p.rows {
		switch newest := row.newest(); {
		case newest == nil || newest.Height < row.since:
			keys = append(keys, []byte(key))
		case newest.Height+staleProof <= height && stale < maxReproved:
			stale++
			keys = append(keys, []byte(key))
		}
	}
	return keys
}

func (w *watched) newest() *stateproof.Statement {
	if w.last != nil {
		return w.last
	}
	return w.first
}

// add takes a proof of a row that waits.
func (p *proofs) add(s *stateproof.Statement) {
	p.mu.Lock()
	defer p.mu.Unlock()
	row := p.rows[string(s.Key)]
	switch {
	case row == nil || row.newest() != nil && row.newest().Height >= s.Height:
	case row.first == nil || row.first.Height+staleProof <= s.Height:
		row.first, row.last = s, nil
	default:
		row.last = s
	}
}

// at returns the proofs at height that wait, and which of them are the last word.
func (p *proofs) at(height uint64) (list []*stateproof.Statement, over []bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, row := range p.rows {
		for _, s := range []*stateproof.Statement{row.first, row.last} {
			if s != nil && s.Height == height {
				list, over = append(list, s), append(over, row.since <= height)
			}
		}
	}
	return list, over
}

// waiting reports whether a proof waits for the certificate of the block at height.
func (p *proofs) waiting(height uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, row := range p.rows {
		if row.first != nil && row.first.Height == height || row.last != nil && row.last.Height == height {
			return true
		}
	}
	return false
}

// certified forgets what waited for the certificate of the block at height, and rows that
// need no more.
func (p *proofs) certified(height uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, row := range p.rows {
		switch {
		case row.last != nil && row.last.Height == height:
			row.first, row.last = nil, nil
		case row.first != nil && row.first.Height == height:
			row.first, row.last = row.last, nil
		default:
			continue
		}
		if row.since <= height && row.first == nil {
			delete(p.rows, key)
		}
	}
}

// announce wakes who waits for a certificate.
func (p *proofs) announce() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.made)
	p.made = make(chan struct{})
}

// CertificateMade returns a channel that is closed when this node has made or got another
// certificate, with what it proves: ask for the channel first and then for what is there.
func (e *Executor) CertificateMade() <-chan struct{} {
	e.proofs.mu.Lock()
	defer e.proofs.mu.Unlock()
	return e.proofs.made
}

// Certified returns the newest proof of a row of the state that this node has against a
// state that is certified, with that certificate: the height of both is the same. It is
// kept as long as receipts of that height. The rows that the rules name are proved
// whenever they change. Of others, and if the proof is too old for somebody, Watch gets a
// newer one. The error is ErrNoCertificate if there is none.
func (e *Executor) Certified(key []byte) (cert.Certificate, *stateproof.Statement, error) {
	raw, err := e.index.Get(keyOf(idxCertified, key))
	if err != nil {
		return cert.Certificate{}, nil, fmt.Errorf("read the proof of row %x: %w", key, err)
	}
	if raw == nil {
		return cert.Certificate{}, nil, fmt.Errorf("%w of a block with a proof of row %x", ErrNoCertificate, key)
	}
	certificate, s, err := decodeCertified(key, raw)
	if err != nil {
		return cert.Certificate{}, nil, fmt.Errorf("read the proof of row %x: %w", key, err)
	}
	return certificate, s, nil
}

// Watch has a row of the state proved at the head: Certified returns that proof, or a
// newer one, once there is a certificate, which may be at once. The errors are a BusyError
// if too many rows wait, and ErrNoCertificate on a node that makes none.
func (e *Executor) Watch(key []byte) error {
	switch {
	case e.cfg.Extensions == nil:
		return ErrNoCertificate
	case len(key) == 0 || len(key) > maxWatchedKey:
		return fmt.Errorf("watch a row: its key has %d bytes, want 1 to %d", len(key), maxWatchedKey)
	}
	s, err := e.layer.Prove(key)
	if err != nil {
		return fmt.Errorf("watch row %x: %w", key, err)
	}
	if _, have, err := e.Certified(key); err == nil && have.Height >= s.Height {
		return nil
	}
	if err := e.watch(key, s.Height); err != nil {
		return err
	}
	e.proofs.add(s)
	certificate, err := e.certificates.get(s.Height)
	switch {
	case errors.Is(err, ErrNoCertificate):
		return nil // it will come
	case err != nil:
		return err
	}
	if err := e.certifyProofs(&certificate); err != nil {
		return err
	}
	e.proofs.announce()
	return nil
}

// watch makes a row wait for a proof, durably.
func (e *Executor) watch(key []byte, height uint64) error {
	e.retention.mu.Lock()
	defer e.retention.mu.Unlock()
	if len(e.proofs.want([][]byte{key}, height)) == 0 {
		return &BusyError{Reason: ErrTooManyWaiting, RetryAfter: retryFull}
	}
	return e.layer.UpdateIndex([]chain.Change{watchedRow(key, height)})
}

func watchedRow(key []byte, height uint64) chain.Change {
	return chain.Change{Key: keyOf(idxWatched, key), Value: binary.BigEndian.AppendUint64(nil, height)}
}

// indexWatched makes the rows that a block changed and others want wait for a proof, and
// returns the entries of the index that say so.
func (e *Executor) indexWatched(p *prepared) (rows []chain.Change) {
	if e.cfg.Extensions == nil {
		return nil
	}
	height := p.block.Height
	taken := e.proofs.want(p.proved, height)
	for _, key := range taken {
		rows = append(rows, watchedRow(key, height))
	}
	if left := len(p.proved) - len(taken); left > 0 {
		e.log.Warn("rows are not proved: too many wait for certificates", slog.Uint64("height", height), slog.Int("rows", left))
	}
	return rows
}

// proveWatched proves the rows that want a proof at the head. It is called while nobody
// writes to the state.
func (e *Executor) proveWatched() error {
	if e.cfg.Extensions == nil {
		return nil
	}
	keys := e.proofs.due(e.layer.Height())
	slices.SortFunc(keys, slices.Compare)
	for _, key := range keys {
		s, err := e.layer.Prove(key)
		if err != nil {
			return fmt.Errorf("prove row %x: %w", key, err)
		}
		e.proofs.add(s)
	}
	return nil
}

// loadProofs finds the rows that wait for a proof.
func (e *Executor) loadProofs() error {
	if e.cfg.Extensions == nil {
		return nil
	}
	err := e.scan([]byte{idxWatched}, []byte{idxWatched}, func(key, value []byte) bool {
		if len(value) == 8 {
			e.proofs.want([][]byte{slices.Clone(key[1:])}, binary.BigEndian.Uint64(value))
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("read which rows are to be proved: %w", err)
	}
	return nil
}

// certifyProofs keeps the proofs that waited for a certificate.
func (e *Executor) certifyProofs(certificate *cert.Certificate) error {
	height := certificate.Checkpoint.Height
	e.retention.mu.Lock()
	defer e.retention.mu.Unlock()
	list, over := e.proofs.at(height)
	if len(list) == 0 {
		return nil
	}
	var rows []chain.Change
	for i, s := range list {
		if s.Root != certificate.Checkpoint.StateRoot {
			continue // cannot be: the certificate is of the state that this node came to
		}
		key := keyOf(idxCertified, s.Key)
		if over[i] {
			rows = append(rows, chain.Change{Key: keyOf(idxWatched, s.Key)})
		}
		if _, old, err := e.Certified(s.Key); err == nil {
			if old.Height >= height {
				continue
			}
			rows = append(rows, chain.Change{Key: certifiedAt(old.Height, s.Key)})
		}
		raw, err := encodeCertified(certificate, s)
		if err != nil {
			return fmt.Errorf("keep the proof of row %x: %w", s.Key, err)
		}
		rows = append(rows, chain.Change{Key: key, Value: raw}, chain.Change{Key: certifiedAt(height, s.Key), Value: []byte{}})
	}
	if err := e.layer.UpdateIndex(rows); err != nil {
		return err
	}
	e.proofs.certified(height)
	return nil
}

func certifiedAt(height uint64, key []byte) []byte {
	return append(keyOf(idxCertifiedAt, nil, height), key...)
}

// encodeCertified writes a certificate and a statement about the state that it is of.
func encodeCertified(certificate *cert.Certificate, s *stateproof.Statement) ([]byte, error) {
	statement, err := encodeStatement(s)
	if err != nil {
		return nil, err
	}
	head := certificate.Encode()
	w := codec.NewWriter(9 + len(head) + len(statement))
	w.Bool(s.Value != nil) // a row can be absent, or empty
	w.Bytes32(head)
	w.Bytes32(statement)
	return w.Bytes(), nil
}

func decodeCertified(key, raw []byte) (certificate cert.Certificate, s *stateproof.Statement, err error) {
	r := codec.NewReader(raw)
	present := r.Bool()
	head, statement := r.Bytes32(len(raw)), r.Bytes32(len(raw))
	if err := r.Done(); err != nil {
		return cert.Certificate{}, nil, err
	}
	if certificate, err = cert.Decode(head); err != nil {
		return cert.Certificate{}, nil, err
	}
	s, err = decodeStatement(certificate.Checkpoint.Height, slices.Clone(key), stateproof.MaxEncodedSize, statement)
	if err == nil && !present {
		s.Value = nil
	}
	return certificate, s, err
}

// forgetProofs removes the certified proofs at the height of the block that goes.
func (x *pruner) forgetProofs(height uint64) error {
	prefix := keyOf(idxCertifiedAt, nil, height)
	return x.exec.scan(prefix, prefix, func(key, _ []byte) bool {
		x.remove(slices.Clone(key))
		x.remove(keyOf(idxCertified, key[len(prefix):]))
		x.records++
		return true
	})
}
