package soak

import (
	"crypto/sha256"
	"testing"

	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

const delivered, cancelled, dead, expired = deliveryv1.Settlement_SETTLEMENT_DELIVERED, deliveryv1.Settlement_SETTLEMENT_CANCELLED,
	deliveryv1.Settlement_SETTLEMENT_DEAD, deliveryv1.Settlement_SETTLEMENT_EXPIRED

func settled(c *Check, id string, number int32, how deliveryv1.Settlement) {
	c.attempt(&deliveryv1.Attempt{Delivery: id, Number: number, Settlement: how})
}

func content(id string) Content { return sha256.Sum256([]byte(id)) }

func got(id string) Receipt { return Receipt{ID: id, To: "e05", Content: content(id), Accepted: true} }

func both(c *Check) {
	settled(c, "d1", 1, delivered)
	settled(c, "d2", 1, delivered)
}

// changed is a receipt with something else about it.
func changed(id string, change func(*Receipt)) Receipt {
	r := got(id)
	change(&r)
	return r
}

// A check that sees nothing would let everything pass: each fault below must be counted.
func TestCheck_CountsEachFault(t *testing.T) {
	for _, tc := range []struct {
		name                              string
		do                                func(*Check)
		lost, doubled, outOfOrder, repeat int
	}{
		{"all well", func(c *Check) { both(c); c.receive(got("d1")); c.receive(got("d2")) }, 0, 0, 0, 0},
		{"recorded as delivered, never received", func(c *Check) { both(c); c.receive(got("d1")) }, 1, 0, 0, 0},
		{"recorded as delivered, answered with an error", func(c *Check) {
			both(c)
			c.receive(got("d1"))
			c.receive(changed("d2", func(r *Receipt) { r.Accepted = false }))
		}, 1, 0, 0, 0},
		{"out of order", func(c *Check) { both(c); c.receive(got("d2")); c.receive(got("d1")) }, 0, 0, 1, 0},
		{"a late repeat is none", func(c *Check) {
			both(c)
			c.receive(got("d1"))
			c.receive(got("d2"))
			c.receive(got("d1"))
		}, 0, 0, 0, 1},
		{"never planned, as under another Message-ID", func(c *Check) {
			both(c)
			c.receive(got("d1"))
			c.receive(got("d2"))
			c.receive(got("d9"))
		}, 0, 1, 0, 0},
		{"another content", func(c *Check) {
			both(c)
			c.receive(changed("d1", func(r *Receipt) { r.Content[0]++ }))
			c.receive(got("d2"))
		}, 0, 1, 0, 0},
		{"to another recipient", func(c *Check) {
			both(c)
			c.receive(changed("d1", func(r *Receipt) { r.To = "e06" }))
			c.receive(got("d2"))
		}, 0, 1, 0, 0},
		{"its receiver found something wrong", func(c *Check) {
			both(c)
			c.receive(changed("d1", func(r *Receipt) { r.Wrong = "is not signed" }))
			c.receive(got("d2"))
		}, 1, 0, 0, 0},
		{"cancelled without a reason", func(c *Check) {
			settled(c, "d1", 1, delivered)
			settled(c, "d2", 0, cancelled)
			c.of("d2").dead = true
			c.receive(got("d1"))
		}, 1, 0, 0, 0},
		{"cancelled without a dead letter", func(c *Check) {
			c.planned["d2"].Ends = []string{"cancelled"}
			settled(c, "d1", 1, delivered)
			settled(c, "d2", 0, cancelled)
			c.receive(got("d1"))
		}, 1, 0, 0, 0},
		{"unwanted, which leaves no dead letter", func(c *Check) {
			c.planned["d2"].Ends, c.planned["d2"].Unwanted = []string{"cancelled"}, true
			settled(c, "d1", 1, delivered)
			settled(c, "d2", 0, cancelled)
			c.receive(got("d1"))
		}, 0, 0, 0, 0},
		{"expired without an end", func(c *Check) {
			settled(c, "d1", 1, delivered)
			settled(c, "d2", 0, expired)
			c.receive(got("d1"))
		}, 1, 0, 0, 0},
		{"dead though nobody refused it", func(c *Check) {
			settled(c, "d1", 1, delivered)
			settled(c, "d2", 1, dead)
			c.of("d2").dead = true
			c.receive(got("d1"))
		}, 1, 0, 0, 0},
		{"dead because it was refused", func(c *Check) {
			settled(c, "d1", 1, delivered)
			settled(c, "d2", 1, dead)
			c.of("d2").dead = true
			c.receive(got("d1"))
			c.receive(changed("d2", func(r *Receipt) { r.Accepted, r.Refused = false, true }))
		}, 0, 0, 0, 0},
		{"refused, and no dead letter", func(c *Check) {
			settled(c, "d1", 1, delivered)
			settled(c, "d2", 1, dead)
			c.receive(got("d1"))
			c.receive(changed("d2", func(r *Receipt) { r.Accepted, r.Refused = false, true }))
		}, 1, 0, 0, 0},
		{"a request repeated in its attempt", func(c *Check) {
			c.Resends = true
			c.attempt(&deliveryv1.Attempt{Delivery: "d1", Number: 1, RepeatedRequest: true, Settlement: delivered})
			settled(c, "d2", 1, delivered)
			c.receive(got("d1"))
			c.receive(got("d1"))
			c.receive(got("d2"))
		}, 0, 0, 0, 0},
		{"repeated in its attempt where nothing can have arrived before", func(c *Check) {
			c.attempt(&deliveryv1.Attempt{Delivery: "d1", Number: 1, RepeatedRequest: true, Settlement: delivered})
			settled(c, "d2", 1, delivered)
			c.receive(got("d1"))
			c.receive(got("d1"))
			c.receive(got("d2"))
		}, 0, 0, 0, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCheck()
			c.Plan(
				&Planned{ID: "d1", To: "e05", Key: "l", Sequence: 1, Content: content("d1")},
				&Planned{ID: "d2", To: "e05", Key: "l", Sequence: 2, Content: content("d2")},
			)
			tc.do(c)
			c.compare()
			got, want := [4]int{c.Lost, c.Doubled, c.OutOfOrder, c.Repeats}, [4]int{tc.lost, tc.doubled, tc.outOfOrder, tc.repeat}
			if got != want {
				t.Errorf("lost, doubled, out of order, repeats are %v, want %v: %v", got, want, c.Examples)
			}
		})
	}

	c := newCheck()
	c.Plan(&Planned{ID: "d1"})
	c.stuck()
	if c.Lost != 1 {
		t.Errorf("%d lost where one never settles", c.Lost)
	}
}
