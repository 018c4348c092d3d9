// Package poison notes which events and timers made a fold panic, so that their batch is applied again without them.
package poison

import "fmt"

// Place names an event by its offset, or a timer by subject, name and due time.
type Place struct {
	Offset  int64
	Subject string
	Timer   string
	Due     int64
}

// Error reports what was being worked when a fold panicked.
type Error struct {
	Place Place
	Value any
}

func (e *Error) Error() string {
	if e.Place.Timer != "" {
		return fmt.Sprintf("timer %s panicked: %v", e.Place.Timer, e.Value)
	}
	return fmt.Sprintf("record at offset %d panicked: %v", e.Place.Offset, e.Value)
}

// Tries is what a batch must know from earlier tries of the same batch.
type Tries struct{ why map[Place]string }

// Note keeps why a place panicked.
func (t *Tries) Note(at Place, why error) {
	if t.why == nil {
		t.why = make(map[Place]string)
	}
	t.why[at] = why.Error()
}

// At is why a place has panicked before, where it has.
func (t *Tries) At(at Place) (why string, ok bool) {
	why, ok = t.why[at]
	return why, ok
}
