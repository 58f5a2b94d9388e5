package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
)

func (c *cli) routeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "route", Short: "Find the shards of accounts, and those with room"}
	cmd.AddCommand(c.routeLocateCommand(), c.routeHintCommand(), c.routeLoadCommand())
	return cmd
}

// locationResult is the home of an account on a service.
type locationResult struct {
	Service   uint32   `json:"service"`
	Shard     uint32   `json:"shard"`
	Zone      byte     `json:"zone"`
	Bucket    string   `json:"bucket"`
	Buckets   string   `json:"buckets"`
	Epoch     uint64   `json:"epoch"`
	Next      uint32   `json:"next_shard"`
	Anchored  uint64   `json:"anchored_height"`
	Level     *uint16  `json:"level_bps,omitempty"`
	Hosted    bool     `json:"hosted"`
	Endpoints []string `json:"endpoints"`
}

func newLocation(l *client.Location) locationResult {
	r := locationResult{
		Service: l.Service, Shard: uint32(l.Shard), Zone: l.Place.Zone, Bucket: fmt.Sprintf("%02x", l.Place.Bucket), Buckets: l.Buckets.String(),
		Epoch: l.Epoch, Next: uint32(l.Next), Anchored: l.Anchored, Hosted: l.Hosted, Endpoints: append([]string{}, l.Endpoints...),
	}
	if l.Level != nil {
		r.Level = new(uint16(*l.Level))
	}
	return r
}

// nodes says who runs the shard.
func nodes(hosted bool, endpoints []string) string {
	list := endpoints
	if hosted {
		list = append([]string{"this one"}, list...)
	}
	const most = 4
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, ", ")
}

func (c *cli) routeLocateCommand() *cobra.Command {
	var srv string
	cmd := &cobra.Command{
		Use:   "locate ADDRESS|NAME",
		Short: "Show which shards are the home of an account",
		Long: `Show which shards are the home of an account, on all services or on one: where what its
channels pay is booked, and where what it earns is counted. The home follows from the
address: zone and bucket are its first two bytes.`,
		Args: cobra.ExactArgs(1),
		RunE: c.connected(func(run *run) error {
			address, err := run.conn.address(run.args[0])
			if err != nil {
				return err
			}
			found, err := run.conn.Locate(run.ctx, address, srv)
			if err != nil {
				return err
			}
			list := []locationResult{}
			for i := range found {
				list = append(list, newLocation(&found[i]))
			}
			return c.print(list, func(t *table) {
				t.row("SERVICE", "SHARD", "ZONE", "BUCKET", "OF", "NEXT EPOCH", "ANCHORED", "NODES")
				for i := range list {
					r := &list[i]
					next := "the same"
					if r.Next != r.Shard {
						next = fmt.Sprintf("shard %d", r.Next)
					}
					t.row(r.Service, r.Shard, r.Zone, r.Bucket, r.Buckets, next, r.Anchored, nodes(r.Hosted, r.Endpoints))
				}
			})
		}),
	}
	cmd.Flags().StringVar(&srv, "service", "", "name or id of a service (default: all)")
	return cmd
}

// choiceResult is a shard that one had better use.
type choiceResult struct {
	Zone      byte     `json:"zone"`
	Shard     uint32   `json:"shard"`
	Level     uint16   `json:"level_bps"`
	Endpoints []string `json:"endpoints"`
}

// hintResult is where to go.
type hintResult struct {
	Account  string       `json:"account"`
	Home     choiceResult `json:"home"`
	Provider choiceResult `json:"provider"`
	Epoch    uint64       `json:"epoch"`
}

func newChoice(h *client.Choice) choiceResult {
	return choiceResult{h.Zone, uint32(h.Shard), uint16(h.Level), append([]string{}, h.Endpoints...)}
}

func (c *cli) routeHintCommand() *cobra.Command {
	var from string
	var zones []int
	cmd := &cobra.Command{
		Use:   "hint SERVICE",
		Short: "Show in which zone a key had better live, and whose providers it had better use",
		Long: `Show in which zone the owner of a key had better make its account on a service, and the
shard whose providers it had better use: the least congested, and of those that are as
good the one that the key decides.

A key has an account in every zone. Commands mean that of zone 0, and alice@1 is that of
the key alice in zone 1; it has to be given some coins first, by 'tx transfer alice@1'.`,
		Args: cobra.ExactArgs(1),
		RunE: c.connected(func(run *run) error {
			s, err := run.service(run.args[0])
			if err != nil {
				return err
			}
			key, err := run.conn.publicKey(from)
			if err != nil {
				return err
			}
			only := make([]byte, 0, len(zones))
			for _, z := range zones {
				if z < 0 || z > 255 {
					return usagef("--zone is %d, zones are 0 to 255", z)
				}
				only = append(only, byte(z))
			}
			hint, err := run.conn.Hint(run.ctx, s.Name, key, only...)
			if err != nil {
				return err
			}
			r := hintResult{Account: hint.Account.String(), Home: newChoice(&hint.Home), Provider: newChoice(&hint.Provider), Epoch: hint.Epoch}
			return c.print(r, func(t *table) {
				t.row("", "ZONE", "SHARD", "LEVEL", "NODES")
				t.row("home", r.Home.Zone, r.Home.Shard, bar(hint.Home.Level), nodes(false, r.Home.Endpoints))
				t.row("provider", r.Provider.Zone, r.Provider.Shard, bar(hint.Provider.Level), nodes(false, r.Provider.Endpoints))
				t.line("")
				t.line("account of the key at home: %s", r.Account)
				if name, _, err := inZone(from); err == nil {
					t.line("that is %s%s%d where commands take a name", name, zoneSign, r.Home.Zone)
				}
			})
		}),
	}
	cmd.Flags().StringVar(&from, "from", "", "name of the key, whose passphrase is not needed")
	cmd.Flags().IntSliceVar(&zones, "zone", nil, "zones to choose from (default: all)")
	return cmd
}

// loadResult is how congested a shard is.
type loadResult struct {
	Shard      uint32 `json:"shard"`
	Service    uint32 `json:"service"`
	Zone       byte   `json:"zone"`
	Level      uint16 `json:"level_bps"`
	Inbox      uint64 `json:"inbox"`
	Outbox     uint64 `json:"outbox"`
	Bytes      uint64 `json:"bytes"`
	Missed     uint64 `json:"missed_anchors"`
	RetryAfter string `json:"retry_after,omitempty"`
	Source     string `json:"source"`
	Height     uint64 `json:"height,omitempty"`
}

func (c *cli) routeLoadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "load [SERVICE]",
		Short: "Show how congested shards are",
		Long: `Show how congested the shards of all services are, or of one: the fullest of its inbox,
its outbox, their bytes, and the anchors it missed. Above 25 % a shard takes no new
bookings, and says when to come again.

The source is here if the node that is asked runs the shard, peer if another node that
does said so, and anchors if nobody answered, so that only missing anchors count.`,
		Args: cobra.MaximumNArgs(1),
		RunE: c.connected(func(run *run) error {
			name := ""
			if len(run.args) > 0 {
				s, err := run.service(run.args[0])
				if err != nil {
					return err
				}
				name = s.Name
			}
			list := []loadResult{}
			var loads []client.Congestion
			for x, err := range run.conn.Congestion(run.ctx, name) {
				if err != nil {
					return err
				}
				loads = append(loads, x)
				r := loadResult{
					Shard: uint32(x.Shard), Service: x.Service, Zone: x.Zone, Level: uint16(x.Level), Inbox: x.Backlog.Inbox, Outbox: x.Backlog.Outbox,
					Bytes: x.Backlog.Bytes, Missed: x.Backlog.MissedAnchors, Source: x.Source, Height: x.Height,
				}
				if x.RetryAfter > 0 {
					r.RetryAfter = x.RetryAfter.Round(time.Millisecond).String()
				}
				list = append(list, r)
			}
			return c.print(list, func(t *table) {
				t.row("SHARD", "SERVICE", "ZONE", "LEVEL", "INBOX", "OUTBOX", "BYTES", "MISSED ANCHORS", "RETRY AFTER", "SOURCE")
				for i := range list {
					r := &list[i]
					t.row(r.Shard, r.Service, r.Zone, bar(loads[i].Level), r.Inbox, r.Outbox, r.Bytes, r.Missed, r.RetryAfter, r.Source)
				}
			})
		}),
	}
}
