package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"google.golang.org/grpc"

	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/format"
)

// partitions are those to go over: one that is named, or all.
func partitions(ctx context.Context, conn *grpc.ClientConn, named int32) ([]int32, error) {
	if named >= 0 {
		return []int32{named}, nil
	}
	res, err := optionsv1.NewOptionAuditServiceClient(conn).GetPartitions(ctx, &optionsv1.GetPartitionsRequest{})
	if err != nil {
		return nil, err
	}
	all := make([]int32, res.GetPartitions())
	for p := range all {
		all[p] = int32(p)
	}
	return all, nil
}

// steps is a bar over parts of known number, on standard error where that is a terminal.
type steps struct {
	all *mpb.Progress
	bar *mpb.Bar
}

// wholeStep is how finely a bar shows one part.
const wholeStep = 1000

func showSteps(streams command.Streams, what string, n int) steps {
	if !command.IsTerminal(streams.Err) {
		return steps{}
	}
	all := mpb.New(mpb.WithOutput(command.Drawn(streams.Err)), mpb.WithRefreshRate(200*time.Millisecond))
	return steps{all, all.AddBar(int64(n)*wholeStep, mpb.PrependDecorators(decor.Name(what)), mpb.AppendDecorators(decor.AverageETA(decor.ET_STYLE_GO)))}
}

// at shows the share of a step, the whole ones before it included.
func (s steps) at(step int, share float64) {
	if s.bar != nil {
		s.bar.SetCurrent(int64((float64(step) + share) * wholeStep))
	}
}

func (s steps) end() {
	if s.bar != nil {
		s.bar.Abort(false)
		s.all.Wait()
	}
}

// verifyOption recomputes counters from the log.
type verifyOption struct {
	Safeguard
	command.Listing
	Partition int32   `default:"-1" help:"One partition of events.ordered; all by default." placeholder:"N"`
	Sample    float64 `default:"100" help:"Share of the subscribers to verify, in percent; ${default} by default." placeholder:"PERCENT"`
}

// Help is shown below the flags.
func (verifyOption) Help() string {
	return `Recomputes what was counted from the log, compares it with what is stored, and lists what differs. Exits 1 where
anything does.

Example:

    tollgate option verify --tenant acme

    tollgate option verify --tenant acme --partition 3 --sample 5`
}

// AfterApply is called by kong once the flags are read.
func (c verifyOption) AfterApply() error {
	switch {
	case c.Partition < -1:
		return command.UsageError(fmt.Sprintf("--partition must not be negative, is %d", c.Partition))
	case c.Sample < 0.1 || c.Sample > 100:
		return command.UsageError(fmt.Sprintf("--sample must be from 0.1 to 100 percent, not %g", c.Sample))
	}
	return nil
}

// perMille is 0 for all.
func (c verifyOption) perMille() int32 {
	if c.Sample == 100 {
		return 0
	}
	return int32(math.Round(c.Sample * 10))
}

type differenceRow struct {
	Name       string `json:"name"`
	Option     string `json:"option"`
	Difference string `json:"difference"`
}

// Run verifies.
func (c verifyOption) Run(ctx context.Context, streams command.Streams) error {
	conn, err := c.open()
	if err != nil {
		return err
	}
	defer command.Close(conn)
	all, err := partitions(ctx, conn, c.Partition)
	if err != nil {
		return explained("safeguard", c.Address, err)
	}
	bar := showSteps(streams, "partitions of the log", len(all))
	defer bar.end()
	var found []differenceRow
	var subscribers int64
	partial := 0
	for i, p := range all {
		last, err := c.partition(ctx, conn, p, func(res *optionsv1.VerifyResponse) {
			for _, d := range res.GetDifferences() {
				found = append(found, differenceRow{d.GetName(), format.Option(d.GetOption()), d.GetDifference()})
			}
			bar.at(i, float64(res.GetOffset())/float64(max(1, res.GetEndOffset())))
		})
		if err != nil {
			bar.end()
			return errors.Join(fmt.Errorf("partition %d: %w", p, explained("safeguard", c.Address, err)), c.list(streams, found))
		}
		subscribers += last.GetSubscribers()
		if last.GetPartial() {
			partial++
		}
		bar.at(i+1, 0)
	}
	bar.end()
	fmt.Fprintf(streams.Err, "tollgate: %d subscribers in %d partitions, %d differences\n", subscribers, len(all), len(found))
	if partial > 0 {
		fmt.Fprintf(streams.Err, "tollgate: the log of %d partitions does not hold the beginning: they went on from a snapshot\n", partial)
	}
	if err := c.list(streams, found); err != nil {
		return err
	}
	if len(found) > 0 {
		return command.ErrReported
	}
	return nil
}

func (c verifyOption) list(streams command.Streams, found []differenceRow) error {
	if len(found) == 0 && c.Output == "table" {
		return nil
	}
	return command.Write(c.Listing, streams.Out, found, []string{"subscriber", "option", "difference"}, func(d differenceRow) []string {
		return []string{d.Name, d.Option, d.Difference}
	})
}

// partition returns the last answer, which means that all is done.
func (c verifyOption) partition(ctx context.Context, conn *grpc.ClientConn, p int32, report func(*optionsv1.VerifyResponse)) (last *optionsv1.VerifyResponse, err error) {
	stream, err := optionsv1.NewOptionAuditServiceClient(conn).Verify(ctx, &optionsv1.VerifyRequest{Tenant: c.Tenant, Partition: p, PerMille: c.perMille()})
	if err != nil {
		return nil, err
	}
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if !last.GetDone() {
				return last, errors.New("the answer ended before its end: run it again")
			}
			return last, nil
		}
		if err != nil {
			return last, err
		}
		report(res)
		last = res
	}
}

// reapplyOption applies the present class of service to its subscribers.
type reapplyOption struct {
	Safeguard
	command.Listing
	COS  string `name:"cos" required:"" help:"Id of the class of service." placeholder:"ID"`
	Rate int32  `default:"1000" help:"Subscribers a second; ${default} by default." placeholder:"N"`
}

// Help is shown below the flags.
func (reapplyOption) Help() string {
	return `A change of a class of service applies to a subscriber from its next event, timer or call on. This makes a call for each
subscriber of the class, so that it applies to all of them now: a subscriber past a lower limit is blocked and notified.

Example:

    tollgate option reapply --tenant acme --cos gold --rate 500`
}

// AfterApply is called by kong once the flags are read.
func (c reapplyOption) AfterApply() error {
	if c.Rate < 1 {
		return command.UsageError(fmt.Sprintf("--rate must be at least 1, is %d", c.Rate))
	}
	return nil
}

type reapplied struct {
	Partitions int   `json:"partitions"`
	Seen       int64 `json:"seen"`
	Appended   int64 `json:"appended"`
}

// Run goes over one partition after another, so that the rate is that of all.
func (c reapplyOption) Run(ctx context.Context, streams command.Streams) error {
	conn, err := c.open()
	if err != nil {
		return err
	}
	defer command.Close(conn)
	all, err := partitions(ctx, conn, -1)
	if err != nil {
		return explained("safeguard", c.Address, err)
	}
	bar := showSteps(streams, "partitions", len(all))
	defer bar.end()
	var sum reapplied
	for i, p := range all {
		last, err := c.partition(ctx, conn, p)
		sum.Seen, sum.Appended = sum.Seen+last.GetSeen(), sum.Appended+last.GetAppended()
		if err != nil {
			bar.end()
			return errors.Join(fmt.Errorf("partition %d: %w\n%d partitions were done before: running it again does no harm", p, explained("safeguard", c.Address, err), i),
				c.list(streams, sum))
		}
		sum.Partitions++
		bar.at(i+1, 0)
	}
	bar.end()
	return c.list(streams, sum)
}

func (c reapplyOption) list(streams command.Streams, sum reapplied) error {
	return command.Write(c.Listing, streams.Out, []reapplied{sum}, []string{"partitions", "subscribers seen", "calls appended"}, func(r reapplied) []string {
		return []string{fmt.Sprint(r.Partitions), fmt.Sprint(r.Seen), fmt.Sprint(r.Appended)}
	})
}

func (c reapplyOption) partition(ctx context.Context, conn *grpc.ClientConn, p int32) (last *optionsv1.ReapplyResponse, err error) {
	stream, err := optionsv1.NewOptionAuditServiceClient(conn).Reapply(ctx, &optionsv1.ReapplyRequest{
		Name: "tenants/" + c.Tenant + "/classesOfService/" + c.COS, Partition: p, Rate: c.Rate,
	})
	if err != nil {
		return nil, err
	}
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if !last.GetDone() {
				return last, errors.New("the answer ended before its end")
			}
			return last, nil
		}
		if err != nil {
			return last, err
		}
		last = res
	}
}
