//go:build !race

package simulation

// raced is whether the race detector is on.
const raced = false
