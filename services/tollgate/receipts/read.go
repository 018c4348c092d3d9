package receipts

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// Receipt is one line of a receiver's log, in the order of receipt.
type Receipt struct {
	// ID is the header webhook-id.
	ID string `json:"id"`
	// Sequence and Previous are the headers tollgate-sequence and tollgate-previous, where they were sent.
	Sequence Sequence `json:"sequence"`
	Previous string   `json:"previous"`
	// ReceivedAt is by the receiver's clock.
	ReceivedAt time.Time `json:"received_at"`
}

// Sequence is a number, or a text of digits as headers and bodies have it.
type Sequence int64

// UnmarshalJSON implements json.Unmarshaler.
func (s *Sequence) UnmarshalJSON(b []byte) error {
	b = bytes.Trim(b, `"`)
	if len(b) == 0 || string(b) == "null" {
		return nil
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf("sequence %.40q is not a number from 0", b)
	}
	*s = Sequence(n)
	return nil
}

const (
	// maxLine bounds a line; an attempt's longest text is its error.
	maxLine = 1 << 20
	// maxViolations is how many faulty lines are named.
	maxViolations = 20
)

// ReadReceipts reads a receiver's log. The error names every line that is faulty, up to a bound.
func ReadReceipts(r io.Reader) ([]Receipt, error) {
	var all []Receipt
	err := lines(r, func(b []byte) error {
		var one Receipt
		if err := json.Unmarshal(b, &one); err != nil {
			return err
		}
		if one.ID == "" || one.ReceivedAt.IsZero() {
			return errors.New("id and received_at are required")
		}
		all = append(all, one)
		return nil
	})
	return all, err
}

// ReadAttempts reads an export and hands each attempt on.
func ReadAttempts(r io.Reader, take func(Attempt)) error {
	return lines(r, func(b []byte) error {
		var one Attempt
		if err := json.Unmarshal(b, &one); err != nil {
			return err
		}
		if one.Delivery == "" {
			return errors.New("delivery is required: is this an export of attempts?")
		}
		take(one)
		return nil
	})
}

func lines(r io.Reader, take func([]byte) error) error {
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLine)
	var violations []error
	omitted, n := 0, 0
	for in.Scan() {
		n++
		line := bytes.TrimPrefix(in.Bytes(), []byte("\ufeff"))
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if err := take(line); err != nil {
			if len(violations) == maxViolations {
				omitted++
				continue
			}
			violations = append(violations, fmt.Errorf("line %d: %w", n, err))
		}
	}
	if err := in.Err(); err != nil {
		violations = append(violations, fmt.Errorf("line %d: %w", n+1, err))
	}
	if omitted > 0 {
		violations = append(violations, fmt.Errorf("%d more lines are faulty", omitted))
	}
	return errors.Join(violations...)
}
