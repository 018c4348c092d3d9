package fold

import (
	"strings"
	"testing"
	"time"
)

func TestOptions_ValidateListsEachViolation(t *testing.T) {
	many := make([]string, 128)
	for i := range many {
		many[i] = strings.Repeat("x", i+1)
	}
	for name, c := range map[string]struct {
		timers []string
		want   string
	}{
		"none":             {nil, ""},
		"as many as fit":   {many[:126], ""},
		"one too many":     {many, "128 names of timers are listed, at most 126 have a place"},
		"one twice":        {[]string{"a", "b", "a"}, `timer "a" is listed twice or has no name`},
		"one without name": {[]string{"a", ""}, `timer "" is listed twice or has no name`},
	} {
		err := Options[int]{Timers: c.timers}.Validate()
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestOptions_DedupWindowIsRoundedUpToHours(t *testing.T) {
	o := Options[time.Duration]{DedupWindow: func(c time.Duration, _ string) time.Duration { return c }}
	for window, want := range map[time.Duration]int64{0: 0, time.Minute: 1, time.Hour: 1, 24 * time.Hour: 24, 24*time.Hour + 1: 25} {
		if got := o.windowHours(window, "acme/44"); got != want {
			t.Errorf("%s: %d hours, want %d", window, got, want)
		}
	}
	if got := (Options[int]{}).windowHours(0, "acme/44"); got != WindowHours {
		t.Errorf("without a window: %d hours, want %d", got, WindowHours)
	}
}
