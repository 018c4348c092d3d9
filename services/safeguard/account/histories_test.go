//go:build !race

package account

// How many histories are run, in memory where nothing else is said, and on real servers.
const (
	lawHistories          = 140
	lawHistoriesServers   = 40
	movesHistoriesServers = 20
	modelHistories        = 60
)
