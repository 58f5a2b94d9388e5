package testnet

import (
	"io"
	"os"
	"slices"
	"strings"
)

const (
	// logName is the file of a node's log, in its home directory.
	logName = "node.log"
	// maxEnding bounds what is read of a log to find why the node ended, in
	// bytes, and maxEndingLine what is kept of a line.
	maxEnding     = 64 << 10
	maxEndingLine = 500
)

// lastError returns the last line of a log, from the offset begin on, that tells
// of an error, "" if there is none.
func lastError(path string, begin int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	begin = max(begin, info.Size()-maxEnding)
	data, err := io.ReadAll(io.NewSectionReader(f, begin, maxEnding))
	if err != nil {
		return ""
	}
	for _, line := range slices.Backward(strings.Split(string(data), "\n")) {
		line = strings.TrimSpace(line)
		if len(line) > maxEndingLine {
			line = line[:maxEndingLine] + "..."
		}
		if tellsError(line) {
			return strings.TrimPrefix(line, "error: ")
		}
	}
	return ""
}

// tellsError knows the error with which the program ends, the line of its log at
// that level, and the end of a Go program that fails.
func tellsError(line string) bool {
	for _, prefix := range []string{"error: ", "panic: ", "fatal error: "} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return strings.Contains(line, `"level":"ERROR"`) || strings.Contains(line, " level=ERROR ")
}
