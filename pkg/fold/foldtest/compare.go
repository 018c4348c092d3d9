package foldtest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/stream"
)

// chain is what has an order: one key of one topic.
type chain struct{ topic, key string }

// firsts keeps the first appearance of each outcome, and complains when a repeat differs. What has no order is a chain
// of its own.
func (l Simulation[B, C]) firsts(t testing.TB, seed uint64, records []stream.Record) map[chain][]stream.Record {
	seen := make(map[string]stream.Record)
	out := make(map[chain][]stream.Record)
	for _, r := range records {
		id := idOf(r)
		first, ok := seen[id]
		if !ok {
			seen[id] = r
			at := chain{topicOf(r), string(r.Key)}
			if l.Unordered[at.topic] || l.Loose != nil && l.Loose(r) {
				at.key += " " + id
			}
			out[at] = append(out[at], r)
			continue
		}
		if !same(first, r) {
			t.Errorf("seed %d: outcome %s was published twice, differently:\n%s\n%s", seed, id, show(first), show(r))
		}
	}
	return out
}

const topicHeader = "simulation-topic"

// topicOf is the topic an outcome was meant for: a backend may keep all of them in one journal.
func topicOf(r stream.Record) string {
	topic, _ := r.Header(topicHeader)
	return string(topic)
}

func idOf(r stream.Record) string {
	if id, ok := r.Header(event.HeaderRejectedID); ok {
		return "rejected " + string(id)
	}
	id, _ := r.Header(event.HeaderID)
	return string(id)
}

func same(a, b stream.Record) bool {
	return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) && a.Time.Equal(b.Time) &&
		slices.EqualFunc(a.Headers, b.Headers, func(x, y stream.Header) bool { return x.Key == y.Key && bytes.Equal(x.Value, y.Value) })
}

func show(r stream.Record) string {
	e, err := event.Decode(r.Value)
	if err != nil {
		return fmt.Sprintf("%s %x", r.Time, r.Value)
	}
	reason, _ := r.Header(event.HeaderReason)
	return fmt.Sprintf("%s %s %s %s %s %v", r.Time.Format(time.RFC3339Nano), e.Type, e.ID, e.Subject, reason, e.Data)
}

func (l Simulation[B, C]) compare(t testing.TB, seed uint64, want, got []stream.Record) {
	t.Helper()
	expected, actual := l.firsts(t, seed, want), l.firsts(t, seed, got)
	for at, list := range expected {
		for i, r := range list {
			if i >= len(actual[at]) {
				t.Errorf("seed %d: %v: lost from the %dth of %d on: %s", seed, at, i, len(list), show(r))
				return
			}
			if !same(r, actual[at][i]) || idOf(r) != idOf(actual[at][i]) {
				t.Errorf("seed %d: %v: the %dth is not that of the undisturbed run:\nwant %s\ngot  %s", seed, at, i, show(r), show(actual[at][i]))
				return
			}
		}
	}
	for at, list := range actual {
		if n := len(expected[at]); len(list) > n {
			t.Errorf("seed %d: %v: published, and not by the undisturbed run: %s", seed, at, show(list[n]))
			return
		}
	}
}

// compareTables keeps a table by sequence, as a consumer does.
func (l Simulation[B, C]) compareTables(t testing.TB, seed uint64, want, got []stream.Record) {
	t.Helper()
	table := func(records []stream.Record) map[string]int64 {
		last := make(map[string]int64)
		for _, r := range records {
			if subject, sequence, ok := l.Sequence(r); ok && sequence > last[subject] {
				last[subject] = sequence
			}
		}
		return last
	}
	expected, actual := table(want), table(got)
	if len(expected) != len(actual) {
		t.Errorf("seed %d: table of %d subjects, want %d", seed, len(actual), len(expected))
	}
	for subject, sequence := range expected {
		if actual[subject] != sequence {
			t.Errorf("seed %d: %s is at sequence %d, want %d", seed, subject, actual[subject], sequence)
		}
	}
}

// compareState compares the bodies that both runs ended with, and what is kept beside them.
func compareState[B, C any](t testing.TB, seed uint64, f fold.Fold[B, C], want, got Backend) {
	t.Helper()
	expected, actual := bodies(t, f, want), bodies(t, f, got)
	for key, body := range expected {
		if !bytes.Equal(body, actual[key]) {
			t.Errorf("seed %d: record %s ended as %x, want %x", seed, key, actual[key], body)
		}
	}
	if len(expected) != len(actual) {
		t.Errorf("seed %d: %d records, want %d", seed, len(actual), len(expected))
	}
	expected, actual = values(t, want, "a:"), values(t, got, "a:")
	if !maps.EqualFunc(expected, actual, bytes.Equal) {
		t.Errorf("seed %d: side records %q, want %q", seed, actual, expected)
	}
}

func bodies[B, C any](t testing.TB, f fold.Fold[B, C], b Backend) map[string][]byte {
	t.Helper()
	out := values(t, b, "r:")
	for key, v := range out {
		body, err := fold.BodyOf(v)
		if err != nil {
			t.Fatalf("record %s: %v", key, err)
		}
		decoded, err := f.Decode(body)
		if err != nil {
			t.Fatalf("record %s: %v", key, err)
		}
		out[key] = f.Append(nil, decoded)
	}
	return out
}

// values are all of a partition whose keys begin with a prefix.
func values(t testing.TB, b Backend, prefix string) map[string][]byte {
	t.Helper()
	out := make(map[string][]byte)
	s, p := b.Store(), b.Partition()
	ctx := context.WithoutCancel(t.Context())
	for cursor := ""; ; {
		keys, next, err := s.Scan(ctx, p, prefix, cursor, 100)
		if err != nil {
			t.Fatalf("scan: %v", err)
		}
		_, values, err := s.Peek(ctx, p, keys)
		if err != nil {
			t.Fatalf("peek: %v", err)
		}
		for i, v := range values {
			if !fold.Gone(v) {
				out[keys[i]] = v
			}
		}
		if cursor = next; cursor == "" {
			return out
		}
	}
}
