//go:build race

package foldtest_test

// The race detector makes each history eight times as long; all of them are run without it as well.
const (
	lawHistories          = 200
	lawHistoriesServers   = 30
	movesHistoriesServers = 10
)
