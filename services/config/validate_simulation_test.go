package config

import (
	"slices"
	"testing"

	"google.golang.org/genproto/googleapis/type/money"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Usage under a class that can't be decoded is rejected, so that what is stored must be readable. The reverse
// holds of what a reader refuses: it was not let in here.
func TestSimulation_WhatIsStoredCanBeDecoded(t *testing.T) {
	t.Parallel()
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		for range 20 {
			c := drawClass(t)
			var f fault.Violations
			validateClass(&f, c)
			if f.Len() > 0 {
				continue
			}
			accepted++
			if unreadable := configclient.Decode(&configv1.Snapshot{Revision: 1, ClassesOfService: []*configv1.ClassOfService{c}}).Unreadable(); len(unreadable) > 0 {
				t.Fatalf("%v was accepted: %v", c, unreadable)
			}
		}
	})
	if accepted == 0 {
		t.Error("nothing was accepted: the property was not tested")
	}
}

func drawClass(t *rapid.T) *configv1.ClassOfService {
	// Mostly what is fine, so that a class is often accepted as a whole.
	mostly := func(label string, fine, odd int32) int32 {
		if rapid.IntRange(0, 19).Draw(t, label+" is odd") == 13 {
			return odd
		}
		return rapid.Int32Range(0, fine).Draw(t, label)
	}
	cash := func(label string) *money.Money {
		if rapid.IntRange(0, 9).Draw(t, label+" is absent") == 7 {
			return nil
		}
		return &money.Money{
			CurrencyCode: rapid.SampledFrom(append(slices.Repeat([]string{"EUR"}, 30), "GBP", "eur", "")).Draw(t, label+" currency"),
			Units:        int64(mostly(label+" units", 100, -1)), Nanos: mostly(label+" nanos", 1, -1),
		}
	}
	states := func(label string, fine ...state) []state {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(fine), 0, 2, rapid.ID).Draw(t, label)
	}
	thresholds := func(label string) (all []*configv1.AlertThreshold) {
		for range rapid.IntRange(0, 3).Draw(t, label) {
			if m := cash(label + " amount"); m != nil {
				all = append(all, amount(m))
				continue
			}
			all = append(all, percent(mostly(label+" percent", 1000, 1001)))
		}
		return all
	}
	zone := func(label string) string {
		return rapid.SampledFrom(append(slices.Repeat([]string{"", "Europe/Berlin"}, 20), "Local", "x")).Draw(t, label)
	}
	scopes := rapid.SampledFrom(append(slices.Repeat([]string{"", "true", "usage.roaming"}, 10), " ", "x"))
	c := &configv1.ClassOfService{Name: "tenants/acme/classesOfService/c"}
	switch rapid.IntRange(0, 2).Draw(t, "option") {
	case 0:
		c.DataSafeguard = &configv1.DataSafeguardOption{
			Limit: cash("limit"), AmountBasis: configv1.AmountBasis(mostly("basis", 2, 3)), AlertThresholds: thresholds("thresholds"),
			Scope: scopes.Draw(t, "scope"), TimeZone: zone("zone"), RenewalDay: mostly("day", 28, 29),
			RatingBasis: configv1.RatingBasis(mostly("rating", 2, 3)), States: states("states", active, temporarily, permanently, inactive), DefaultState: state(mostly("state", 4, 5)),
			OnUnknown: configv1.UnknownPolicy(mostly("unknown", 2, 3)), SecondNotice: cash("second notice"),
		}
	case 1:
		c.OverspendSafeguard = &configv1.OverspendSafeguardOption{
			CurrencyCode: rapid.SampledFrom([]string{"EUR", "EUR", "EUR", "GBP", "", "euro"}).Draw(t, "currency"), DefaultLimit: cash("limit"),
			AmountBasis: configv1.AmountBasis(mostly("basis", 2, 3)), AlertThresholds: thresholds("thresholds"),
			Scope: scopes.Draw(t, "scope"), TimeZone: zone("zone"), RenewalDay: mostly("day", 28, 29),
			RatingBasis: configv1.RatingBasis(mostly("rating", 2, 3)), States: states("states", active, inactive, inactive, temporarily), DefaultState: state(mostly("state", 4, 5)),
			OnUnknown: configv1.UnknownPolicy(mostly("unknown", 2, 3)), SecondNotice: cash("second notice"),
			InactivePolicy: configv1.InactivePolicy(mostly("inactive policy", 2, 3)),
		}
	default:
		c.PaymentSafeguard = &configv1.PaymentSafeguardOption{
			Limit: cash("limit"), PerPaymentLimit: cash("per payment"), AmountBasis: configv1.AmountBasis(mostly("basis", 2, 3)),
			AlertThresholds: thresholds("thresholds"), Scope: scopes.Draw(t, "scope"), TimeZone: zone("zone"), RenewalDay: mostly("day", 28, 29),
			RatingBasis: configv1.RatingBasis(mostly("rating", 2, 3)), States: states("states", active, inactive, inactive, temporarily), DefaultState: state(mostly("state", 4, 5)),
			OnUnknown: configv1.UnknownPolicy(mostly("unknown", 2, 3)), SecondNotice: cash("second notice"),
		}
	}
	return c
}
