package cli

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/tollgate/tollgate/pkg/event"
)

// lineReader reads lines of any length, and keeps of each one byte more than an event may have: enough to refuse it.
type lineReader struct {
	in     *bufio.Reader
	number int
}

// byteOrderMark is before the first line in files of some editors and spreadsheets.
var byteOrderMark = []byte("\xef\xbb\xbf")

func newLineReader(in io.Reader) *lineReader { return &lineReader{in: bufio.NewReaderSize(in, 64<<10)} }

// next is the next line, fit to be kept; io.EOF may come with the last one.
func (l *lineReader) next() ([]byte, error) {
	l.number++
	var line []byte
	for {
		part, err := l.in.ReadSlice('\n')
		if room := event.MaxBytes + 1 - len(line); len(part) > room {
			part = part[:max(0, room)]
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			if l.number == 1 {
				line = bytes.TrimPrefix(line, byteOrderMark)
			}
			return line, err
		}
	}
}
