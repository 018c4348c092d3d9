//go:build !race

package foldtest_test

// How many histories are run, in memory where nothing else is said, and on real servers.
const (
	lawHistories          = 1200
	lawHistoriesServers   = 200
	movesHistoriesServers = 40
)
