package cli

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/fault"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// scriptedOptions answers by a script, and keeps the requests; the txtar scripts test real services.
type scriptedOptions struct {
	optionsv1.UnimplementedOptionInventoryServiceServer
	optionsv1.UnimplementedOptionSubscriptionServiceServer
	optionsv1.UnimplementedOptionAuditServiceServer

	asked   []proto.Message
	refusal error
	options *optionsv1.ListOptionsResponse
	steps   []*optionsv1.ExplainResponse
	// verified is by partition.
	verified [][]*optionsv1.VerifyResponse
}

func (s *scriptedOptions) ask(req proto.Message) error {
	s.asked = append(s.asked, req)
	if s.refusal != nil {
		return fault.Status(s.refusal).Err()
	}
	return nil
}

func (s *scriptedOptions) ListOptions(_ context.Context, req *optionsv1.ListOptionsRequest) (*optionsv1.ListOptionsResponse, error) {
	return s.options, s.ask(req)
}

func (s *scriptedOptions) ChangeDataSafeguard(_ context.Context, req *optionsv1.ChangeDataSafeguardRequest) (*optionsv1.DataSafeguard, error) {
	return s.options.GetDataSafeguard(), s.ask(req)
}

func (s *scriptedOptions) ChangeOverspendSafeguard(_ context.Context, req *optionsv1.ChangeOverspendSafeguardRequest) (*optionsv1.OverspendSafeguard, error) {
	return s.options.GetOverspendSafeguard(), s.ask(req)
}

func (s *scriptedOptions) GetPartitions(_ context.Context, req *optionsv1.GetPartitionsRequest) (*optionsv1.GetPartitionsResponse, error) {
	return &optionsv1.GetPartitionsResponse{Partitions: 2}, s.ask(req)
}

func (s *scriptedOptions) Explain(req *optionsv1.ExplainRequest, stream grpc.ServerStreamingServer[optionsv1.ExplainResponse]) error {
	for _, res := range s.steps {
		if err := stream.Send(res); err != nil {
			return err
		}
	}
	return s.ask(req)
}

func (s *scriptedOptions) Verify(req *optionsv1.VerifyRequest, stream grpc.ServerStreamingServer[optionsv1.VerifyResponse]) error {
	for _, res := range s.verified[req.GetPartition()] {
		if err := stream.Send(res); err != nil {
			return err
		}
	}
	return s.ask(req)
}

func (s *scriptedOptions) Reapply(req *optionsv1.ReapplyRequest, stream grpc.ServerStreamingServer[optionsv1.ReapplyResponse]) error {
	if err := stream.Send(&optionsv1.ReapplyResponse{Seen: 10, Appended: 4, Done: true}); err != nil {
		return err
	}
	return s.ask(req)
}

func eur(units int64, cents int32) *money.Money {
	return &money.Money{CurrencyCode: "EUR", Units: units, Nanos: cents * 10_000_000}
}

func day(d int) *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2026, 11, d, 0, 0, 0, 0, time.UTC))
}

// option runs a command against the script; args are split at spaces; ~ is a space that stays.
func option(t *testing.T, s *scriptedOptions, args string) (code int, stdout, stderr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	optionsv1.RegisterOptionInventoryServiceServer(server, s)
	optionsv1.RegisterOptionSubscriptionServiceServer(server, s)
	optionsv1.RegisterOptionAuditServiceServer(server, s)
	go server.Serve(listener) //nolint:errcheck // it ends with Stop
	defer server.Stop()
	words := strings.Fields("option " + args + " --tenant acme --safeguard " + listener.Addr().String())
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], "~", " ")
	}
	var out, errs bytes.Buffer
	code = Run(t.Context(), words, command.Streams{Out: &out, Err: &errs}, time.Now())
	return code, out.String(), strings.ReplaceAll(errs.String(), listener.Addr().String(), "ADDRESS")
}

func someOptions() *optionsv1.ListOptionsResponse {
	return &optionsv1.ListOptionsResponse{
		Subscriber: &optionsv1.Subscriber{ClassOfService: "gold"},
		DataSafeguard: &optionsv1.DataSafeguard{
			State: eventv1.Safeguard_STATE_ACTIVE, Limit: eur(50, 0), Spent: eur(12, 40), Currency: "EUR", RenewalDay: 1,
			EligibleStates: []eventv1.Safeguard_State{eventv1.Safeguard_STATE_TEMPORARILY_INACTIVE, eventv1.Safeguard_STATE_PERMANENTLY_INACTIVE},
			PeriodStart:    day(1), PeriodEnd: day(30), Sequence: 7, Reached: proto.Bool(false),
		},
		OverspendSafeguard: &optionsv1.OverspendSafeguard{
			State: eventv1.Safeguard_STATE_ACTIVE, CurrentLimit: eur(20, 0), NextLimit: eur(30, 0), Spent: eur(20, 5), Reached: proto.Bool(true),
			Currency: "EUR", RenewalDay: 15, EligibleStates: []eventv1.Safeguard_State{eventv1.Safeguard_STATE_INACTIVE}, PeriodEnd: day(15),
		},
	}
}

func TestOptionGet_ShowsOptions(t *testing.T) {
	s := &scriptedOptions{options: someOptions()}
	code, out, errs := option(t, s, "get 49151")
	want := `
OPTION     STATE   SPENT      LIMIT   NEXT LIMIT  REACHED  RENEWAL DAY  PERIOD ENDS           ELIGIBLE STATES
data       active  12.4 EUR   50 EUR              no       1            2026-11-30T00:00:00Z  temporarily-inactive, permanently-inactive
overspend  active  20.05 EUR  20 EUR  30 EUR      yes      15           2026-11-15T00:00:00Z  inactive
`
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), out); diff != "" || code != exitOK || errs != "" {
		t.Error(code, errs, diff)
	}
	if diff := cmp.Diff(&optionsv1.ListOptionsRequest{Parent: "tenants/acme/subscribers/49151"}, s.asked[0], protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if code, _, errs := option(t, s, "get 49151 --wait events.ordered/3/1042"); code != exitOK || errs != "" {
		t.Error(code, errs)
	}
	waits := &optionsv1.ListOptionsRequest{Parent: "tenants/acme/subscribers/49151", MinPosition: &optionsv1.Position{Partition: 3, Offset: 1042}}
	if diff := cmp.Diff(waits, s.asked[1], protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	for _, wrong := range []string{"3/1042", "events.unordered/3/1042", "events.ordered/x/1", "events.ordered/1/x"} {
		if code, _, errs := option(t, s, "get 49151 --wait "+wrong); code == exitOK || !strings.Contains(errs, "events.ordered/3/1042") {
			t.Error(wrong, code, errs)
		}
	}
	code, out, _ = option(t, s, "get 49151 --option overspend -o json")
	if code != exitOK || !strings.Contains(out, `"next_limit": "30 EUR"`) || strings.Contains(out, `"data"`) {
		t.Error(code, out)
	}
	code, _, errs = option(t, s, "get 49151 --option payment")
	if code != exitFailed || !strings.Contains(errs, "OPTION_NOT_OFFERED: class of service gold does not offer the payment safeguard") {
		t.Error(code, errs)
	}
}

func TestOptionSet_SendsWhatIsGiven(t *testing.T) {
	s := &scriptedOptions{options: someOptions()}
	code, out, errs := option(t, s, "set 49151 --option overspend --state active --renewal-day 3 --current-limit 20~EUR --next-limit 30.5~EUR"+
		" --alert-threshold 80% --alert-threshold 10~EUR --reference r-1")
	if code != exitOK || errs != "" || !strings.Contains(out, "overspend  active") {
		t.Error(code, out, errs)
	}
	three := int32(3)
	want := &optionsv1.ChangeOverspendSafeguardRequest{
		Name: "tenants/acme/subscribers/49151/options/overspendSafeguard", TransactionReference: "r-1", RenewalDay: &three,
		CurrentLimit: eur(20, 0), NextLimit: eur(30, 50), State: eventv1.Safeguard_STATE_ACTIVE,
		AlertThresholds: &eventv1.ThresholdList{Thresholds: []*eventv1.Threshold{{Percent: 80}, {Amount: eur(10, 0)}}},
	}
	if diff := cmp.Diff(want, s.asked[0], protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	// A generated reference is printed, and is the one that was sent.
	code, out, errs = option(t, s, "set 49151 --option data --state temporarily-inactive -o json")
	reference := s.asked[1].(*optionsv1.ChangeDataSafeguardRequest).GetTransactionReference()
	if code != exitOK || len(reference) < 20 || errs != "tollgate: reference "+reference+"\n" || !strings.Contains(out, `"transaction_reference": "`+reference) {
		t.Error(code, out, errs)
	}
	// Limits go back to the class's by an empty list, which is not the same as none.
	if code, _, errs = option(t, s, "set 49151 --option overspend --class-alert-thresholds --clear-next-limit"); code != exitOK {
		t.Error(code, errs)
	}
	if asked := s.asked[2].(*optionsv1.ChangeOverspendSafeguardRequest); asked.AlertThresholds == nil || !asked.GetClearNextLimit() || asked.RenewalDay != nil {
		t.Error(asked)
	}
}

func TestOption_ErrorsNameTheRemedy(t *testing.T) {
	for name, tt := range map[string]struct {
		refusal error
		want    string
	}{
		"a state that is not eligible": {
			fault.New(fault.Precondition, "STATE_NOT_ELIGIBLE", "the data safeguard is active").With("eligibleStates", "temporarily-inactive permanently-inactive"),
			"tollgate: safeguard service at ADDRESS: STATE_NOT_ELIGIBLE: the data safeguard is active\ntollgate:   eligible now: temporarily-inactive permanently-inactive\n",
		},
		"several faults": {
			fault.NewInvalid("CHANGE_INVALID", fault.Violation{Field: "renewal_day", Description: "must be from 1 to 28"}, fault.Violation{Field: "state", Description: "needs a limit", Reason: "LIMIT_REQUIRED"}),
			"tollgate: safeguard service at ADDRESS: CHANGE_INVALID\ntollgate:   renewal_day: must be from 1 to 28\ntollgate:   state: needs a limit\ntollgate:   give --current-limit too\n",
		},
		"an outcome that is not known": {
			fault.New(fault.Unavailable, "OUTCOME_UNKNOWN", "no answer came"),
			"tollgate: safeguard service at ADDRESS: OUTCOME_UNKNOWN: no answer came\ntollgate:   it may still happen: run it again with the same --reference, and it happens once\n",
		},
	} {
		code, _, errs := option(t, &scriptedOptions{options: someOptions(), refusal: tt.refusal}, "set 49151 --option data --state active --reference r")
		if diff := cmp.Diff(tt.want, errs); code != exitFailed || diff != "" {
			t.Errorf("%s: %d %s", name, code, diff)
		}
	}
}

func TestOptionExplain_ListsSteps(t *testing.T) {
	step := func(s *optionsv1.ExplainedStep) *optionsv1.ExplainResponse {
		return &optionsv1.ExplainResponse{Part: &optionsv1.ExplainResponse_Step{Step: s}}
	}
	summary := func(s *optionsv1.ExplainedSummary) *optionsv1.ExplainResponse {
		return &optionsv1.ExplainResponse{Part: &optionsv1.ExplainResponse_Summary{Summary: s}}
	}
	event := func(kind, id string) *eventv1.Cause {
		return &eventv1.Cause{Cause: &eventv1.Cause_Event{Event: &eventv1.EventReference{Type: kind, Id: id}}}
	}
	const data, active = eventv1.Safeguard_OPTION_DATA, eventv1.Safeguard_STATE_ACTIVE
	s := &scriptedOptions{steps: []*optionsv1.ExplainResponse{
		step(&optionsv1.ExplainedStep{Time: day(1), Cause: event("subscriber.activated", "a-1"), Option: data, Spent: eur(0, 0), Limit: eur(50, 0), State: active, Outcomes: []string{"activated"}}),
		step(&optionsv1.ExplainedStep{Time: day(2), Cause: event("usage.charged", "u-1"), Option: data, Change: eur(50, 10), Spent: eur(50, 10), Limit: eur(50, 0), State: active, Blocked: true, Outcomes: []string{"alert", "reached"}}),
		step(&optionsv1.ExplainedStep{Time: day(3), Offset: -1, Cause: &eventv1.Cause{Cause: &eventv1.Cause_Timer{Timer: &eventv1.TimerReference{Name: "renewal"}}}, Option: data, Change: eur(-50, -10), Spent: eur(0, 0), Limit: eur(50, 0), State: active, Outcomes: []string{"renewed", "released"}}),
		summary(&optionsv1.ExplainedSummary{FromOffset: 3, ToOffset: 99, Equal: true}),
	}}
	code, out, errs := option(t, s, "explain 49151 --option data")
	want := `
TIME                  CAUSE                     OPTION  CHANGE     SPENT     LIMIT   STATE   BLOCKED  OUTCOMES
2026-11-01T00:00:00Z  subscriber.activated a-1  data               0 EUR     50 EUR  active  no       activated
2026-11-02T00:00:00Z  usage.charged u-1         data    +50.1 EUR  50.1 EUR  50 EUR  active  yes      alert, reached
2026-11-03T00:00:00Z  timer renewal             data    -50.1 EUR  0 EUR     50 EUR  active  no       renewed, released
`
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), out); code != exitOK || diff != "" || errs != "tollgate: from the log's offset 3 to 99\n" {
		t.Error(code, errs, diff)
	}
	s.steps[3] = summary(&optionsv1.ExplainedSummary{Partial: true})
	code, _, errs = option(t, s, "explain 49151")
	if code != exitFailed || !strings.Contains(errs, "goes on from a snapshot") || !strings.Contains(errs, "the result differs from what is stored") {
		t.Error(code, errs)
	}
	s.steps = s.steps[:3]
	if code, _, errs = option(t, s, "explain 49151"); code != exitFailed || !strings.Contains(errs, "before its end") {
		t.Error(code, errs)
	}
}

func TestOptionVerify_ListsDifferences(t *testing.T) {
	differs := &optionsv1.VerifiedDifference{Name: "tenants/acme/subscribers/49152", Option: eventv1.Safeguard_OPTION_DATA, Difference: "spent: stored 12.5 EUR, recomputed 13 EUR"}
	s := &scriptedOptions{verified: [][]*optionsv1.VerifyResponse{
		{{Offset: 5, EndOffset: 10}, {Offset: 10, EndOffset: 10, Subscribers: 3, Done: true}},
		{{Subscribers: 4, Done: true, Partial: true}},
	}}
	code, out, errs := option(t, s, "verify --sample 2.5")
	if code != exitOK || out != "" || !strings.Contains(errs, "7 subscribers in 2 partitions, 0 differences") || !strings.Contains(errs, "the log of 1 partitions does not hold the beginning") {
		t.Error(code, out, errs)
	}
	if diff := cmp.Diff(&optionsv1.VerifyRequest{Tenant: "acme", Partition: 1, PerMille: 25}, s.asked[2], protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	s.verified[1][0].Differences = append(s.verified[1][0].Differences, differs)
	code, out, errs = option(t, s, "verify --partition 1")
	want := `
SUBSCRIBER                      OPTION  DIFFERENCE
tenants/acme/subscribers/49152  data    spent: stored 12.5 EUR, recomputed 13 EUR
`
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), out); code != exitFailed || diff != "" || !strings.Contains(errs, "4 subscribers in 1 partitions, 1 differences") {
		t.Error(code, errs, diff)
	}
	s.verified[0] = s.verified[0][:1]
	if code, _, errs = option(t, s, "verify"); code != exitFailed || !strings.Contains(errs, "partition 0: ") {
		t.Error(code, errs)
	}
}

func TestOptionReapply_GoesOverAllPartitions(t *testing.T) {
	s := &scriptedOptions{}
	code, out, errs := option(t, s, "reapply --cos gold --rate 50 -o yaml")
	if code != exitOK || out != "- partitions: 2\n  seen: 20\n  appended: 8\n" {
		t.Error(code, out, errs)
	}
	if diff := cmp.Diff(&optionsv1.ReapplyRequest{Name: "tenants/acme/classesOfService/gold", Partition: 1, Rate: 50}, s.asked[2], protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	s.refusal = fault.New(fault.NotFound, "CLASS_OF_SERVICE_NOT_FOUND", "there is no class of service gold")
	if code, _, errs = option(t, s, "reapply --cos gold"); code != exitFailed || !strings.Contains(errs, "CLASS_OF_SERVICE_NOT_FOUND") {
		t.Error(code, errs)
	}
}
