package scan

import (
	"fmt"
	"runtime"
	"testing"
)

func TestWindow_RemembersTheLastAlone(t *testing.T) {
	w := NewWindow()
	key := func(i int) windowKey { return KeyOf(fmt.Sprint(i), "") }
	const n = WindowSize*2 + 100
	for i := range n {
		if w.Repeat(key(i)) {
			t.Fatalf("%d is taken as a repeat", i)
		}
		if i%1000 == 0 && (!w.Repeat(key(i)) || !w.Repeat(key(max(0, i-WindowSize+1)))) {
			t.Fatalf("the newest and the oldest are no repeats after %d", i)
		}
	}
	for i := range n {
		if got, want := w.Has(key(i)), i >= n-WindowSize; got != want {
			t.Fatalf("%d is held: %t, want %t", i, got, want)
		}
	}
}

func TestWindow_IsSmall(t *testing.T) {
	key := make([]windowKey, WindowSize)
	for i := range key {
		key[i] = KeyOf(fmt.Sprint(i), "")
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	w := NewWindow()
	for _, k := range key {
		w.Repeat(k)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if bytes := float64(after.HeapAlloc-before.HeapAlloc) / WindowSize; bytes > 24 {
		t.Errorf("%.1f bytes of heap a key", bytes)
	}
	runtime.KeepAlive(w)
	runtime.KeepAlive(key)
}
