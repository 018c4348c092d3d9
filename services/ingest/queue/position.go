package queue

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/stream"
)

const (
	// commitEvery is how long an ack may wait to be stored; what a killed replica had not stored is sent again.
	commitEvery = 500 * time.Millisecond
	// checkEvery is how long a stream may not notice that another has taken over.
	checkEvery = time.Second
	// refreshEvery is how long a position is not stored that does not move: Kafka forgets it after a week.
	refreshEvery = 10 * time.Minute
	// finishWithin bounds the last commit of a stream.
	finishWithin = 800 * time.Millisecond
)

// A position's metadata are the owner's turn, its stream's id, and, once that has ended in order, one more than the
// highest offset sent: "1 <turn> <stream> [<reach>]".
type metadata struct {
	turn   uint64
	stream streamID
	// reach is -1 where the stream is open, or was killed.
	reach int64
}

const metadataFormat = "1"

func (m metadata) String() string {
	text := metadataFormat + " " + strconv.FormatUint(m.turn, 10) + " " + m.stream.String()
	if m.reach >= 0 {
		text += " " + strconv.FormatInt(m.reach, 10)
	}
	return text
}

// parseMetadata reads what a stream stored; what others did, such as Kafka's own tools, is as from no stream.
func parseMetadata(text string) metadata {
	none := metadata{reach: -1}
	fields := strings.Fields(text)
	if len(fields) < 3 || len(fields) > 4 || fields[0] != metadataFormat {
		return none
	}
	turn, err := strconv.ParseUint(fields[1], 10, 64)
	id, idErr := base64.RawURLEncoding.DecodeString(fields[2])
	if err != nil || idErr != nil || len(id) != len(streamID{}) {
		return none
	}
	m := metadata{turn: turn, stream: streamID(id), reach: -1}
	if len(fields) == 4 {
		if m.reach, err = strconv.ParseInt(fields[3], 10, 64); err != nil || m.reach < 0 {
			return none
		}
	}
	return m
}

// formatFault is of a position that a newer binary stored.
func formatFault(text string) error {
	if format, _, _ := strings.Cut(text, " "); format != "" && format != metadataFormat {
		if _, err := strconv.Atoi(format); err == nil {
			return fault.New(fault.Precondition, reasonFormat,
				"the position of this subscription was stored by another version, in format %s: call a replica of that version, or begin with start.reset_position", format)
		}
	}
	return nil
}

// keeper stores the position of one subscription.
type keeper struct {
	store interface {
		Positions(ctx context.Context, group string, ask []stream.Position) ([]stream.Position, error)
		SetPositions(ctx context.Context, group string, positions []stream.Position) error
	}
	group string
	me    metadata
	// ask names the partitions that the stream reads, others are those that an earlier stream of the subscription read: they
	// keep their position, and have this owner too, so that a stream of other types is taken over as well.
	ask, others []stream.Position
	// stored are the offsets that were stored last, and when all of them were.
	stored    []int64
	refreshed time.Time
	checked   time.Time
}

// read is what is stored for each partition.
func (k *keeper) read(ctx context.Context) ([]stream.Position, error) {
	return k.store.Positions(ctx, k.group, append(k.ask[:len(k.ask):len(k.ask)], k.others...))
}

// claim stores the positions that a stream begins with, and that it is the owner.
func (k *keeper) claim(ctx context.Context, offsets []int64, now time.Time) error {
	if err := k.write(ctx, offsets, nil); err != nil {
		return err
	}
	k.stored, k.refreshed, k.checked = offsets, now, now
	return nil
}

func (k *keeper) write(ctx context.Context, offsets, reach []int64) error {
	out := make([]stream.Position, len(k.ask), len(k.ask)+len(k.others))
	for i, p := range k.ask {
		m := k.me
		if reach != nil {
			m.reach = reach[i]
		}
		out[i] = stream.Position{Topic: p.Topic, Partition: p.Partition, Offset: offsets[i], Metadata: m.String()}
	}
	for _, p := range k.others {
		m := k.me
		m.reach = parseMetadata(p.Metadata).reach
		p.Metadata = m.String()
		out = append(out, p)
	}
	return k.store.SetPositions(ctx, k.group, out)
}

var errTakenOver = fault.New(fault.Conflict, reasonTakenOver, "another stream of this subscription has taken over")

// tick stores the positions where they have moved, and returns errTakenOver once another stream is the owner. All partitions
// are stored together: Kafka forgets each by itself, and one that is forgotten would be one that was never stored.
func (k *keeper) tick(ctx context.Context, offsets []int64, now time.Time) error {
	moved := now.Sub(k.refreshed) >= refreshEvery
	for i := range offsets {
		moved = moved || offsets[i] != k.stored[i]
	}
	if !moved && now.Sub(k.checked) < checkEvery {
		return nil
	}
	ours, err := k.check(ctx)
	if err != nil {
		return err
	}
	k.checked = now
	if !moved && ours {
		return nil
	}
	// Where an older stream stored something in between, this claims the subscription again.
	if err := k.write(ctx, offsets, nil); err != nil {
		return err
	}
	k.stored, k.refreshed = offsets, now
	return nil
}

// check is false where an older stream was the last to store something: it looked before this one had claimed the
// subscription, and stored after it. It has lost all the same, and notices at its next look.
func (k *keeper) check(ctx context.Context) (ours bool, err error) {
	found, err := k.read(ctx)
	if err != nil {
		return false, err
	}
	ours = true
	for _, p := range found {
		m := parseMetadata(p.Metadata)
		switch {
		case p.Offset < 0 || m.stream == k.me.stream:
		case p.Metadata == "" || m.turn > k.me.turn || m.turn == k.me.turn && m.stream.String() > k.me.stream.String():
			return false, errTakenOver
		default:
			ours = false
		}
	}
	return ours, nil
}

// finish stores the positions once more, and how far the stream has sent, unless another is the owner.
func (k *keeper) finish(ctx context.Context, offsets, reach []int64) error {
	if _, err := k.check(ctx); err != nil {
		if errors.Is(err, errTakenOver) {
			return nil
		}
		return err
	}
	if err := k.write(ctx, offsets, reach); err != nil {
		return fmt.Errorf("store the end of a subscription: %w", err)
	}
	return nil
}
