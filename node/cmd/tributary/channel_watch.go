package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/api/client/pay"
	"github.com/tributary-network/tributary/ledger"
)

// eventResult is one line of a watch in JSON.
type eventResult struct {
	Event    string      `json:"event"` // "gap" if events are lost
	Height   uint64      `json:"height"`
	To       uint64      `json:"to,omitempty"` // of a gap
	Channel  ledger.Hash `json:"channel"`
	Index    uint64      `json:"index"`
	Payer    string      `json:"payer,omitempty"`
	Payee    string      `json:"payee,omitempty"`
	Deposit  drops       `json:"deposit"`
	Redeemed drops       `json:"redeemed"`
	Refunded drops       `json:"refunded"`
	Deadline uint64      `json:"deadline"`
	Token    string      `json:"token"`
}

func (c *cli) channelWatchCommand() *cobra.Command {
	var payer, payee, token string
	var from uint64
	cmd := &cobra.Command{
		Use:   "watch [CHANNEL...]",
		Short: "Tell what happens to channels until interrupted",
		Long: `Tell what happens to channels until interrupted, one line for each event; with
-o json one object on each line, with the token from which --token resumes.`,
		RunE: c.lasting(func(run *run) error {
			filter := client.WatchFilter{From: from, Token: token}
			for _, name := range run.args {
				id, err := parseHash(name)
				if err != nil {
					return err
				}
				filter.Channels = append(filter.Channels, id)
			}
			var err error
			if filter.Payer, err = run.optionalAddress(payer); err != nil {
				return err
			}
			if filter.Payee, err = run.optionalAddress(payee); err != nil {
				return err
			}
			if len(filter.Channels) == 0 && payer == "" && payee == "" {
				return usagef("watch which channels? name some, or give --payer or --payee")
			}
			return run.watch(filter)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&payer, "payer", "", "channels that this account pays from")
	flags.StringVar(&payee, "payee", "", "channels that pay this account")
	flags.Uint64Var(&from, "from-height", 0, "begin with the block of this height (default the next one)")
	flags.StringVar(&token, "token", "", "go on after the event that came with this token")
	return cmd
}

// optionalAddress reads an address, the zero one from "".
func (run *run) optionalAddress(who string) (ledger.Address, error) {
	if who == "" {
		return ledger.Address{}, nil
	}
	return run.conn.address(who)
}

// watch prints what happens until the command is interrupted.
func (run *run) watch(filter client.WatchFilter) error {
	for w, err := range run.conn.WatchChannels(run.ctx, filter) {
		if errors.Is(err, context.Canceled) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := run.conn.cli.printWatched(w); err != nil {
			return err
		}
	}
	return nil
}

func (c *cli) printWatched(w client.Watched) error {
	r := eventResult{Token: w.Token}
	switch {
	case w.Gap != nil:
		r.Event, r.Height, r.To = "gap", w.Gap.From, w.Gap.To
	case w.Event != nil:
		e := w.Event
		r.Event, r.Height, r.Channel, r.Index = eventName(e), e.Height, e.ID, e.Index
		r.Payer, r.Payee = e.Payer.String(), e.Payee.String()
		r.Deposit, r.Redeemed, r.Refunded, r.Deadline = drops(e.Deposit), drops(e.Redeemed), drops(e.Refunded), e.Deadline
	default:
		return nil // how far the node is
	}
	if c.output == "json" {
		return json.NewEncoder(c.stdout).Encode(r)
	}
	return r.line(c.stdout)
}

func eventName(e *pay.Event) string {
	if e.Kind == pay.EventExpiring {
		return "expiring"
	}
	return e.Kind.String()
}

func (r eventResult) line(w io.Writer) error {
	if r.Event == "gap" {
		_, err := fmt.Fprintf(w, "heights %d to %d are no longer known: read the channels anew\n", r.Height, r.To)
		return err
	}
	_, err := fmt.Fprintf(w, "%8d  %-16s %s  deposit %s, redeemed %s", r.Height, r.Event, r.Channel, coins(ledger.Amount(r.Deposit)), coins(ledger.Amount(r.Redeemed)))
	if err == nil && r.Deadline != 0 {
		_, err = fmt.Fprintf(w, ", deadline %d", r.Deadline)
	}
	if err == nil && r.Refunded != 0 {
		_, err = fmt.Fprintf(w, ", refunded %s", coins(ledger.Amount(r.Refunded)))
	}
	if err == nil {
		_, err = fmt.Fprintln(w)
	}
	return err
}
