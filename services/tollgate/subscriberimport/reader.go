package subscriberimport

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/fault"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Form is what is needed to read a file besides its bytes. Rows read in another form are other events.
type Form struct {
	// Tenant is the id of the subscribers' tenant.
	Tenant string
	// Separator separates the cells of a row.
	Separator rune
	// ActivatedAt is for rows without an activation time; zero: each row needs one.
	ActivatedAt time.Time
}

// maxRow bounds a row, in bytes: an unclosed quote must not read the rest of the file into memory.
const maxRow = 1 << 20

var errRowTooLong = fmt.Errorf("must be at most %d bytes: is a quote not closed?", maxRow)

// byteOrderMark is what some programs put before UTF-8.
var byteOrderMark = []byte("\xef\xbb\xbf")

// reader reads a file row by row.
type reader struct {
	form     Form
	csv      *csv.Reader
	rowLimit *rowLimit
	start    int64
	columns  []*column
	currency int // the column of currencies, -1 without one

	// line is where the last row begins, end the offset after it.
	line int
	end  int64
}

// newReader reads the header.
func newReader(in io.Reader, form Form) (*reader, error) {
	r := &reader{form: form, rowLimit: &rowLimit{in: in, left: maxRow}, currency: -1}
	buffered := bufio.NewReader(r.rowLimit)
	if begin, err := buffered.Peek(len(byteOrderMark)); err == nil && bytes.Equal(begin, byteOrderMark) {
		n, err := buffered.Discard(len(byteOrderMark))
		if err != nil {
			return nil, err
		}
		r.start = int64(n)
	}
	r.csv = csv.NewReader(buffered)
	r.csv.Comma, r.csv.ReuseRecord, r.csv.FieldsPerRecord = form.Separator, true, -1
	names, err := r.csv.Read()
	if errors.Is(err, io.EOF) {
		return nil, fault.NewInvalid("HEADER_INVALID", fault.Violation{Description: "the file is empty: its first line names the columns, " + known()})
	}
	if err != nil {
		return nil, err
	}
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	if r.columns, err = header(names); err != nil {
		return nil, err
	}
	for i, c := range r.columns {
		if c.name == "currency" {
			r.currency = i
		}
	}
	r.end = r.start + r.csv.InputOffset()
	return r, nil
}

// cells are those of the next row, valid until the next call. The error is a *csv.ParseError where the row can't be
// parsed; the next one may follow.
func (r *reader) cells() ([]string, error) {
	r.rowLimit.left = maxRow
	cells, err := r.csv.Read()
	r.end = r.start + r.csv.InputOffset()
	if broken, ok := errors.AsType[*csv.ParseError](err); ok {
		r.line = broken.StartLine
	} else if err == nil {
		r.line, _ = r.csv.FieldPos(0)
	}
	return cells, err
}

// next is the next row, with its violations in faults. io.EOF ends the file, as any other error does.
func (r *reader) next() (*subscriber, error) {
	cells, err := r.cells()
	s := &subscriber{data: &eventv1.SubscriberActivated{}, at: r.form.ActivatedAt}
	if broken, ok := errors.AsType[*csv.ParseError](err); ok {
		s.faults.Add("", "column %d: %s", broken.Column, broken.Err)
		return s, nil
	}
	if errors.Is(err, errRowTooLong) {
		return nil, fmt.Errorf("the row after line %d: %w", r.line, err)
	}
	if err != nil {
		return nil, err
	}
	if len(cells) != len(r.columns) {
		s.faults.Add("", "has %d cells, the header %d", len(cells), len(r.columns))
		return s, nil
	}
	if r.currency >= 0 {
		s.currency = strings.TrimSpace(cells[r.currency])
	}
	timed := !s.at.IsZero()
	for i, c := range r.columns {
		if c.set == nil {
			continue
		}
		// A stored cell keeps its whole row in memory; a row belongs to one event and is short.
		if text := strings.TrimSpace(cells[i]); text != "" {
			timed = timed || c.name == columnTime
			if !utf8.ValidString(text) {
				s.faults.Add(c.name, "must be UTF-8")
			} else if err := c.set(s, text); err != nil {
				s.faults.Add(c.name, "%s", err)
			}
		} else if c.name == columnMSISDN || c.name == columnClass {
			s.faults.Add(c.name, "is required")
		}
	}
	if !timed {
		s.faults.Add(columnTime, "is required, here or for all rows (--activated-at)")
	}
	return s, nil
}

// rowLimit bounds what is read until the limit is raised again.
type rowLimit struct {
	in   io.Reader
	left int
}

func (b *rowLimit) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errRowTooLong
	}
	n, err := b.in.Read(p)
	b.left -= n
	return n, err
}

const (
	eventType   = "subscriber.activated"
	eventSource = "subscriber-import"
	dataURL     = "type.googleapis.com/tollgate.event.v1.SubscriberActivated"
)

// event is the published form of the row. Its id derives from everything else in it.
func (s *subscriber) event(tenant string) (*eventv1.Event, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(s.data)
	if err != nil {
		return nil, fmt.Errorf("encode row: %w", err)
	}
	return &eventv1.Event{
		Id: idOf(tenant, s.msisdn, s.at, data), Source: eventSource, Type: eventType, Tenant: tenant, Subject: s.msisdn,
		Time: timestamppb.New(s.at), Data: &anypb.Any{TypeUrl: dataURL, Value: data},
	}, nil
}

// idOf hashes each part after its length, so that two different rows never hash the same bytes.
func idOf(tenant, msisdn string, at time.Time, data []byte) string {
	b := make([]byte, 0, 512)
	for _, part := range []string{tenant, msisdn} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(at.UnixMilli()))
	b = append(b, data...)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
