package main

import (
	"errors"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/staking"
)

// checkName refuses, as the value of --name, what the chain does not take.
func checkName(name string) error { return flagRefused("--name", staking.CheckName(name)) }

// checkEndpoints refuses, as the values of --endpoint, what the chain does not take.
func checkEndpoints(list []string) error {
	if len(list) > staking.MaxEndpoints {
		return usagef("--endpoint is given %d times, at most %d", len(list), staking.MaxEndpoints)
	}
	for _, e := range list {
		if err := flagRefused("--endpoint", staking.CheckEndpoint(e)); err != nil {
			return err
		}
	}
	return nil
}

// flagRefused says why the rules refuse the value of a flag.
func flagRefused(flag string, err error) error {
	if rule, ok := errors.AsType[*chain.RuleError](err); ok {
		return usagef("%s: %s", flag, rule.Detail)
	}
	return err
}
