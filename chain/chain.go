// Package chain holds what the rules of every kind of chain share: how state is
// read and written (View, Overlay, Changes), how a transaction is framed and
// signed (Header, Tx), how transactions travel together (Bundle), and the
// numbered reasons for which a rule refuses something (Code, RuleError).
//
// It lies below the line of purity: no clock, disk, network or goroutine. The
// same bytes in give the same bytes out on every machine.
package chain
