package fold

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tollgate/tollgate/pkg/wire"
)

// timerNames are what names of timers stand for in records: a listed one is a
// single byte from 128 on, its place in the list; any other is spelt, behind
// its length. The engine's own has a place too, the last.
type timerNames []string

const (
	listedName = 0x80
	// expiryTimer is the engine's own timer of a subject: it forgets sealed ids
	// when nothing else does.
	expiryTimer = "\xff"
	// maxTimerName is how long a name may be.
	maxTimerName = listedName - 1
)

// listedNames are the bytes of listed names as strings, so that none is made anew.
var listedNames = func() (all [0x100 - listedName]string) {
	for i := range all {
		all[i] = string([]byte{listedName | byte(i)})
	}
	return all
}()

// written is a name as it stands in a record.
func (n timerNames) written(name string) (string, error) {
	if i := slices.Index(n, name); i >= 0 {
		return listedNames[i], nil
	}
	if name == "" || len(name) > maxTimerName || len(n) > 0 || name[0] >= listedName {
		return "", fmt.Errorf("timer %q is none of %q", name, []string(n))
	}
	return name, nil
}

// read is the name that is written so.
func (n timerNames) read(written string) (string, error) {
	if !isListed(written) {
		return written, nil
	}
	if i := int(written[0] - listedName); i < len(n) {
		return n[i], nil
	}
	return "", fmt.Errorf("read record of a subject: it has timer %d, this binary knows %d", written[0]-listedName, len(n))
}

func isListed(written string) bool { return len(written) == 1 && written[0] >= listedName }

func appendTimerName(b []byte, written string) []byte {
	if !isListed(written) {
		b = binary.AppendUvarint(b, uint64(len(written)))
	}
	return append(b, written...)
}

// timerName reads what appendTimerName wrote.
func readTimerName(r *wire.Reader) []byte {
	if len(r.Rest) > 0 && r.Rest[0] >= listedName {
		return r.Bytes(1)
	}
	return r.Bytes(r.Uvarint())
}
