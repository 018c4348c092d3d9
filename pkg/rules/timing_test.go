package rules

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func zoneOf(t testing.TB, name string) *time.Location {
	t.Helper()
	zone, err := spend.Zone(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func instantOf(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at.UTC()
}

// planned compiles a notification whose only action is changed by edit, for events of a safeguard.
func planned(t testing.TB, legal bool, edit func(*Action)) (*Rule, *Plan) {
	t.Helper()
	r, err := Compile(notification(func(n *Notification) {
		n.LegalNotice = legal
		edit(&n.Actions[0])
	}))
	if err != nil {
		t.Fatal(err)
	}
	return r, r.Actions[0]
}

func reachedAt(now time.Time, subject string) *Occasion {
	return &Occasion{Now: now, Event: &event.Event{Type: "safeguard.reached", Tenant: "acme", Subject: subject, Data: &eventv1.Safeguard{Option: eventv1.Safeguard_OPTION_DATA, Language: "es"}}}
}

func TestQuiet_EndsByTheClocksOfTheZone(t *testing.T) {
	night := []*configv1.Hours{{Start: "22:00", End: "08:00"}}
	weekend := append([]*configv1.Hours{{Days: []int32{5, 6}, Start: "18:00", End: "18:00"}}, night...)
	weekend[0] = &configv1.Hours{Days: []int32{5}, Start: "18:00", End: "24:00"}
	weekend = append(weekend, &configv1.Hours{Days: []int32{6, 7}, Start: "00:00", End: "24:00"})
	for name, tc := range map[string]struct {
		hours     []*configv1.Hours
		zone      string
		now, want string // want is empty where it is not quiet
	}{
		"before it begins":                     {night, "Europe/Berlin", "2026-01-05T21:59:59+01:00", ""},
		"it begins with its start":             {night, "Europe/Berlin", "2026-01-05T22:00:00+01:00", "2026-01-06T08:00:00+01:00"},
		"behind midnight it is that of before": {night, "Europe/Berlin", "2026-01-06T07:59:59+01:00", "2026-01-06T08:00:00+01:00"},
		"its end is not within":                {night, "Europe/Berlin", "2026-01-06T08:00:00+01:00", ""},
		"by the clocks of another zone":        {night, "America/New_York", "2026-01-06T07:59:59+01:00", "2026-01-06T08:00:00-05:00"},
		"spans behind one another are one":     {weekend, "Europe/Berlin", "2026-01-09T18:00:00+01:00", "2026-01-12T08:00:00+01:00"},
		"but not before the first":             {weekend, "Europe/Berlin", "2026-01-09T17:59:00+01:00", ""},
		// In Berlin clocks show 03:00 behind 01:59 on 2026-03-29, and 02:00 behind 02:59 on 2026-10-25.
		"an end that is skipped is by the offset before":   {[]*configv1.Hours{{Start: "22:00", End: "02:30"}}, "Europe/Berlin", "2026-03-29T01:00:00+01:00", "2026-03-29T03:30:00+02:00"},
		"it is quiet up to there":                          {[]*configv1.Hours{{Start: "22:00", End: "02:30"}}, "Europe/Berlin", "2026-03-29T03:29:59+02:00", "2026-03-29T03:30:00+02:00"},
		"a start that is skipped, too":                     {[]*configv1.Hours{{Start: "02:30", End: "06:00"}}, "Europe/Berlin", "2026-03-29T03:29:00+02:00", ""},
		"from the start that is by the offset before":      {[]*configv1.Hours{{Start: "02:30", End: "06:00"}}, "Europe/Berlin", "2026-03-29T03:30:00+02:00", "2026-03-29T06:00:00+02:00"},
		"a span within what is skipped is an hour later":   {[]*configv1.Hours{{Start: "02:10", End: "02:50"}}, "Europe/Berlin", "2026-03-29T03:20:00+02:00", "2026-03-29T03:50:00+02:00"},
		"an end that comes twice is the first":             {[]*configv1.Hours{{Start: "22:00", End: "02:30"}}, "Europe/Berlin", "2026-10-25T01:00:00+02:00", "2026-10-25T02:30:00+02:00"},
		"the second time it is over":                       {[]*configv1.Hours{{Start: "22:00", End: "02:30"}}, "Europe/Berlin", "2026-10-25T02:10:00+01:00", ""},
		"a start that comes twice is the first":            {[]*configv1.Hours{{Start: "02:30", End: "06:00"}}, "Europe/Berlin", "2026-10-25T02:30:00+02:00", "2026-10-25T06:00:00+01:00"},
		"and goes on while the clocks show it once more":   {[]*configv1.Hours{{Start: "02:30", End: "06:00"}}, "Europe/Berlin", "2026-10-25T02:10:00+01:00", "2026-10-25T06:00:00+01:00"},
		"a day that a zone leaves out is not waited for":   {[]*configv1.Hours{{Start: "22:00", End: "08:00"}}, "Pacific/Apia", "2011-12-29T23:00:00-10:00", "2011-12-31T08:00:00+14:00"},
		"days are those on which it starts, in the zone":   {[]*configv1.Hours{{Days: []int32{1}, Start: "22:00", End: "08:00"}}, "Europe/Berlin", "2026-01-06T07:00:00+01:00", "2026-01-06T08:00:00+01:00"},
		"on another day it is not quiet":                   {[]*configv1.Hours{{Days: []int32{1}, Start: "22:00", End: "08:00"}}, "Europe/Berlin", "2026-01-07T07:00:00+01:00", ""},
		"the zone of a day is the recipient's, not UTC's":  {[]*configv1.Hours{{Days: []int32{1}, Start: "00:00", End: "08:00"}}, "Asia/Tokyo", "2026-01-04T22:00:00Z", "2026-01-04T23:00:00Z"},
		"four days on end are as long as it may be":        {[]*configv1.Hours{{Days: []int32{1, 2, 3, 4}, Start: "00:00", End: "24:00"}}, "UTC", "2026-01-05T00:00:00Z", "2026-01-09T00:00:00Z"},
		"a zone without a change of clocks has its nights": {night, "Asia/Kolkata", "2026-01-05T23:00:00+05:30", "2026-01-06T08:00:00+05:30"},
	} {
		t.Run(name, func(t *testing.T) {
			r, p := planned(t, false, func(a *Action) { a.Quiet = &configv1.QuietHours{Hours: tc.hours, TimeZone: tc.zone} })
			now := instantOf(t, tc.now)
			got, err := r.Timing(p, reachedAt(now, "44"), channel.Recipient{})
			if err != nil {
				t.Fatal(err)
			}
			var want time.Time
			if tc.want != "" {
				want = instantOf(t, tc.want)
			}
			if !got.NotBefore.Equal(want) {
				t.Errorf("not before %s, want %s", got.NotBefore, want)
			}
		})
	}
}

func TestQuiet_IsInTheRecipientsZoneElseTheActionsElseTheTenants(t *testing.T) {
	now := instantOf(t, "2026-01-06T03:00:00Z")
	tokyo, madrid := zoneOf(t, "Asia/Tokyo"), zoneOf(t, "Europe/Madrid")
	for name, tc := range map[string]struct {
		recipient, tenant *time.Location
		action            string
		want              string
	}{
		"of the recipient":                {madrid, tokyo, "America/New_York", "2026-01-06T08:00:00+01:00"},
		"of the action":                   {nil, tokyo, "America/New_York", "2026-01-06T08:00:00-05:00"},
		"of the tenant":                   {nil, madrid, "", "2026-01-06T08:00:00+01:00"},
		"of nobody":                       {nil, nil, "", "2026-01-06T08:00:00Z"},
		"by day it is not quiet in Tokyo": {tokyo, madrid, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, p := planned(t, false, func(a *Action) {
				a.Quiet = &configv1.QuietHours{Hours: []*configv1.Hours{{Start: "22:00", End: "08:00"}}, TimeZone: tc.action}
			})
			o := reachedAt(now, "44")
			o.Zone = tc.tenant
			var want time.Time
			if tc.want != "" {
				want = instantOf(t, tc.want)
			}
			for range 2 { // the second time from what is kept
				if got, err := r.Timing(p, o, channel.Recipient{Zone: tc.recipient}); err != nil || !got.NotBefore.Equal(want) {
					t.Errorf("not before %s, %v, want %s", got.NotBefore, err, want)
				}
			}
			// The same occasion has another answer for another zone.
			if got, err := r.Timing(p, o, channel.Recipient{Zone: tokyo}); err != nil || !got.NotBefore.IsZero() {
				t.Errorf("in Tokyo not before %s, %v", got.NotBefore, err)
			}
		})
	}
}

func TestTiming_LegalNoticesAreNeitherHeldBackNorReplaced(t *testing.T) {
	edit := func(a *Action) {
		a.Quiet = &configv1.QuietHours{Hours: []*configv1.Hours{{Start: "22:00", End: "08:00"}}}
		a.Collapse, a.ExpiresAfter = "limits of {{.Subscriber.Msisdn}}", time.Hour
	}
	now := instantOf(t, "2026-01-06T03:00:00Z")
	r, p := planned(t, true, edit)
	if got, err := r.Timing(p, reachedAt(now, "44"), channel.Recipient{}); err != nil || got != (Timing{ExpiresAt: now.Add(time.Hour)}) {
		t.Errorf("%+v, %v", got, err)
	}
	r, p = planned(t, false, edit)
	want := Timing{ExpiresAt: now.Add(time.Hour), NotBefore: now.Add(5 * time.Hour), Collapse: "limits of 44"}
	if got, err := r.Timing(p, reachedAt(now, "44"), channel.Recipient{}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}

func TestCollapse_IsATextOfTheEventForOneRecipient(t *testing.T) {
	now := instantOf(t, "2026-01-06T12:00:00Z")
	for name, tc := range map[string]struct {
		text    string
		address string
		want    string
	}{
		"a constant":                          {"news", "", "news"},
		"of personal tokens, whoever gets it": {"{{.Subscriber.Msisdn}}/{{.Option.Name}}", "", "44/data"},
		"a text that is empty replaces none":  {"{{.Option.Reason}}", "", ""},
		"even to an address":                  {"{{.Option.Reason}}", "a@b.example", ""},
		"addresses do not replace each other": {"news", "a@b.example", "news\na@b.example"},
	} {
		t.Run(name, func(t *testing.T) {
			r, p := planned(t, false, func(a *Action) { a.Collapse = tc.text })
			got, err := r.Timing(p, reachedAt(now, "44"), channel.Recipient{Address: tc.address})
			if err != nil || got.Collapse != tc.want {
				t.Errorf("%q, %v, want %q", got.Collapse, err, tc.want)
			}
		})
	}
	r, p := planned(t, false, func(a *Action) { a.Collapse = "{{.Subscriber.Msisdn}}" })
	if _, err := r.Timing(p, reachedAt(now, strings.Repeat("4", maxCollapse+1)), channel.Recipient{}); !errors.Is(err, channel.ErrTooLarge) {
		t.Errorf("a text without an end: %v", err)
	}
}

func TestCompile_RefusesATimingThatCannotBeKept(t *testing.T) {
	hours := func(spans ...*configv1.Hours) func(*Notification) {
		return func(n *Notification) { n.Actions[0].Quiet = &configv1.QuietHours{Hours: spans} }
	}
	collapse := func(text string) func(*Notification) {
		return func(n *Notification) { n.Actions[0].Collapse = text }
	}
	var nine []*configv1.Hours
	for range maxSpans + 1 {
		nine = append(nine, &configv1.Hours{Start: "22:00", End: "23:00"})
	}
	for name, tc := range map[string]struct {
		edit func(*Notification)
		want []string
	}{
		"quiet without hours is none":      {hours(), []string{"actions[0].quiet.hours: must have 1 to 8 spans, has 0"}},
		"quiet has a bound":                {hours(nine...), []string{"actions[0].quiet.hours: must have 1 to 8 spans, has 9"}},
		"always quiet":                     {hours(&configv1.Hours{Start: "00:00", End: "24:00"}), []string{"actions[0].quiet.hours: must not be the whole week"}},
		"always quiet in parts":            {hours(&configv1.Hours{Start: "08:00", End: "20:00"}, &configv1.Hours{Start: "20:00", End: "08:00"}), []string{"must not be the whole week"}},
		"quiet for longer than it is kept": {hours(&configv1.Hours{Days: []int32{5, 6, 7, 1}, Start: "00:00", End: "24:00"}, &configv1.Hours{Days: []int32{4}, Start: "23:59", End: "24:00"}), []string{"actions[0].quiet.hours: must be at most 96h0m0s on end, are 96h1m0s"}},
		"a span that is none":              {hours(&configv1.Hours{Days: []int32{8}, Start: "24:00", End: "8:00"}), []string{"quiet.hours[0].days[0]: must be from 1", "quiet.hours[0].start: must be", "quiet.hours[0].end: must be"}},
		"a zone that does not exist": {func(n *Notification) {
			n.Actions[0].Quiet = &configv1.QuietHours{TimeZone: "Europe/Atlantis", Hours: []*configv1.Hours{{Start: "22:00", End: "8:00"}}}
		}, []string{"actions[0].quiet.time_zone: must be the IANA name of a zone", "actions[0].quiet.hours[0].end: must be"}},
		"a collapse of tokens that exist":            {collapse("{{.Option.Nam}}"), []string{"actions[0].collapse: INVALID_TOKEN: .Option.Nam does not exist for safeguard.reached, the nearest that exists is .Option.Name"}},
		"a collapse of no contact":                   {collapse("{{.Contact.Email}}"), []string{"actions[0].collapse: CONTACT_TOKEN: .Contact.Email"}},
		"a collapse within its bound":                {collapse(strings.Repeat("x", maxCollapse+1)), []string{"actions[0].collapse: must be at most 1024 bytes"}},
		"a legal notice's are looked at, too":        {func(n *Notification) { n.LegalNotice = true; hours()(n); collapse("{{.X}}")(n) }, []string{"actions[0].quiet.hours: must have", "actions[0].collapse: INVALID_TOKEN: .X"}},
		"a night and a weekend are right":            {hours(&configv1.Hours{Days: []int32{5, 6, 7}, Start: "00:00", End: "24:00"}, &configv1.Hours{Start: "20:00", End: "08:00"}), nil},
		"a week that is quiet but for one minute is": {hours(&configv1.Hours{Start: "12:01", End: "12:00"}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Compile(notification(tc.edit))
			got := violations(t, err)
			if len(got) != len(tc.want) {
				t.Fatalf("violations %q, want %q", got, tc.want)
			}
			for i, part := range tc.want {
				if !strings.Contains(got[i], part) {
					t.Errorf("violation %q lacks %q", got[i], part)
				}
			}
		})
	}
}

const maxSpans = 8
