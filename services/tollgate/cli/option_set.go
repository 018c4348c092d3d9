package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/type/money"

	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/format"
)

// setOption changes an option of a subscriber.
type setOption struct {
	Subscriber
	command.Listing
	Option         string   `required:"" enum:"data,overspend,payment" help:"Which: ${enum}."`
	State          string   `help:"New state: active, inactive; of data temporarily-inactive or permanently-inactive." placeholder:"STATE"`
	RenewalDay     *int32   `help:"Day of the month on which periods begin, 1 to 28." placeholder:"DAY"`
	CurrentLimit   string   `help:"Of overspend: the limit from now on, such as '20 EUR'." placeholder:"AMOUNT"`
	NextLimit      string   `help:"Of overspend: the limit from the next period on." placeholder:"AMOUNT"`
	ClearNextLimit bool     `help:"Of overspend: take a next limit back."`
	AlertThreshold []string `help:"Of overspend: when to notify the subscriber, '80%' or '10 EUR'; repeat it for several. They replace those there are." placeholder:"THRESHOLD" sep:"none"`
	ClassAlerts    bool     `name:"class-alert-thresholds" help:"Of overspend: alert as the class of service has it again."`
	Reference      string   `help:"Reference of this change, at most 128 bytes: the same change again under the same reference changes nothing. One is drawn and printed where none is given." placeholder:"TEXT"`
}

// Help is shown below the flags.
func (setOption) Help() string {
	return `Changes what is given and leaves the rest; all of it happens or nothing. Every event that the change causes carries
the reference.

Example:

    tollgate option set 491511234567 --tenant acme --option overspend --state active --current-limit '20 EUR'

    tollgate option set 491511234567 --tenant acme --option data --state temporarily-inactive --reference ticket-4711`
}

// AfterApply is called by kong once the flags are read.
func (c setOption) AfterApply() error {
	_, err := c.change()
	return err
}

// change reads all flags; the error has every violation.
func (c setOption) change() (*controlv1.ChangeCommand, error) {
	var faults []error
	wrong := func(flag string, err error) { faults = append(faults, fmt.Errorf("--%s %w", flag, err)) }
	option, _ := format.ParseOption(c.Option)
	change := &controlv1.ChangeCommand{Option: option, ClearNextLimit: c.ClearNextLimit, RenewalDay: c.RenewalDay}
	if c.RenewalDay != nil && (*c.RenewalDay < 1 || *c.RenewalDay > 28) {
		wrong("renewal-day", fmt.Errorf("must be from 1 to 28, not %d", *c.RenewalDay))
	}
	var err error
	if c.State != "" {
		if change.State, err = format.ParseState(option, c.State); err != nil {
			wrong("state", err)
		}
	}
	for _, limit := range []struct {
		flag, text string
		into       **money.Money
	}{{"current-limit", c.CurrentLimit, &change.CurrentLimit}, {"next-limit", c.NextLimit, &change.NextLimit}} {
		if limit.text == "" {
			continue
		}
		if *limit.into, err = format.ParseMoney(limit.text, ""); err != nil {
			wrong(limit.flag, err)
		}
	}
	if c.ClearNextLimit && c.NextLimit != "" {
		faults = append(faults, errors.New("--next-limit and --clear-next-limit exclude each other"))
	}
	if c.ClassAlerts && len(c.AlertThreshold) > 0 {
		faults = append(faults, errors.New("--alert-threshold and --class-alert-thresholds exclude each other"))
	}
	if c.ClassAlerts || len(c.AlertThreshold) > 0 {
		change.AlertThresholds = &eventv1.ThresholdList{}
	}
	for _, text := range c.AlertThreshold {
		t, err := threshold(text)
		if err != nil {
			wrong("alert-threshold", err)
			continue
		}
		change.AlertThresholds.Thresholds = append(change.AlertThresholds.Thresholds, t)
	}
	limits := c.CurrentLimit != "" || c.NextLimit != "" || c.ClearNextLimit || change.AlertThresholds != nil
	if limits && option != eventv1.Safeguard_OPTION_OVERSPEND {
		faults = append(faults, fmt.Errorf("limits and alert thresholds are set for overspend alone: those of the %s safeguard are its class of service's", c.Option))
	}
	if !limits && c.State == "" && c.RenewalDay == nil {
		faults = append(faults, errors.New("there is no change: give --state, --renewal-day, --current-limit, --next-limit or --alert-threshold"))
	}
	if len(c.Reference) > 128 {
		faults = append(faults, fmt.Errorf("--reference must be at most 128 bytes, has %d", len(c.Reference)))
	}
	if len(faults) > 0 {
		return nil, command.UsageError(errors.Join(faults...).Error())
	}
	return change, nil
}

func threshold(text string) (*eventv1.Threshold, error) {
	if percent, ok := strings.CutSuffix(text, "%"); ok {
		n, err := strconv.ParseInt(percent, 10, 32)
		if err != nil || n < 1 || n > 1000 {
			return nil, fmt.Errorf("must be from 1%% to 1000%%, not %q", text)
		}
		return &eventv1.Threshold{Percent: int32(n)}, nil
	}
	m, err := format.ParseMoney(text, "")
	return &eventv1.Threshold{Amount: m}, err
}

// Run changes.
func (c setOption) Run(ctx context.Context, streams command.Streams) error {
	change, err := c.change()
	if err != nil {
		return err
	}
	if c.Reference == "" {
		// Printed before the call: without a response the caller needs it to retry.
		c.Reference = "cli-" + strings.ToLower(rand.Text())
		fmt.Fprintf(streams.Err, "tollgate: reference %s\n", c.Reference)
	}
	conn, err := c.open()
	if err != nil {
		return err
	}
	defer command.Close(conn)
	name, client := c.nameOf(change.GetOption()), optionsv1.NewOptionSubscriptionServiceClient(conn)
	var row optionRow
	switch change.GetOption() {
	case eventv1.Safeguard_OPTION_DATA:
		var d *optionsv1.DataSafeguard
		d, err = client.ChangeDataSafeguard(ctx, &optionsv1.ChangeDataSafeguardRequest{
			Name: name, TransactionReference: c.Reference, RenewalDay: change.RenewalDay, State: change.GetState(),
		})
		row = dataRow(d)
	case eventv1.Safeguard_OPTION_OVERSPEND:
		var d *optionsv1.OverspendSafeguard
		d, err = client.ChangeOverspendSafeguard(ctx, &optionsv1.ChangeOverspendSafeguardRequest{
			Name: name, TransactionReference: c.Reference, RenewalDay: change.RenewalDay, State: change.GetState(),
			CurrentLimit: change.GetCurrentLimit(), NextLimit: change.GetNextLimit(), ClearNextLimit: change.GetClearNextLimit(),
			AlertThresholds: change.GetAlertThresholds(),
		})
		row = overspendRow(d)
	default:
		var d *optionsv1.PaymentSafeguard
		d, err = client.ChangePaymentSafeguard(ctx, &optionsv1.ChangePaymentSafeguardRequest{
			Name: name, TransactionReference: c.Reference, RenewalDay: change.RenewalDay, State: change.GetState(),
		})
		row = paymentRow(d)
	}
	if err != nil {
		return explained("safeguard", c.Address, err)
	}
	row.TransactionRef = c.Reference
	return listOptions(c.Listing, streams, []optionRow{row})
}
