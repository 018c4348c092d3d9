// Package profile holds ready classes of service, one safeguard each, as a law or a practice has it.
//
// A profile is a YAML file that `tollgate apply -f` takes as it is, with the source of each value beside it; whoever needs
// more than one of them in a class puts their options together. What a file says is checked here against the figures, and
// in services/safeguard against what a subscriber under it sees.
package profile
