package spend

import (
	"slices"
	"testing"
)

func TestBlocked_AtTheLimitOfAnActiveOption(t *testing.T) {
	tests := map[string]struct {
		counter Counter
		want    bool
	}{
		"below the limit is open":                      {Counter{Offered: true, State: Active, Spent: 49, Limit: 50}, false},
		"exactly at the limit is reached":              {Counter{Offered: true, State: Active, Spent: 50, Limit: 50}, true},
		"past the limit":                               {Counter{Offered: true, State: Active, Spent: 51, Limit: 50}, true},
		"a limit of 0 blocks from the start":           {Counter{Offered: true, State: Active}, true},
		"an option that is not offered never blocks":   {Counter{State: Active, Spent: 51, Limit: 50}, false},
		"an opt-out for the month is open":             {Counter{Offered: true, State: TemporarilyInactive, Spent: 51, Limit: 50}, false},
		"an opt-out for good is open":                  {Counter{Offered: true, State: PermanentlyInactive, Spent: 51, Limit: 50}, false},
		"inactive is open":                             {Counter{Offered: true, State: Inactive, Spent: 51, Limit: 50}, false},
		"inactive blocks where the class has it so":    {Counter{Offered: true, State: Inactive, BlockInactive: true}, true},
		"active below the limit ignores that choice":   {Counter{Offered: true, State: Active, BlockInactive: true, Limit: 50}, false},
		"data's opt-out ignores that choice":           {Counter{Offered: true, State: PermanentlyInactive, BlockInactive: true}, false},
		"not offered and inactive does not block":      {Counter{State: Inactive, BlockInactive: true}, false},
		"no state at all does not block":               {Counter{Offered: true, BlockInactive: true}, false},
		"the highest limit blocks at the highest only": {Counter{Offered: true, State: Active, Spent: Max - 1, Limit: Max}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tc.counter.Blocked(); got != tc.want {
				t.Errorf("blocked is %v", got)
			}
		})
	}
}

func TestAdmits_WhatFitsUnderMonthAndCap(t *testing.T) {
	active := Counter{Offered: true, State: Active, Spent: 280, Limit: 300}
	tests := map[string]struct {
		counter            Counter
		amount, perPayment Amount
		want               Refusal
	}{
		"a payment that fits":                           {active, 10, 50, Admitted},
		"a payment that ends exactly at the month":      {active, 20, 50, Admitted},
		"a payment that would pass the month by one":    {active, 21, 50, OverMonth},
		"a payment of exactly the cap":                  {Counter{Offered: true, State: Active, Limit: 300}, 50, 50, Admitted},
		"a payment one past the cap":                    {Counter{Offered: true, State: Active, Limit: 300}, 51, 50, OverPayment},
		"the month is reached":                          {Counter{Offered: true, State: Active, Spent: 300, Limit: 300}, 1, 50, OverMonth},
		"nothing is not a payment":                      {active, 0, 50, NotAPayment},
		"less than nothing is not a payment":            {active, -1, 50, NotAPayment},
		"an inactive option is open":                    {Counter{Offered: true, State: Inactive, Spent: 300, Limit: 300}, 1000, 50, Admitted},
		"an option that is not offered is open":         {Counter{State: Active}, 1000, 50, Admitted},
		"the highest amount neither fits nor overflows": {active, Max, Max, OverMonth},
		"no cap of a payment":                           {Counter{Offered: true, State: Active, Limit: Max}, Max, Max, Admitted},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tc.counter.Admits(tc.amount, tc.perPayment); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestState_ChangesAlongItsEdgesAlone(t *testing.T) {
	all := []State{Unset, Active, Inactive, TemporarilyInactive, PermanentlyInactive}
	edges := map[Option]map[State][]State{
		Data: {
			Active:              {TemporarilyInactive, PermanentlyInactive},
			TemporarilyInactive: {Active, PermanentlyInactive},
			PermanentlyInactive: {Active},
		},
		Overspend: {Active: {Inactive}, Inactive: {Active}},
		Payment:   {Active: {Inactive}, Inactive: {Active}},
	}
	for option, from := range edges {
		for _, s := range all {
			if got := s.Eligible(option); !slices.Equal(got, from[s]) {
				t.Errorf("option %d from %s: %v, want %v", option, s, got, from[s])
			}
			for _, next := range all {
				want := s != Unset && (s == next || slices.Contains(from[s], next))
				if got := s.CanBecome(option, next); got != want {
					t.Errorf("option %d: %s can become %s is %v", option, s, next, got)
				}
			}
		}
	}
	for _, s := range all {
		want := s
		if s == TemporarilyInactive {
			want = Active
		}
		if got := s.AtRenewal(); got != want {
			t.Errorf("%s renews as %s", s, got)
		}
	}
	if got := State(9).String(); got != "state 9" {
		t.Errorf("an unknown state is written %q", got)
	}
}
