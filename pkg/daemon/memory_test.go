package daemon

import (
	"math"
	"runtime"
	"testing"
)

func TestMemoryLimit_BindsWhileThereIsRoom(t *testing.T) {
	for used, want := range map[uint64]int64{0: modestMemory, modestUse: modestMemory, modestUse + 1: math.MaxInt64, 1 << 40: math.MaxInt64} {
		if got := memoryLimit(used); got != want {
			t.Errorf("with %d bytes in use the limit is %d, want %d", used, got, want)
		}
	}
}

func TestInUse_CountsWhatIsAlive(t *testing.T) {
	runtime.GC()
	before := inUse()
	kept := make([]byte, 64<<20)
	for i := range kept {
		kept[i] = 1
	}
	runtime.GC()
	if grown := int64(inUse()) - int64(before); grown < 60<<20 || grown > 80<<20 {
		t.Errorf("64 MiB more are %d bytes more", grown)
	}
	runtime.KeepAlive(kept)
}
