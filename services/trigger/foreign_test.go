package trigger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream"
)

// cluster is Kafka as foreign sees it: topics that take records, refuse them, or do not answer.
type cluster struct {
	refuses map[string]error // at once
	hangs   map[string]bool
	// down: nothing answers.
	down  atomic.Bool
	taken []string
	calls int
}

// ProduceResults tries again what has no answer, until ctx ends.
func (c *cluster) ProduceResults(ctx context.Context, records ...stream.Record) ([]stream.ProduceResult, error) {
	c.calls++
	results := make([]stream.ProduceResult, len(records))
	settled := make([]bool, len(records))
	for {
		waits := false
		for i, r := range records {
			switch {
			case settled[i]:
			case c.down.Load() || c.hangs[r.Topic]:
				waits = true
				results[i].Err = stream.ErrUnknown
			case c.refuses[r.Topic] != nil:
				settled[i], results[i].Err = true, c.refuses[r.Topic]
			default:
				settled[i], results[i].Err = true, nil
				c.taken = append(c.taken, r.Topic+"/"+string(r.Value))
			}
		}
		if !waits {
			return results, nil
		}
		if !pause.For(ctx, 100*time.Millisecond) {
			return results, ctx.Err()
		}
	}
}

func (c *cluster) answers(ctx context.Context) error {
	if c.down.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (c *cluster) foreign() *foreign {
	return &foreign{producer: c, answers: c.answers, clock: time.Now, log: zap.NewNop(), away: map[string]time.Time{}}
}

// toTopics are outcomes named "topic/value", each with a stand-in of its name.
func toTopics(names ...string) []fold.Foreign {
	var all []fold.Foreign
	for _, name := range names {
		topic, value, _ := strings.Cut(name, "/")
		all = append(all, fold.Foreign{
			Record:  stream.Record{Topic: topic, Value: []byte(value)},
			Instead: func() []stream.Record { return []stream.Record{{Value: []byte(name)}} },
		})
	}
	return all
}

func valuesOf(records []stream.Record) (values []string) {
	for _, r := range records {
		values = append(values, string(r.Value))
	}
	return values
}

func TestForeign_WaitsForATopicOnceThenStandsInForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{hangs: map[string]bool{"b": true}}
		f := c.foreign()
		publish := func(wantInstead string, wantTime time.Duration, names ...string) {
			t.Helper()
			began := time.Now()
			instead, err := f.Publish(t.Context(), toTopics(names...))
			if took := time.Since(began); err != nil || fmt.Sprint(valuesOf(instead)) != wantInstead || took != wantTime {
				t.Errorf("instead %v after %s, %v; want %s after %s", valuesOf(instead), took, err, wantInstead, wantTime)
			}
		}
		publish("[]", 0, "a/1")
		publish("[b/1 b/2]", topicPatience+probePatience, "b/1", "a/2", "b/2")
		publish("[b/3]", 0, "a/3", "b/3") // nobody waits again
		time.Sleep(probeEvery)
		publish("[b/4 b/5]", probePatience, "b/4", "b/5")
		publish("[b/6]", 0, "b/6")
		c.hangs = nil
		publish("[b/7]", 0, "b/7") // not before it is tried again
		time.Sleep(probeEvery)
		publish("[]", 0, "b/8", "b/9")
		publish("[]", 0, "b/10")
		if want := "[a/1 a/2 a/3 b/8 b/9 b/10]"; fmt.Sprint(c.taken) != want {
			t.Errorf("published %v, want %s", c.taken, want)
		}
	})
}

func TestForeign_DistinguishesARecordFromItsTopicAndATopicFromKafka(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// What one record is refused for is nothing to others.
		c := &cluster{refuses: map[string]error{"a": fmt.Errorf("refused: %w", stream.ErrTooLarge), "b": stream.ErrInvalidRecord}}
		f := c.foreign()
		began := time.Now()
		instead, err := f.Publish(t.Context(), toTopics("a/1", "c/1", "b/1"))
		if err != nil || !slices.Equal(valuesOf(instead), []string{"a/1", "b/1"}) || len(f.away) != 0 || !time.Now().Equal(began) {
			t.Errorf("instead %v, %v, away %v", valuesOf(instead), err, f.away)
		}

		// A topic that is refused at once is tried for as long, and not without a pause.
		c = &cluster{refuses: map[string]error{"a": stream.ErrUnknownTopic}}
		f = c.foreign()
		began = time.Now()
		instead, err = f.Publish(t.Context(), toTopics("a/1"))
		if took := time.Since(began); err != nil || len(instead) != 1 || took != topicPatience+probePatience || c.calls > int(topicPatience/tryEvery)+3 {
			t.Errorf("instead %v after %s and %d calls, %v", valuesOf(instead), took, c.calls, err)
		}

		// While all of Kafka is away nothing stands in: that is ours.
		c = &cluster{}
		f = c.foreign()
		down := &c.down
		down.Store(true)
		time.AfterFunc(time.Hour, func() { down.Store(false) })
		instead, err = f.Publish(t.Context(), toTopics("a/1", "b/1"))
		if err != nil || len(instead) != 0 || len(c.taken) != 2 || len(f.away) != 0 {
			t.Errorf("instead %v, %v, published %v", valuesOf(instead), err, c.taken)
		}

		// A partition that is lost meanwhile ends the wait; so does a producer that was closed.
		c = &cluster{hangs: map[string]bool{"a": true}}
		f = c.foreign()
		ctx, cancel := context.WithTimeout(t.Context(), topicPatience/2)
		defer cancel()
		if instead, err = f.Publish(ctx, toTopics("a/1")); !errors.Is(err, context.DeadlineExceeded) || len(instead) != 0 {
			t.Errorf("instead %v, %v", valuesOf(instead), err)
		}
		f = (&cluster{refuses: map[string]error{"a": stream.ErrClosed}}).foreign()
		if instead, err = f.Publish(t.Context(), toTopics("a/1")); !errors.Is(err, stream.ErrClosed) || len(instead) != 0 {
			t.Errorf("instead %v, %v", valuesOf(instead), err)
		}
	})
}
