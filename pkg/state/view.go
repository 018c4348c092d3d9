package state

import (
	"context"
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// view is what readers see of an owned partition: the state as committed last.
// Its cache spares the owner the store's read of records it wrote before.
type view struct {
	mu    sync.Mutex
	cache *simplelru.LRU[string, []byte]
	w     Watermark
	ours  bool
	left  bool
	// watches are those who want to know when a record changes, by its key.
	watches map[string][]chan struct{}
}

func newView(records int) *view {
	cache, err := simplelru.NewLRU[string, []byte](max(records, 1), nil)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &view{cache: cache}
}

func (v *view) enter(w Watermark) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cache.Purge()
	v.w, v.ours = w, true
	v.signalAll()
}

func (v *view) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cache.Purge()
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
	v.cache.Resize(max(records, 1))
}

// read returns the watermark and a committed value of the same moment; ours is
// false while the partition is not.
func (v *view) read(key string) (w Watermark, value []byte, cached, ours bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	value, cached = v.cache.Get(key)
	return v.w, value, cached, v.ours
}

// get returns a committed value.
func (v *view) get(key string) ([]byte, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.cache.Get(key)
}

// remember adds values as loaded from the store.
func (v *view) remember(keys []string, values [][]byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, value := range values {
		if value != nil {
			v.cache.Add(keys[i], value)
		}
	}
}

func (v *view) commit(w Watermark, c Commit) {
	v.mu.Lock()
	defer v.mu.Unlock()
	known := w.Status == Ready && v.w.Status != Ready
	v.w = w
	for _, e := range c.Puts {
		v.cache.Add(e.Key, e.Value)
	}
	for _, key := range c.Deletes {
		v.cache.Remove(key)
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
func (v *view) owned() (Watermark, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.w, v.ours
}

// load reads what a batch needs: records, then what stands beside those that
// have it: sealed ids, what is kept aside.
func (o *Owner[B, C]) load(ctx context.Context, subjects []string, run []entry) (map[string][]byte, error) {
	values := make(map[string][]byte, len(subjects)+len(run))
	var missing []string
	want := func(key string) {
		if _, ok := values[key]; ok {
			return
		}
		v, ok := o.view.get(key)
		if values[key] = v; !ok {
			missing = append(missing, key)
		}
	}
	read := func() error {
		for len(missing) > 0 {
			n := min(len(missing), MaxKeys-1)
			got, err := o.config.Store.Load(ctx, o.place.partition, o.stored, missing[:n])
			if err != nil {
				return err
			}
			for i, v := range got {
				values[missing[i]] = v
			}
			o.view.remember(missing[:n], got)
			missing = missing[n:]
		}
		return nil
	}
	for _, s := range subjects {
		want(recordKey(s))
	}
	for i := range run {
		if run[i].key != "" {
			want(recordKey(run[i].key))
		}
	}
	if err := read(); err != nil {
		return nil, err
	}
	var beside []string
	for key, v := range values {
		keys, err := besideKeys(key[len(recordPrefix):], v)
		if err != nil {
			return nil, err
		}
		beside = append(beside, keys...)
	}
	for _, key := range beside {
		want(key)
	}
	return values, read()
}
