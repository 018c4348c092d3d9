// Package profile holds ready classes of service, one safeguard each, as a law or a common practice requires.
//
// A profile is a YAML file that `tollgate apply -f` accepts, with the source of each value beside it; a class that
// needs several of them combines their options. Tests here compare each file with the figures of its source, and
// services/safeguard tests what a subscriber under it experiences.
package profile
