package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/subscriberimport"
)

// importSubscribers brings in the subscribers of another system.
type importSubscribers struct {
	command.Key
	command.Listing
	File        string        `arg:"" help:"CSV file; its first line names the columns."`
	Tenant      string        `required:"" env:"TOLLGATE_TENANT" help:"Id of the tenant that they are subscribers of." placeholder:"ID"`
	ActivatedAt string        `help:"When they became subscribers here, for rows without a time, in RFC 3339. It decides which period spent amounts are of; usage from before it is rejected." placeholder:"TIME"`
	Separator   string        `default:"," help:"Separator of the cells of a row."`
	DryRun      bool          `help:"Validate every row and send none."`
	Resume      string        `help:"Keep the journal of what was acknowledged in this file, and go on from it; FILE.csv.progress by default." placeholder:"FILE"`
	FromStart   bool          `help:"Send every row again, whatever the journal has; nothing is counted twice."`
	Patience    time.Duration `default:"2m" help:"Give up when ingest took no row for so long."`
	Address     string        `name:"ingest" env:"TOLLGATE_INGEST_ADDR" default:"127.0.0.1:7020" help:"Ingest service; ${default} by default." placeholder:"HOST:PORT"`
	Config      string        `name:"config" env:"TOLLGATE_CONFIG_ADDR" default:"127.0.0.1:7010" help:"Configuration service; ${default} by default." placeholder:"HOST:PORT"`
}

// Help is shown below the flags.
func (importSubscribers) Help() string {
	var columns strings.Builder
	for _, c := range subscriberimport.Columns() {
		fmt.Fprintf(&columns, "    %s\n", strings.TrimRight(fmt.Sprintf("%-24s %s", c.Name, c.Help), " "))
	}
	return `Each row becomes a subscriber.activated event. All rows are validated first, also against the tenant's classes of
service; where one is invalid, every violation of every row is reported with its line, and nothing is sent. Empty columns
of an option take the defaults of the class of service.

An interrupted import continues when the same command is run again. An event's id derives from its row, so that rows
sent twice count once.

Columns, in any order:

` + columns.String() + `
Example:

    tollgate import subscribers subscribers.csv --tenant acme --activated-at 2026-11-01T00:00:00Z --dry-run

    tollgate import subscribers subscribers.csv --tenant acme --activated-at 2026-11-01T00:00:00Z`
}

// AfterApply is called by kong once the flags are read.
func (c importSubscribers) AfterApply() error {
	var faults []error
	if _, err := c.form(); err != nil {
		faults = append(faults, err)
	}
	if c.Tenant == "" || strings.Contains(c.Tenant, "/") {
		faults = append(faults, fmt.Errorf("--tenant must be the id of a tenant, such as acme, not %q", c.Tenant))
	}
	if c.Patience <= 0 {
		faults = append(faults, fmt.Errorf("--patience must be above 0, is %s", c.Patience))
	}
	if len(faults) > 0 {
		return command.UsageError(errors.Join(faults...).Error())
	}
	return nil
}

func (c importSubscribers) form() (subscriberimport.Form, error) {
	form := subscriberimport.Form{Tenant: c.Tenant}
	separator := []rune(strings.ReplaceAll(c.Separator, `\t`, "\t"))
	if len(separator) != 1 || strings.ContainsRune("\"\r\n\uFFFD", separator[0]) {
		return form, fmt.Errorf(`--separator must be one character, such as ; or \t, not %q`, c.Separator)
	}
	form.Separator = separator[0]
	if c.ActivatedAt != "" {
		at, err := event.ParseTime(c.ActivatedAt)
		if err != nil {
			return form, fmt.Errorf("--activated-at %w", err)
		}
		form.ActivatedAt = at
	}
	return form, nil
}

// Run imports.
func (c importSubscribers) Run(ctx context.Context, streams command.Streams) error {
	form, err := c.form()
	if err != nil {
		return command.UsageError(err.Error())
	}
	conn, err := c.Dial(c.Config)
	if err != nil {
		return err
	}
	defer command.Close(conn)
	classes, err := classesOf(ctx, conn, c.Tenant)
	if err != nil {
		return fmt.Errorf("configuration service at %s: %w", c.Config, err)
	}
	ingest, err := c.Dial(c.Address)
	if err != nil {
		return err
	}
	defer command.Close(ingest)
	journal := c.Resume
	if journal == "" {
		journal = c.File + ".progress"
	}
	progress := &importProgress{streams: streams}
	summary, err := subscriberimport.Import{
		File: c.File, Form: form, Classes: classes, Conn: ingest, Journal: journal,
		FromStart: c.FromStart, DryRun: c.DryRun, Patience: c.Patience,
		Faulty:   func(f subscriberimport.Fault) { progress.complain(c.File, f) },
		Progress: progress.show,
	}.Run(ctx)
	progress.end()
	if ctx.Err() != nil && err != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		err = c.advise(err, summary)
	}
	if summary.Rows == 0 && err != nil {
		return err
	}
	if listErr := c.summarize(streams.Out, summary); listErr != nil || err != nil {
		return errors.Join(err, listErr)
	}
	if summary.Faulty > 0 || summary.Refused > 0 {
		return command.ErrReported
	}
	return nil
}

// advise is what to do about an import that ended before its end.
func (c importSubscribers) advise(err error, s subscriberimport.Summary) error {
	switch {
	case subscriberimport.IsDifferentFile(err):
		return fmt.Errorf("%w\n--from-start sends every row again and counts none twice; --resume names another journal", err)
	case s.Accepted+s.Refused > 0:
		return fmt.Errorf("%w\n%d of %d rows were acknowledged; the same command continues from there", err, s.Accepted+s.Refused, s.Rows)
	}
	return err
}

func (c importSubscribers) summarize(w io.Writer, s subscriberimport.Summary) error {
	return command.Write(c.Listing, w, []subscriberimport.Summary{s}, []string{"rows", "faulty", "accepted", "refused", "by earlier runs", "rows/s"},
		func(s subscriberimport.Summary) []string {
			rate := ""
			if done := s.Accepted + s.Refused - s.Earlier; s.Seconds > 0 && done > 0 {
				rate = fmt.Sprintf("%.0f", float64(done)/s.Seconds)
			}
			return []string{fmt.Sprint(s.Rows), fmt.Sprint(s.Faulty), fmt.Sprint(s.Accepted), fmt.Sprint(s.Refused), fmt.Sprint(s.Earlier), rate}
		})
}

// classesOf reads every class of service of a tenant.
func classesOf(ctx context.Context, conn *grpc.ClientConn, tenant string) (subscriberimport.Classes, error) {
	classes := subscriberimport.Classes{}
	client := configv1.NewClassOfServiceServiceClient(conn)
	req := &configv1.ListClassesOfServiceRequest{Parent: "tenants/" + tenant, PageSize: 1000}
	for {
		res, err := client.ListClassesOfService(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, c := range res.GetClassesOfService() {
			classes[c.GetName()[strings.LastIndexByte(c.GetName(), '/')+1:]] = c
		}
		if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
			return classes, nil
		}
	}
}
