package comet_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain checks that stopped chains leave no goroutine behind. It is the process of a remote signer, too, and that of the
// pruner that is killed.
func TestMain(m *testing.M) {
	if os.Getenv(signerNodeVar) != "" {
		if err := runSigner(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(prunerEnv); dir != "" {
		if err := runPruner(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	// Networks wait more than they compute.
	if err := flag.Set("test.parallel", strconv.Itoa(parallel())); err != nil {
		panic(err)
	}
	code := m.Run()
	known := []goleak.Option{
		goleak.IgnoreTopFunction("os/signal.loop"),
		// Of a start that failed in the handshake: NewNode keeps its event bus.
		goleak.IgnoreTopFunction("github.com/cometbft/cometbft/libs/pubsub.(*Server).loop"),
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

// parallel is how many tests run at a time: what -parallel says, or two for each
// core.
func parallel() (n int) {
	n = 2 * runtime.GOMAXPROCS(0)
	flag.Visit(func(f *flag.Flag) {
		if f.Name == "test.parallel" {
			n = f.Value.(flag.Getter).Get().(int) //nolint:errcheck,forcetypeassert // it is a number
		}
	})
	return n
}
