package slots

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// part is one partition with endpoints of its own.
type part struct {
	owner *Owner
	wake  chan struct{}
}

func newPart() *part {
	wake := make(chan struct{}, 1)
	return &part{owner: NewOwner(wake), wake: wake}
}

func (p *part) share(tenant, endpoint string) *Share {
	return &Share{Owner: p.owner, Tenant: tenant, Endpoint: uint64(len(endpoint))}
}

func TestShare_FreeSlotsGoRoundTenantsThenEndpointsOfAllPartitions(t *testing.T) {
	s := New(16, 100)
	busy, quiet := newPart(), newPart()
	first := busy.share("big", "x")
	for range 16 { // one below the sixteenth, or as many free as it has
		s.Take(first)
	}
	holders := []*Share{first}
	for s.InFlight() < 16 {
		h := busy.share("big", "filler")
		s.Take(h)
		holders = append(holders, h)
	}
	big1, big2, small := busy.share("big", "1"), busy.share("big", "22"), quiet.share("small", "333")
	for _, h := range []*Share{big1, big2, small} {
		if s.Take(h) {
			t.Fatal("a slot more than there are")
		}
	}
	var got []uint64
	for _, h := range holders[:4] {
		s.Give(h, false)
		for _, p := range []*part{busy, quiet} {
			for _, granted := range s.Granted(p.owner) {
				got = append(got, granted.Endpoint)
				s.Take(granted) // wants more: it waits at the end
			}
		}
	}
	if fmt.Sprint(got[:3]) != "[1 3 2]" {
		t.Errorf("turns of %v", got)
	}
	select {
	case <-quiet.wake:
	default:
		t.Error("the other partition is not woken")
	}
}

func TestTake_FewEndpointsNeverTakeAllSlots(t *testing.T) {
	s := New(2048, 1000)
	p, other := newPart(), newPart()
	for i := range 4 {
		greedy := p.share("t", fmt.Sprint(i))
		for s.Take(greedy) {
		}
	}
	healthy := other.share("u", "healthy")
	for i := range 64 {
		if !s.Take(healthy) {
			t.Fatalf("a healthy endpoint gets %d slots beside four that take what they can", i)
		}
	}
}

func TestTake_ManyEndpointsGetASixteenthEachAtMost(t *testing.T) {
	s := New(2048, 1000)
	p := newPart()
	var all []*Share
	for i := range 40 {
		all = append(all, p.share("t", fmt.Sprint(i)))
	}
	for more := true; more; {
		more = false
		for _, h := range all {
			if !h.waits && s.Take(h) {
				more = true
			}
		}
	}
	if s.InFlight() != 2048 {
		t.Errorf("%d of 2,048 in flight", s.InFlight())
	}
	for _, h := range all {
		if h.held > 128 {
			t.Errorf("one has %d while others wait", h.held)
		}
	}
}

func TestFull_UnrecordedResultsStopAllUntilRecorded(t *testing.T) {
	s := New(100, 2)
	p := newPart()
	h, waits := p.share("t", "1"), p.share("t", "22")
	for range 2 {
		s.Take(h)
	}
	s.Give(h, true)
	s.Give(h, true)
	if s.Take(waits) || !s.Full() {
		t.Fatal("sends with two unrecorded")
	}
	s.Recorded(1)
	if granted := s.Granted(p.owner); len(granted) != 1 || granted[0] != waits || s.Full() {
		t.Errorf("granted %v", granted)
	}
}

// Random use: never more in flight than there are slots, nobody waits while a slot fits, and an owner that ends leaves
// nothing behind.
func TestSlots_AreNeitherLostNorMade(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maxSlots := rapid.IntRange(1, 40).Draw(t, "slots")
		s := New(maxSlots, 1000)
		parts := []*part{newPart(), newPart(), newPart()}
		shares := map[*part][]*Share{}
		held := map[*Share]int{}
		for i := range 12 {
			p := parts[i%3]
			shares[p] = append(shares[p], p.share(fmt.Sprint(i%4), fmt.Sprint(i)))
		}
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			p := parts[rapid.IntRange(0, len(parts)-1).Draw(t, "part")]
			h := shares[p][rapid.IntRange(0, len(shares[p])-1).Draw(t, "endpoint")]
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2, 3, 4:
				if !h.waits && s.Take(h) {
					held[h]++
				}
			case 5, 6, 7, 8:
				if held[h] > 0 {
					held[h]--
					s.Give(h, false)
				}
			default:
				s.Forget(p.owner, 0)
				fresh := newPart()
				*p = *fresh
				for i, h := range shares[p] {
					delete(held, h)
					shares[p][i] = &Share{Owner: p.owner, Tenant: h.Tenant, Endpoint: h.Endpoint}
				}
			}
			for _, p := range parts {
				for _, h := range s.Granted(p.owner) {
					held[h]++
				}
			}
			sum := 0
			for _, n := range held {
				sum += n
			}
			if sum != s.InFlight() || sum > maxSlots {
				t.Fatalf("%d held, %d in flight of %d", sum, s.InFlight(), maxSlots)
			}
			for _, all := range shares {
				for _, h := range all {
					if h.waits && s.fits(h) {
						t.Fatal("one waits that fits")
					}
				}
			}
		}
	})
}
