package account

import "github.com/tollgate/tollgate/pkg/simulation"

// How many histories are run, in memory unless named, and on real servers.
var (
	simulationHistories          = simulation.Histories{Short: 10, Test: 60, Long: 1400}
	movesHistories               = simulation.Histories{Short: 5, Test: 30, Long: 700}
	simulationHistoriesOnServers = simulation.Histories{Short: 4, Test: 20, Long: 200}
	movesHistoriesServers        = simulation.Histories{Short: 2, Test: 10, Long: 100}
	modelHistories               = simulation.Histories{Short: 6, Test: 40, Long: 600}
)
