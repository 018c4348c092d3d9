package streamtest

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tollgate/tollgate/pkg/port"
)

// Embedded starts a broker in this process that ends with the test, and returns its addresses.
func Embedded(t testing.TB) []string {
	t.Helper()
	return EmbeddedCluster(t).ListenAddrs()
}

// EmbeddedCluster is Embedded for tests that inject faults.
func EmbeddedCluster(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1),
		kfake.GroupMinSessionTimeout(100 * time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatalf("start the embedded broker: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// embeddedOwn is an embedded broker that may be stopped and started again with its data.
type embeddedOwn struct {
	t       testing.TB
	dir     string
	port    int
	cluster *kfake.Cluster
}

func startEmbeddedOwn(t testing.TB) OwnBroker {
	t.Helper()
	address, err := port.Free(t.Context(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	e := &embeddedOwn{t: t, dir: t.TempDir()}
	if e.port, err = strconv.Atoi(text); err != nil {
		t.Fatal(err)
	}
	e.start()
	t.Cleanup(func() { e.cluster.Close() })
	return e
}

func (e *embeddedOwn) start() {
	e.t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(e.dir), kfake.SyncWrites(), kfake.Ports(e.port),
		kfake.GroupMinSessionTimeout(100*time.Millisecond))
	if err != nil {
		e.t.Fatalf("start the embedded broker: %v", err)
	}
	e.cluster = c
}

func (e *embeddedOwn) Addrs() []string { return e.cluster.ListenAddrs() }

// Kill9 closes the broker: it writes its state first, so this is less than a
// kill; connections and requests in flight break all the same.
func (e *embeddedOwn) Kill9() { e.cluster.Close() }

func (e *embeddedOwn) Restart() {
	e.t.Helper()
	e.start()
}
