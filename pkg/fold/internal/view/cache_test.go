package view

import (
	"fmt"
	"slices"
	"testing"
)

func TestCache_EvictsWhatWasNotUsed(t *testing.T) {
	c := newCache(3)
	has := func(keys string) {
		t.Helper()
		for _, k := range "abcdef" {
			_, ok := c.index[string(k)]
			if want := slices.Contains([]rune(keys), k); ok != want {
				t.Errorf("%c is held: %t", k, ok)
			}
		}
	}
	for _, k := range []string{"a", "b", "c"} {
		c.put(k, []byte(k))
	}
	c.put("d", nil) // all were used; the hand passes each over once
	has("bcd")
	c.Get([]byte("b"))
	c.put("e", nil)
	has("bde")
	c.remove("d")
	c.put("f", nil)
	has("bef")
	if v, ok := c.Get([]byte("b")); !ok || string(v) != "b" {
		t.Errorf("b is %q", v)
	}
	c.resize(1)
	if len(c.index) != 1 {
		t.Errorf("%d are held after it was made smaller", len(c.index))
	}
	c.resize(100)
	for i := range 200 {
		c.put(fmt.Sprint(i), nil)
	}
	if len(c.index) != 100 || len(c.slots) > 103 {
		t.Errorf("%d are held, in %d places", len(c.index), len(c.slots))
	}
}
