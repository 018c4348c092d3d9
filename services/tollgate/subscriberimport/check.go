package subscriberimport

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"github.com/tollgate/tollgate/pkg/fault"
)

// Fault is a row with its violations.
type Fault struct {
	Line       int
	Violations []fault.Violation
}

// checked is the result of a pass over the whole file.
type checked struct {
	rows, faulty int64
	size         int64
	sum          string
}

// occurrence is where a number occurs, in 16 bytes.
type occurrence struct {
	msisdn uint64
	line   uint32
	// faulty rows are reported already.
	faulty bool
}

// check validates every row and reports each faulty one to Faulty.
func (i *Import) check(ctx context.Context, f *os.File) (c checked, err error) {
	info, err := f.Stat()
	if err != nil {
		return c, err
	}
	if !info.Mode().IsRegular() {
		return c, errors.New("must be a regular file, which can be read twice: rows are validated before any is sent")
	}
	c.size = info.Size()
	hash := sha256.New()
	r, err := newReader(io.TeeReader(f, hash), i.Form)
	if err != nil {
		return c, err
	}
	var seen []occurrence
	for {
		s, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return c, err
		}
		if err := ctx.Err(); err != nil {
			return c, err
		}
		c.rows++
		if i.Classes != nil {
			i.Classes.validate(s)
		}
		if s.faults.Len() > 0 {
			c.faulty++
			i.Faulty(Fault{r.line, fault.Listed(s.faults.Err("ROW_INVALID"))})
		}
		if msisdn, err := strconv.ParseUint(s.msisdn, 10, 64); err == nil {
			seen = append(seen, occurrence{msisdn, uint32(r.line), s.faults.Len() > 0})
		}
		if c.rows%1024 == 0 {
			i.Progress(Checking, r.end, c.size)
		}
	}
	c.faulty += i.repeated(seen)
	c.sum = hex.EncodeToString(hash.Sum(nil))
	return c, nil
}

// repeated reports every row whose number occurs in an earlier row. Sorting needs less memory than a map.
func (i *Import) repeated(seen []occurrence) (faulty int64) {
	slices.SortFunc(seen, func(a, b occurrence) int {
		return cmp.Or(cmp.Compare(a.msisdn, b.msisdn), cmp.Compare(a.line, b.line))
	})
	var again []occurrence
	first := map[uint32]uint32{}
	for n := 1; n < len(seen); n++ {
		if seen[n].msisdn != seen[n-1].msisdn {
			continue
		}
		earlier, ok := first[seen[n-1].line]
		if !ok {
			earlier = seen[n-1].line
		}
		first[seen[n].line] = earlier
		again = append(again, seen[n])
		if !seen[n].faulty {
			faulty++
		}
	}
	slices.SortFunc(again, func(a, b occurrence) int { return cmp.Compare(a.line, b.line) })
	for _, s := range again {
		i.Faulty(Fault{int(s.line), []fault.Violation{{
			Field: columnMSISDN, Description: fmt.Sprintf("%d is in line %d too", s.msisdn, first[s.line]),
		}}})
	}
	return faulty
}
