package pending

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/stream"
)

func waits(id uint64, within time.Duration) *Call {
	return &Call{Key: Key{ID: id}, Deadline: time.Now().Add(within), Done: make(chan Decision, 1)}
}

func clockAt(t time.Time) func() time.Time { return func() time.Time { return t } }

func met(n uint64) func() uint64 { return func() uint64 { return n } }

func ends(t *testing.T, c *Call) Decision {
	t.Helper()
	select {
	case v := <-c.Done:
		return v
	default:
		t.Fatal("there is no answer")
		return Decision{}
	}
}

func TestCalls_NumbersRiseAboveAllInTheLog(t *testing.T) {
	var d Calls
	at := time.UnixMicro(5000)
	for _, step := range []struct {
		met  uint64
		want uint64
	}{{0, 5000}, {0, 5001}, {9000, 9001}, {8000, 9002}} {
		c := waits(1, time.Minute)
		if _, v := d.Enter(c, 10); v.Err != nil {
			t.Fatal(v.Err)
		}
		if d.Take(met(step.met), clockAt(at)); c.Key.Number != step.want {
			t.Errorf("drew %d after %d was met; want %d", c.Key.Number, step.met, step.want)
		}
	}
}

func TestCalls_LostPartitionAnswersByStage(t *testing.T) {
	var d Calls
	stand, fly, fall, unsure := waits(1, time.Minute), waits(2, time.Minute), waits(3, time.Minute), waits(4, time.Minute)
	send := func(calls ...*Call) []*Call {
		for _, c := range calls {
			if _, v := d.Enter(c, 10); v.Err != nil {
				t.Fatal(v.Err)
			}
		}
		taken, _, _ := d.Take(met(0), clockAt(time.Now()))
		return taken
	}
	d.Appended(send(stand, unsure), []stream.ProduceResult{{}, {Err: stream.ErrUnknown}})
	flying := send(fly, fall)
	queued := waits(5, time.Minute)
	if _, v := d.Enter(queued, 10); v.Err != nil {
		t.Fatal(v.Err)
	}
	d.Leave()
	if v := ends(t, stand); !errors.Is(v.Err, ErrMoved) || fault.ReasonOf(v.Err) != "OUTCOME_UNKNOWN" {
		t.Errorf("one that stands in the log was answered %v", v.Err)
	}
	if v := ends(t, unsure); errors.Is(v.Err, ErrMoved) || fault.ReasonOf(v.Err) != "OUTCOME_UNKNOWN" {
		t.Errorf("one that perhaps stands in the log was answered %v", v.Err)
	}
	if v := ends(t, queued); !errors.Is(v.Err, ErrUnknown) {
		t.Errorf("one that was not appended was answered %v", v.Err)
	}
	if len(fly.Done)+len(fall.Done) > 0 {
		t.Fatal("answered before it is known")
	}
	d.Appended(flying, []stream.ProduceResult{{}, {Err: stream.ErrUnknown}})
	if v := ends(t, fly); !errors.Is(v.Err, ErrMoved) {
		t.Errorf("one that arrived was answered %v", v.Err)
	}
	if v := ends(t, fall); errors.Is(v.Err, ErrMoved) || fault.ReasonOf(v.Err) != "OUTCOME_UNKNOWN" {
		t.Errorf("one that perhaps arrived was answered %v", v.Err)
	}
	if _, v := d.Enter(waits(6, time.Minute), 10); !errors.Is(v.Err, ErrUnknown) {
		t.Errorf("one that came afterwards was answered %v", v.Err)
	}
	if len(d.Waiting) > 0 {
		t.Errorf("%d still wait", len(d.Waiting))
	}
}

func TestCalls_ExpiredCallerIsAnsweredByStage(t *testing.T) {
	var d Calls
	sent, queued, hasty := waits(1, time.Minute), waits(2, time.Minute), waits(3, Margin/2)
	if start, _ := d.Enter(sent, 3); !start {
		t.Fatal("no goroutine appends")
	}
	d.Take(met(0), clockAt(time.Now()))
	for _, c := range []*Call{queued, hasty} {
		if start, v := d.Enter(c, 3); start || v.Err != nil {
			t.Fatalf("a second one appends: %v, %v", start, v.Err)
		}
	}
	if _, v := d.Enter(waits(4, time.Minute), 3); fault.KindOf(v.Err) != fault.Throttled {
		t.Errorf("one too many was answered %v", v.Err)
	}
	if v := d.GiveUp(queued, context.DeadlineExceeded); !errors.Is(v.Err, ErrLate) {
		t.Errorf("one that was not appended was answered %v", v.Err)
	}
	if v := d.GiveUp(sent, context.DeadlineExceeded); fault.ReasonOf(v.Err) != "OUTCOME_UNKNOWN" {
		t.Errorf("one that was appended was answered %v", v.Err)
	}
	if taken, _, _ := d.Take(met(0), clockAt(time.Now())); len(taken) > 0 {
		t.Error("appended for a caller that has gone or is about to")
	}
	if v := ends(t, hasty); !errors.Is(v.Err, ErrLate) {
		t.Errorf("one with too little time left was answered %v", v.Err)
	}
	if start, v := d.Enter(waits(5, time.Minute), 3); !start || v.Err != nil {
		t.Errorf("the next one: %v, %v", start, v.Err)
	}
}

func TestCalls_DecisionAnswersItsOwnTryOnly(t *testing.T) {
	var d Calls
	c := waits(1, time.Minute)
	if _, v := d.Enter(c, 3); v.Err != nil {
		t.Fatal(v.Err)
	}
	d.Take(met(0), clockAt(time.Now()))
	other := c.Key
	other.ID++
	d.Answer([]Decision{{Call: other, Err: errors.New("another owner's call of the same number")}})
	if len(c.Done) > 0 {
		t.Fatal("answered with another call's decision")
	}
	d.Answer([]Decision{{Call: c.Key, Answer: Answer{Value: 7}}, {Call: c.Key, Answer: Answer{Value: 8}}})
	if v := ends(t, c); v.Answer.Value != 7 {
		t.Errorf("answered %+v", v)
	}
}
