// Package view holds what readers see of an owned partition, and the cache of committed values behind it.
package view

import (
	"slices"
	"sync"

	"github.com/tollgate/tollgate/pkg/state"
)

// View is what readers see of an owned partition: the state as committed last. Its cache spares the owner the store's
// read of records it wrote before.
type View struct {
	mu    sync.Mutex
	cache *cache
	w     state.Watermark
	ours  bool
	left  bool
	// watches are those who want to know when a record changes, by its key.
	watches map[string][]chan struct{}
}

func NewView(records int) *View { return &View{cache: newCache(records)} }

func (v *View) Enter(w state.Watermark) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cache.purge()
	v.w, v.ours = w, true
	v.signalAll()
}

func (v *View) Leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cache.purge()
	v.ours, v.left = false, true
	for _, list := range v.watches {
		for _, c := range list {
			close(c)
		}
	}
	v.watches = nil
}

// Watch signals changes of a committed value, until the partition is lost.
func (v *View) Watch(key string) (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.left {
		close(c)
		return c, func() {}
	}
	if v.watches == nil {
		v.watches = make(map[string][]chan struct{})
	}
	v.watches[key] = append(v.watches[key], c)
	return c, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		list := slices.DeleteFunc(v.watches[key], func(w chan struct{}) bool { return w == c })
		if len(list) > 0 {
			v.watches[key] = list
		} else {
			delete(v.watches, key)
		}
	}
}

// signalAll signals all watches; called locked.
func (v *View) signalAll() {
	for key := range v.watches {
		v.signal(key)
	}
}

// signal signals the watches of a key; called locked.
func (v *View) signal(key string) {
	for _, c := range v.watches[key] {
		select {
		case c <- struct{}{}:
		default: // one that was not taken yet is the same signal
		}
	}
}

// Get returns a cached value.
type Get func(key []byte) ([]byte, bool)

// Cached reads many cached values under one lock.
func (v *View) Cached(read func(get Get)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	read(v.cache.Get)
}

// Resize bounds how many records are kept.
func (v *View) Resize(records int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cache.resize(records)
}

// Read returns the watermark and a committed value of the same moment; ours is false while the partition is not.
func (v *View) Read(key string) (w state.Watermark, value []byte, cached, ours bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	value, cached = v.cache.Get([]byte(key))
	return v.w, value, cached, v.ours
}

// Remember adds values as loaded from the store.
func (v *View) Remember(keys []string, values [][]byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, value := range values {
		if value != nil {
			v.cache.put(keys[i], value)
		}
	}
}

func (v *View) Commit(w state.Watermark, c state.Commit) {
	v.mu.Lock()
	defer v.mu.Unlock()
	known := w.Status == state.Ready && v.w.Status != state.Ready
	v.w = w
	for _, e := range c.Puts {
		v.cache.put(e.Key, e.Value)
	}
	for _, key := range c.Deletes {
		v.cache.remove(key)
	}
	if len(v.watches) == 0 {
		return
	}
	if known {
		v.signalAll()
		return
	}
	for _, e := range c.Puts {
		v.signal(e.Key)
	}
	for _, key := range c.Deletes {
		v.signal(key)
	}
}

// Owned returns the watermark, while the partition is ours.
func (v *View) Owned() (state.Watermark, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.w, v.ours
}
