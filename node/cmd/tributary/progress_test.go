package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/tributary-network/tributary/api/client"
)

func TestProgressInWords(t *testing.T) {
	t.Parallel()
	const seek = "looking for a snapshot among "
	for name, tt := range map[string]struct {
		sync  client.SyncProgress
		peers uint32
		want  string
		full  int // of the bar
	}{
		"blocks": {
			client.SyncProgress{Height: 300, Target: 900, BlocksPerSecond: 20.04, TimeLeft: 29_900 * time.Millisecond},
			3,
			"block 300 of 900 (33 %), 20.0 blocks/s, 30s left", 10,
		},
		"no target yet":       {client.SyncProgress{Height: 300}, 3, "block 300, no height known yet from 3 peers", 0},
		"looking":             {client.SyncProgress{Snapshot: true}, 1, seek + "1 peer", 0},
		"chunks":              {client.SyncProgress{Snapshot: true, Height: 1_000, Chunks: 3, TotalChunks: 12}, 2, "snapshot of height 1000, chunk 3 of 12 (25 %)", 7},
		"nobody":              {client.SyncProgress{Stalled: true, Idle: 40_400 * time.Millisecond}, 0, "block 0, stalled for 40s: no peer is connected; check p2p.persistent_peers", 0},
		"nobody is ahead":     {client.SyncProgress{Height: 7, Target: 7, Stalled: true, Idle: 40 * time.Second}, 2, "block 7 (100 %), stalled for 40s: no peer has blocks above height 7; check p2p.persistent_peers", 30},
		"nobody has the next": {client.SyncProgress{Height: 0, Target: 700, Stalled: true, Idle: time.Minute}, 2, "stalled for 1m0s: no peer gives block 1, which they may no longer have", 0},
		"no snapshot":         {client.SyncProgress{Snapshot: true, Stalled: true, Idle: time.Minute}, 2, seek + "2 peers, stalled for 1m0s: no peer has a snapshot", 0},
		"no snapshot yet": {
			client.SyncProgress{Height: 30, Target: 60, Note: "no snapshot was found, so all blocks are fetched"},
			3, "block 30 of 60 (50 %), no snapshot was found, so all blocks are fetched", 15,
		},
		"nobody has anything": {
			client.SyncProgress{Snapshot: true, Stalled: true, Idle: time.Minute, Note: "no peer has block 1"},
			3, seek + "3 peers, no peer has block 1, stalled for 1m0s", 0,
		},
		"no chunk": {client.SyncProgress{Snapshot: true, TotalChunks: 2, Stalled: true, Idle: time.Minute}, 2, "no peer gives the next chunk", 0},
	} {
		p := progress{tt.sync, tt.peers}
		if got := p.String(); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
		if bar := p.bar(); strings.Count(bar, "=") != tt.full || !strings.HasPrefix(bar[barWidth+1:], "] "+p.String()) {
			t.Errorf("%s: bar %q", name, bar)
		}
	}
}

func TestBottomLineStaysBelowTheLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	b := &bottomLine{out: &out}
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() { _, _ = b.Write([]byte("one\n")) }, "one\n"},
		{func() { b.set("[= ] 50 %") }, clearLine + "[= ] 50 %"},
		{func() { b.set("[= ] 50 %") }, ""},
		{func() { _, _ = b.Write([]byte("two\n")) }, clearLine + "two\n[= ] 50 %"},
		{func() { b.set("") }, clearLine},
		{func() { _, _ = b.Write([]byte("three\n")) }, "three\n"},
	} {
		out.Reset()
		step.do()
		if out.String() != step.want {
			t.Errorf("%q was written, want %q", out.String(), step.want)
		}
	}
	if got := cut("abcdef", 4); got != "abc" {
		t.Errorf("cut to %q", got)
	}
	if got := cut("abc", 4); got != "abc" || b.width() != 80 {
		t.Errorf("cut to %q, width %d", got, b.width())
	}
}
