package rules

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/rules/kind"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// written is a notification of acme as JSON has its trigger, and more of its fields.
func written(t testing.TB, trigger, more string) *configv1.Notification {
	t.Helper()
	n := &configv1.Notification{}
	text := `{"name": "tenants/acme/notifications/n", "active": true, "trigger": {` + trigger + `}` + more
	if !strings.Contains(more, `"actions"`) {
		text += `, "actions": [{"name": "notify", "webhook": {"endpoint": "tenants/acme/endpoints/crm"}}]`
	}
	if err := protojson.Unmarshal([]byte(text+"}"), n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestCompile_ListsEveryViolationOfAKind(t *testing.T) {
	const (
		balance   = `"event_types": ["balance.changed"], `
		invoice   = `"event_types": ["invoice.delivered"], `
		used      = `"field": "data.bucket.used"`
		amount    = `"field": "data.bucket.actual_amount"`
		ten       = `{"currency_code": "EUR", "units": 10}`
		cancelled = `"cancelled_by": {"event_types": ["document.balance_changed"]`
	)
	for name, c := range map[string]struct {
		trigger, more string
		want          []string // each a part of one violation
	}{
		"each event, by name":             {balance + `"event": {}`, "", nil},
		"a crossing of an amount":         {balance + `"key": "data.bucket.id", "crossing": {` + amount + `, "before": "data.before.actual_amount", "up": ` + ten + `, "rearm": {"units": 2}}`, "", nil},
		"a crossing of a number":          {balance + `"crossing": {` + used + `, "down": {"nanos": 500000000}}`, "", nil},
		"a crossing of a whole number":    {`"event_types": ["usage.charged"], "crossing": {"field": "data.quantity", "up": {"units": 10}}`, "", nil},
		"a key that is a whole number":    {`"event_types": ["usage.charged"], "key": "data.quantity", "crossing": {"field": "data.net", "up": {"units": 10}}`, "", nil},
		"depleted and restored":           {`"event_types": ["client.updated"], "depleted": {"field": "data.client.balance"}`, "", nil},
		"percent of a field":              {balance + `"thresholds": {` + used + `, "of": "data.bucket.granted", "percent": [0.5, 99.5]}`, "", nil},
		"values":                          {balance + `"thresholds": {` + amount + `, "values": [{"units": -5}, ` + ten + `]}`, "", nil},
		"a delay before a date, repeated": {invoice + `"delayed": {"days": -3, "from": "data.document.due_date", "repeat": {"days": 7, "times": 100}}`, "", nil},
		"a delay that a list cancels":     {invoice + `"key": "data.document.id", "delayed": {"days": 3, "cancelled_by": {"event_types": ["payment.processed"], "key": "data.payment.documents"}}`, "", nil},
		"an absence":                      {`"event_types": ["usage.*", "subscriber.activated"], "absence": {"for": "60s"}`, "", nil},
		"an absence with a key":           {`"event_types": ["service.state_changed"], "key": "data.service.id", "absence": {"for": "31622400s"}`, "", nil},
		"a cap":                           {`"event_types": ["balance.changed"]`, `, "cap": {"n": 10000, "window": "1s"}`, nil},
		"outcomes of safeguards alone":    {`"event_types": ["safeguard.*"]`, `, "cap": {"n": 1, "window": "60s"}`, nil},

		"nothing to compare": {balance + `"crossing": {}`, "", []string{"trigger.crossing.field: must not be empty", "trigger.crossing: must have up, down or both"}},
		"a path that is not there, and what there is": {
			balance + `"depleted": {"field": "data.bucket.usd", "before": "bucket.used"}`, "",
			[]string{`trigger.depleted.field: for balance.changed: data.bucket has no field "usd", but actual_amount, deducted_amount, granted`, `trigger.depleted.before: for balance.changed: must begin with "data."`},
		},
		"a path is checked against each type": {
			`"event_types": ["balance.changed", "usage.charged"], "restored": {` + used + `}`, "", []string{`for usage.charged: data has no field "bucket"`},
		},
		"what is no number": {
			balance + `"crossing": {"field": "data.bucket.name", "before": "data.bucket", "up": {}}`, "",
			[]string{"trigger.crossing.field: for balance.changed: data.bucket.name is not a number or an amount of money", "trigger.crossing.before: for balance.changed: data.bucket is not a number"},
		},
		"below a number": {balance + `"crossing": {"field": "data.bucket.used.x", "up": {}}`, "", []string{"data.bucket.used has no fields"}},
		"in a list":      {invoice + `"crossing": {"field": "data.document.payment_references.x", "up": {}}`, "", []string{"payment_references is a list and has no fields"}},
		"a number with a before that is an amount": {
			balance + `"crossing": {` + used + `, "before": "data.before.actual_amount", "up": {}}`, "", []string{"trigger.crossing.before: must be a number or an amount, as field is"},
		},
		"a number and a currency":    {balance + `"crossing": {` + used + `, "up": ` + ten + `}`, "", []string{"trigger.crossing.up.currency_code: must be empty"}},
		"two currencies":             {balance + `"crossing": {` + amount + `, "up": ` + ten + `, "rearm": {"currency_code": "USD"}}`, "", []string{"trigger.crossing: must be of one currency, is of EUR, USD"}},
		"what is no currency":        {balance + `"crossing": {` + amount + `, "up": {"currency_code": "eur"}}`, "", []string{"trigger.crossing.up.currency_code: must be a currency"}},
		"what is no amount":          {balance + `"crossing": {` + amount + `, "up": {"units": 1, "nanos": -1}}`, "", []string{"trigger.crossing.up: "}},
		"a margin below 0":           {balance + `"crossing": {` + amount + `, "up": {}, "rearm": {"units": -1}}`, "", []string{"trigger.crossing.rearm: must be 0 or more"}},
		"thresholds out of order":    {balance + `"thresholds": {` + used + `, "of": "data.bucket.granted", "percent": [50, 90, 75, 75]}`, "", []string{"percent: must be in ascending order, each once: 90 stands before 75", "75 stands before 75"}},
		"thresholds out of bounds":   {balance + `"thresholds": {` + used + `, "of": "data.bucket.granted", "percent": [0, "NaN", 1001]}`, "", []string{"percent[0]: must be above 0", "percent[1]: must be above 0", "percent[2]: must be above 0 and at most 1000"}},
		"no thresholds":              {balance + `"thresholds": {` + used + `}`, "", []string{"trigger.thresholds.values: must have 1 to 20, has 0"}},
		"too many thresholds":        {balance + `"thresholds": {` + used + `, "of": "data.bucket.granted", "percent": [` + strings.Repeat("1,", 20) + `2]}`, "", []string{"percent: must have 1 to 20, has 21"}},
		"percent of nothing":         {balance + `"thresholds": {` + used + `, "percent": [50], "values": [{"units": 1}]}`, "", []string{"trigger.thresholds.percent: must be empty without of"}},
		"values of a whole":          {balance + `"thresholds": {` + used + `, "of": "data.bucket.granted", "percent": [50], "values": [{"units": 1}]}`, "", []string{"trigger.thresholds.values: must be empty"}},
		"percent of another sort":    {balance + `"thresholds": {` + used + `, "of": "data.bucket.granted_amount", "percent": [50]}`, "", []string{"trigger.thresholds.of: must be a number or an amount, as field is"}},
		"a delay of ten years":       {invoice + `"delayed": {"days": 3650}`, "", []string{"trigger.delayed.days: must be from -366 to 366"}},
		"repeats without an end":     {invoice + `"delayed": {"days": 1, "repeat": {"days": 366, "times": 2}}`, "", []string{"trigger.delayed.repeat: must end 731 days after"}},
		"repeats of nothing":         {invoice + `"delayed": {"repeat": {}}`, "", []string{"trigger.delayed.repeat.days: must be from 1 to 366"}},
		"too many repeats":           {invoice + `"delayed": {"repeat": {"days": 1, "times": 101}}`, "", []string{"trigger.delayed.repeat.times: must be from 1 to 100"}},
		"neither a time nor a zone":  {invoice + `"delayed": {"at": "9:00", "time_zone": "Europe/Berln"}`, "", []string{"trigger.delayed.at: must be a time of the day", `trigger.delayed.time_zone: must be the IANA name of a zone, such as Europe/Berlin: "Europe/Berln"`}},
		"the machine's zone":         {invoice + `"delayed": {"at": "24:00", "time_zone": "Local"}`, "", []string{"trigger.delayed.at", "trigger.delayed.time_zone"}},
		"from what is no date":       {invoice + `"delayed": {"from": "data.document.total"}`, "", []string{"trigger.delayed.from: for invoice.delivered: data.document.total is not a date or an instant"}},
		"cancelled by nothing known": {invoice + `"delayed": {"cancelled_by": {"event_types": ["invoice.paid"]}}`, "", []string{`trigger.delayed.cancelled_by.event_types[0]: event type "invoice.paid" is unknown`}},
		"a filter of what cancels":   {invoice + `"delayed": {` + cancelled + `, "filter": "data.x"}}`, "", []string{"trigger.delayed.cancelled_by.filter: undefined field 'x'"}},
		"which is cancelled?":        {invoice + `"key": "data.document.id", "delayed": {` + cancelled + `}}`, "", []string{"trigger.delayed.cancelled_by.key: must be there"}},
		"a key of nothing":           {invoice + `"delayed": {` + cancelled + `, "key": "data.document.id"}}`, "", []string{"trigger.delayed.cancelled_by.key: must be empty"}},
		"a key that is a message":    {invoice + `"key": "data.document"`, "", []string{"trigger.key: must be a text or a whole number, not tollgate.event.v1.Document"}},
		"a key that is a list":       {`"event_types": ["payment.processed"], "key": "data.payment.documents"`, "", []string{"trigger.key: must be a text or a whole number, not list(string)"}},
		"keys that are messages":     {invoice + `"key": "data.document.id", "delayed": {` + cancelled + `, "key": "[data.document]"}}`, "", []string{"trigger.delayed.cancelled_by.key: must be a text, a whole number, or a list"}},
		"types without an order":     {`"event_types": ["billrun.failed", "billrun.started"]`, `, "cap": {"n": 1, "window": "60s"}`, []string{"trigger.event_types: must be ordered types where a state is kept: billrun.failed has no order"}},
		"types of two topics":        {`"event_types": ["usage.charged", "safeguard.reached"], "absence": {"for": "60s"}`, "", []string{"trigger.event_types: must be of one topic where a state is kept: usage.charged is not on that of safeguard.reached"}},
		"cancelled on another topic": {invoice + `"delayed": {"cancelled_by": {"event_types": ["safeguard.released"]}}`, "", []string{"cancelled_by.event_types: must be of one topic where a state is kept: safeguard.released is not on that of invoice.delivered"}},
		"too short an absence":       {balance + `"absence": {"for": "59s"}`, "", []string{"trigger.absence.for: must be from 1 min to 366 days"}},
		"no absence":                 {balance + `"absence": {}`, "", []string{"trigger.absence.for: must be from 1 min"}},
		"half a millisecond":         {balance + `"absence": {"for": "60.0005s"}`, "", []string{"trigger.absence.for: must be of whole milliseconds"}},
		"the end of a subscriber":    {`"event_types": ["usage.charged"], "key": "data.service", "absence": {"for": "60s"}`, "", []string{"trigger.key: must be empty: the absence of a subscriber ends with subscriber.terminated"}},
		"a cap of nothing":           {`"event_types": ["balance.changed"]`, `, "cap": {}`, []string{"cap.n: must be from 1 to 10000", "cap.window: must be from 1 s to 366 days"}},
		"an order of timers": {
			invoice + `"delayed": {}`, `, "actions": [{"name": "a", "ordered": true, "webhook": {"endpoint": "tenants/acme/endpoints/crm"}}]`, []string{"actions[0].ordered: must not be true: what a timer plans has no order"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := written(t, c.trigger, c.more)
			for _, n.Active = range []bool{true, false} {
				got := violations(t, Validate(n, table.Channels, nil))
				if len(got) != len(c.want) {
					t.Fatalf("violations %q, want %q", got, c.want)
				}
				for i, want := range c.want {
					if !strings.Contains(got[i], want) {
						t.Errorf("violation %q, want %q", got[i], want)
					}
				}
			}
		})
	}
}

func TestTypesOf_HasThoseThatCancel(t *testing.T) {
	n := written(t, `"event_types": ["invoice.delivered"], "delayed": {"cancelled_by": {"event_types": ["document.*", "payment.processed"]}}`, "")
	if got, want := strings.Join(TypesOf(n, nil), " "), "document.balance_changed document.created invoice.delivered payment.processed"; got != want {
		t.Errorf("types %q, want %q", got, want)
	}
}

// A newer configuration service may know kinds that this binary does not: it can't take such a rule for one of each event.
func TestCompile_RefusesAKindThatItDoesNotKnow(t *testing.T) {
	n := written(t, `"event_types": ["balance.changed"]`, "")
	n.Trigger.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 4000, protowire.VarintType), 1))
	if got := violations(t, Validate(n, table.Channels, nil)); len(got) != 1 || got[0] != "trigger: must be of a kind, and have fields, that are known" {
		t.Errorf("violations %q", got)
	}
}

// The figures that the documents have.
func TestBounds_AreThoseOfTheDocuments(t *testing.T) {
	page, err := os.ReadFile("../../deploy/docs/notifications.md")
	row := fmt.Sprintf("| a delay | %d days before or after, %d to its last repeat; of its event it holds %d KiB |\n", maxDays, maxSpan, kind.MaxHeld>>10)
	if err != nil || !strings.Contains(string(page), row) {
		t.Errorf("notifications.md does not have %q: %v", row, err)
	}
}
