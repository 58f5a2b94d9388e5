package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/node/genesis"
	"github.com/tributary-network/tributary/node/home"
	"github.com/tributary-network/tributary/zone"
)

func (c *cli) serviceCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "service", Short: "Show the services of the network, and register one"}
	cmd.AddCommand(c.serviceListCommand(), c.serviceShowCommand(), c.serviceRegisterCommand(), c.serviceUpdateCommand())
	return cmd
}

// zoneResult is what is shown of a zone of a service.
type zoneResult struct {
	Number        byte     `json:"number"`
	Region        string   `json:"region"`
	Shards        uint32   `json:"shards"` // in the present epoch
	ShareBps      uint32   `json:"share_bps"`
	EntryFee      drops    `json:"entry_fee"`
	BlockBytes    uint32   `json:"block_bytes"`
	HeavyBytes    uint32   `json:"heavy_bytes"`
	MessageBytes  uint32   `json:"message_bytes"`
	LinkMessages  uint32   `json:"link_messages"`
	LinkBytes     uint32   `json:"link_bytes"`
	ExpiryAnchors uint32   `json:"expiry_anchors"`
	Replication   uint8    `json:"replication"`
	Proofs        []string `json:"proofs"`
}

// serviceResult is what is shown of a service.
type serviceResult struct {
	ID            uint32       `json:"id"`
	Name          string       `json:"name"`
	Version       uint32       `json:"version"`
	Owner         string       `json:"owner"`
	SpecHash      ledger.Hash  `json:"spec_hash"`
	UnitName      string       `json:"unit_name"`
	UnitSize      uint64       `json:"unit_size"`
	Proof         string       `json:"proof"`
	ShardsPerZone uint8        `json:"shards_per_zone"`
	CommitteeSize uint32       `json:"committee_size"`
	MinStake      drops        `json:"min_stake"`
	ShareBps      uint32       `json:"share_bps"`
	EntryFee      drops        `json:"entry_fee"`
	Zones         []zoneResult `json:"zones"`
	Validators    uint32       `json:"validators"`
	Servers       []uint64     `json:"served_by,omitempty"` // of 'service show'
	Epoch         uint64       `json:"epoch"`
	Height        uint64       `json:"height"`
}

func newServiceResult(s *client.ServiceInfo) serviceResult {
	r := serviceResult{
		ID: s.ID, Name: s.Name, Version: s.Version, Owner: s.Owner.String(), SpecHash: s.SpecHash, UnitName: s.Unit.Name, UnitSize: s.Unit.Size,
		Proof: s.Proof.String(), ShardsPerZone: s.ServiceType.Shards, CommitteeSize: s.CommitteeSize, MinStake: drops(s.MinStake),
		ShareBps: s.Fees.ShareBps, EntryFee: drops(s.Fees.Entry), Zones: []zoneResult{}, Validators: s.Validators, Servers: s.Servers,
		Epoch: s.Epoch, Height: s.Height,
	}
	for i := range s.Zones {
		p := &s.Zones[i].Policy
		z := zoneResult{
			Number: s.Zones[i].Number, Region: p.Region, Shards: s.Shards[i], ShareBps: p.Fees.ShareBps, EntryFee: drops(p.Fees.Entry),
			BlockBytes: p.Limits.BlockBytes, HeavyBytes: p.Limits.HeavyBytes, MessageBytes: p.Limits.MessageBytes, LinkMessages: p.Limits.LinkMessages, LinkBytes: p.Limits.LinkBytes,
			ExpiryAnchors: p.Limits.ExpiryAnchors, Replication: p.Replication, Proofs: []string{},
		}
		for k := zone.NoProof; k <= zone.CallTime; k++ {
			if p.Proofs.Has(k) {
				z.Proofs = append(z.Proofs, k.String())
			}
		}
		r.Zones = append(r.Zones, z)
	}
	return r
}

func (r *serviceResult) shards() (n uint32) {
	for i := range r.Zones {
		n += r.Zones[i].Shards
	}
	return n
}

func (r *serviceResult) fields(t *table) {
	t.field("service", r.ID)
	t.field("name", r.Name)
	t.field("version", r.Version)
	t.field("owner", r.Owner)
	t.field("specification", r.SpecHash)
	t.field("unit", fmt.Sprintf("%s of %d", r.UnitName, r.UnitSize))
	t.field("proof", r.Proof)
	t.field("shards of a new zone", r.ShardsPerZone)
	t.field("seats of a shard", r.CommitteeSize)
	t.field("least stake", ledger.Amount(r.MinStake))
	t.field("fees", feesText(r.ShareBps, ledger.Amount(r.EntryFee)))
	t.field("served by", strings.Join(numbers(r.Servers), ", "))
	t.line("")
	t.row("ZONE", "REGION", "SHARDS", "FEES", "COPIES", "PROOFS", "BLOCK", "HEAVY", "MESSAGE")
	for i := range r.Zones {
		z := &r.Zones[i]
		t.row(z.Number, z.Region, z.Shards, shortFees(z.ShareBps, ledger.Amount(z.EntryFee)), z.Replication,
			strings.Join(z.Proofs, ","), z.BlockBytes, z.HeavyBytes, z.MessageBytes)
	}
}

// feesText says what is taken of settlements.
func feesText(shareBps uint32, entry ledger.Amount) string {
	if shareBps == 0 && entry == 0 {
		return "none"
	}
	return fmt.Sprintf("%s %% and %s of each entry", percent(uint64(shareBps)), coins(entry))
}

// shortFees is feesText for a table.
func shortFees(shareBps uint32, entry ledger.Amount) string {
	if shareBps == 0 && entry == 0 {
		return "none"
	}
	return fmt.Sprintf("%s %% + %s", percent(uint64(shareBps)), entry)
}

func numbers(list []uint64) (texts []string) {
	for _, n := range list {
		texts = append(texts, strconv.FormatUint(n, 10))
	}
	return texts
}

func (c *cli) serviceListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the services",
		Args:  cobra.NoArgs,
		RunE: c.connected(func(run *run) error {
			list := []serviceResult{}
			for s, err := range run.conn.Services(run.ctx) {
				if err != nil {
					return err
				}
				list = append(list, newServiceResult(&s))
			}
			return c.print(list, func(t *table) {
				t.row("ID", "NAME", "UNIT", "PROOF", "ZONES", "SHARDS", "VALIDATORS", "OWNER")
				for i := range list {
					r := &list[i]
					t.row(r.ID, r.Name, fmt.Sprintf("%s of %d", r.UnitName, r.UnitSize), r.Proof, len(r.Zones), r.shards(), r.Validators, r.Owner)
				}
			})
		}),
	}
}

// service reads a service, and says how to find one if there is none.
func (run *run) service(name string) (client.ServiceInfo, error) {
	s, err := run.conn.Service(run.ctx, name)
	if code, _ := chain.CodeOf(err); code == chain.CodeUnknownService {
		return s, exitf(exitNotFound, "there is no service %q; 'tributary service list' shows those there are", name)
	}
	return s, err
}

func (c *cli) serviceShowCommand() *cobra.Command {
	var file bool
	cmd := &cobra.Command{
		Use:   "show SERVICE",
		Short: "Show a service, by its name or id, with its zones and who serves it",
		Long: `Show a service, by its name or id, with its zones, their policies, and who serves
it. --file prints it as 'service update' and a genesis read it.`,
		Args: cobra.ExactArgs(1),
		RunE: c.connected(func(run *run) error {
			s, err := run.service(run.args[0])
			if err != nil {
				return err
			}
			if file {
				_, err := c.stdout.Write(genesis.EncodeService(&s.ServiceType))
				return err
			}
			r := newServiceResult(&s)
			return c.print(r, r.fields)
		}),
	}
	cmd.Flags().BoolVar(&file, "file", false, "print it as 'service update' reads it, in JSON")
	return cmd
}

// serviceFlags are those of a registration.
type serviceFlags struct {
	from, file, spec, unit, proof string
	id                            uint32
	zones                         []string
	shards                        uint8
	seats                         uint32
	minStake, entryFee            amountFlag
	share                         percentFlag
	how                           submitHow
}

func (c *cli) serviceRegisterCommand() *cobra.Command {
	var f serviceFlags
	cmd := &cobra.Command{
		Use:   "register [NAME]",
		Short: "Register a service; the signer owns it",
		Long: `Register a service; the signer owns it. Its zones get their shards two epochs later,
with committees of the validators that serve it by then; see 'validator serve'.

The id, the unit and the proof stay for ever, and so do the zones. Everything else may
change with 'service update', the fees too: those of a channel are those at its opening.
The owner gets its fees of what channels pay out, after the network's burn and the fees of
the payer's zone, which are burned. Zones have the default policy, without fees; --file takes the whole
service from a file instead, as 'service show --file' prints it.`,
		Example: "  tributary service register video --id 7 --spec video.md --unit chunk:262144 --zone 0:eu-west --from alice",
		Args:    cobra.MaximumNArgs(1),
		RunE: c.connected(func(run *run) error {
			s, err := run.described(&f)
			if err != nil {
				return err
			}
			return run.submitService(chain.KindRegisterService, &s, &f)
		}),
	}
	c.signing(cmd, &f.from)
	flags := cmd.Flags()
	flags.Uint32Var(&f.id, "id", 0, "its id, for ever, from 1; 'service list' shows which are taken")
	flags.StringVar(&f.spec, "spec", "", "file that says what the service is; its SHA-256 hash is registered")
	flags.StringVar(&f.unit, "unit", "", "what is counted and how much of it one unit is, as in chunk:262144")
	flags.StringVar(&f.proof, "proof", zone.NoProof.String(), "how providers prove their work: none, bandwidth, storage or call-time")
	flags.StringArrayVar(&f.zones, "zone", nil, "a zone, as in 0:eu-west: the first byte of its accounts' addresses, and its region; may be repeated")
	flags.Uint8Var(&f.shards, "shards", 1, "shards of each new zone, up to 16")
	flags.Uint32Var(&f.seats, "committee-size", 32, "validators that serve each shard, from 4")
	flags.Var(&f.minStake, "min-stake", "least stake of a validator that may serve, in coins (default none)")
	flags.Var(&f.share, "share", "what the owner gets of settlements, in per cent, 50 at most (default none)")
	flags.Var(&f.entryFee, "entry-fee", "and of each entry of them, in coins, 1 % of what the entry pays at most (default none)")
	flags.StringVar(&f.file, "file", "", "file with the whole service, instead of NAME and the flags above")
	f.how.flags(cmd)
	return cmd
}

func (c *cli) serviceUpdateCommand() *cobra.Command {
	var f serviceFlags
	cmd := &cobra.Command{
		Use:   "update --file FILE",
		Short: "Replace a service by its next version; only its owner may",
		Long: `Replace a service by what a file says, as 'service show --file' prints it; only its
owner may. The version is counted up if the file has the present one. The id, the unit
and the proof stay, and zones may only be added. Fees of the service and of its zones hold
for channels opened from then on. Each shard of a zone that is new costs
what it costs in a registration.`,
		Example: "  tributary service show content --file > content.json\n  tributary service update --file content.json --from alice",
		Args:    cobra.NoArgs,
		RunE: c.connected(func(run *run) error {
			if f.file == "" {
				return usagef("update to what? name a file with --file; 'tributary service show SERVICE --file' prints one")
			}
			s, err := readService(f.file)
			if err != nil {
				return err
			}
			now, err := run.service(strconv.FormatUint(uint64(s.ID), 10))
			if err != nil {
				return err
			}
			if s.Version == now.Version {
				s.Version++
			}
			if err := now.CheckSuccessor(&s); err != nil {
				return usagef("%s: %w", f.file, err)
			}
			return run.submitService(chain.KindUpdateService, &s, &f)
		}),
	}
	c.signing(cmd, &f.from)
	cmd.Flags().StringVar(&f.file, "file", "", "file with the whole service")
	f.how.flags(cmd)
	return cmd
}

// readService reads a service from a file.
func readService(path string) (zone.ServiceType, error) {
	data, err := home.ReadFile(path, maxInput)
	if err != nil {
		return zone.ServiceType{}, usagef("read the service: %w", err)
	}
	s, err := genesis.DecodeService(data)
	if err != nil {
		return zone.ServiceType{}, usagef("%s: %w", path, err)
	}
	return s, nil
}

// described returns the service that the arguments describe.
func (run *run) described(f *serviceFlags) (s zone.ServiceType, err error) {
	if f.from == "" {
		return s, usagef("who owns it? name the key that signs with --from")
	}
	owner, err := run.conn.address(f.from)
	if err != nil {
		return s, err
	}
	if f.file != "" {
		if len(run.args) > 0 {
			return s, usagef("give NAME or --file, not both")
		}
		if s, err = readService(f.file); err != nil {
			return s, err
		}
		if s.Owner.IsZero() {
			s.Owner = owner
		}
	} else if s, err = f.service(run.args, owner); err != nil {
		return s, err
	}
	if s.Owner != owner {
		return s, usagef("%s: owner is %s, want that of --from, %s", f.file, s.Owner, owner)
	}
	if err := s.Validate(); err != nil {
		return s, usagef("%w", err)
	}
	return s, nil
}

// service is the service that flags describe. What they leave open is refused later.
func (f *serviceFlags) service(args []string, owner ledger.Address) (s zone.ServiceType, err error) {
	switch {
	case len(args) == 0:
		return s, usagef("what is it called? give NAME, or the whole service with --file")
	case f.id == 0:
		return s, usagef("which id has it? give one from 1 with --id; 'tributary service list' shows which are taken")
	case f.spec == "":
		return s, usagef("what is it? name the file that says so with --spec")
	case f.unit == "":
		return s, usagef("what does it count? say it with --unit, as in chunk:262144")
	case len(f.zones) == 0:
		return s, usagef("where is it? give a zone at least with --zone, as in 0:eu-west")
	}
	s = zone.ServiceType{
		ID: f.id, Name: args[0], Shards: f.shards, CommitteeSize: f.seats, MinStake: f.minStake.value,
		Fees: zone.Fees{ShareBps: f.share.bps, Entry: f.entryFee.value}, Owner: owner, Version: 1,
	}
	text, err := home.ReadFile(f.spec, maxInput)
	if err != nil {
		return s, usagef("--spec: %w", err)
	}
	s.SpecHash = sha256.Sum256(text)
	name, size, _ := strings.Cut(f.unit, ":")
	if s.Unit.Size, err = strconv.ParseUint(size, 10, 64); err != nil {
		return s, usagef("--unit is %q, want a name and a number, as in chunk:262144", f.unit)
	}
	s.Unit.Name = name
	kinds := []zone.ProofKind{zone.NoProof, zone.Bandwidth, zone.Storage, zone.CallTime}
	at := slices.IndexFunc(kinds, func(k zone.ProofKind) bool { return k.String() == f.proof })
	if at < 0 {
		return s, usagef("--proof is %q, want one of %v", f.proof, kinds)
	}
	s.Proof = kinds[at]
	for _, text := range f.zones {
		number, region, found := strings.Cut(text, ":")
		n, err := strconv.ParseUint(number, 10, 8)
		if err != nil || !found {
			return s, usagef("--zone is %q, want a number from 0 to 255 and a region, as in 0:eu-west", text)
		}
		s.Zones = append(s.Zones, zone.Zone{Number: byte(n), Policy: zone.DefaultPolicy(region)})
	}
	slices.SortFunc(s.Zones, func(a, b zone.Zone) int { return int(a.Number) - int(b.Number) })
	return s, nil
}

// submitService submits a service and says what follows.
func (run *run) submitService(kind chain.Kind, s *zone.ServiceType, f *serviceFlags) error {
	err := run.submit(f.from, kind, s.Encode(), f.how)
	if code, _ := chain.CodeOf(err); code == chain.CodeServiceUsed {
		return fmt.Errorf("%w; 'tributary service list' shows which ids and names are taken", err)
	}
	if err == nil && !f.how.dryRun {
		run.conn.cli.note("new zones have shards two epochs from now; 'tributary shard map %s' shows them, and who serves them", s.Name)
		run.conn.cli.note("specification %s", hex.EncodeToString(s.SpecHash[:]))
	}
	return err
}
