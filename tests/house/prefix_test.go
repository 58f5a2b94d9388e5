package house_test

import (
	"regexp"
	"strings"
	"testing"
)

// TestStatePrefixes: the packages whose rows are in one state begin their keys with
// bytes of their own. Those of links are in the states of all chains.
func TestStatePrefixes(t *testing.T) {
	t.Parallel()
	states := map[string][]string{
		"main chain": {"chain/settlement/", "chain/channel/", "chain/staking/", "chain/registry/", "chain/anchor/", "shard/link/"},
		"shard":      {"chain/service/", "chain/shardblock/", "shard/link/"},
	}
	constant := regexp.MustCompile(`(?m)^\s*(?:const )?([pP]refix\w*)\s*=\s*'(.)'`)
	sources := map[string]string{}
	for _, name := range files(t) {
		if handwritten(name) && !strings.HasSuffix(name, "_test.go") {
			sources[name] = string(read(t, name))
		}
	}
	for state, folders := range states {
		owner := map[string]string{}
		for _, folder := range folders {
			for name, source := range sources {
				if base, ok := strings.CutPrefix(name, folder); !ok || strings.Contains(base, "/") {
					continue
				}
				for _, m := range constant.FindAllStringSubmatch(source, -1) {
					if other := owner[m[2]]; other != "" {
						t.Errorf("state of the %s: keys of %s (%s) and of %s begin with %q", state, name, m[1], other, m[2])
					}
					owner[m[2]] = name + " (" + m[1] + ")"
				}
			}
		}
		if len(owner) < len(folders) {
			t.Errorf("state of the %s: %d prefixes found in %d packages", state, len(owner), len(folders))
		}
	}
}
