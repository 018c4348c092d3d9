package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/tollgate/cli/records"
	"github.com/tollgate/tollgate/services/tollgate/subscriberimport"
)

// journey is an installation with a class in force, and the environment of a command line that works with it.
type journey struct {
	t      *testing.T
	fleet  *fleet.Fleet
	ingest string
	env    []string
	// revision is the newest of what newJourney configured.
	revision int64
}

// newJourney offers the options of class to the subscribers of tenant "acme".
func newJourney(t *testing.T, class *configv1.ClassOfService) *journey {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // it only ends tests that fail
	defer cancel()
	brokers := streamtest.Embedded(t)
	redis := miniredis.RunT(t)
	f, err := fleet.Open(ctx, fleet.Config{Brokers: brokers, Redis: redis.Addr(), Embedded: true, Dir: t.TempDir(), Partitions: 8, Waits: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	j := &journey{t: t, fleet: f}
	addresses := map[string]string{}
	var revision int64
	for _, name := range []string{"config", "safeguard", "ingest"} {
		m, err := f.Start(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		if addresses[name] = m.Address("grpc"); name == "config" {
			class.Name = "tenants/acme/classesOfService/gold"
			if revision, err = f.Configure(ctx, &configv1.Tenant{Name: "tenants/acme"}, class); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.AwaitRevision(ctx, stream.EventsOrdered, revision); err != nil {
		t.Fatal(err)
	}
	j.ingest, j.revision = addresses["ingest"], revision
	j.env = append(os.Environ(),
		"TOLLGATE_API_KEY="+f.Key, "TOLLGATE_TENANT=acme", "TOLLGATE_CONFIG_ADDR="+addresses["config"], "TOLLGATE_INGEST_ADDR="+addresses["ingest"],
		"TOLLGATE_SAFEGUARD_ADDR="+addresses["safeguard"], "TOLLGATE_KAFKA_BROKERS="+strings.Join(brokers, ","), "TOLLGATE_KAFKA_PREFIX="+f.Prefix,
	)
	return j
}

// command is a command line as a process of its own; args are split at spaces; ~ is a space that stays.
func (j *journey) command(args string) *exec.Cmd {
	words := strings.Fields(args)
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], "~", " ")
	}
	cmd := exec.CommandContext(j.t.Context(), "tollgate", words...)
	cmd.Env = j.env
	return cmd
}

// run expects a command to exit with code, and gives both of its streams.
func (j *journey) run(code int, args string) (stdout, stderr string) {
	j.t.Helper()
	var out, errs bytes.Buffer
	cmd := j.command(args)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		j.t.Fatalf("tollgate %s: %v, not exit code %d\n%s%s", args, err, code, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

// activated are the subjects of the first n safeguard.activated there are; it waits for them.
func (j *journey) activated(n int, more string) map[string]int {
	j.t.Helper()
	out, _ := j.run(exitOK, fmt.Sprintf("tail --topic safeguards --type safeguard.activated --since 1h -o json --limit %d %s", n, more))
	subjects := map[string]int{}
	for line := range strings.Lines(out) {
		var e records.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			j.t.Fatal(err)
		}
		subjects[e.Subject]++
	}
	return subjects
}

func onlyData() *configv1.ClassOfService {
	return &configv1.ClassOfService{DataSafeguard: &configv1.DataSafeguardOption{Limit: eur(50, 0)}}
}

// killer is a proxy before ingest, and kills the importer when as many rows were answered as it waits for.
type killer struct {
	ingestv1.UnimplementedIngestServiceServer
	ingest ingestv1.IngestServiceClient

	mu       sync.Mutex
	answered int
	at       int
	// before: ingest has answered, the importer does not have the answer.
	before bool
	kill   func()
}

func (k *killer) PublishStream(in grpc.BidiStreamingServer[ingestv1.PublishStreamRequest, ingestv1.PublishStreamResponse]) error {
	out, err := k.ingest.PublishStream(in.Context())
	if err != nil {
		return err
	}
	go func() {
		for {
			req, err := in.Recv()
			if err != nil {
				_ = out.CloseSend() // the reading side returns how it ends
				return
			}
			if out.Send(req) != nil {
				return
			}
		}
	}()
	for {
		res, err := out.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		k.mu.Lock()
		k.answered += len(res.GetResults())
		kill := k.kill
		if k.answered < k.at || kill == nil {
			kill = func() {}
		}
		before := k.before
		k.mu.Unlock()
		if before {
			kill()
		}
		if err := in.Send(res); err != nil {
			return err
		}
		if !before {
			kill()
		}
	}
}

func TestImport_KilledRepeatedlyEndsCompleteWithoutDuplicates(t *testing.T) {
	j := newJourney(t, onlyData())
	conn, err := j.fleet.Dial(j.ingest)
	if err != nil {
		t.Fatal(err)
	}
	k := &killer{ingest: ingestv1.NewIngestServiceClient(conn)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	ingestv1.RegisterIngestServiceServer(server, k)
	go server.Serve(listener) //nolint:errcheck // it ends with Stop
	defer server.Stop()

	const rows = 6_000
	file := filepath.Join(t.TempDir(), "subscribers.csv")
	var text bytes.Buffer
	fmt.Fprintln(&text, "msisdn,class_of_service")
	for i := range rows {
		fmt.Fprintf(&text, "%s,gold\n", subscriberimport.Sample{}.MSISDN(i))
	}
	// Behind all of them, one more in each partition: once it is counted, so is everything before it.
	last := map[int32]string{}
	for i := rows; len(last) < j.fleet.Partitions(); i++ {
		msisdn := subscriberimport.Sample{}.MSISDN(i)
		last[stream.PartitionOf([]byte("acme/"+msisdn), j.fleet.Partitions())] = msisdn
	}
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	line := "import subscribers " + file + " --activated-at 2026-11-01T00:00:00Z -o json --ingest " + listener.Addr().String()
	for round, at := range []int{1, 1000, 300, 2000} {
		cmd := j.command(line)
		var output bytes.Buffer
		cmd.Stdout, cmd.Stderr = &output, &output
		started := make(chan struct{})
		k.mu.Lock()
		k.answered, k.at, k.before = 0, at, round%2 == 0
		k.kill = func() {
			<-started
			_ = cmd.Process.Kill() // one that has ended needs none
		}
		k.mu.Unlock()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		close(started)
		if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
			t.Fatalf("round %d was not killed: %v\n%s", round, err, output.String())
		}
	}
	k.mu.Lock()
	k.kill = nil
	k.mu.Unlock()
	out, _ := j.run(exitOK, line)
	var sums []subscriberimport.Summary
	if err := json.Unmarshal([]byte(out), &sums); err != nil || len(sums) != 1 {
		t.Fatal(err, out)
	}
	if s := sums[0]; s.Accepted != rows || s.Earlier == 0 || s.Earlier >= rows {
		t.Errorf("%+v: a part must have been done before", s)
	}

	// Again from the start: what is doubled by that is not counted either.
	j.run(exitOK, line+" --from-start")
	text.Reset()
	fmt.Fprintln(&text, "msisdn,class_of_service")
	for _, msisdn := range last {
		fmt.Fprintf(&text, "%s,gold\n", msisdn)
	}
	end := filepath.Join(t.TempDir(), "end.csv")
	if err := os.WriteFile(end, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	j.run(exitOK, "import subscribers "+end+" --activated-at 2026-11-01T00:00:00Z")
	for partition, msisdn := range last {
		if j.activated(1, "--subject "+msisdn)[msisdn] != 1 {
			t.Errorf("the last of partition %d is not there", partition)
		}
	}
	subjects := j.activated(0, "--no-wait")
	if len(subjects) != rows+len(last) {
		t.Errorf("%d subscribers, not %d", len(subjects), rows+len(last))
	}
	for subject, n := range subjects {
		if n != 1 {
			t.Fatalf("%s was activated %d times", subject, n)
		}
	}
	if out, _ := j.run(exitOK, "tail --topic events.rejected --since 1h --no-wait"); out != "" {
		t.Errorf("rejected: %.2000s", out)
	}
}

func TestOption_SubscriberIsImportedShownAndChanged(t *testing.T) {
	j := newJourney(t, &configv1.ClassOfService{
		DataSafeguard:      &configv1.DataSafeguardOption{Limit: eur(50, 0)},
		OverspendSafeguard: &configv1.OverspendSafeguardOption{CurrencyCode: "EUR"},
	})
	file := filepath.Join(t.TempDir(), "one.csv")
	now := time.Now().UTC().Truncate(time.Second).Format(time.RFC3339)
	if err := os.WriteFile(file, []byte("msisdn,class_of_service,currency,data_spent,data_renewal_day,overspend_state,overspend_current_limit,overspend_spent\n"+
		"491511,gold,EUR,12.34,15,active,20,20.50\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	j.run(exitOK, "import subscribers "+file+" --activated-at "+now)
	j.activated(1, "--subject 491511")
	// What follows from an event is published before the options show it.
	out, _ := j.run(exitOK, "tail --subject 491511 --type subscriber.activated --since 1h --limit 1 -o json")
	var activation records.Event
	if err := json.Unmarshal([]byte(out), &activation); err != nil {
		t.Fatal(err, out)
	}
	out, _ = j.run(exitOK, fmt.Sprintf("option get 491511 -o json --wait %s/%d/%d", activation.Topic, activation.Partition, activation.Offset))
	var rows []optionRow
	if err := json.Unmarshal([]byte(out), &rows); err != nil || len(rows) != 2 {
		t.Fatal(err, out)
	}
	if d := rows[0]; d.Option != "data" || d.State != "active" || d.Spent != "12.34 EUR" || d.Limit != "50 EUR" || d.RenewalDay != 15 || d.Reached == nil || *d.Reached {
		t.Errorf("%+v", d)
	}
	if d, o := rows[0], rows[1]; o.Option != "overspend" || o.State != "active" || o.Spent != "20.5 EUR" || o.Limit != "20 EUR" || o.Reached == nil || !*o.Reached || o.LimitSource != "subscriber" || d.LimitSource != "class-of-service" {
		t.Errorf("%+v", o)
	}

	// A higher limit releases; the same again under its reference changes nothing, another one under it is refused.
	const raise = "option set 491511 --option overspend --current-limit 30~EUR --reference ticket-1 -o json"
	for range 2 {
		out, _ = j.run(exitOK, raise)
		if !strings.Contains(out, `"limit": "30 EUR"`) || !strings.Contains(out, `"reached": false`) {
			t.Error(out)
		}
	}
	_, errs := j.run(exitFailed, "option set 491511 --option overspend --current-limit 31~EUR --reference ticket-1")
	if !strings.Contains(errs, "ID_REUSED") || !strings.Contains(errs, "another change had this --reference") {
		t.Error(errs)
	}
	_, errs = j.run(exitFailed, "option set 491511 --option overspend --current-limit 31~USD")
	if !strings.Contains(errs, "CURRENCY_MISMATCH") || !strings.Contains(errs, "tollgate: reference cli-") {
		t.Error(errs)
	}
	j.run(exitOK, "option set 491511 --option data --state permanently-inactive")
	_, errs = j.run(exitFailed, "option set 491511 --option data --state temporarily-inactive")
	if !strings.Contains(errs, "STATE_NOT_ELIGIBLE") || !strings.Contains(errs, "eligible now: active") && !strings.Contains(errs, "active") {
		t.Error(errs)
	}
	_, errs = j.run(exitFailed, "option get 491512")
	if !strings.Contains(errs, "SUBSCRIBER_NOT_FOUND") || !strings.Contains(errs, "check the number") {
		t.Error(errs)
	}
	_, errs = j.run(exitFailed, "option set 491511 --option payment --state inactive")
	if !strings.Contains(errs, "OPTION_NOT_OFFERED") {
		t.Error(errs)
	}

	// Why the figures are what they are, and that the log has the same.
	out, errs = j.run(exitOK, "option explain 491511 --option overspend")
	for _, want := range []string{
		`subscriber\.activated \S+ +overspend +\+20\.5 EUR +20\.5 EUR +20 EUR +active +yes +`,
		`command\.change ticket-1 +overspend +0 EUR +20\.5 EUR +30 EUR +active +no +.*released`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("%s\nmust match %s", out, want)
		}
	}
	if !strings.Contains(errs, "from the log's offset ") {
		t.Error(errs)
	}
	out, errs = j.run(exitOK, "option verify")
	if out != "" || !strings.Contains(errs, "1 subscribers in 8 partitions, 0 differences") {
		t.Error(out, errs)
	}
	out, _ = j.run(exitOK, "option reapply --cos gold -o yaml")
	if !strings.Contains(out, "partitions: 8") || !strings.Contains(out, "seen: 1") {
		t.Error(out)
	}
	_, errs = j.run(exitFailed, "option reapply --cos platinum")
	if !strings.Contains(errs, "CLASS_OF_SERVICE_NOT_FOUND") {
		t.Error(errs)
	}
}
