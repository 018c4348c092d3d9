package codec

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/segmentio/kafka-go"

	"github.com/tollgate/tollgate/pkg/reason"
)

// Set is what one answer brought of a partition.
type Set struct {
	// All are its bytes.
	All []byte
	// Alone means that the answer was for this partition alone: what it holds in part never comes whole.
	Alone bool
	// Aborted are the transactions in it that were aborted, in any order.
	Aborted []Aborted

	rest []byte
	gone map[int64]bool // producers whose aborted transactions have begun; they are no longer in Aborted
	led  bool           // something in it led on
}

// Aborted is a transaction that its producer aborted: the producer's id, and the transaction's first offset.
type Aborted struct{ Producer, First int64 }

// Unpacker takes one partition's records off its answers, in pieces of bounded
// size. Of a batch that is not whole no record is handed on.
type Unpacker struct {
	Topic     string
	Partition int32
	// Limit bounds what a piece takes of memory, beside its last record.
	Limit int
	// MaxBatch bounds one batch, unpacked.
	MaxBatch int
	// Admit waits until a batch may take MaxBatch of the process's memory; Release gives some of it back.
	Admit   func(ctx context.Context) error
	Release func(bytes int)

	// Next is the first offset that is not taken.
	Next int64
	// Start, End and High are those of the log, as the newest answer has them.
	Start, End, High int64
	// Finished is the memory of the batches that pieces have ended since its last reset.
	Finished int

	sets    []Set
	open    recordDecoder // of the batch that the first set begins with, while records are left
	checked bool          // the open batch is whole
	large   int           // what the open batch holds of the process's memory
}

// Add appends an answer that goes on where those before it end, and where the log starts and ends by it.
func (u *Unpacker) Add(set Set, start, end, high int64) {
	u.Start, u.End, u.High = start, end, high
	if len(set.All) == 0 {
		return
	}
	set.rest = set.All
	slices.SortFunc(set.Aborted, func(a, b Aborted) int { return cmp.Compare(a.First, b.First) })
	u.sets = append(u.sets, set)
}

// Empty reports that nothing is left to take.
func (u *Unpacker) Empty() bool { return len(u.sets) == 0 }

// Drop forgets all that is not taken.
func (u *Unpacker) Drop() {
	u.closeBatch()
	u.sets = nil
}

// Take returns the next piece: records, or offsets that hold none; an empty one
// when nothing is left. A batch that can't be read is a *DamagedError,
// an incomplete one is ErrCut.
func (u *Unpacker) Take(ctx context.Context) (Batch, error) {
	b := Batch{Start: u.Start, End: u.End, High: u.High}
	began := u.Next
	var err error
	for cost := 0; cost < u.Limit && len(u.sets) > 0 && err == nil; {
		var took int
		took, err = u.some(ctx, &b, u.Limit-cost)
		cost += took
	}
	b.Next = u.Next
	if len(b.Records) > 0 || b.Next > began {
		return b, nil // an error comes again
	}
	return b, err
}

// some takes what fits of the batch that comes next.
func (u *Unpacker) some(ctx context.Context, b *Batch, room int) (cost int, err error) {
	set := &u.sets[0]
	if u.open.left == 0 {
		one, err := u.split(set)
		if err == nil && one == nil {
			u.sets = u.sets[1:]
			return 0, nil
		}
		if err == nil {
			err = u.openBatch(ctx, set, one, len(b.Records) > 0)
		}
		if err != nil || u.open.left == 0 {
			return 0, u.damaged(set, one, err)
		}
	}
	one := set.rest[:batchSize(set.rest)]
	taken, next := len(b.Records), u.Next
	b.Records = slices.Grow(b.Records, min(u.open.left, room/recordCost+1))
	for u.open.left > 0 {
		if cost >= room {
			if u.checked {
				return cost, nil
			}
			if err = u.open.whole(); err != nil {
				break
			}
			u.checked = true
			return cost, nil
		}
		r, n, wrong := u.open.next(false)
		if wrong != nil {
			err = wrong
			break
		}
		if r.Offset >= u.Next {
			b.Records = append(b.Records, r)
			u.Next = r.Offset + 1
			cost += n
		}
	}
	if err != nil {
		clear(b.Records[taken:])
		b.Records, u.Next = b.Records[:taken], next
		u.closeBatch()
		return 0, u.damaged(set, one, err)
	}
	u.passed(set, one, u.open.end)
	u.Finished += u.large
	u.large = 0
	u.closeBatch()
	return cost, nil
}

func (u *Unpacker) closeBatch() {
	if u.large > 0 {
		u.Release(u.large)
	}
	u.open, u.checked, u.large = recordDecoder{names: u.open.names}, false, 0
}

// passed continues after a batch.
func (u *Unpacker) passed(set *Set, one []byte, end int64) {
	u.Next = max(u.Next, end)
	set.led = true
	set.rest = set.rest[len(one):]
}

// batchSize is the size that a batch declares, its head included.
func batchSize(set []byte) int64 {
	return int64(int32(binary.BigEndian.Uint32(set[atLength:]))) + atLength + 4
}

func baseOf(one []byte) int64 { return int64(binary.BigEndian.Uint64(one)) }

// endOf is the offset after a batch's last.
func endOf(one []byte) int64 {
	return baseOf(one) + int64(int32(binary.BigEndian.Uint32(one[atLastDelta:]))) + 1
}

// split returns the next batch with something at or after u.Next, nil after the
// last one. Beside an error it is what there is of the batch.
func (u *Unpacker) split(set *Set) ([]byte, error) {
	for {
		rest := set.rest
		switch {
		case len(rest) == 0 && set.led:
			return nil, nil
		case len(rest) == 0:
			return set.All, fmt.Errorf("%w: nothing in it leads on from %d", errBatch, u.Next)
		case len(rest) < batchHead:
			return u.part(set, batchHead)
		case rest[atMagic] != 2:
			if size := batchSize(rest); size > atMagic && size < int64(len(rest)) {
				rest = rest[:size:size]
			}
			return rest, fmt.Errorf("%w: message format %d, only 2 is read", errBatch, rest[atMagic])
		}
		size := batchSize(rest)
		switch {
		case size < batchHead:
			return rest, fmt.Errorf("%w: it declares %d bytes", errBatch, size)
		case size > int64(len(rest)):
			return u.part(set, size)
		}
		one := rest[:size:size]
		if base := baseOf(one); base < 0 || endOf(one) <= base {
			return one, fmt.Errorf("%w: it declares the offsets %d to %d", errBatch, base, endOf(one)-1)
		}
		if endOf(one) > u.Next {
			return one, nil
		}
		set.rest = rest[size:]
	}
}

// part is a batch of which the answer holds the beginning: brokers cut the last
// one off where the answer is full.
func (u *Unpacker) part(set *Set, size int64) ([]byte, error) {
	switch {
	case set.led:
		return nil, nil
	case set.Alone:
		return set.rest, fmt.Errorf("%w: it declares %d bytes, %d came", errBatch, size, len(set.rest))
	}
	return set.rest, ErrCut
}

// openBatch makes a batch's records ready to be taken, or goes on behind it.
func (u *Unpacker) openBatch(ctx context.Context, set *Set, one []byte, busy bool) error {
	if got, want := checksum(one), binary.BigEndian.Uint32(one[atCRC:]); got != want {
		return fmt.Errorf("%w: it is %08x, the batch declares %08x", errCRC, got, want)
	}
	if set.skips(one) {
		u.passed(set, one, endOf(one))
		return nil
	}
	attributes := binary.BigEndian.Uint16(one[atAttributes:])
	records, large, err := u.unpack(ctx, one[batchHead:], kafka.Compression(attributes&7), busy)
	if err != nil {
		return err
	}
	n := int(int32(binary.BigEndian.Uint32(one[atCount:])))
	base, end := baseOf(one), endOf(one)
	if n < 0 || n > len(records)/leastRecord || int64(n) > end-base || n == 0 && len(records) > 0 {
		u.Release(large)
		return fmt.Errorf("%w: it declares %d records, in %d bytes, at %d offsets", errBatch, n, len(records),
			end-base)
	}
	if n == 0 { // compaction took them
		u.Release(large)
		u.passed(set, one, end)
		return nil
	}
	u.open = recordDecoder{
		b: records, left: n, topic: u.Topic, partition: u.Partition, names: u.open.names,
		base: base, last: base - 1, end: end, first: int64(binary.BigEndian.Uint64(one[atFirstTime:])),
	}
	if attributes&attrAppendTime != 0 {
		u.open.appended = int64(binary.BigEndian.Uint64(one[atMaxTime:]))
	}
	u.large = large
	return nil
}

var errLater = errors.New("batch is for a piece of its own")

// unpack decompresses a batch, and returns what it holds of the process's memory.
func (u *Unpacker) unpack(ctx context.Context, in []byte, c kafka.Compression, busy bool) (out []byte, large int,
	err error) {
	if c == 0 {
		if len(in) > u.MaxBatch {
			return nil, 0, fmt.Errorf("%w: %d bytes, at most %d are taken", errTooMuch, len(in), u.MaxBatch)
		}
		return in, 0, nil
	}
	out, err = unpackSmall(in, c)
	if errors.Is(err, errNoRoom) {
		if busy {
			return nil, 0, errLater
		}
		if err := u.Admit(ctx); err != nil {
			return nil, 0, err
		}
		out, err = unpackLarge(in, c, u.MaxBatch)
		large = cap(out)
		u.Release(u.MaxBatch - large)
	}
	switch {
	case errors.Is(err, errNoRoom):
		return nil, 0, fmt.Errorf("%w: it has %d bytes compressed by %s and unpacks to more than %d", errTooMuch,
			len(in), c, u.MaxBatch)
	case err != nil:
		return nil, 0, fmt.Errorf("%w: decompress by %s: %w", errBatch, c, err)
	}
	return out, large, nil
}

// skips reports whether a batch holds nothing for readers: it marks the end of a
// transaction, or belongs to one that was aborted.
func (s *Set) skips(one []byte) bool {
	attributes := binary.BigEndian.Uint16(one[atAttributes:])
	if attributes&(attrControl|attrTransaction) == 0 {
		return false
	}
	producer := int64(binary.BigEndian.Uint64(one[atProducer:]))
	for len(s.Aborted) > 0 && s.Aborted[0].First < endOf(one) {
		if s.gone == nil {
			s.gone = map[int64]bool{}
		}
		s.gone[s.Aborted[0].Producer] = true
		s.Aborted = s.Aborted[1:]
	}
	if attributes&attrControl != 0 {
		delete(s.gone, producer) // its transaction ends here, one way or the other
		return true
	}
	return s.gone[producer]
}

// damaged makes a *DamagedError of what is wrong with a batch. A batch that was
// reported before is passed over.
func (u *Unpacker) damaged(set *Set, one []byte, err error) error {
	why := reason.BatchDamaged
	switch {
	case errors.Is(err, errTooMuch):
		why = reason.BatchTooLarge
	case !errors.Is(err, errBatch) && !errors.Is(err, errCRC):
		return err
	}
	rest := set.rest[min(len(one), len(set.rest)):]
	next := u.behind(one, rest)
	if next <= u.Next {
		set.led, set.rest = true, rest
		return nil
	}
	first := u.Next
	if len(one) >= batchHead {
		if base := baseOf(one); base > first && base < next {
			first = base
		}
	}
	return &DamagedError{Topic: u.Topic, Partition: u.Partition, First: first, Next: next, Reason: why,
		Detail: err.Error(), Raw: one}
}

// behind is where to go on after a batch that can't be read: where the batch
// that follows begins, if that one is well; else at the batch's declared end,
// if the log reaches that far; else one offset on.
func (u *Unpacker) behind(one, rest []byte) int64 {
	if len(rest) >= batchHead && rest[atMagic] == 2 {
		if size := batchSize(rest); size >= batchHead && size <= int64(len(rest)) &&
			checksum(rest[:size]) == binary.BigEndian.Uint32(rest[atCRC:]) {
			return baseOf(rest)
		}
	}
	if len(one) >= batchHead {
		if end := endOf(one); end > u.Next && end <= u.High {
			return end
		}
	}
	return u.Next + 1
}

// Follow is the offset at which a whole answer's records end, by their heads.
func Follow(set []byte, from int64) int64 {
	for len(set) >= batchHead && set[atMagic] == 2 {
		size, base, end := batchSize(set), baseOf(set), endOf(set)
		if size < batchHead || size > int64(len(set)) || base < 0 || end <= base {
			break
		}
		from = max(from, end)
		set = set[size:]
	}
	return from
}
