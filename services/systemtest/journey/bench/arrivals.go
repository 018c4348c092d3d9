package main

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// arrivals are when the webhooks of one run came, by the event's number; nanoseconds since base.
type arrivals struct {
	run   int
	base  time.Time
	at    []atomic.Int64
	left  atomic.Int64
	done  chan struct{}
	twice atomic.Int64
}

// receive notes when the webhook of an event came first.
func (j *journey) receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	arrived := time.Now()
	if err != nil {
		return // the sender went away
	}
	if err := j.receiver.Verify(r.Header, body); err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.WriteHeader(http.StatusNoContent)
	a := j.now.Load()
	run, i, ok := number(body)
	if a == nil || !ok || run != a.run || i >= len(a.at) {
		return
	}
	if !a.at[i].CompareAndSwap(0, int64(arrived.Sub(a.base))) {
		a.twice.Add(1)
		return
	}
	if a.left.Add(-1) == 0 {
		close(a.done)
	}
}

// number finds the event behind a webhook: its own, or the cause of safeguard's outcome.
func number(body []byte) (run, i int, ok bool) {
	_, rest, ok := bytes.Cut(body, []byte(`"id":"e-`))
	id, _, ok2 := bytes.Cut(rest, []byte(`"`))
	first, second, ok3 := bytes.Cut(id, []byte("-"))
	run, err := strconv.Atoi(string(first))
	i, err2 := strconv.Atoi(string(second))
	return run, i, ok && ok2 && ok3 && err == nil && err2 == nil
}
