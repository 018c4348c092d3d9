package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/format"
)

// Safeguard are the flags of commands that call the safeguard service.
type Safeguard struct {
	command.Key
	Address string `name:"safeguard" env:"TOLLGATE_SAFEGUARD_ADDR" default:"127.0.0.1:7030" help:"Safeguard service; ${default} by default." placeholder:"HOST:PORT"`
	Tenant  string `required:"" env:"TOLLGATE_TENANT" help:"Id of the tenant." placeholder:"ID"`
}

func (s Safeguard) open() (*grpc.ClientConn, error) { return s.Dial(s.Address) }

// Subscriber is the argument of commands about one subscriber.
type Subscriber struct {
	Safeguard
	MSISDN string `arg:"" name:"msisdn" help:"Number of the subscriber, country code first."`
}

// name has the number as typed: the service normalises it, and reports an invalid one.
func (s Subscriber) name() string { return "tenants/" + s.Tenant + "/subscribers/" + s.MSISDN }

// nameOf is the option of the subscriber.
func (s Subscriber) nameOf(o eventv1.Safeguard_Option) string {
	return s.name() + "/options/" + format.Option(o) + "Safeguard"
}

// advice is the remedy for the reason of an error.
var advice = map[string]string{
	reason.SubscriberNotFound:     "check the number (country code first) and --tenant; right behind its activation, give --wait",
	reason.PositionNotReached:     "the event is not worked yet: try again shortly",
	reason.OptionNotOffered:       "tollgate get ClassOfService shows what each class offers",
	reason.LimitRequired:          "give --current-limit too",
	reason.CurrencyMismatch:       "give the amount in the currency that tollgate option get shows",
	reason.RenewalDayChanged:      "it may change once in a period: try again when period_end is over",
	reason.IDReused:               "another change had this --reference: leave it out, and one is drawn",
	reason.Rebuilding:             "nothing happened: try again shortly",
	reason.OutcomeUnknown:         "it may still happen: run it again with the same --reference, and it happens once",
	reason.APIKeyMissing:          "set TOLLGATE_API_KEY",
	reason.APIKeyUnknown:          "set TOLLGATE_API_KEY to a key whose hash the service has",
	reason.ClassOfServiceNotFound: "tollgate get ClassOfService lists the classes of a tenant",
}

// explained is an error of a service for people: the reason, every violation, and the remedy.
func explained(service, address string, err error) error {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok {
		if status.Code(err) == codes.Unimplemented {
			return fmt.Errorf("%s service at %s: it does not know this call: is it an older version?", service, address)
		}
		return fmt.Errorf("%s service at %s: %w", service, address, err)
	}
	var b strings.Builder
	if len(e.Violations) == 0 {
		fmt.Fprintf(&b, "%s service at %s: %s", service, address, e)
	} else {
		fmt.Fprintf(&b, "%s service at %s: %s", service, address, e.Reason)
		for _, v := range fault.Listed(e) {
			fmt.Fprintf(&b, "\n  %s", v)
		}
	}
	if states := e.Metadata["eligibleStates"]; states != "" && !strings.Contains(e.Message, states) {
		fmt.Fprintf(&b, "\n  eligible now: %s", states)
	}
	for _, do := range advised(e) {
		fmt.Fprintf(&b, "\n  %s", do)
	}
	return readableError{b.String(), err}
}

// advised are the remedies for the error's reason, or for those of its violations.
func advised(e *fault.Error) []string {
	reasons := []string{e.Reason}
	for _, v := range e.Violations {
		reasons = append(reasons, v.Reason)
	}
	var all []string
	seen := map[string]bool{}
	for _, r := range reasons {
		if do := advice[r]; do != "" && !seen[do] {
			seen[do] = true
			all = append(all, do)
		}
	}
	if len(all) == 0 && e.Kind == fault.Unavailable {
		all = append(all, "is it running there? run tollgate check")
	}
	return all
}

// readableError is an error with a text for people.
type readableError struct {
	text  string
	cause error
}

func (t readableError) Error() string { return t.text }
func (t readableError) Unwrap() error { return t.cause }

// optionRow is one option of a subscriber, in the words of the API.
type optionRow struct {
	Option           string   `json:"option"`
	State            string   `json:"state"`
	Spent            string   `json:"spent,omitempty"`
	Limit            string   `json:"limit,omitempty"`
	LimitSource      string   `json:"limit_source,omitempty"`
	NextLimit        string   `json:"next_limit,omitempty"`
	PerPaymentLimit  string   `json:"per_payment_limit,omitempty"`
	Currency         string   `json:"currency"`
	Reached          *bool    `json:"reached,omitempty"`
	EligibleStates   []string `json:"eligible_states"`
	AlertThresholds  []string `json:"alert_thresholds,omitempty"`
	ThresholdsSource string   `json:"alert_thresholds_source,omitempty"`
	RenewalDay       int32    `json:"renewal_day"`
	RenewalDaySource string   `json:"renewal_day_source"`
	PeriodStart      string   `json:"period_start"`
	PeriodEnd        string   `json:"period_end"`
	Forecast         string   `json:"forecast,omitempty"`
	ClassOfService   string   `json:"class_of_service,omitempty"`
	Sequence         int64    `json:"sequence"`
	Revision         int64    `json:"revision"`
	TransactionRef   string   `json:"transaction_reference,omitempty"`
	StalenessSeconds float64  `json:"staleness_seconds"`
}

func dataRow(d *optionsv1.DataSafeguard) optionRow {
	if d == nil {
		return optionRow{}
	}
	return optionRow{
		Option: "data", State: format.State(d.GetState()), Spent: format.Money(d.GetSpent()), Limit: format.Money(d.GetLimit()),
		Currency: d.GetCurrency(), Reached: d.Reached, EligibleStates: states(d.GetEligibleStates()),
		RenewalDay: d.GetRenewalDay(), PeriodStart: at(d.GetPeriodStart()), PeriodEnd: at(d.GetPeriodEnd()), Forecast: at(d.GetForecast()),
		LimitSource: source(d.GetLimitSource()), RenewalDaySource: source(d.GetRenewalDaySource()),
		Sequence: d.GetSequence(), Revision: d.GetRevision(), StalenessSeconds: d.GetStaleness().AsDuration().Seconds(),
	}
}

func overspendRow(d *optionsv1.OverspendSafeguard) optionRow {
	if d == nil {
		return optionRow{}
	}
	return optionRow{
		Option: "overspend", State: format.State(d.GetState()), Spent: format.Money(d.GetSpent()), Limit: format.Money(d.GetCurrentLimit()),
		NextLimit: format.Money(d.GetNextLimit()), AlertThresholds: thresholds(d.GetAlertThresholds()),
		Currency: d.GetCurrency(), Reached: d.Reached, EligibleStates: states(d.GetEligibleStates()),
		RenewalDay: d.GetRenewalDay(), PeriodStart: at(d.GetPeriodStart()), PeriodEnd: at(d.GetPeriodEnd()), Forecast: at(d.GetForecast()),
		LimitSource: source(d.GetCurrentLimitSource()), ThresholdsSource: source(d.GetAlertThresholdsSource()), RenewalDaySource: source(d.GetRenewalDaySource()),
		Sequence: d.GetSequence(), Revision: d.GetRevision(), StalenessSeconds: d.GetStaleness().AsDuration().Seconds(),
	}
}

func paymentRow(d *optionsv1.PaymentSafeguard) optionRow {
	if d == nil {
		return optionRow{}
	}
	return optionRow{
		Option: "payment", State: format.State(d.GetState()), Spent: format.Money(d.GetSpent()), Limit: format.Money(d.GetLimit()),
		PerPaymentLimit: format.Money(d.GetPerPaymentLimit()),
		Currency:        d.GetCurrency(), Reached: d.Reached, EligibleStates: states(d.GetEligibleStates()),
		RenewalDay: d.GetRenewalDay(), PeriodStart: at(d.GetPeriodStart()), PeriodEnd: at(d.GetPeriodEnd()), Forecast: at(d.GetForecast()),
		LimitSource: source(d.GetLimitSource()), RenewalDaySource: source(d.GetRenewalDaySource()),
		Sequence: d.GetSequence(), Revision: d.GetRevision(), StalenessSeconds: d.GetStaleness().AsDuration().Seconds(),
	}
}

// source is the origin of a value; empty where there is none.
func source(s optionsv1.Source) string {
	switch s {
	case optionsv1.Source_SOURCE_CLASS_OF_SERVICE:
		return "class-of-service"
	case optionsv1.Source_SOURCE_SUBSCRIBER:
		return "subscriber"
	}
	return ""
}

func states(all []eventv1.Safeguard_State) []string {
	words := make([]string, len(all))
	for i, s := range all {
		words[i] = format.State(s)
	}
	return words
}

func thresholds(all []*eventv1.Threshold) []string {
	var words []string
	for _, t := range all {
		if t.GetPercent() > 0 {
			words = append(words, fmt.Sprintf("%d%%", t.GetPercent()))
		} else {
			words = append(words, format.Money(t.GetAmount()))
		}
	}
	return words
}

// at is a time in a form for people and programs; empty for none.
func at(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Format("2006-01-02T15:04:05.999Z07:00")
}

// listOptions writes options as a table of what matters, or with all there is.
func listOptions(l command.Listing, streams command.Streams, rows []optionRow) error {
	return command.Write(l, streams.Out, rows, []string{"option", "state", "spent", "limit", "next limit", "reached", "renewal day", "period ends", "eligible states"},
		func(r optionRow) []string {
			return []string{
				r.Option, r.State, r.Spent, r.Limit, r.NextLimit, yes(r.Reached), fmt.Sprint(r.RenewalDay), r.PeriodEnd,
				strings.Join(r.EligibleStates, ", "),
			}
		})
}

// yes is a word for a bool that may be unknown.
func yes(b *bool) string {
	switch {
	case b == nil:
		return ""
	case *b:
		return "yes"
	}
	return "no"
}

// getOption shows the options of a subscriber.
type getOption struct {
	Subscriber
	command.Listing
	Option string `enum:"data,overspend,payment,all" default:"all" help:"One option: ${enum}."`
	Wait   string `help:"Show it once this event of the subscriber was processed; the position is in the output of tollgate send." placeholder:"TOPIC/PARTITION/OFFSET"`
}

// Help is shown below the flags.
func (getOption) Help() string {
	return `Shows what is counted, and which states a change may lead to now. -o json has more: thresholds, the forecast, how old
the answer may be.

Example:

    tollgate option get 491511234567 --tenant acme

    tollgate option get 491511234567 --tenant acme --option data -o json

    tollgate option get 491511234567 --tenant acme --wait events.ordered/3/1042`
}

// position reads where an event is.
func (c getOption) position() (*optionsv1.Position, error) {
	if c.Wait == "" {
		return nil, nil
	}
	parts := strings.Split(c.Wait, "/")
	if len(parts) == 3 && strings.HasSuffix(parts[0], stream.EventsOrdered) {
		partition, err := strconv.ParseInt(parts[1], 10, 32)
		offset, errOffset := strconv.ParseInt(parts[2], 10, 64)
		if err == nil && errOffset == nil {
			return &optionsv1.Position{Partition: int32(partition), Offset: offset}, nil
		}
	}
	return nil, fmt.Errorf("--wait %s: give it as tollgate send prints it, such as %s/3/1042; events of other topics change no option", c.Wait, stream.EventsOrdered)
}

// Run gets.
func (c getOption) Run(ctx context.Context, streams command.Streams) error {
	after, err := c.position()
	if err != nil {
		return err
	}
	conn, err := c.open()
	if err != nil {
		return err
	}
	defer command.Close(conn)
	res, err := optionsv1.NewOptionInventoryServiceClient(conn).ListOptions(ctx, &optionsv1.ListOptionsRequest{Parent: c.name(), MinPosition: after})
	if err != nil {
		return explained("safeguard", c.Address, err)
	}
	var rows []optionRow
	if d := res.GetDataSafeguard(); d != nil {
		rows = append(rows, dataRow(d))
	}
	if d := res.GetOverspendSafeguard(); d != nil {
		rows = append(rows, overspendRow(d))
	}
	if d := res.GetPaymentSafeguard(); d != nil {
		rows = append(rows, paymentRow(d))
	}
	class := res.GetSubscriber().GetClassOfService()
	if c.Option != "all" {
		var one []optionRow
		for _, r := range rows {
			if r.Option == c.Option {
				one = append(one, r)
			}
		}
		if rows = one; len(rows) == 0 {
			return explained("safeguard", c.Address, fault.New(fault.NotFound, reason.OptionNotOffered,
				"class of service %s does not offer the %s safeguard", class, c.Option))
		}
	}
	for i := range rows {
		rows[i].ClassOfService = class
	}
	return listOptions(c.Listing, streams, rows)
}
