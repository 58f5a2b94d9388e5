package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of /proc/PID/stat times. Linux reports them in 1/100 s
// on every architecture that Go runs on.
const clockTick = 10 * time.Millisecond

// cpuOf returns the processor time, user and system, that process pid has used.
func cpuOf(pid int) (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	// The command name may hold spaces; fields are counted behind its ')'.
	_, rest, ok := strings.Cut(string(raw), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("read processor time of %d: unexpected format", pid)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, fmt.Errorf("read processor time of %d: %w", pid, err)
	}
	return time.Duration(user+system) * clockTick, nil
}

// resident is a process's memory in bytes. Files are pages of files that it has
// mapped, which the kernel takes back when it needs room.
type resident struct {
	now, peak, files uint64
}

// residentOf returns the resident memory of process pid.
func residentOf(pid int) (resident, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return resident{}, fmt.Errorf("read resident memory: %w", err)
	}
	var r resident
	for line := range strings.Lines(string(raw)) {
		name, value, _ := strings.Cut(line, ":")
		kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			continue
		}
		switch name {
		case "VmRSS":
			r.now = kib << 10
		case "VmHWM":
			r.peak = kib << 10
		case "RssFile":
			r.files = kib << 10
		}
	}
	return r, nil
}

// loopbackBytes returns how many bytes the loopback interface has carried.
func loopbackBytes() (uint64, error) {
	raw, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		return 0, fmt.Errorf("read loopback counters: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		if name, counters, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "lo" {
			fields := strings.Fields(counters)
			n, err := strconv.ParseUint(fields[0], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read loopback counters: %w", err)
			}
			return n, nil
		}
	}
	return 0, errors.New("read loopback counters: no interface lo")
}

// diskBytes returns the space that the files below dir take on disk. Files are
// sparse: their size says nothing.
func diskBytes(dir string) (uint64, error) {
	var total uint64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return skipGone(err)
		}
		info, err := entry.Info()
		if err != nil {
			return skipGone(err)
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode().IsRegular() {
			total += uint64(stat.Blocks) * 512
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measure %q: %w", dir, err)
	}
	return total, nil
}

// skipGone forgives files that compaction removed while they were being listed.
func skipGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
