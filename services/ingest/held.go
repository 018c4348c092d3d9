package ingest

import (
	"context"
	"io"
	"net/http"

	"github.com/tollgate/tollgate/pkg/rpc"
)

// What is held for a byte that a producer sent, until it is answered: the byte, the event it was decoded into, the
// record made of that, and the record once more in a request to Kafka. Measured with 187 KB of usage in a batch: 3.3.
const (
	heldPerByte = 4
	// heldPerEvent is of an event whatever its size: its fields, its entry, its answer.
	heldPerEvent = 512
)

// heldPerValue is of a value in JSON, beside its bytes: an object of a few bytes is some hundred once it is decoded.
const heldPerValue = 128

type holdKey struct{}

// takeValues takes of the budget what the values in a body become.
func takeValues(ctx context.Context, body []byte) error {
	hold, ok := ctx.Value(holdKey{}).(*rpc.Hold)
	if !ok {
		return nil
	}
	n := 0
	for _, c := range body {
		if c == ',' || c == '{' || c == '[' {
			n++
		}
	}
	return hold.Take(int64(n) * heldPerValue)
}

// withinBudget turns requests away that the budget of the process has no room for: by the length they claim, before the
// body is read, and else as it is read.
func (d *httpAPI) withinBudget(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		hold := d.budget.Hold()
		defer hold.Close()
		// A copy: net/http closes a connection gently, so that the caller reads the answer before the reset, only where the
		// request still has the body that net/http gave it.
		r = r.WithContext(context.WithValue(r.Context(), holdKey{}, hold))
		switch {
		case r.ContentLength < 0, r.Header.Get("Content-Encoding") != "": // what that unpacks to is taken as it comes out
			r.Body = &metered{r.Body, hold}
		default:
			if err := hold.Take(min(r.ContentLength, d.cfg.MaxBodyBytes)*heldPerByte + heldPerEvent); err != nil {
				d.refuse(w, err)
				return
			}
		}
		next(w, r)
	}
}

// metered takes of the budget what is read.
type metered struct {
	io.ReadCloser
	hold *rpc.Hold
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	if n > 0 {
		if err := m.hold.Take(int64(n) * heldPerByte); err != nil {
			return 0, err
		}
	}
	return n, err
}
