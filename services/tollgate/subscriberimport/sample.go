package subscriberimport

import (
	"bufio"
	"fmt"
	"io"
	"time"
)

// Sample writes subscribers for measurements: each row has every kind of column, and amounts of all three options in
// EUR.
type Sample struct {
	Rows int
	// Class offers all three options in EUR; the overspend safeguard's states have to include active.
	Class string
	// ActivatedAt is the activation time of every row.
	ActivatedAt time.Time
}

// MSISDN is the number of row i, from 0.
func (Sample) MSISDN(i int) string { return fmt.Sprintf("4915%09d", i) }

// WriteTo writes the file.
func (s Sample) WriteTo(w io.Writer) (int64, error) {
	out := bufio.NewWriterSize(w, 1<<20)
	written := 0
	n, err := fmt.Fprintln(out, "msisdn,class_of_service,activated_at,imsi,language,contact_name,contact_email,currency,"+
		"data_state,data_renewal_day,data_spent,overspend_state,overspend_current_limit,overspend_next_limit,overspend_spent,payment_spent")
	written += n
	at := s.ActivatedAt.UTC().Format(time.RFC3339)
	for i := range s.Rows {
		if err != nil {
			break
		}
		n, err = fmt.Fprintf(out, "%s,%s,%s,26201%010d,de,Subscriber %d,s%d@example.com,EUR,active,%d,%d.%02d,active,%d,,%d.5,0.99\n",
			s.MSISDN(i), s.Class, at, i, i, i, 1+i%28, i%40, i%100, 20+i%30, i%15)
		written += n
	}
	if err == nil {
		err = out.Flush()
	}
	return int64(written), err
}
