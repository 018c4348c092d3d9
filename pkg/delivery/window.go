package delivery

import (
	"crypto/sha256"
	"errors"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// windowSize is how many deliveries of a partition are remembered to recognise repeats of the planner.
const windowSize = 65_536

// windowKey is a delivery's id with its replay job, in 128 bits. It is the id itself where the id is one of NewID and
// there is no replay job, so that such keys never collide.
type windowKey [16]byte

func keyOf(id, job string) windowKey {
	var k windowKey
	if job == "" && len(id) == len(idPrefix)+26 && strings.HasPrefix(id, idPrefix) {
		if _, err := idAlphabet.Decode(k[:], []byte(id[len(idPrefix):])); err == nil {
			return k
		}
	}
	sum := sha256.Sum256([]byte(id + "\x00" + job))
	copy(k[:], sum[:])
	return k
}

// window remembers the last windowSize keys.
type window struct {
	keys []windowKey
	next int
	seen map[windowKey]struct{}
}

func newWindow() *window { return &window{seen: map[windowKey]struct{}{}} }

// has reports whether the window holds the key.
func (w *window) has(k windowKey) bool {
	_, ok := w.seen[k]
	return ok
}

// repeat reports whether the window holds the key, and adds it.
func (w *window) repeat(k windowKey) bool {
	if w.has(k) {
		return true
	}
	if len(w.keys) < windowSize {
		w.keys = append(w.keys, k)
	} else {
		delete(w.seen, w.keys[w.next])
		w.keys[w.next] = k
		w.next = (w.next + 1) % windowSize
	}
	w.seen[k] = struct{}{}
	return false
}

var errDelivery = errors.New("decode delivery: bytes are not a delivery")

// scanKey reads id and replay job and skips everything else.
func scanKey(b []byte) (windowKey, error) {
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
	return keyOf(id, job), nil
}
