//go:build !race

package statetest_test

// How many histories are run in memory where nothing else is said.
const (
	lawHistories = 1200
)
