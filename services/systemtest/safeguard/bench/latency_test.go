package main

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAsk_TimesEveryRequestAfterTheWarmUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond, delay = 500, 7 * time.Millisecond
		answers := make(chan uint64, 10_000)
		ended := false
		x := requestStream{
			send: func(tag uint64) error {
				time.AfterFunc(delay, func() { answers <- tag })
				return nil
			},
			next: func() (uint64, error) { return <-answers, nil },
			end:  func() error { ended = true; return nil },
		}
		from := time.Now().Add(time.Second)
		took, err := ask(t.Context(), x, perSecond, from, from.Add(2*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		// A tick of the pace more or less at either end.
		if want := 2 * perSecond; len(took) < want-2 || len(took) > want+2 || !ended {
			t.Errorf("%d requests were timed, want some %d; ended %t", len(took), want, ended)
		}
		for _, d := range took {
			if d != delay {
				t.Fatalf("an answer took %s, want %s", d, delay)
			}
		}
	})
}
