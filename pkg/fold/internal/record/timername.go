package record

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/wire"
)

// TimerNames are what names of timers stand for in records: a listed one is a single byte from 128 on, its place in the
// list; any other is spelt, behind its length. The engine's own have the last two places.
type TimerNames []string

const (
	ListedName = 0x80
	// ExpiryTimer is the engine's own timer of a subject: it forgets id segments when nothing else does.
	ExpiryTimer = "\xff"
	// UnusedTimer is the engine's own timer of a rule's record, see fold.RuleFold.
	UnusedTimer = "\xfe"
	// EngineTimers is how many of the places are the engine's.
	EngineTimers = 2
	// maxTimerName is how long a name may be.
	maxTimerName = ListedName - 1
)

// ListedNames are the bytes of listed names as strings, so that none is made anew.
var ListedNames = func() (all [0x100 - ListedName]string) {
	for i := range all {
		all[i] = string([]byte{ListedName | byte(i)})
	}
	return all
}()

// Written is a name as it stands in a record.
func (n TimerNames) Written(name string) (string, error) {
	if i := slices.Index(n, name); i >= 0 {
		return ListedNames[i], nil
	}
	if name == "" || len(name) > maxTimerName || len(n) > 0 || name[0] >= ListedName {
		return "", fmt.Errorf("timer %q is none of %q", name, []string(n))
	}
	return name, nil
}

// Read is the name that is written so.
func (n TimerNames) Read(written string) (string, error) {
	if !isListed(written) {
		return written, nil
	}
	if i := int(written[0] - ListedName); i < len(n) {
		return n[i], nil
	}
	return "", fmt.Errorf("read record of a subject: it has timer %d, this binary knows %d", written[0]-ListedName, len(n))
}

func isListed(written string) bool { return len(written) == 1 && written[0] >= ListedName }

func appendTimerName(b []byte, written string) []byte {
	if !isListed(written) {
		b = binary.AppendUvarint(b, uint64(len(written)))
	}
	return append(b, written...)
}

// timerName reads what appendTimerName wrote.
func readTimerName(r *wire.Reader) []byte {
	if len(r.Rest) > 0 && r.Rest[0] >= ListedName {
		return r.Bytes(1)
	}
	return r.Bytes(r.Uvarint())
}

// TimerIdentity is over subject, name and due time. A record that came from another key may bring a timer that is
// overdue here, and whoever had the key before may have had one of that name and time: what brought it distinguishes
// them.
func (h *Header) TimerIdentity(key, name string, due int64) event.Identity {
	id := event.TimerIdentity("", key, name, time.UnixMilli(due))
	if h.Moved {
		id = event.Derive(id, string(h.Creator[:]))
	}
	return id
}
