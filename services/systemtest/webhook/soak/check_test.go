package main

import (
	"crypto/sha256"
	"testing"

	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// A check that sees nothing would let everything pass: each fault below must be counted.
func TestCheck_CountsEachFault(t *testing.T) {
	const delivered, cancelled = deliveryv1.Settlement_SETTLEMENT_DELIVERED, deliveryv1.Settlement_SETTLEMENT_CANCELLED
	settled := func(c *check, id string, number int32, how deliveryv1.Settlement) {
		c.attempt(&deliveryv1.Attempt{Delivery: id, Number: number, Settlement: how})
	}
	got := func(id string, sequence int64) receipt {
		r := receipt{id: id, endpoint: "e05", sequence: sequence, body: sha256.Sum256([]byte(id)), signed: true, accepted: true}
		if sequence > 1 {
			r.previous = "d1"
		}
		return r
	}
	both := func(c *check) {
		settled(c, "d1", 1, delivered)
		settled(c, "d2", 1, delivered)
	}
	for _, tc := range []struct {
		name                              string
		do                                func(*check)
		lost, doubled, outOfOrder, repeat int
	}{
		{"all well", func(c *check) { both(c); c.receive(got("d1", 1)); c.receive(got("d2", 2)) }, 0, 0, 0, 0},
		{"recorded as delivered, never received", func(c *check) { both(c); c.receive(got("d1", 1)) }, 1, 0, 0, 0},
		{"recorded as delivered, answered with an error", func(c *check) {
			both(c)
			c.receive(got("d1", 1))
			r := got("d2", 2)
			r.accepted = false
			c.receive(r)
		}, 1, 0, 0, 0},
		{"out of order", func(c *check) { both(c); c.receive(got("d2", 2)); c.receive(got("d1", 1)) }, 0, 0, 1, 0},
		{"a late repeat is none", func(c *check) {
			both(c)
			c.receive(got("d1", 1))
			c.receive(got("d2", 2))
			c.receive(got("d1", 1))
		}, 0, 0, 0, 1},
		{"never planned", func(c *check) { both(c); c.receive(got("d1", 1)); c.receive(got("d2", 2)); c.receive(got("d9", 9)) }, 0, 1, 0, 0},
		{"another body", func(c *check) {
			both(c)
			r := got("d1", 1)
			r.body[0]++
			c.receive(r)
			c.receive(got("d2", 2))
		}, 0, 1, 0, 0},
		{"to another endpoint", func(c *check) {
			both(c)
			r := got("d1", 1)
			r.endpoint = "e06"
			c.receive(r)
			c.receive(got("d2", 2))
		}, 0, 1, 0, 0},
		{"unsigned", func(c *check) {
			both(c)
			r := got("d1", 1)
			r.signed = false
			c.receive(r)
			c.receive(got("d2", 2))
		}, 1, 0, 0, 0},
		{"cancelled, and its endpoint is no victim", func(c *check) {
			settled(c, "d1", 1, delivered)
			settled(c, "d2", 0, cancelled)
			c.of("d2").dead = true
			c.receive(got("d1", 1))
		}, 1, 0, 0, 0},
		{"cancelled without a dead letter", func(c *check) {
			c.plan.all["d2"].victim = true
			settled(c, "d1", 1, delivered)
			settled(c, "d2", 0, cancelled)
			c.receive(got("d1", 1))
		}, 1, 0, 0, 0},
		{"a request repeated in its attempt", func(c *check) {
			c.attempt(&deliveryv1.Attempt{Delivery: "d1", Number: 1, RepeatedRequest: true, Settlement: delivered})
			settled(c, "d2", 1, delivered)
			c.receive(got("d1", 1))
			c.receive(got("d1", 1))
			c.receive(got("d2", 2))
		}, 0, 0, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &check{states: map[string]*state{}, keys: map[string]int64{}, plan: &plan{all: map[string]*planned{
				"d1": {id: "d1", endpoint: "e05", key: "l", sequence: 1, body: sha256.Sum256([]byte("d1"))},
				"d2": {id: "d2", endpoint: "e05", key: "l", sequence: 2, previous: "d1", body: sha256.Sum256([]byte("d2"))},
			}}}
			tc.do(c)
			c.compare()
			got, want := [4]int{c.lost, c.doubled, c.outOfOrder, c.repeats}, [4]int{tc.lost, tc.doubled, tc.outOfOrder, tc.repeat}
			if got != want {
				t.Errorf("lost, doubled, out of order, repeats are %v, want %v: %v", got, want, c.examples)
			}
		})
	}

	c := &check{states: map[string]*state{}, plan: &plan{all: map[string]*planned{"d1": {id: "d1"}}}}
	c.stuck() //nolint:errcheck // it counts
	if c.lost != 1 {
		t.Errorf("%d lost where one never settles", c.lost)
	}
}
