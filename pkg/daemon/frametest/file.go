package frametest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/stream"
)

// ShippedFile checks that the file of a service in deploy/config has all of its defaults. It runs in the service's folder.
func ShippedFile[C daemon.Configuration](t testing.TB, service string, defaults C) {
	t.Helper()
	var got C
	if err := daemon.Load("../../deploy/config/"+service+".yaml", nil, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(defaults, got, cmpopts.IgnoreFields(stream.Config{}, "TLS", "Dial"), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}
