package main

import (
	"errors"
	"fmt"

	"github.com/tributary-network/tributary/api/client"
	"github.com/tributary-network/tributary/node/keystore"
)

// Exit codes, documented in the package comment and in the README.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitNotSynced   = 4
	exitUnavailable = 5
)

// usageError is a command line that makes no sense.
type usageError struct{ err error }

// Error returns the text of what is wrong.
func (e *usageError) Error() string { return e.err.Error() }

// Unwrap returns what is wrong.
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// codedError is an error that ends the program with a code of its own.
type codedError struct {
	code int
	err  error
}

// Error returns the text of the error.
func (e *codedError) Error() string { return e.err.Error() }

// Unwrap returns the error.
func (e *codedError) Unwrap() error { return e.err }

func exitf(code int, format string, args ...any) error {
	return &codedError{code, fmt.Errorf(format, args...)}
}

// wrongField reports whether a node refused a request for a field that makes no
// sense, which came from the command line.
func wrongField(err error) bool {
	e, ok := errors.AsType[*client.Error](err)
	return ok && e.Reason == "INVALID_FIELD"
}

// exitCode says what the program ends with after err.
func exitCode(err error) int {
	var usage *usageError
	var coded *codedError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &usage), errors.Is(err, keystore.ErrName), wrongField(err):
		return exitUsage
	}
	return remoteExitCode(err)
}
