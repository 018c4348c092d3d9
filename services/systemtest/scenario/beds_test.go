package scenario

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/simulation"
	"github.com/tollgate/tollgate/pkg/state/statetest"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// patience of a whole journey: it only ends those that fail.
const patience = 4 * time.Minute

// names of the services, in the order of an event's journey behind configuration.
var names = []string{"config", "ingest", "safeguard", "trigger", "webhook"}

// notifying are those that an event passes on its way to whom it is notified.
var notifying = []string{"config", "ingest", "trigger", "webhook", "email"}

// binaries are the services' programs, built once for all scripts.
var binaries = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "scenario"); err != nil {
		return "", err
	}
	built = dir
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return dir, fleet.Build(ctx, dir, append(slices.Clone(names), "email", "provision")...)
})

// built is the folder of the binaries, once there is one.
var built string

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		if err := os.RemoveAll(built); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(code)
}

// onBeds runs a script with every service in this process on embedded servers, and with processes on real ones.
func onBeds(t *testing.T, script func(t *testing.T, ctx context.Context, f *fleet.Fleet)) {
	redises, err := miniredis.Run()
	if err != nil {
		t.Fatal(err)
	}
	defer redises.Close()
	onBed(t, "in one process", fleet.Config{
		Brokers: guarded(t, "guarded").ListenAddrs(), Prefix: "guarded", Password: password, Redis: redises.Addr(), Embedded: true,
	}, script)
	onProcesses(t, script)
}

// onProcesses runs a script with processes on real servers. The race detector does not see into them.
func onProcesses(t *testing.T, script func(t *testing.T, ctx context.Context, f *fleet.Fleet)) {
	if simulation.Raced {
		t.Log("no processes under the race detector")
		return
	}
	brokers, haveKafka := streamtest.RealKafka(t)
	address, haveRedis := statetest.RealRedis(t)
	if haveKafka && haveRedis {
		onBed(t, processes, fleet.Config{Brokers: brokers, Redis: address}, script)
	} else if os.Getenv("TOLLGATE_REAL") == "1" {
		t.Error("TOLLGATE_REAL=1 and no real servers")
	}
}

// processes is the name of the bed with real servers.
const processes = "processes"

func onBed(t *testing.T, name string, cfg fleet.Config, script func(t *testing.T, ctx context.Context, f *fleet.Fleet)) {
	t.Run(name, func(t *testing.T) {
		cfg.Dir, cfg.Partitions, cfg.Waits = t.TempDir(), 8, true
		if name == processes {
			var err error
			if cfg.Binaries, err = binaries(); err != nil { // before the patience begins: the first script builds them
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		f, err := fleet.Open(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
			defer cancel()
			if err := f.Close(stopping); err != nil {
				t.Error(err)
			}
			if cfg.Embedded {
				return
			}
			if err := statetest.Forget(ctx, cfg.Redis, f.Prefix); err != nil {
				t.Error(err)
			}
		})
		script(t, ctx, f)
	})
}

func password(user string) string { return "password of " + user }

// guarded is an embedded broker that allows each service what tollgate topics acl prints, and nothing else.
func guarded(t *testing.T, prefix string) *kfake.Cluster {
	t.Helper()
	operations := map[string]kmsg.ACLOperation{
		stream.OperationRead: kmsg.ACLOperationRead, stream.OperationWrite: kmsg.ACLOperationWrite,
		stream.OperationCreate: kmsg.ACLOperationCreate, stream.OperationDescribe: kmsg.ACLOperationDescribe,
		stream.OperationDescribeConfigs: kmsg.ACLOperationDescribeConfigs,
	}
	resources := map[string]kmsg.ACLResourceType{
		stream.ResourceTopic: kmsg.ACLResourceTypeTopic, stream.ResourceGroup: kmsg.ACLResourceTypeGroup,
	}
	allowed := map[string][]kfake.ACL{}
	permissions := table.Permissions(prefix)
	// Who checks what lies in the topics, and is no part of the product.
	permissions = append(permissions, stream.Permission{Who: "auditor", Operation: stream.OperationRead, Resource: stream.ResourceTopic, Name: prefix + ".*"})
	for _, p := range permissions {
		one := kfake.ACL{
			Resource: resources[p.Resource], Name: p.Name, Pattern: kmsg.ACLResourcePatternTypeLiteral,
			Operation: operations[p.Operation], Allow: true,
		}
		if begin, open := strings.CutSuffix(p.Name, "*"); open {
			one.Name, one.Pattern = begin, kmsg.ACLResourcePatternTypePrefixed
		}
		allowed[p.Who] = append(allowed[p.Who], one)
	}
	opts := []kfake.Opt{kfake.EnableSASL(), kfake.EnableACLs()}
	for who, acls := range allowed {
		opts = append(opts, kfake.User("SCRAM-SHA-256", who, password(who), acls...))
	}
	return streamtest.EmbeddedCluster(t, opts...)
}
