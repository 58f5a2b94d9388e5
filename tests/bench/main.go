// Command bench measures what a settlement costs, and a booking on a shard, on four
// validator processes that share this machine, over gRPC, with every signature
// verified by every validator, the state root in every header and every commit synced.
//
// All figures come from one run, and those that matter stand beside a limit of
// the same machine in the same minute: what Ed25519 batch verification alone
// would take, and what the same consensus engine takes with an application that
// does nothing with the same bytes. It prints a table, those that have limits once
// more with the word OK, OVER or UNDER, and writes the figures to build/bench.json, also
// of a run that could not go on. It exits 1, and names the figures, if any does not keep
// to its limit.
package main

import (
	"context"
	crand "crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/chain/staking"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/config"
	"github.com/tributary-network/tributary/node/genesis"
	"github.com/tributary-network/tributary/node/testnet"
)

// options are the flags.
type options struct {
	binary   string
	out      string
	dir      string
	channels int
	large    int
	window   time.Duration
	quick    bool
	only     string
	profile  string
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "build/tributary", "the program to measure")
	flag.StringVar(&o.out, "out", "build/bench.json", "where the figures go")
	flag.StringVar(&o.dir, "dir", "build", "where the networks' directories are made")
	flag.IntVar(&o.channels, "channels", 100_000, "open channels of the main measurement")
	flag.IntVar(&o.large, "large", 1_000_000, "open channels of the largest measurement; 0 leaves it out")
	flag.DurationVar(&o.window, "window", 30*time.Second, "length of the main measurement")
	flag.BoolVar(&o.quick, "quick", false, "the main measurement, and what it is compared with, only; of bookings those with none and all of the payees elsewhere")
	flag.StringVar(&o.only, "only", "", "one part only: verify, certificates, settle, book, interval, idle, epochs or variants")
	flag.StringVar(&o.profile, "profile", "", "where a CPU profile of the idle chains goes; none by default")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "Usage: %s [flags]\n\nMeasures, and exits 1 if a figure does not keep to its limit.\n\n", filepath.Base(os.Args[0]))
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp(o.dir, "bench-")
	if err != nil {
		return fmt.Errorf("make directory for the networks: %w (run make build first)", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // temporary files of a finished run
	b := &bench{options: o, report: &report{progress: os.Stderr}, dir: dir}
	return b.finish(os.Stdout, b.all(ctx))
}

// finish tells and saves what was measured, also after a part that failed. What does not
// keep to its limit is an error.
func (b *bench) finish(w io.Writer, err error) error {
	return errors.Join(err, b.report.table(w), b.report.save(b.out), b.report.kept())
}

// bench is one run.
type bench struct {
	options
	report *report
	dir    string
}

// part is a measurement, by the name that -only knows it by.
type part struct {
	name  string
	quick bool // also with -quick
	run   func(context.Context) error
}

func (b *bench) parts() []part {
	return []part{
		{"verify", true, func(context.Context) error { return b.verifyLimit() }},
		{"certificates", true, func(context.Context) error { return b.certificates() }},
		{"settle", true, b.mainRun},
		{"book", true, b.usageBookings},
		{"interval", false, b.shares},
		{"idle", false, b.idleCost},
		{"epochs", false, b.epochs},
		{"variants", false, b.variants},
	}
}

// all runs the parts that are asked for.
func (b *bench) all(ctx context.Context) error {
	parts := b.parts()
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.name
	}
	if b.only != "" && !slices.Contains(names, b.only) {
		return fmt.Errorf("-only %q: want one of %s", b.only, strings.Join(names, ", "))
	}
	for _, p := range parts {
		if b.only != "" && p.name != b.only || b.only == "" && b.quick && !p.quick {
			continue
		}
		if err := p.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

const (
	verifyFigure  = "ed25519 batch verification, whole machine"
	settledFigure = "settled entries, 4 validators"
	engineFigure  = "engine alone, same bytes"
	cpuFigure     = "cpu per entry and validator"
)

// verifyLimit measures batch verification on all cores for two seconds.
func (b *bench) verifyLimit() error {
	b.report.step("Ed25519 batch verification alone")
	claims := make([]ledger.Claim, ledger.BatchSize)
	for i := range claims {
		k, message := accountKey(i), fmt.Appendf(make([]byte, 0, 128), "%0128d", i)
		claims[i] = ledger.Claim{Key: k.Public(), Message: message, Signature: k.Sign(message)}
	}
	var verified atomic.Int64
	var group errgroup.Group
	begin := time.Now()
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			for time.Since(begin) < 2*time.Second {
				if bad := ledger.VerifyBatch(crand.Reader, claims); bad != nil {
					return errors.New("good signatures do not verify")
				}
				verified.Add(int64(len(claims)))
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	b.report.add(verifyFigure, float64(verified.Load())/time.Since(begin).Seconds(), "signatures/s")
	return nil
}

// network starts four validator processes with accounts for the load.
func (b *bench) network(ctx context.Context, name string, cache int64) (*testnet.Network, *world, error) {
	accounts := []genesis.Account{{Address: accountKey(0).Address(0), Balance: 1 << 60}}
	for i := range payees {
		accounts = append(accounts, genesis.Account{Address: accountKey(1 + i).Address(0), Balance: 1 << 40})
	}
	net, err := testnet.StartProcesses(ctx, b.binary, testnet.Options{
		Dir: filepath.Join(b.dir, name), Name: "local-bench", Accounts: accounts, NoServices: true,
		Params: func(p *settlement.Params) {
			p.MaxLifetime = 10_000_000
			// Four validators on this machine are late more often than elsewhere; all
			// four are measured.
			p.Staking.Window, p.Staking.MaxMissed = staking.MaxWindow, staking.MaxWindow-1
		},
		Configure: func(_ int, c *config.Config) {
			if cache != 0 {
				c.Store.PageCache = config.Size(cache)
			}
		},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("start network: %w", err)
	}
	w, err := connect(ctx, net)
	if err != nil {
		return nil, nil, errors.Join(err, net.Stop(context.WithoutCancel(ctx)))
	}
	return net, w, nil
}

// usage is what the validators have used up to a moment.
type usage struct {
	at       time.Time
	cpu      time.Duration // all validators
	loopback uint64
	disk     uint64 // all validators
}

func measure(net *testnet.Network) (usage, error) {
	u := usage{at: time.Now()}
	var failures []error
	for i, n := range net.Nodes {
		cpu, err := cpuOf(net.PID(i))
		failures = append(failures, err)
		disk, err := diskBytes(n.Home)
		failures = append(failures, err)
		u.cpu += cpu
		u.disk += disk
	}
	lo, err := loopbackBytes()
	u.loopback = lo
	return u, errors.Join(append(failures, err)...)
}

// span is what was settled between two moments, and what it took.
type span struct {
	from, to usage
	entries  int64
	bytes    int64 // of signed transactions
}

func (s span) perSecond() float64 { return float64(s.entries) / s.to.at.Sub(s.from.at).Seconds() }

// cpu returns microseconds per entry and validator.
func (s span) cpu() float64 {
	return float64((s.to.cpu - s.from.cpu).Microseconds()) / float64(s.entries) / validators
}

// busy returns the part of all processors' time that the validators took.
func (s span) busy() float64 {
	return (s.to.cpu - s.from.cpu).Seconds() / s.to.at.Sub(s.from.at).Seconds() / float64(runtime.NumCPU())
}

// sustained runs the closed loop for warm-up and window and reports on the window.
func (w *world) sustained(ctx context.Context, net *testnet.Network, warm, window time.Duration, lane uint8, expect int) (span, error) {
	var final atomic.Int64
	w.sign(int(float64(expect)*(warm+window).Seconds()), lane)
	if _, err := w.closedLoop(ctx, time.Now().Add(warm), &final); err != nil {
		return span{}, err
	}
	var s span
	var err error
	if s.from, err = measure(net); err != nil {
		return s, err
	}
	final.Store(0)
	used, err := w.closedLoop(ctx, time.Now().Add(window), &final)
	if err != nil {
		return s, err
	}
	s.entries = final.Load()
	for _, b := range used {
		s.bytes += int64(len(b.raw))
	}
	s.to, err = measure(net)
	return s, err
}

// mainRun is the measurement of the README.
func (b *bench) mainRun(ctx context.Context) error {
	b.report.step("%d channels, closed loop for %v", b.channels, b.window)
	net, w, err := b.network(ctx, "main", 0)
	if err != nil {
		return err
	}
	defer b.end(net, w)
	if err := b.openAll(ctx, w, b.channels); err != nil {
		return err
	}
	s, err := w.sustained(ctx, net, b.window/3, b.window, 0, 25_000)
	if err != nil {
		return err
	}
	b.report.addRatio(settledFigure, s.perSecond(), "entries/s", verifyFigure)
	b.report.addRatio("signatures verified by 4 validators", validators*s.perSecond(), "signatures/s", verifyFigure)
	b.report.add(cpuFigure, s.cpu(), "us")
	entries := float64(s.entries)
	b.report.add("transaction bytes per entry", float64(s.bytes)/entries, "bytes")
	b.report.add("loopback bytes per entry, all validators and clients", float64(s.to.loopback-s.from.loopback)/entries, "bytes")
	b.report.add("disk bytes per entry and validator", float64(int64(s.to.disk-s.from.disk))/entries/validators, "bytes")

	half := s.perSecond() / 2
	b.report.step("open loop at half of that")
	w.sign(int(half*b.window.Seconds())+batchEntries, 0)
	latencies, err := w.openLoop(ctx, half, b.window)
	if err != nil {
		return err
	}
	slices.Sort(latencies)
	b.report.add("time to final at half load, p50", quantile(latencies, 0.5), "s")
	b.report.add("time to final at half load, p95", quantile(latencies, 0.95), "s")
	b.report.add("time to final at half load, p99", quantile(latencies, 0.99), "s")
	if err := b.resident(net, ""); err != nil {
		return err
	}
	if err := b.lone(ctx, w); err != nil {
		return err
	}
	perEntry := float64(s.bytes) / entries
	return b.engine(ctx, s, perEntry)
}

// resident reports the most memory that a validator had.
func (b *bench) resident(net *testnet.Network, suffix string) error {
	var worst resident
	for i := range net.Nodes {
		r, err := residentOf(net.PID(i))
		if err != nil {
			return err
		}
		if r.now > worst.now {
			worst = r
		}
	}
	b.report.add("resident memory, largest validator"+suffix, float64(worst.now)/(1<<20), "MiB")
	b.report.add("  of it pages of mapped files"+suffix, float64(worst.files)/(1<<20), "MiB")
	b.report.add("  peak"+suffix, float64(worst.peak)/(1<<20), "MiB")
	return nil
}

// lone measures single batches of one entry on an otherwise idle network.
func (b *bench) lone(ctx context.Context, w *world) error {
	var latencies []time.Duration
	p := w.payees[0]
	for _, waiting := range w.queue { // the lone ones come next
		if err := w.settle(ctx, waiting); err != nil {
			return err
		}
	}
	w.queue = nil
	for i := range 20 {
		one := w.signBatch(p, p.nonce, p.channels[i:i+1], rounds-1, 0)
		p.nonce++
		begin := time.Now()
		if err := w.settle(ctx, one); err != nil {
			return err
		}
		latencies = append(latencies, time.Since(begin))
	}
	slices.Sort(latencies)
	b.report.add("time to final of a lone settlement, p50", quantile(latencies, 0.5), "s")
	b.report.add("time to final of a lone settlement, p95", quantile(latencies, 0.95), "s")
	return nil
}

// engine measures the consensus engine alone on the bytes of s.
func (b *bench) engine(ctx context.Context, s span, perEntry float64) error {
	b.report.step("the same engine with an application that does nothing")
	cost, err := measureEngine(ctx, engineLoad{
		bundle: int(perEntry * batchEntries), outstanding: int64(perEntry * inFlight * batchEntries),
		duration: b.window / 2, dir: b.dir,
	})
	if err != nil {
		return err
	}
	b.report.add(engineFigure, cost.bytesPerSecond/perEntry, "entries/s")
	b.report.addRatio("settled entries against the engine alone", s.perSecond(), "entries/s", engineFigure)
	b.report.add("engine alone, cpu per entry and validator", cost.cpuPerByte*perEntry*1e6/validators, "us")
	b.report.addRatio("all cpu per entry against the engine alone", s.cpu(), "us", "engine alone, cpu per entry and validator")
	return nil
}

// openAll opens count channels and tells how far it is.
func (b *bench) openAll(ctx context.Context, w *world, count int) error {
	begin, last := time.Now(), time.Now()
	err := w.open(ctx, count, func(done int) {
		if time.Since(last) > 5*time.Second {
			last = time.Now()
			b.report.step("  opened %d of %d channels", done, count)
		}
	})
	if err != nil {
		return err
	}
	b.report.add(fmt.Sprintf("channels opened, up to %d", count), float64(count)/time.Since(begin).Seconds(), "channels/s")
	return nil
}

// end stops the network and frees its disk.
func (b *bench) end(net *testnet.Network, w *world) {
	w.close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := errors.Join(net.Stop(ctx), os.RemoveAll(net.Dir)); err != nil {
		fmt.Fprintln(os.Stderr, "bench: end network:", err)
	}
}
