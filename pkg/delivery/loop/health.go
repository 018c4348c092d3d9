package loop

import (
	"errors"
	"fmt"

	"go.uber.org/zap"
)

// condition sets a problem of the partition, or clears it where err is nil, and reports all problems to Health.
func (o *owner) condition(name string, err error) {
	if err == nil {
		if _, ok := o.conditions[name]; !ok {
			return
		}
		delete(o.conditions, name)
	} else {
		o.conditions[name] = err
	}
	all := make([]error, 0, len(o.conditions))
	for _, name := range [...]string{"opening", "window", "recovering", "configuration", "held", "local", "position", "bodies", "gone", "mismatch", "behind", "unrecorded", "record"} {
		if err, ok := o.conditions[name]; ok {
			all = append(all, err)
		}
	}
	joined := errors.Join(all...)
	text := fmt.Sprint(joined)
	if text == o.reported {
		return
	}
	o.reported = text
	o.Health.Set(o.healthName(), joined)
}

func (o *owner) healthName() string { return fmt.Sprintf("%s/%d", o.Name, o.part.Number) }

// observe updates metrics and health with what changed in this turn of the loop.
func (o *owner) observe(now int64) {
	if n := o.queue.Outstanding; n != o.waiting {
		o.Metrics.Waiting.WithLabelValues(o.label).Set(float64(n))
		o.waiting = n
	}
	if unrecorded := o.Slots.Full(); unrecorded != (o.conditions["unrecorded"] != nil) {
		if unrecorded {
			o.condition("unrecorded", errors.New("results can't be recorded: nothing is sent until they are"))
		} else {
			o.condition("unrecorded", nil)
		}
	}
	for o.held.N > 0 && !o.current(o.held.First()) {
		o.held.Pop()
	}
	if o.held.N > 0 && now-o.held.First().since >= patience.Milliseconds() {
		o.condition("held", fmt.Errorf("%d deliveries are held: the oldest %s", o.holding, o.held.First().why))
	} else {
		o.condition("held", nil)
	}
	if o.failingLocally > 0 && now-o.failingLocallySince >= patience.Milliseconds() {
		o.condition("local", fmt.Errorf("requests to %d endpoints can't be made and are held, because something of this process is missing: %w", o.failingLocally, o.localFailure))
	} else {
		o.condition("local", nil)
	}
	switch late := o.recording && now-o.cutAt >= patience.Milliseconds(); {
	case late:
		why := errors.New("no answer yet")
		if err := o.failing.Load(); err != nil {
			why = *err
		}
		o.condition("record", fmt.Errorf("results are not recorded: %w", why))
	case !o.recording:
		o.condition("record", nil)
	}
	if o.conditions["recovering"] != nil && !o.recovering() {
		o.condition("recovering", nil)
		o.log.Info("position rebuilt", zap.Int64("position", o.position), zap.Int("waiting", o.queue.Outstanding))
	}
}
