package auditlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/stream"
	auditv1 "github.com/tollgate/tollgate/proto/gen/tollgate/audit/v1"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/store"
	"github.com/tollgate/tollgate/services/config/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

var errAway = errors.New("no broker answers")

// topic is what Kafka has of audit.
type topic struct {
	mu   sync.Mutex
	ids  []string
	last *auditv1.AuditRecord
	// away: nothing is taken. refuse is the id of a record that is not taken.
	away   bool
	refuse string
}

func (k *topic) produce(_ context.Context, records ...stream.Record) ([]stream.ProduceResult, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	results := make([]stream.ProduceResult, len(records))
	var err error
	for i, r := range records {
		m := &auditv1.AuditRecord{}
		if err := proto.Unmarshal(r.Value, m); err != nil {
			return nil, err
		}
		if k.away || m.GetId() == k.refuse {
			results[i].Err, err = errAway, errAway
			continue
		}
		k.ids, k.last = append(k.ids, m.GetId()), m
	}
	return results, err
}

// bed is a database, a topic and a clock that replicas share.
type bed struct {
	t     *testing.T
	db    *storetest.Database
	kafka *topic
	now   time.Time
}

func newBed(t *testing.T) *bed {
	return &bed{t: t, db: storetest.New(t), kafka: &topic{}, now: time.UnixMilli(1_800_000_000_000)}
}

type noIndex struct{}

func (noIndex) Reset()                     {}
func (noIndex) Change(_, _ *store.Version) {}

// replica is one process on the database.
func (b *bed) replica(name string) *Log {
	b.t.Helper()
	s, err := store.Open(b.t.Context(), b.db.Config, noIndex{}, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = s.Close() })
	show := func(_ context.Context, c store.Change) (*configv1.Change, error) {
		kind := "Endpoint"
		if c.Kind == "history" {
			kind = history
		}
		return &configv1.Change{Revision: c.Revision, History: c.History, Action: c.Action, Kind: kind, Name: c.Name}, nil
	}
	return &Log{
		Store: s, Show: show, Produce: b.kafka.produce, Topic: "audit", Log: zap.NewNop(), Clock: func() time.Time { return b.now }, holder: name,
	}
}

// change makes n changes of one endpoint.
func (b *bed) change(l *Log, n int) {
	b.t.Helper()
	for range n {
		tx, err := l.Store.Begin(b.t.Context())
		if err != nil {
			b.t.Fatal(err)
		}
		made := store.Revisions{Revision: tx.Last().Revision + 1}
		err = tx.Write(b.t.Context(), store.Entry{Revisions: made, At: b.now, Caller: "c0ffee00", Action: "update"},
			store.Version{Kind: "endpoint", Name: "tenants/a/endpoints/e", Revision: made.Revision, Body: []byte("x")})
		if err == nil {
			err = tx.Commit()
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
}

// publish runs a replica until it has nothing to do.
func (b *bed) publish(l *Log) error {
	b.t.Helper()
	for {
		more, err := l.some(b.t.Context())
		l.note(b.t.Context(), err)
		if err != nil || !more {
			return err
		}
	}
}

// has compares the revisions on the topic, in their order.
func (b *bed) has(want ...int) {
	b.t.Helper()
	var got []string
	for _, id := range b.kafka.ids {
		_, revision, _ := strings.Cut(id, "-")
		got = append(got, revision)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		b.t.Errorf("the topic has %v, want %v", got, want)
	}
}

func TestLog_HasEachChangeOnceInOrder(t *testing.T) {
	b := newBed(t)
	l := b.replica("one")
	b.change(l, 3)
	if err := b.publish(l); err != nil {
		t.Fatal(err)
	}
	b.has(1, 2, 3)
	b.change(l, 2)
	for range 2 {
		if err := b.publish(l); err != nil {
			t.Fatal(err)
		}
	}
	b.has(1, 2, 3, 4, 5)
	r := b.kafka.last
	if r.GetTenant() != "a" || r.GetCaller() != "c0ffee00" || r.GetMethod() != "tollgate.config.v1.EndpointService/UpdateEndpoint" ||
		r.GetTime().AsTime().UnixMilli() != b.now.UnixMilli() || r.GetId() != fmt.Sprintf("%016x-5", r.GetChange().GetHistory()) {
		t.Errorf("%v", r)
	}
}

// What is acknowledged stands before the position moves: whoever comes next publishes it again, under the same ids.
func TestLog_AProcessThatDiesBeforeThePositionMovedRepeats(t *testing.T) {
	b := newBed(t)
	one, two := b.replica("one"), b.replica("two")
	b.change(one, 3)
	ctx, kill := context.WithCancel(t.Context())
	one.Produce = func(ctx context.Context, records ...stream.Record) ([]stream.ProduceResult, error) {
		defer kill()
		return b.kafka.produce(ctx, records...)
	}
	for more := true; more; {
		more, _ = one.some(ctx)
	}
	b.has(1, 2, 3)
	first := fmt.Sprint(b.kafka.ids)
	if err := b.publish(two); err != nil {
		t.Fatal(err)
	}
	b.has(1, 2, 3) // the turn of one is not over
	b.now = b.now.Add(heldFor)
	if err := b.publish(two); err != nil {
		t.Fatal(err)
	}
	b.has(1, 2, 3, 1, 2, 3)
	if again := fmt.Sprint(b.kafka.ids[3:]); again != first {
		t.Errorf("the same changes have the ids %s and %s", first, again)
	}
}

func TestLog_TwoReplicasTakeTurns(t *testing.T) {
	b := newBed(t)
	one, two := b.replica("one"), b.replica("two")
	want := []int{}
	for i := range 20 {
		b.change([]*Log{one, two}[i%2], 1)
		want = append(want, i+1)
		for _, l := range []*Log{one, two} {
			if err := b.publish(l); err != nil {
				t.Fatal(err)
			}
		}
		b.has(want...)
	}
	// The one that stops ends its turn.
	one.release(t.Context())
	b.change(one, 1)
	if err := b.publish(two); err != nil {
		t.Fatal(err)
	}
	b.has(append(want, 21)...)
}

func TestLog_ChangesGoOnWhileKafkaIsAway(t *testing.T) {
	b := newBed(t)
	one, two := b.replica("one"), b.replica("two")
	b.change(one, 2)
	b.kafka.away = true
	if err := b.publish(one); !errors.Is(err, errAway) {
		t.Fatal(err)
	}
	if notes := one.Notes(); len(notes) != 0 {
		t.Errorf("after a moment it notes %v", notes)
	}
	b.now = b.now.Add(delayed)
	b.change(one, 1)
	if err := b.publish(one); !errors.Is(err, errAway) {
		t.Fatal(err)
	}
	if notes := one.Notes(); len(notes) != 1 || notes[0].Code != "AUDIT_DELAYED" || !strings.Contains(notes[0].Detail, errAway.Error()) {
		t.Errorf("it notes %v", notes)
	}
	b.has()
	b.kafka.away = false
	if err := b.publish(two); err != nil { // one left it the turn
		t.Fatal(err)
	}
	b.has(1, 2, 3)
	if err := b.publish(one); err != nil {
		t.Fatal(err)
	}
	if notes := append(one.Notes(), two.Notes()...); len(notes) != 0 {
		t.Errorf("it still notes %v", notes)
	}
}

func TestLog_ThePositionStaysBeforeTheFirstThatIsNotTaken(t *testing.T) {
	b := newBed(t)
	l := b.replica("one")
	b.change(l, 3)
	changes, err := l.Store.ChangesAfter(t.Context(), 0, 3)
	if err != nil {
		t.Fatal(err)
	}
	b.kafka.refuse = ID(changes[1])
	if err := b.publish(l); !errors.Is(err, errAway) {
		t.Fatal(err)
	}
	if at, err := l.Store.Audited(t.Context()); at != 1 || err != nil {
		t.Errorf("the position is %d, %v", at, err)
	}
	b.kafka.refuse = ""
	if err := b.publish(l); err != nil {
		t.Fatal(err)
	}
	b.has(1, 3, 2, 3)
}

// A database that was set back has its position with it, and what comes after has other ids.
func TestLog_OfADatabaseThatWasSetBackGoesOn(t *testing.T) {
	b := newBed(t)
	l := b.replica("one")
	b.change(l, 2)
	if err := errors.Join(b.publish(l), l.Store.Close()); err != nil {
		t.Fatal(err)
	}
	restore := b.db.Copy()
	l = b.replica("one")
	b.change(l, 2)
	if err := errors.Join(b.publish(l), l.Store.Close()); err != nil {
		t.Fatal(err)
	}
	restore()
	l = b.replica("one")
	b.change(l, 2)
	if err := b.publish(l); err != nil {
		t.Fatal(err)
	}
	b.has(1, 2, 3, 4, 3, 4)
	if b.kafka.ids[2] == b.kafka.ids[4] {
		t.Errorf("two changes have the id %s", b.kafka.ids[2])
	}
}

// What was set back between the reading and the moving does not move the position over changes that were not read.
func TestLog_MovesToNoChangeThatIsNotThere(t *testing.T) {
	b := newBed(t)
	l := b.replica("one")
	b.change(l, 1)
	changes, err := l.Store.ChangesAfter(t.Context(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Store.HoldAudit(t.Context(), "one", b.now, b.now); err != nil {
		t.Fatal(err)
	}
	other := changes[0]
	other.History++
	if ok, err := l.Store.MoveAudit(t.Context(), "one", 0, other, b.now); ok || err != nil {
		t.Errorf("it moves to a change of another history: %v", err)
	}
	if ok, err := l.Store.MoveAudit(t.Context(), "two", 0, changes[0], b.now); ok || err != nil {
		t.Errorf("it is moved without being held: %v", err)
	}
	if ok, err := l.Store.MoveAudit(t.Context(), "one", 0, changes[0], b.now); !ok || err != nil {
		t.Errorf("it does not move: %v", err)
	}
}

func TestLog_HasWhoAcceptedARestoreAndWhy(t *testing.T) {
	b := newBed(t)
	l := b.replica("one")
	b.change(l, 1)
	tx, err := l.Store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tx.BeginHistory()
	err = errors.Join(
		tx.Record(t.Context(), store.Entry{Revisions: store.Revisions{Revision: 12, Apply: 12}, At: b.now, Caller: "c0ffee00", Action: "accept_restore", Kind: "history", Name: "jo"}),
		tx.Lose(t.Context(), &configv1.Position{History: 7, Revision: 11}, 12, "jo", "INC-1"), tx.Commit())
	if err == nil {
		err = b.publish(l)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.has(1, 12)
	if r := b.kafka.last; r.GetWho() != "jo" || r.GetWhy() != "INC-1" || len(r.GetLost()) != 1 || r.GetLost()[0].GetRevision() != 11 ||
		r.GetMethod() != "tollgate.config.v1.HistoryService/AcceptRestore" || r.GetTenant() != "" {
		t.Errorf("%v", r)
	}
}

func TestRun_WritesWhatComes(t *testing.T) {
	b := newBed(t)
	l := b.replica("")
	b.change(l, 1)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	changed := make(chan struct{})
	looked := make(chan struct{}, 100)
	go func() {
		defer close(done)
		l.Run(ctx, func() <-chan struct{} { looked <- struct{}{}; return changed })
	}()
	for moved := int64(0); moved < 1; {
		<-looked
		var err error
		if moved, err = l.Store.Audited(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	<-done
	b.has(1)
	// Its turn ended with it.
	two := b.replica("two")
	b.change(two, 1)
	if err := b.publish(two); err != nil {
		t.Fatal(err)
	}
	b.has(1, 2)
}
