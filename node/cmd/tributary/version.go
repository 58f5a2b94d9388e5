package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/node/telemetry"
)

// build says what the program was made from.
type build struct {
	Version  string            `json:"version"`
	Commit   string            `json:"commit"`
	Go       string            `json:"go"`
	Platform string            `json:"platform"`
	Modules  map[string]string `json:"modules"`
}

// shownModules are the modules whose versions decide what the node does.
func shownModules() []string {
	return []string{
		"github.com/cometbft/cometbft",
		"github.com/cosmos/iavl",
		"github.com/dgraph-io/badger/v4",
		"github.com/oasisprotocol/curve25519-voi",
		"google.golang.org/grpc",
	}
}

// readBuild joins what the linker set with what the toolchain recorded.
func readBuild(version, commit string) build {
	b := build{
		Version: version, Commit: commit, Go: runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Modules: map[string]string{},
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	if b.Commit == "" {
		b.Commit = "unknown"
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	versions := map[string]string{}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		versions[m.Path] = m.Version
	}
	for _, path := range shownModules() {
		if v := versions[path]; v != "" {
			b.Modules[path] = v
		}
	}
	return b
}

// telemetry is what the node's metrics tell of the build.
func (b build) telemetry() telemetry.Build {
	return telemetry.Build{Version: b.Version, Commit: b.Commit, Go: b.Go, Comet: b.Modules["github.com/cometbft/cometbft"]}
}

func (c *cli) versionCommand() *cobra.Command {
	var long bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version, and with --long what it was built from",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if !long && c.output == "table" {
				_, err := c.stdout.Write([]byte("tributary " + c.build.Version + "\n"))
				return err
			}
			return c.print(c.build, func(t *table) {
				t.field("version", c.build.Version)
				t.field("commit", c.build.Commit)
				t.field("go", c.build.Go)
				t.field("platform", c.build.Platform)
				for _, path := range shownModules() {
					t.field(path, c.build.Modules[path])
				}
			})
		},
	}
	cmd.Flags().BoolVar(&long, "long", false, "also commit, toolchain, and versions of the main libraries")
	return cmd
}
