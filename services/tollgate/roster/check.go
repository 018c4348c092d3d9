package roster

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

// Fault is a row, and everything that is wrong with it.
type Fault struct {
	Line       int
	Violations []fault.Violation
}

// checked is what a pass over the whole file found.
type checked struct {
	rows, faulty int64
	size         int64
	sum          string
}

// sight is where a number was seen, in 16 bytes.
type sight struct {
	msisdn uint64
	line   uint32
	// faulty rows have been told of already.
	faulty bool
}

// check judges every row, and hands each that is at fault to tell.
func (i *Import) check(ctx context.Context, f *os.File) (c checked, err error) {
	info, err := f.Stat()
	if err != nil {
		return c, err
	}
	if !info.Mode().IsRegular() {
		return c, errors.New("must be a file, which can be read twice: rows are judged before any is sent")
	}
	c.size = info.Size()
	hash := sha256.New()
	r, err := newReader(io.TeeReader(f, hash), i.Form)
	if err != nil {
		return c, err
	}
	var seen []sight
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
			i.Classes.judge(s)
		}
		if s.faults.Len() > 0 {
			c.faulty++
			i.Faulty(Fault{r.line, fault.Listed(s.faults.Err("ROW_INVALID"))})
		}
		if msisdn, err := strconv.ParseUint(s.msisdn, 10, 64); err == nil {
			seen = append(seen, sight{msisdn, uint32(r.line), s.faults.Len() > 0})
		}
		if c.rows%1024 == 0 {
			i.Progress(Checking, r.end, c.size)
		}
	}
	c.faulty += i.repeated(seen)
	c.sum = hex.EncodeToString(hash.Sum(nil))
	return c, nil
}

// repeated tells of every row whose number stands in an earlier one. Sorting needs less room than a map.
func (i *Import) repeated(seen []sight) (faulty int64) {
	slices.SortFunc(seen, func(a, b sight) int {
		return cmp.Or(cmp.Compare(a.msisdn, b.msisdn), cmp.Compare(a.line, b.line))
	})
	var again []sight
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
	slices.SortFunc(again, func(a, b sight) int { return cmp.Compare(a.line, b.line) })
	for _, s := range again {
		i.Faulty(Fault{int(s.line), []fault.Violation{{
			Field: columnMSISDN, Description: fmt.Sprintf("%d stands in line %d too", s.msisdn, first[s.line]),
		}}})
	}
	return faulty
}
