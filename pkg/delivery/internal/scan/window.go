package scan

import (
	"crypto/sha256"
	"errors"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tollgate/tollgate/pkg/delivery"
)

// WindowSize is how many deliveries of a partition are remembered to recognise repeats of the planner.
const WindowSize = 65_536

// windowKey is a delivery's id with its replay job, in 128 bits. It is the id itself where the id is one of NewID and
// there is no replay job, so that such keys never collide.
type windowKey [16]byte

func KeyOf(id, job string) windowKey {
	var k windowKey
	if job == "" && len(id) == len(delivery.IDPrefix)+26 && strings.HasPrefix(id, delivery.IDPrefix) {
		if _, err := delivery.IDAlphabet.Decode(k[:], []byte(id[len(delivery.IDPrefix):])); err == nil {
			return k
		}
	}
	sum := sha256.Sum256([]byte(id + "\x00" + job))
	copy(k[:], sum[:])
	return k
}

// Window remembers the last windowSize keys.
type Window struct {
	keys []windowKey
	next int
	seen map[windowKey]struct{}
}

func NewWindow() *Window { return &Window{seen: map[windowKey]struct{}{}} }

// Has reports whether the window holds the key.
func (w *Window) Has(k windowKey) bool {
	_, ok := w.seen[k]
	return ok
}

// Repeat reports whether the window holds the key, and adds it.
func (w *Window) Repeat(k windowKey) bool {
	if w.Has(k) {
		return true
	}
	if len(w.keys) < WindowSize {
		w.keys = append(w.keys, k)
	} else {
		delete(w.seen, w.keys[w.next])
		w.keys[w.next] = k
		w.next = (w.next + 1) % WindowSize
	}
	w.seen[k] = struct{}{}
	return false
}

var errDelivery = errors.New("decode delivery: bytes are not a delivery")

// ScanKey reads id and replay job and skips everything else.
func ScanKey(b []byte) (windowKey, error) {
	var id, job string
	ok := scanFields(b, nil, func(num protowire.Number, v []byte) bool {
		switch num {
		case 1:
			id = string(v)
		case 18:
			job = string(v)
		}
		return true
	})
	if !ok {
		return windowKey{}, errDelivery
	}
	return KeyOf(id, job), nil
}
