package main

import (
	"context"
	"testing"
)

func TestCheck_SeesEachFault(t *testing.T) {
	for name, one := range map[string]struct {
		arrives func(c *check)
		want    [3]int
	}{
		"all is well": {func(c *check) {
			c.received("1", "a", "reached", "w1")
			c.received("1", "b", "released", "w2")
			c.received("1", "a", "reached", "w1")
		}, [3]int{}},
		"under two ids": {func(c *check) {
			c.received("1", "a", "reached", "w1")
			c.received("1", "b", "released", "w2")
			c.received("1", "a", "reached", "w3")
		}, [3]int{0, 1, 0}},
		"one id for two": {func(c *check) {
			c.received("1", "a", "reached", "w1")
			c.received("1", "b", "released", "w1")
		}, [3]int{0, 1, 0}},
		"not in order": {func(c *check) {
			c.received("1", "b", "released", "w2")
			c.received("1", "a", "reached", "w1")
		}, [3]int{0, 0, 1}},
		"of another kind": {func(c *check) { c.received("1", "a", "released", "w1") }, [3]int{0, 1, 0}},
		"never sent":      {func(c *check) { c.received("1", "c", "reached", "w1") }, [3]int{0, 1, 0}},
		"nobody's":        {func(c *check) { c.received("2", "a", "reached", "w1") }, [3]int{0, 1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCheck()
			c.expect("1", "a", "reached")
			c.expect("1", "b", "released")
			one.arrives(c)
			if got := [3]int{c.lost, c.doubled, c.outOfOrder}; got != one.want {
				t.Errorf("lost, doubled, out of order %v, not %v: %q", got, one.want, c.examples)
			}
			if name == "all is well" && (len(c.missing()) > 0 || c.again != 1) {
				t.Errorf("missing %q, again %d", c.missing(), c.again)
			}
		})
	}
}

func TestCheck_WaitsForWhatIsMissing(t *testing.T) {
	c := newCheck()
	c.expect("1", "a", "reached")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.rests(ctx); err == nil {
		t.Error("it did not wait")
	}
	c.received("1", "a", "reached", "w")
	if err := c.rests(ctx); err != nil {
		t.Error(err)
	}
}
