package layer

// SetChunkBytes makes chunks of about n bytes.
func (s *Snapshots) SetChunkBytes(n int) { s.chunk = n }

// Waiting returns how many calls wait to be written.
func (l *Logs) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)
}

// RecodeLog, RecodeItem and RecodeRetention decode a row of the log layer and encode it again.
func RecodeLog(b []byte) ([]byte, error) {
	row, err := decodeLogRow(b)
	return row.encode(), err
}

func RecodeItem(first uint64, b []byte) ([]byte, error) {
	item, err := decodeItem(first, b)
	return item.encode(), err
}

func RecodeRetention(b []byte) ([]byte, error) {
	keep, err := decodeRetention(b)
	return keep.encode(), err
}
