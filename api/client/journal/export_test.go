package journal

// Break makes every later write of j fail.
func (j *Journal) Break() error { return j.file.f.Close() }
