//go:build !race

package safeguard

// How many histories are run in memory where nothing else is said.
const (
	lawHistories   = 200
	modelHistories = 60
)
