package scan

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/table"
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

// hash is the part of the key that is drawn from a hash in either case.
func (k *windowKey) hash() uint64 { return binary.BigEndian.Uint64(k[8:]) }

// pieceKeys are 16 KiB.
const pieceKeys = 1024

// Window remembers the last windowSize keys: 22 bytes each.
type Window struct {
	pieces []*[pieceKeys]windowKey
	// n is how many it holds; the next takes the place next.
	n, next int32
	seen    table.Table
}

func NewWindow() *Window {
	w := &Window{}
	w.seen = table.New(func(i int32) uint64 { return w.at(i).hash() })
	return w
}

func (w *Window) at(i int32) *windowKey { return &w.pieces[i/pieceKeys][i%pieceKeys] }

// Has reports whether the window holds the key.
func (w *Window) Has(k windowKey) bool {
	return w.seen.Find(k.hash(), func(i int32) bool { return *w.at(i) == k }) >= 0
}

// Repeat reports whether the window holds the key, and adds it.
func (w *Window) Repeat(k windowKey) bool {
	if w.Has(k) {
		return true
	}
	i := w.next
	if w.n == WindowSize {
		w.seen.Remove(i)
	} else {
		w.n++
	}
	if int(i/pieceKeys) == len(w.pieces) {
		w.pieces = append(w.pieces, new([pieceKeys]windowKey))
	}
	*w.at(i) = k
	w.seen.Add(i)
	w.next = (i + 1) % WindowSize
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
