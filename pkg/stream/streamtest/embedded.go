package streamtest

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Embedded starts a broker in this process that ends with the test, and returns its addresses.
func Embedded(t testing.TB) []string {
	t.Helper()
	return EmbeddedCluster(t).ListenAddrs()
}

// EmbeddedCluster is Embedded for tests that inject faults.
func EmbeddedCluster(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatalf("start the embedded broker: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}
