//go:build race

package account

// The race detector makes each history eight times as long; all of them are run without it as well.
const (
	lawHistories          = 20
	lawHistoriesServers   = 10
	movesHistoriesServers = 5
	modelHistories        = 12
)
