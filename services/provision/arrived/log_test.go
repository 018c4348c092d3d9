package arrived

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/simulation"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

const (
	topicOrdered = "t.events.ordered"
	eventType    = "balance.changed"
)

// fakeLog is a partition, its handlers, and what they were asked.
type fakeLog struct {
	t testing.TB

	mu       sync.Mutex
	records  []stream.Record // the test alone appends
	handlers []Handler
	// takes is how long a handler takes for an event.
	takes map[string]time.Duration
	asked map[string][]string
	open  map[string]int
	most  map[string]int
	// committed is what the group has.
	committed int64
	text      string
}

func newFakeLog(t testing.TB, handlers ...Handler) *fakeLog {
	return &fakeLog{
		t: t, handlers: handlers, takes: map[string]time.Duration{}, asked: map[string][]string{}, open: map[string]int{}, most: map[string]int{},
		text: formatPosition,
	}
}

// publish appends an event of a subject; source is whose it is.
func (w *fakeLog) publish(subject, source string, bytes int) {
	now := time.Now().UTC()
	e := event.Event{
		ID: strconv.Itoa(len(w.records)), Source: source, Type: eventType, Tenant: "acme", Subject: subject, Time: now, ReceivedAt: now,
		Correlation: "c", Data: &eventv1.BalanceChanged{Offer: strings.Repeat("x", bytes)},
	}
	r, err := e.Record(topicOrdered)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Offset = int64(len(w.records))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records = append(w.records, r)
}

// known are the handlers there are.
func (w *fakeLog) known() []Handler {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.handlers
}

// set has other handlers.
func (w *fakeLog) set(handlers ...Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handlers = handlers
}

// slow has a handler take so long for an event.
func (w *fakeLog) slow(handler string, takes time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.takes[handler] = takes
}

func (w *fakeLog) fetch(ctx context.Context, _ string, _ int32, offset int64, _ int) (stream.Batch, error) {
	if ctx.Err() != nil {
		return stream.Batch{}, ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	until := min(int64(len(w.records)), offset+500)
	return stream.Batch{Records: w.records[offset:until], Next: until, End: int64(len(w.records))}, nil
}

func (w *fakeLog) log() *Log {
	return &Log{
		Of: func(_, typ string) []Handler {
			if typ != eventType {
				return nil
			}
			return w.known()
		},
		Has: func(name string) bool {
			return slices.ContainsFunc(w.known(), func(h Handler) bool { return h.Name == name })
		},
		Names: func() (all []string) {
			for _, h := range w.known() {
				all = append(all, h.Name)
			}
			return all
		},
		Ask: w.ask, Fetch: w.fetch, Own: "tollgate/provision", Ordered: topicOrdered, Clock: time.Now, Logger: zap.NewNop(),
	}
}

func (w *fakeLog) ask(ctx context.Context, handler string, e *event.Event, _ time.Time) bool {
	w.mu.Lock()
	w.open[handler]++
	w.most[handler] = max(w.most[handler], w.open[handler])
	w.asked[handler] = append(w.asked[handler], e.Subject+" "+e.ID)
	takes := w.takes[handler]
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.open[handler]--
	}()
	select {
	case <-time.After(takes):
		return true
	case <-ctx.Done():
		return false
	}
}

// running is one owner of the partition.
type running struct {
	*partition
	w   *fakeLog
	end func()
}

func (w *fakeLog) start() *running {
	w.t.Helper()
	at, err := decode(w.committed, w.text)
	if err != nil {
		w.t.Fatal(err)
	}
	p := w.log().partition(topicOrdered, 0, w.committed)
	p.report = func(code string, offset int64, err error) { w.t.Errorf("%s at %d: %v", code, offset, err) }
	ctx, end := context.WithCancel(context.Background())
	p.owner.asking, p.owner.taking = ctx, ctx
	p.resume(at)
	return &running{p, w, func() {
		end()
		p.readers.Wait()
		p.log.lines.stop(p.owner)
	}}
}

// read hands out what the log has, n records at most.
func (r *running) read(n int) {
	until := min(len(r.w.records), int(r.next)+n)
	r.take(r.owner.taking, &stream.Batch{Records: r.w.records[r.next:until], Next: int64(until)})
}

func (r *running) commit() {
	offset, text := r.position()
	if offset < r.w.committed {
		r.w.t.Errorf("the position goes back from %d to %d", r.w.committed, offset)
	}
	if len(text) > maxPosition {
		r.w.t.Errorf("%d bytes beside the offset", len(text))
	}
	r.w.committed, r.w.text = offset, text
}

// done reports that every handler is done with all.
func (r *running) done() bool {
	offset, text := r.position()
	return offset == int64(len(r.w.records)) && text == formatPosition
}

// count is how often a handler was asked.
func (w *fakeLog) count(handler string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.asked[handler])
}

// complete checks that a handler was asked about every event, and about those of a subject in their order where they came first.
func (w *fakeLog) complete(handler string) {
	w.t.Helper()
	seen := map[string]bool{}
	last := map[string]int{}
	for _, one := range w.asked[handler] {
		subject, id, _ := strings.Cut(one, " ")
		n, _ := strconv.Atoi(id)
		if !seen[id] && n < last[subject] {
			w.t.Errorf("%s is asked about %s after %d", handler, one, last[subject])
		}
		seen[id] = true
		last[subject] = max(last[subject], n)
	}
	for _, r := range w.records {
		id, _ := r.Header(event.HeaderID)
		source, _ := r.Header(event.HeaderSource)
		if own := string(source) == "tollgate/provision"; seen[string(id)] == own {
			w.t.Errorf("%s: event %s of %s, asked %v", handler, id, source, seen[string(id)])
		}
	}
}

func TestLog_AHandlerThatHangsTakesNothingOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeLog(t, Handler{"hangs", 16}, Handler{"quick", 16})
		w.slow("hangs", time.Hour)
		w.slow("quick", time.Millisecond)
		for i := range 5000 {
			w.publish(fmt.Sprint("client/", i%100), "crm", 100)
		}
		r := w.start()
		defer r.end()
		for began := time.Now(); w.count("quick") < 5000; {
			r.read(500)
			time.Sleep(10 * time.Millisecond)
			if took := time.Since(began); took > time.Minute {
				t.Fatalf("after %s the other handler was asked %d times", took, w.count("quick"))
			}
		}
		synctest.Wait()
		w.complete("quick")
		if n := w.count("hangs"); n != 8 || w.most["hangs"] != 8 {
			t.Errorf("%d questions to the one that hangs, want half of its concurrency", n)
		}
		// The next owner repeats nothing of the quick one, and all of the one that hangs.
		r.commit()
		r.end()
		before := w.count("quick")
		w.slow("hangs", 0)
		next := w.start()
		defer next.end()
		synctest.Wait()
		next.read(500)
		synctest.Wait()
		w.complete("hangs")
		if n := w.count("quick"); n != before {
			t.Errorf("the quick one is asked %d times again", n-before)
		}
		if !next.done() {
			offset, text := next.position()
			t.Errorf("the position is %d %q", offset, text)
		}
	})
}

func TestLog_EventsAreBoundedByWhatTheyTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeLog(t, Handler{"slow", 2})
		w.slow("slow", time.Second)
		for range 40 {
			w.publish("client/1", "crm", 512<<10)
		}
		r := w.start()
		defer r.end()
		r.read(40)
		synctest.Wait()
		if got := r.log.lines.bytes; got > lineBytes || got < lineBytes/2 {
			t.Errorf("%d bytes in memory, at most %d may be", got, lineBytes)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		w.complete("slow")
		if got := &r.log.lines; got.bytes != 0 || len(got.all) != 0 || !r.done() {
			t.Errorf("%d bytes, %d lines are left", got.bytes, len(got.all))
		}
	})
}

func TestLog_AHookThatIsGoneIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeLog(t, Handler{"slow", 2})
		w.slow("slow", time.Second)
		for range 1000 {
			w.publish("client/1", "crm", 10)
		}
		r := w.start()
		defer r.end()
		r.read(1000)
		if apart, since := r.behind(); apart != 1 || since.IsZero() {
			t.Errorf("%d are read apart, since %s", apart, since)
		}
		w.set()
		time.Sleep(time.Hour)
		synctest.Wait()
		if apart, since := r.behind(); apart != 0 || !since.IsZero() || !r.done() {
			t.Errorf("%d are read apart, since %s", apart, since)
		}
	})
}

// Whatever the times that handlers take, and wherever their owner dies: no event is lost, those of a subject are in order, and no
// handler has more open at once than its half.
func TestLog_SimulationOfCrashes(t *testing.T) {
	simulation.Run(t, simulation.Histories{Short: 30, Test: 200, Long: 3000}, func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) { crashes(t, rand.New(rand.NewPCG(seed, 1))) })
	})
}

func crashes(t *testing.T, random *rand.Rand) {
	w := newFakeLog(t)
	for i := range 1 + random.IntN(4) {
		h := Handler{fmt.Sprint("h", i), 1 + random.IntN(20)}
		w.set(append(w.handlers, h)...)
		w.slow(h.Name, time.Duration([]int{0, 1, 20, 300}[random.IntN(4)])*time.Millisecond)
	}
	r := w.start()
	for range 1 + random.IntN(40) {
		switch random.IntN(7) {
		case 0, 1:
			for range 1 + random.IntN(400) {
				w.publish(fmt.Sprint("client/", random.IntN(10)), []string{"crm", "crm", "crm", "tollgate/provision"}[random.IntN(4)], 10)
			}
		case 2, 3:
			r.read(1 + random.IntN(300))
		case 4:
			r.commit()
		case 5:
			time.Sleep(time.Duration(1+random.IntN(500)) * time.Millisecond)
		case 6:
			r.end()
			r = w.start()
		}
	}
	for !r.done() {
		r.read(1000)
		time.Sleep(10 * time.Second)
		synctest.Wait()
	}
	r.end()
	for _, h := range w.handlers {
		w.complete(h.Name)
		if w.most[h.Name] > h.share() {
			t.Errorf("%s had %d open at once, at most %d may be", h.Name, w.most[h.Name], h.share())
		}
	}
}

func TestPosition_ThoseFurthestBehindHaveRoomFirst(t *testing.T) {
	var all []remainder
	for i := range 1000 {
		all = append(all, remainder{fmt.Sprint("tenants/acme/hooks/h", i), int64(1_000_000 - i)})
	}
	offset, text := encode(2_000_000, all)
	if len(text) > maxPosition {
		t.Errorf("it takes %d bytes", len(text))
	}
	back, err := decode(offset, text)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if at, there := back[hashOf(s.handler)]; there && at != s.offset || !there && s.offset < offset {
			t.Fatalf("%v is at %d, %v, beside offset %d", s, at, there, offset)
		}
	}
	for _, bad := range []string{"2", "1 x", "1 x:-1", "1 x:zzzzzzzzzzzzz"} {
		if _, err := decode(10, bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}
