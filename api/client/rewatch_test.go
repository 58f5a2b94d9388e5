package client

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestPatienceIsATime: a watch that nobody answers goes on for as long as its patience lasts,
// however long its delays are and however long a node takes to say nothing, and counts from
// when it was last told anything.
func TestPatienceIsATime(t *testing.T) {
	t.Parallel()
	const hour = time.Hour
	for _, row := range []struct {
		name     string
		delay    time.Duration // at most
		take     time.Duration // of a stream
		talks    time.Duration // for how long streams tell something
		min, max time.Duration // when it ends
	}{
		{"nobody is there", time.Second, 0, 0, watchPatience, watchPatience + time.Second},
		{"nodes accept and say nothing", time.Second, watchSilence, 0, watchPatience, watchPatience + watchSilence + time.Second},
		{"delays are longer than patience", hour, watchSilence, 0, watchPatience, hour + watchPatience},
		{"they talk for an hour", time.Second, watchSilence, hour, hour + watchPatience, hour + watchPatience + 2*watchSilence},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := &Client{endpoints: []*endpoint{{target: "deaf"}}}
				c.options.log, c.options.retry = slog.New(slog.DiscardHandler), RetryPolicy{MinDelay: 100 * time.Millisecond, MaxDelay: row.delay}
				begin, streams := time.Now(), 0
				err := c.rewatch(t.Context(), "watch", watchResumes, func(*endpoint) (bool, error) {
					streams++
					came := time.Since(begin) < row.talks
					if !sleep(t.Context(), row.take) {
						return came, context.Canceled
					}
					return came, status.Error(codes.Unavailable, "gone")
				})
				took := time.Since(begin)
				if e, ok := errors.AsType[*Error](err); !ok || e.Code != codes.Unavailable || took < row.min || took > row.max || streams < 2 {
					t.Errorf("it ended after %v and %d streams with %v, want %v to %v", took, streams, err, row.min, row.max)
				}
				if err == nil || !strings.Contains(err.Error(), "deaf") {
					t.Errorf("%v does not say who was asked", err)
				}
			})
		})
	}
}
