package layer

// SetChunkBytes makes chunks of about n bytes.
func (s *Snapshots) SetChunkBytes(n int) { s.chunk = n }
