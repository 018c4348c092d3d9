package arrived

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Where the handlers of a partition stand is a text beside its committed offset: formatPosition, and for each handler that is not
// done with all below the offset a space, the hash of its name, a colon, and by how many offsets it is behind, to the base 36.
const (
	formatPosition = "1"
	// maxPosition is what a broker takes unless it is set otherwise.
	maxPosition = 4096
)

// remainder is the oldest offset that a handler is not done with.
type remainder struct {
	handler string
	offset  int64
}

// encode returns what to commit where a partition is read up to next. All that is below the offset is done, but for what the text
// has; where not all have room, the offset is the lowest of the others.
func encode(next int64, all []remainder) (offset int64, text string) {
	slices.SortFunc(all, func(a, b remainder) int {
		if a.offset != b.offset {
			return int(max(-1, min(1, a.offset-b.offset)))
		}
		return strings.Compare(a.handler, b.handler)
	})
	// An entry takes 26 bytes at most; those that are furthest behind have room first.
	room := (maxPosition - len(formatPosition)) / 26
	offset = next
	if len(all) > room {
		offset, all = all[room].offset, all[:room]
	}
	var b strings.Builder
	b.WriteString(formatPosition)
	for _, s := range all {
		if s.offset < offset {
			b.WriteString(" " + hashOf(s.handler) + ":" + strconv.FormatInt(offset-s.offset, 36))
		}
	}
	return offset, b.String()
}

// decode reads such a text of an offset; the offsets are by the hashes of handlers.
func decode(offset int64, text string) (map[string]int64, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // an offset that somebody else has set
	}
	words := strings.Split(text, " ")
	if words[0] != formatPosition {
		return nil, fmt.Errorf("the committed position has format %.20q, this version reads %q: run the version that wrote it, or set the group's offset anew", words[0], formatPosition)
	}
	all := map[string]int64{}
	for _, word := range words[1:] {
		hash, behind, _ := strings.Cut(word, ":")
		n, err := strconv.ParseInt(behind, 36, 64)
		if err != nil || n < 0 || n > offset {
			return nil, fmt.Errorf("the committed position can't be read at %.40q: set the group's offset anew", word)
		}
		all[hash] = offset - n
	}
	return all, nil
}

func hashOf(handler string) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], xxhash.Sum64String(handler))
	return base64.RawURLEncoding.EncodeToString(b[:])
}
