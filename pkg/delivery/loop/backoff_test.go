package loop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/delivery"
)

func TestBackoff_HasEightStepsOfFourFifthsToAll(t *testing.T) {
	want := []time.Duration{5 * time.Second, 30 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 10 * time.Hour}
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.String().Draw(t, "id")
		total := time.Duration(0)
		for i, step := range want {
			wait := delivery.Standard.Wait(id, i+1)
			if wait < step*8/10 || wait > step {
				t.Fatalf("wait %d is %s of %s", i+1, wait, step)
			}
			if again := delivery.Standard.Wait(id, i+1); again != wait {
				t.Fatalf("not stable: %s, then %s", wait, again)
			}
			total += wait
		}
		if n := delivery.Standard.Attempts(); n != len(want)+1 {
			t.Fatalf("%d attempts", n)
		}
		if total > 28*time.Hour {
			t.Fatalf("tried for %s", total)
		}
	})
	var low, high int
	for i := range 1000 {
		wait := delivery.Standard.Wait(time.Duration(i).String(), 1)
		if wait < 4200*time.Millisecond {
			low++
		}
		if wait > 4800*time.Millisecond {
			high++
		}
	}
	if low < 120 || high < 120 {
		t.Errorf("%d of 1,000 in the first fifth, %d in the last: not spread", low, high)
	}
}

func TestBackoff_EndpointChangesUseNoAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
			return delivery.Failed, time.Millisecond
		})
		r := sim.start()
		began := time.Now()
		sim.plan(newDelivery("e1", "a", "a1"))
		for i := range int64(300) {
			time.Sleep(time.Minute)
			sim.configure(i+2, 64, "e1")
		}
		time.Sleep(time.Second)
		if n := len(sim.attempts()); n < 300 {
			t.Fatalf("%d attempts", n)
		}
		r.drain()
		sim.store.Restore(empty()) // the attempts are read again; there are more than are counted
		r = sim.start()
		sim.pass(time.Until(began.Add(delivery.Standard.Least())))
		for _, a := range sim.attempts() {
			if a.Settlement != 0 {
				t.Fatalf("dead at attempt %d, after %s", a.Number, a.Started.AsTime().Sub(began))
			}
		}
		sim.pass(time.Until(began.Add(delivery.Horizon + time.Minute)))
		r.drain()
		all := sim.attempts()
		if last := all[len(all)-1]; last.Reason != "exhausted" || len(all) > 310 {
			t.Errorf("last of %d attempts: %v", len(all), last)
		}
	})
}

// The figures that the documents have.
func TestBackoff_IsThatOfTheDocuments(t *testing.T) {
	short := func(d time.Duration) string {
		switch {
		case d < time.Minute:
			return fmt.Sprintf("%d s", d/time.Second)
		case d < time.Hour:
			return fmt.Sprintf("%d min", d/time.Minute)
		}
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	var all []string
	for _, step := range delivery.Standard {
		all = append(all, short(step))
	}
	last := len(all) - 1
	attempts := [...]string{8: "eight", 9: "nine", 10: "ten"}[delivery.Standard.Attempts()]
	for page, want := range map[string]string{
		"receive.md": fmt.Sprintf("is repeated after %s and %s, each shortened by up to a fifth: %s attempts within\n%d hours.",
			strings.Join(all[:last], ", "), all[last], attempts, delivery.Horizon/time.Hour),
		"promises.md": fmt.Sprintf("(%s … %s)", strings.Join(all[:3], ", "), short(delivery.Horizon)),
	} {
		text, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", "docs", page))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s does not have %q (%v)", page, want, err)
		}
	}
}
