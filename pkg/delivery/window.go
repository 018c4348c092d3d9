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

// repeat reports whether the window holds the key, and adds it.
func (w *window) repeat(k windowKey) bool {
	if _, ok := w.seen[k]; ok {
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
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return windowKey{}, errDelivery
		}
		b = b[n:]
		if (num == 1 || num == 18) && kind == protowire.BytesType {
			v, n := protowire.ConsumeString(b)
			if n < 0 {
				return windowKey{}, errDelivery
			}
			if num == 1 {
				id = v
			} else {
				job = v
			}
			b = b[n:]
			continue
		}
		n = protowire.ConsumeFieldValue(num, kind, b)
		if n < 0 {
			return windowKey{}, errDelivery
		}
		b = b[n:]
	}
	return keyOf(id, job), nil
}
