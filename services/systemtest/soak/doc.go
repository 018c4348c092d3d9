// Package soak is what the soaks of the channels share: an installation that is killed at random, deliveries that are planned
// as trigger plans them, the comparison of those with what receivers got and what attempts hold, and the figures.
package soak
