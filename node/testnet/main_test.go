package testnet_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain checks that networks that were stopped leave no goroutine behind.
func TestMain(m *testing.M) {
	code := m.Run()
	known := []goleak.Option{
		goleak.IgnoreTopFunction("os/signal.loop"),
		// Of the tests' own client for HTTP.
		goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
	}
	err := goleak.Find(known...)
	for range 20 { // some end only when they wake up, every two seconds
		if err == nil {
			break
		}
		<-time.After(250 * time.Millisecond)
		err = goleak.Find(known...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}
