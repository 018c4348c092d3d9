package daemon

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// heapPercent lets a process take three times its live heap: services keep large, long-lived caches and produce small garbage
	// fast, and with Go's default of 100 the collector would scan the caches all the time.
	heapPercent = 200
	// modestMemory is what a process stays below while that leaves the collector room: with what lies outside of the heap it is
	// 300 MB. Most of a service that has no large cache is the configuration, and three times that is much to ask of each.
	modestMemory = 230 << 20
	// modestUse is the most that may be in use, stacks included, for there to be room: beyond it heapPercent alone counts.
	modestUse = modestMemory * 6 / 10
	// measureEvery is how often the use is looked at.
	measureEvery = time.Second
)

// boundMemory has the collector keep to the bounds above until ctx ends; GOGC and GOMEMLIMIT override them.
func boundMemory(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(heapPercent)
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetMemoryLimit(modestMemory)
	go func() {
		tick := time.NewTicker(measureEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			debug.SetMemoryLimit(memoryLimit(inUse()))
		}
	}()
}

// inUse is the live heap after the last collection and what lies outside of the heap, such as stacks.
func inUse() uint64 {
	all := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(all)
	outside := all[1].Value.Uint64()
	for _, s := range all[2:] {
		outside -= min(outside, s.Value.Uint64())
	}
	return all[0].Value.Uint64() + outside
}

// memoryLimit is the soft limit of a process with so much in use.
func memoryLimit(used uint64) int64 {
	if used > modestUse {
		return math.MaxInt64
	}
	return modestMemory
}
