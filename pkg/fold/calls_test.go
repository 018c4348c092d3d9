package fold

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/stream"
)

func TestHowFarBackTheListReaches(t *testing.T) {
	const hour = int64(record.HourMillis)
	at := func(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
	s := Subject[int]{Time: at(1000 * hour)}
	for i := range int64(record.CallsInRecord) {
		if got := s.CallsFrom(); !got.Equal(at(976 * hour)) {
			t.Fatalf("with %d calls from %v on; want all of a day", i, got)
		}
		s.header.Calls.Add(record.AcceptedCall{ID: uint64(i), At: 990*hour + i})
	}
	if got := s.CallsFrom(); !got.Equal(at(990 * hour)) {
		t.Errorf("full, from %v on", got)
	}
	if _, ok := s.Counted(Identity{7: 15}); !ok {
		t.Error("what stands in the list is not counted")
	}
	if _, ok := s.Counted(Identity{7: 16}); ok {
		t.Error("counted is not what stands in the list")
	}
}

func waits(id uint64, within time.Duration) *waitingCall {
	return &waitingCall{key: callKey{id: id}, deadline: time.Now().Add(within), done: make(chan verdict, 1)}
}

func clockAt(t time.Time) func() time.Time { return func() time.Time { return t } }

func met(n uint64) func() uint64 { return func() uint64 { return n } }

func ends(t *testing.T, c *waitingCall) verdict {
	t.Helper()
	select {
	case v := <-c.done:
		return v
	default:
		t.Fatal("nothing was told")
		return verdict{}
	}
}

func TestNumbersRiseAboveAllThatWereMet(t *testing.T) {
	var d desk
	at := time.UnixMicro(5000)
	for _, step := range []struct {
		met  uint64
		want uint64
	}{{0, 5000}, {0, 5001}, {9000, 9001}, {8000, 9002}} {
		c := waits(1, time.Minute)
		if _, v := d.enter(c, 10); v.err != nil {
			t.Fatal(v.err)
		}
		if d.take(met(step.met), clockAt(at)); c.key.number != step.want {
			t.Errorf("drew %d after %d was met; want %d", c.key.number, step.met, step.want)
		}
	}
}

func TestWhatALostPartitionTellsThoseWhoWait(t *testing.T) {
	var d desk
	stand, fly, fall, unsure := waits(1, time.Minute), waits(2, time.Minute), waits(3, time.Minute), waits(4, time.Minute)
	send := func(calls ...*waitingCall) []*waitingCall {
		for _, c := range calls {
			if _, v := d.enter(c, 10); v.err != nil {
				t.Fatal(v.err)
			}
		}
		taken, _, _ := d.take(met(0), clockAt(time.Now()))
		return taken
	}
	d.appended(send(stand, unsure), []stream.ProduceResult{{}, {Err: stream.ErrUnknown}})
	flying := send(fly, fall)
	queued := waits(5, time.Minute)
	if _, v := d.enter(queued, 10); v.err != nil {
		t.Fatal(v.err)
	}
	d.leave()
	if v := ends(t, stand); !errors.Is(v.err, ErrMoved) || fault.ReasonOf(v.err) != "OUTCOME_UNKNOWN" {
		t.Errorf("one that stands in the log was told %v", v.err)
	}
	if v := ends(t, unsure); errors.Is(v.err, ErrMoved) || fault.ReasonOf(v.err) != "OUTCOME_UNKNOWN" {
		t.Errorf("one that perhaps stands in the log was told %v", v.err)
	}
	if v := ends(t, queued); !errors.Is(v.err, ErrUnknown) {
		t.Errorf("one that was not appended was told %v", v.err)
	}
	if len(fly.done)+len(fall.done) > 0 {
		t.Fatal("told what is not known yet")
	}
	d.appended(flying, []stream.ProduceResult{{}, {Err: stream.ErrUnknown}})
	if v := ends(t, fly); !errors.Is(v.err, ErrMoved) {
		t.Errorf("one that arrived was told %v", v.err)
	}
	if v := ends(t, fall); errors.Is(v.err, ErrMoved) || fault.ReasonOf(v.err) != "OUTCOME_UNKNOWN" {
		t.Errorf("one that perhaps arrived was told %v", v.err)
	}
	if _, v := d.enter(waits(6, time.Minute), 10); !errors.Is(v.err, ErrUnknown) {
		t.Errorf("one that came afterwards was told %v", v.err)
	}
	if len(d.waiting) > 0 {
		t.Errorf("%d still wait", len(d.waiting))
	}
}

func TestWhatAnImpatientCallerIsTold(t *testing.T) {
	var d desk
	sent, queued, hasty := waits(1, time.Minute), waits(2, time.Minute), waits(3, callMargin/2)
	if start, _ := d.enter(sent, 3); !start {
		t.Fatal("nobody appends")
	}
	d.take(met(0), clockAt(time.Now()))
	for _, c := range []*waitingCall{queued, hasty} {
		if start, v := d.enter(c, 3); start || v.err != nil {
			t.Fatalf("a second one appends: %v, %v", start, v.err)
		}
	}
	if _, v := d.enter(waits(4, time.Minute), 3); fault.KindOf(v.err) != fault.Throttled {
		t.Errorf("one too many was told %v", v.err)
	}
	if v := d.giveUp(queued, context.DeadlineExceeded); !errors.Is(v.err, ErrLate) {
		t.Errorf("one that was not appended was told %v", v.err)
	}
	if v := d.giveUp(sent, context.DeadlineExceeded); fault.ReasonOf(v.err) != "OUTCOME_UNKNOWN" {
		t.Errorf("one that was was told %v", v.err)
	}
	if taken, _, _ := d.take(met(0), clockAt(time.Now())); len(taken) > 0 {
		t.Error("appended for somebody who has gone or is about to")
	}
	if v := ends(t, hasty); !errors.Is(v.err, ErrLate) {
		t.Errorf("one with too little time left was told %v", v.err)
	}
	if start, v := d.enter(waits(5, time.Minute), 3); !start || v.err != nil {
		t.Errorf("the next one: %v, %v", start, v.err)
	}
}

func TestAVerdictGoesToItsOwnTryAlone(t *testing.T) {
	var d desk
	c := waits(1, time.Minute)
	if _, v := d.enter(c, 3); v.err != nil {
		t.Fatal(v.err)
	}
	d.take(met(0), clockAt(time.Now()))
	other := c.key
	other.id++
	d.answer([]verdict{{call: other, err: errors.New("another owner's call of the same number")}})
	if len(c.done) > 0 {
		t.Fatal("told another call's verdict")
	}
	d.answer([]verdict{{call: c.key, answer: Answer{Value: 7}}, {call: c.key, answer: Answer{Value: 8}}})
	if v := ends(t, c); v.answer.Value != 7 {
		t.Errorf("told %+v", v)
	}
}
