package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tollgate/tollgate/pkg/audit"
	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	auditv1 "github.com/tollgate/tollgate/proto/gen/tollgate/audit/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// Tail follows topics.
type Tail struct {
	command.Kafka
	Topic   []string      `enum:"events.inbound,events.ordered,events.unordered,events.rejected,safeguards,audit" default:"events.ordered,events.unordered,safeguards" help:"Which topics, divided by commas; ${default} by default."`
	Type    []string      `help:"Only these types; usage.* is all of an entity." placeholder:"TYPE"`
	Subject string        `help:"Only this subject, such as an MSISDN."`
	Tenant  string        `help:"Only this tenant." placeholder:"ID"`
	Since   time.Duration `help:"Begin so long ago, such as 10m; with what comes from now on by default." placeholder:"DURATION"`
	Control bool          `help:"Show control records too: revisions, ticks, commands."`
	NoWait  bool          `help:"End where the topics end now."`
	Limit   int           `help:"End after so many events." placeholder:"N"`
	Output  string        `short:"o" enum:"text,json" default:"text" help:"How each event is written: text or json, one a line."`
}

// Help is shown below the flags.
func (Tail) Help() string {
	return `Reads without a consumer group, so it affects no consumer. Fields with personal or contact data are omitted. Within a partition
events come in order, across partitions as they are fetched. Of the topic audit each record is shown whole: who changed
what, and who was refused.

Example:

    tollgate tail --type 'safeguard.*' --since 10m

    tollgate tail --subject 491511234567 --since 24h --no-wait -o json

    tollgate tail --topic audit --tenant acme --type audit.change --since 24h --no-wait`
}

// AfterApply is called by kong once the flags are read.
func (c Tail) AfterApply() error {
	var faults []error
	for _, pattern := range c.Type {
		if _, err := path.Match(pattern, ""); err != nil {
			faults = append(faults, fmt.Errorf("--type %q is not a pattern: %w", pattern, err))
		}
	}
	if c.Since < 0 {
		faults = append(faults, fmt.Errorf("--since must not be negative, is %s", c.Since))
	}
	if c.Limit < 0 {
		faults = append(faults, fmt.Errorf("--limit must not be negative, is %d", c.Limit))
	}
	if len(faults) > 0 {
		return command.UsageError(errors.Join(faults...).Error())
	}
	return nil
}

// followed is one partition that is read.
type followed struct {
	topic     string
	partition int32
	next, end int64
}

// tailPause is between two looks at topics that had nothing new, tailBytes what one fetch brings.
const (
	tailPause = 250 * time.Millisecond
	tailBytes = 1 << 20
)

// oneSpelling is a subject as it stands on events: a subscriber's number is without its leading +.
func oneSpelling(subject string) string {
	if msisdn, ok := event.MSISDN(subject); ok {
		return msisdn
	}
	return subject
}

// errEnough ends a tail that reached its limit.
var errEnough = errors.New("enough")

// Run follows until interrupted, which is its ordinary end.
func (c Tail) Run(ctx context.Context, streams command.Streams) error {
	c.Subject = oneSpelling(c.Subject)
	client, err := c.Open()
	if err != nil {
		return err
	}
	defer command.Close(client)
	all, err := begin(ctx, client, c.Topic, ago(c.Since), c.Since > 0)
	if err != nil {
		return command.Unreachable(err, "Kafka at "+fmt.Sprint(c.Brokers))
	}
	shown := 0
	for {
		moved := false
		for _, f := range all {
			on, err := c.read(ctx, client, f, streams, &shown)
			if errors.Is(err, errEnough) || ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			moved = moved || on
		}
		if moved {
			continue
		}
		if c.NoWait {
			return nil
		}
		select {
		case <-time.After(tailPause):
		case <-ctx.Done():
			return nil
		}
	}
}

// ago is the time so long ago; zero for 0.
func ago(d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return time.Now().Add(-d)
}

// begin finds where each partition of topics is to be read from: at from where the past is wanted, else its end; with past
// and no time, its beginning.
func begin(ctx context.Context, client *stream.Client, topics []string, from time.Time, past bool) ([]*followed, error) {
	ctx, cancel := context.WithTimeout(ctx, command.KafkaTimeout)
	defer cancel()
	var all []*followed
	for _, name := range topics {
		topic := client.Topic(name)
		n, err := client.Partitions(ctx, topic)
		if err != nil {
			return nil, err
		}
		for p := range int32(n) {
			start, end, err := client.Offsets(ctx, topic, p)
			if err != nil {
				return nil, err
			}
			f := &followed{topic: topic, partition: p, next: end, end: end}
			switch {
			case past && !from.IsZero():
				if f.next, err = client.OffsetAt(ctx, topic, p, from); err != nil {
					return nil, err
				}
			case past:
				f.next = start
			}
			all = append(all, f)
		}
	}
	return all, nil
}

// fetch brings the next records, and moves on. Retention may be faster than this reader, which loses nothing by it but a
// view.
func (f *followed) fetch(ctx context.Context, client *stream.Client, streams command.Streams) ([]stream.Record, error) {
	batch, err := client.FetchFrom(ctx, f.topic, f.partition, f.next, tailBytes)
	var gone *stream.OutOfRangeError
	if errors.As(err, &gone) {
		fmt.Fprintf(streams.Err, "tollgate: %s/%d: offsets from %d are gone\n", f.topic, f.partition, f.next)
		f.next, _, err = client.Offsets(ctx, f.topic, f.partition)
		return nil, err
	}
	var damaged *stream.DamagedError
	if errors.As(err, &damaged) {
		// ingest goes on behind it, and so does who looks on.
		fmt.Fprintf(streams.Err, "tollgate: %s/%d: offsets %d to %d can't be read: %s\n",
			f.topic, f.partition, damaged.First, damaged.Next-1, display.Text(damaged.Detail, command.MaxLine))
		f.next = damaged.Next
		return nil, nil
	}
	if err == nil {
		f.next = batch.Next
	}
	return batch.Records, err
}

// read shows what one fetch brings, and returns whether it moved on.
func (c Tail) read(ctx context.Context, client *stream.Client, f *followed, streams command.Streams, shown *int) (bool, error) {
	if c.NoWait && f.next >= f.end {
		return false, nil
	}
	before := f.next
	records, err := f.fetch(ctx, client, streams)
	if err != nil {
		return false, err
	}
	for _, r := range records {
		if c.NoWait && r.Offset >= f.end {
			break
		}
		e, err := decode(client, r)
		if e == nil {
			fmt.Fprintf(streams.Err, "tollgate: %s/%d/%d: %v\n", f.topic, f.partition, r.Offset, err)
			continue
		}
		if !c.wanted(e) {
			continue
		}
		if err := c.Print(streams, r, e); err != nil {
			return false, err
		}
		if *shown++; *shown == c.Limit {
			return false, errEnough
		}
	}
	return f.next > before, nil
}

// decode reads a record of any topic: one of audit as an event whose data is that record.
func decode(client *stream.Client, r stream.Record) (*event.Event, error) {
	if r.Topic != client.Topic(stream.Audit) {
		return event.Decode(r.Value)
	}
	m := &auditv1.AuditRecord{}
	if err := proto.Unmarshal(r.Value, m); err != nil {
		return nil, fmt.Errorf("read audit record: %w", err)
	}
	at := m.GetTime().AsTime()
	return &event.Event{
		ID: m.GetId(), Type: audit.TypeOf(m), Tenant: m.GetTenant(), Subject: m.GetChange().GetName(), Time: at, ReceivedAt: at, Data: m,
		Source: header(r, event.HeaderSource),
	}, nil
}

func header(r stream.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

func (c Tail) wanted(e *event.Event) bool {
	if event.IsControl(e.Type) && !c.Control || c.Subject != "" && e.Subject != c.Subject || c.Tenant != "" && e.Tenant != c.Tenant {
		return false
	}
	for _, pattern := range c.Type {
		if ok, err := path.Match(pattern, e.Type); ok && err == nil {
			return true
		}
	}
	return len(c.Type) == 0
}

// Event is an event as a line of JSON.
type Event struct {
	Topic       string          `json:"topic"`
	Partition   int32           `json:"partition"`
	Offset      int64           `json:"offset"`
	ReceivedAt  time.Time       `json:"received_at"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Tenant      string          `json:"tenant,omitempty"`
	Subject     string          `json:"subject,omitempty"`
	Time        time.Time       `json:"time"`
	Correlation string          `json:"correlation,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
}

// shownData is the data of an event without what is about a person. What a tenant declares of its own types is not known
// here, so of their data only the names are shown.
func shownData(e *event.Event) proto.Message {
	s, ok := e.Data.(*structpb.Struct)
	if !ok {
		return event.WithoutContact(e.Data, false)
	}
	hidden := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(s.GetFields()))}
	for name := range s.GetFields() {
		hidden.Fields[name] = structpb.NewStringValue("…")
	}
	return hidden
}

// Print writes an event.
func (c Tail) Print(streams command.Streams, r stream.Record, e *event.Event) error {
	var data []byte
	if e.Data != nil {
		var err error
		if data, err = (protojson.MarshalOptions{UseProtoNames: true}).Marshal(shownData(e)); err != nil {
			return fmt.Errorf("write event: %w", err)
		}
	}
	out := json.NewEncoder(streams.Out)
	out.SetEscapeHTML(false)
	line := Event{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, ReceivedAt: e.ReceivedAt, ID: e.ID, Source: e.Source, Type: e.Type,
		Tenant: e.Tenant, Subject: e.Subject, Time: e.Time, Correlation: e.Correlation, Data: data,
	}
	if c.Output == "json" {
		return out.Encode(line)
	}
	// Through JSON once more: Protobuf's own spaces vary from build to build.
	var compact strings.Builder
	if len(data) > 0 {
		plain, err := json.Marshal(line.Data)
		if err != nil {
			return fmt.Errorf("write event: %w", err)
		}
		compact.Write(plain)
	}
	_, err := fmt.Fprintf(streams.Out, "%s %s/%d/%d %s %s %s %s\n", e.ReceivedAt.Format(event.TimeLayout),
		r.Topic, r.Partition, r.Offset, display.Text(e.Type, command.MaxCell), display.Text(e.Key(), command.MaxCell), display.Text(e.ID, command.MaxCell),
		display.Text(compact.String(), command.MaxLine))
	return err
}
