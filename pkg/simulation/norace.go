//go:build !race

package simulation

// Raced is whether the race detector is on.
const Raced = false
