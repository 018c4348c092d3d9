// Package cli is the command line, tollgate: one file for each command, and what they share.
//
// Every command is done when it exits: 0 means it did what it was asked to, 1 that something failed and was named, 2 that
// it was called wrongly and did nothing. Answers go to standard output, all else to standard error.
package cli
