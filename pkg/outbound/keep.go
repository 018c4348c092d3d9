package outbound

import (
	"errors"
	"io"
	"net/http"
	"slices"
)

// maxHeaderKept bounds the headers kept of a response, in bytes: name and value plus four each.
const maxHeaderKept = 8 << 10

// keptFirst are the headers that later decisions need; they are kept before any other.
var keptFirst = []string{"Retry-After", "Content-Type", "Location", "Date"}

// keepHeader returns h while it is small, otherwise as many values as fit: first those of keptFirst, then by name.
func keepHeader(h http.Header) (kept http.Header, truncated bool) {
	size := 0
	for name, values := range h {
		size += headerSize(name, values)
	}
	if size <= maxHeaderKept {
		return h, false
	}
	names := make([]string, 0, len(h))
	for name := range h {
		if !slices.Contains(keptFirst, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	kept, room := http.Header{}, maxHeaderKept
	for _, name := range slices.Concat(keptFirst, names) {
		for _, value := range h[name] {
			if need := headerSize(name, []string{value}); need <= room {
				kept[name] = append(kept[name], value)
				room -= need
			}
		}
	}
	return kept, true
}

func headerSize(name string, values []string) int {
	size := 0
	for _, value := range values {
		size += len(name) + len(value) + len(": \r\n")
	}
	return size
}

// keepBody reads what the request wants to keep, and a little more so that the connection can be reused. Where the body
// arrives too slowly, the request's deadline ends the reading; the status is already there.
func keepBody(resp *http.Response, r Request) (kept []byte, truncated bool) {
	defer resp.Body.Close()
	if resp.ContentLength == 0 {
		return nil, false
	}
	keep := r.KeepFailure
	byDefault := KeepOfFailure
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		keep, byDefault = r.KeepSuccess, KeepOfSuccess
	}
	if keep == 0 {
		keep = byDefault
	}
	keep = max(keep, 0)

	first := min(int64(keep), 1<<10)
	if resp.ContentLength > 0 {
		first = min(int64(keep), resp.ContentLength)
	}
	kept = make([]byte, 0, first)
	for len(kept) < keep {
		if len(kept) == cap(kept) {
			kept = slices.Grow(kept, min(keep-len(kept), max(len(kept), 1<<10)))
		}
		n, err := resp.Body.Read(kept[len(kept):min(cap(kept), keep)])
		kept = kept[:len(kept)+n]
		if err != nil {
			return kept, err != io.EOF
		}
		if int64(len(kept)) == resp.ContentLength {
			break
		}
	}
	rest, err := io.CopyN(io.Discard, resp.Body, maxDrain)
	return kept, rest > 0 || !errors.Is(err, io.EOF)
}
