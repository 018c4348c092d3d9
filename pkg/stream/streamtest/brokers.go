package streamtest

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tollgate/tollgate/pkg/pause"
)

// Broker is one that a contract suite runs on.
type Broker struct {
	// Name is "embedded" or "kafka".
	Name string
	// Addrs to start from.
	Addrs []string
	// Session is the lowest session timeout it takes from a group's member.
	Session time.Duration
	// Own starts a broker of the same kind that the test may kill.
	Own func(testing.TB) OwnBroker
}

// Real reports an Apache Kafka, not the embedded broker.
func (b Broker) Real() bool { return b.Name == "kafka" }

// OwnBroker is a broker of one test.
type OwnBroker interface {
	Addrs() []string
	// Kill9 ends it at once. What it acknowledged must be there after Restart.
	Kill9()
	// Restart brings it back at the same address with the same data, and returns when it answers.
	Restart()
}

// DefaultKafka is where `make servers-up` has Kafka.
const DefaultKafka = "127.0.0.1:19092"

// Brokers lists what a contract suite must pass on: "embedded" always; "kafka"
// when one answers at TOLLGATE_TEST_KAFKA, but not in short tests. With TOLLGATE_REAL=1 the real one is
// required, and whatever answers must be Apache Kafka 4 or newer.
func Brokers(t testing.TB) []Broker {
	t.Helper()
	out := []Broker{{Name: "embedded", Addrs: Embedded(t), Session: 500 * time.Millisecond, Own: startEmbeddedOwn}}
	addrs, ok := RealKafka(t)
	if ok {
		out = append(out, Broker{Name: "kafka", Addrs: addrs, Session: 6 * time.Second,
			Own: func(t testing.TB) OwnBroker { return StartKafka(t) }})
	}
	return out
}

// RealKafka returns the addresses of the test servers' Kafka. Without
// TOLLGATE_REAL=1, false means that none answers, or that the tests are short.
func RealKafka(t testing.TB) ([]string, bool) {
	t.Helper()
	addrs := realAddrs()
	if testing.Short() && !required() {
		return nil, false
	}
	why, err := looked()
	switch {
	case err != nil && required():
		t.Fatalf("TOLLGATE_REAL=1 and no Kafka answers at %s: %v", addrs[0], err)
	case err != nil:
		t.Logf("no Kafka at %s: embedded broker only", addrs[0])
		return nil, false
	case why != "":
		t.Fatalf("%s is not Apache Kafka 4 or newer: %s", addrs[0], why)
	}
	return addrs, true
}

func required() bool { return os.Getenv("TOLLGATE_REAL") == "1" }

func realAddrs() []string {
	return strings.Split(cmp.Or(os.Getenv("TOLLGATE_TEST_KAFKA"), DefaultKafka), ",")
}

// looked is why the test servers' Kafka is none, asked once for all tests of a process; its error is that nothing answers. One
// that is required has a minute: the machine may be busy.
var looked = sync.OnceValues(func() (why string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		conn, err := net.DialTimeout("tcp", realAddrs()[0], time.Second)
		if err == nil {
			_ = conn.Close()
			why = notApacheKafka(realAddrs())
		}
		if err == nil && why == "" || !required() || !pause.For(ctx, 100*time.Millisecond) {
			return why, err
		}
	}
})

// notApacheKafka is why a broker can't be Apache Kafka 4 or
// newer; "" when nothing does. The embedded broker, and those that only speak
// the protocol, do not describe the cluster's features and their broker's
// settings as Apache Kafka does.
func notApacheKafka(addrs []string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := kgo.NewClient(kgo.SeedBrokers(addrs...))
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	versions, err := kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, c)
	if err != nil {
		return "ApiVersions: " + err.Error()
	}
	level := int16(-1)
	for _, f := range versions.FinalizedFeatures {
		if f.Name == "metadata.version" {
			level = f.MaxVersionLevel
		}
	}
	if level < 22 { // 22 is 4.0-IV0
		return "its finalized metadata.version is not of Kafka 4"
	}
	md, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, c)
	if err != nil || len(md.Brokers) == 0 {
		return "it names no brokers"
	}
	req := kmsg.NewPtrDescribeConfigsRequest()
	res := kmsg.NewDescribeConfigsRequestResource()
	res.ResourceType = kmsg.ConfigResourceTypeBroker
	res.ResourceName = strconv.Itoa(int(md.Brokers[0].NodeID))
	req.Resources = append(req.Resources, res)
	configs, err := req.RequestWith(ctx, c)
	if err != nil || len(configs.Resources) == 0 {
		return "it does not describe its configuration"
	}
	for _, c := range configs.Resources[0].Configs {
		// Only Apache Kafka's own broker knows where its controllers vote.
		if c.Name == "controller.quorum.election.timeout.ms" {
			return ""
		}
	}
	return "its configuration is not that of a KRaft broker"
}

// NewPrefix draws a topic and group prefix that no other test uses.
func NewPrefix(t testing.TB) string {
	t.Helper()
	var b [6]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	return "test-" + hex.EncodeToString(b[:])
}
