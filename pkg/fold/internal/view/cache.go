package view

// cache keeps the values that were used lately, by key: a clock, since a list in the order of use would be written at
// every read. A value that is used is passed over once when room is made.
type cache struct {
	index map[string]int32
	slots []slot
	free  []int32
	hand  int
	limit int
}

type slot struct {
	key   string
	value []byte
	used  bool
}

func newCache(limit int) *cache { return &cache{index: make(map[string]int32), limit: max(limit, 1)} }

func (c *cache) Get(key []byte) ([]byte, bool) {
	i, ok := c.index[string(key)]
	if !ok {
		return nil, false
	}
	c.slots[i].used = true
	return c.slots[i].value, true
}

func (c *cache) put(key string, value []byte) {
	if i, ok := c.index[key]; ok {
		c.slots[i].value, c.slots[i].used = value, true
		return
	}
	for len(c.index) >= c.limit {
		c.evict()
	}
	s := slot{key: key, value: value, used: true}
	if n := len(c.free); n > 0 {
		i := c.free[n-1]
		c.free = c.free[:n-1]
		c.slots[i], c.index[key] = s, i
		return
	}
	c.index[key] = int32(len(c.slots))
	c.slots = append(c.slots, s)
}

func (c *cache) remove(key string) {
	if i, ok := c.index[key]; ok {
		delete(c.index, key)
		c.slots[i] = slot{}
		c.free = append(c.free, i)
	}
}

// evict drops one value; there is one.
func (c *cache) evict() {
	for {
		s := &c.slots[c.hand]
		c.hand = (c.hand + 1) % len(c.slots)
		switch {
		case s.key == "":
		case s.used:
			s.used = false
		default:
			c.remove(s.key)
			return
		}
	}
}

func (c *cache) resize(limit int) {
	for c.limit = max(limit, 1); len(c.index) > c.limit; {
		c.evict()
	}
}

func (c *cache) purge() { *c = *newCache(c.limit) }
