// Package testnet makes and runs networks of several nodes on one machine:
// for people who try Tributary out, for tests, and for measurements.
//
// A network is a directory with a genesis, a home directory for each node and
// the keys of well-known accounts (Layout), those of the operators among them. It runs in this process (Start),
// in one process for each node (StartProcesses), or in containers (Files writes
// what they need). Every address is on loopback, every key is a test key, and
// the names of such networks are reserved: "local", and what begins with
// "local-".
//
// A directory is used by one process at a time, which holds its lock; while the
// network runs, running.json in it says where (Find). Everything a network left
// is removed by Remove.
package testnet

import "time"

// now is the time as a genesis has it.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
