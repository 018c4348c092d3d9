package main

import (
	"slices"
	"testing"
)

// Else the demo asks a safeguard that was killed, in one run of two.
func TestOpen_ANameOfTwinsIsThatOfOneThatIsNeverKilled(t *testing.T) {
	p, err := open(t.Context(), nil, map[string]string{})
	if err != nil {
		t.Fatal(err)
	}
	for shared, own := range map[string]string{
		"ingest:7020": "ingest-2", "safeguard:7030": "safeguard-2", "trigger:7040": "trigger-2", "webhook:7050": "webhook-2", "email:7060": "email-2", "provision:7070": "provision-2",
	} {
		if at := p.at[shared]; at == "" || at != p.at[own+shared[len(shared)-len(":7020"):]] {
			t.Errorf("%s is %q, which is not the address of %s", shared, at, own)
		}
		if slices.Contains(victims, own) {
			t.Errorf("%s is a victim", own)
		}
	}
}
