package main

import (
	"crypto/sha256"
	"testing"

	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// A judge that sees nothing would let everything pass: each fault below must be counted.
func TestJudge_CountsEachFault(t *testing.T) {
	const delivered, cancelled = deliveryv1.Settlement_SETTLEMENT_DELIVERED, deliveryv1.Settlement_SETTLEMENT_CANCELLED
	settled := func(j *judge, id string, number int32, how deliveryv1.Settlement) {
		j.attempt(&deliveryv1.Attempt{Delivery: id, Number: number, Settlement: how})
	}
	got := func(id string, sequence int64) receipt {
		r := receipt{id: id, endpoint: "e05", sequence: sequence, body: sha256.Sum256([]byte(id)), signed: true, accepted: true}
		if sequence > 1 {
			r.previous = "d1"
		}
		return r
	}
	both := func(j *judge) {
		settled(j, "d1", 1, delivered)
		settled(j, "d2", 1, delivered)
	}
	for _, c := range []struct {
		name                              string
		do                                func(*judge)
		lost, doubled, outOfOrder, repeat int
	}{
		{"all well", func(j *judge) { both(j); j.receive(got("d1", 1)); j.receive(got("d2", 2)) }, 0, 0, 0, 0},
		{"recorded as delivered, never received", func(j *judge) { both(j); j.receive(got("d1", 1)) }, 1, 0, 0, 0},
		{"recorded as delivered, answered with an error", func(j *judge) {
			both(j)
			j.receive(got("d1", 1))
			r := got("d2", 2)
			r.accepted = false
			j.receive(r)
		}, 1, 0, 0, 0},
		{"out of order", func(j *judge) { both(j); j.receive(got("d2", 2)); j.receive(got("d1", 1)) }, 0, 0, 1, 0},
		{"a late repeat is none", func(j *judge) {
			both(j)
			j.receive(got("d1", 1))
			j.receive(got("d2", 2))
			j.receive(got("d1", 1))
		}, 0, 0, 0, 1},
		{"never planned", func(j *judge) { both(j); j.receive(got("d1", 1)); j.receive(got("d2", 2)); j.receive(got("d9", 9)) }, 0, 1, 0, 0},
		{"another body", func(j *judge) {
			both(j)
			r := got("d1", 1)
			r.body[0]++
			j.receive(r)
			j.receive(got("d2", 2))
		}, 0, 1, 0, 0},
		{"to another endpoint", func(j *judge) {
			both(j)
			r := got("d1", 1)
			r.endpoint = "e06"
			j.receive(r)
			j.receive(got("d2", 2))
		}, 0, 1, 0, 0},
		{"unsigned", func(j *judge) {
			both(j)
			r := got("d1", 1)
			r.signed = false
			j.receive(r)
			j.receive(got("d2", 2))
		}, 1, 0, 0, 0},
		{"cancelled, and its endpoint is no victim", func(j *judge) {
			settled(j, "d1", 1, delivered)
			settled(j, "d2", 0, cancelled)
			j.of("d2").dead = true
			j.receive(got("d1", 1))
		}, 1, 0, 0, 0},
		{"cancelled without a dead letter", func(j *judge) {
			j.plan.all["d2"].victim = true
			settled(j, "d1", 1, delivered)
			settled(j, "d2", 0, cancelled)
			j.receive(got("d1", 1))
		}, 1, 0, 0, 0},
		{"a request repeated in its attempt", func(j *judge) {
			j.attempt(&deliveryv1.Attempt{Delivery: "d1", Number: 1, RepeatedRequest: true, Settlement: delivered})
			settled(j, "d2", 1, delivered)
			j.receive(got("d1", 1))
			j.receive(got("d1", 1))
			j.receive(got("d2", 2))
		}, 0, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := &judge{states: map[string]*state{}, lanes: map[string]int64{}, plan: &plan{all: map[string]*planned{
				"d1": {id: "d1", endpoint: "e05", lane: "l", sequence: 1, body: sha256.Sum256([]byte("d1"))},
				"d2": {id: "d2", endpoint: "e05", lane: "l", sequence: 2, previous: "d1", body: sha256.Sum256([]byte("d2"))},
			}}}
			c.do(j)
			j.compare()
			got, want := [4]int{j.lost, j.doubled, j.outOfOrder, j.repeats}, [4]int{c.lost, c.doubled, c.outOfOrder, c.repeat}
			if got != want {
				t.Errorf("lost, doubled, out of order, repeats are %v, want %v: %v", got, want, j.examples)
			}
		})
	}

	j := &judge{states: map[string]*state{}, plan: &plan{all: map[string]*planned{"d1": {id: "d1"}}}}
	j.stuck() //nolint:errcheck // it counts
	if j.lost != 1 {
		t.Errorf("%d lost where one never settles", j.lost)
	}
}
