package fold

import (
	"slices"
	"sync"

	"github.com/tollgate/tollgate/pkg/state"
)

// view is what readers see of an owned partition: the state as committed last.
// Its cache spares the owner the store's read of records it wrote before.
type view struct {
	mu    sync.Mutex
	cache *cache
	w     state.Watermark
	ours  bool
	left  bool
	// watches are those who want to know when a record changes, by its key.
	watches map[string][]chan struct{}
}

func newView(records int) *view { return &view{cache: newCache(records)} }

func (v *view) enter(w state.Watermark) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cache.purge()
	v.w, v.ours = w, true
	v.signalAll()
}

func (v *view) leave() {
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

// watch signals changes of a committed value, until the partition is lost.
func (v *view) watch(key string) (changed <-chan struct{}, stop func()) {
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

// signalAll tells everybody; called locked.
func (v *view) signalAll() {
	for key := range v.watches {
		v.signal(key)
	}
}

// signal tells whoever watches a key; called locked.
func (v *view) signal(key string) {
	for _, c := range v.watches[key] {
		select {
		case c <- struct{}{}:
		default: // one that was not taken yet says the same
		}
	}
}

// resize bounds how many records are kept.
func (v *view) resize(records int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cache.resize(records)
}

// read returns the watermark and a committed value of the same moment; ours is
// false while the partition is not.
func (v *view) read(key string) (w state.Watermark, value []byte, cached, ours bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	value, cached = v.cache.get([]byte(key))
	return v.w, value, cached, v.ours
}

// remember adds values as loaded from the store.
func (v *view) remember(keys []string, values [][]byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, value := range values {
		if value != nil {
			v.cache.put(keys[i], value)
		}
	}
}

func (v *view) commit(w state.Watermark, c state.Commit) {
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

// owned returns the watermark, while the partition is ours.
func (v *view) owned() (state.Watermark, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.w, v.ours
}
