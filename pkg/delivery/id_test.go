package delivery

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestNewID_IsStable(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 123_000_000, time.UTC)
	got := NewID(at, "acme", "mediation", "447700900001", "e-1", "n", "a", "80", "tenants/acme/endpoints/crm")
	if want := "dlv_06eaih8affsatbcdujen298aps"; got != want {
		t.Errorf("id %s, want %s: ids of deliveries already planned would change", got, want)
	}
}

func TestNewID_DiffersForDifferentDeliveries(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_000)
	seen := map[string]string{}
	for name, id := range map[string]string{
		"base":                        NewID(at, "t", "s", "x", "e", "n", "a", "f", "r"),
		"a part moved over a border":  NewID(at, "ts", "", "x", "e", "n", "a", "f", "r"),
		"another tenant":              NewID(at, "T", "s", "x", "e", "n", "a", "f", "r"),
		"another source":              NewID(at, "t", "S", "x", "e", "n", "a", "f", "r"),
		"another subject":             NewID(at, "t", "s", "X", "e", "n", "a", "f", "r"),
		"another event":               NewID(at, "t", "s", "x", "E", "n", "a", "f", "r"),
		"another notification":        NewID(at, "t", "s", "x", "e", "N", "a", "f", "r"),
		"another action":              NewID(at, "t", "s", "x", "e", "n", "A", "f", "r"),
		"another firing":              NewID(at, "t", "s", "x", "e", "n", "a", "F", "r"),
		"another recipient":           NewID(at, "t", "s", "x", "e", "n", "a", "f", "R"),
		"another time, same the rest": NewID(at.Add(time.Millisecond), "t", "s", "x", "e", "n", "a", "f", "r"),
	} {
		if other, ok := seen[id]; ok {
			t.Errorf("%q and %q have the same id %s", name, other, id)
		}
		seen[id] = name
	}
}

func TestNewID_SortsByTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.Int64Range(0, 1<<48-1).Draw(t, "a")
		b := rapid.Int64Range(0, 1<<48-1).Draw(t, "b")
		x := NewID(time.UnixMilli(a), "t", "s", "x", rapid.String().Draw(t, "x"), "n", "a", "", "r")
		y := NewID(time.UnixMilli(b), "t", "s", "x", rapid.String().Draw(t, "y"), "n", "a", "", "r")
		if len(x) != 30 || !strings.HasPrefix(x, "dlv_") {
			t.Fatalf("id %q has another form", x)
		}
		if (a < b) != (x < y) && a != b {
			t.Fatalf("times %d, %d but ids %s, %s", a, b, x, y)
		}
	})
}
