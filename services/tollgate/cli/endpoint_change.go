package cli

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// OneEndpoint are the flags of commands that change an endpoint.
type OneEndpoint struct {
	Endpoints
	Name string `arg:"" help:"Full name, or the id beside --tenant."`
}

// AfterApply is called by kong once the flags are read.
func (c OneEndpoint) AfterApply() error {
	_, err := c.named(c.Name)
	return err
}

// changedEndpoint is what became of an endpoint.
type changedEndpoint struct {
	Name     string `json:"name"`
	Result   string `json:"result"`
	Revision int64  `json:"revision"`
	Next     string `json:"next"`
}

// change sets one field, and lists what becomes of the endpoint.
func (c OneEndpoint) change(ctx context.Context, streams command.Streams, field string, set func(*configv1.Endpoint), result func(before, after *configv1.Endpoint) (did, next string)) error {
	name, err := c.named(c.Name)
	if err != nil {
		return err
	}
	conn, err := c.Dial(c.Address)
	if err != nil {
		return err
	}
	defer command.Close(conn)
	client := configv1.NewEndpointServiceClient(conn)
	before, err := client.GetEndpoint(ctx, &configv1.GetEndpointRequest{Name: name})
	if err != nil {
		return explained("configuration", c.Address, err)
	}
	given := &configv1.Endpoint{Name: name}
	set(given)
	after, err := client.UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{
		Endpoint: given, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{field}},
	})
	if err != nil {
		return explained("configuration", c.Address, err)
	}
	row := changedEndpoint{Name: name, Revision: after.GetMetadata().GetRevision()}
	row.Result, row.Next = result(before, after)
	listing := c.Listing
	listing.Width = sentence
	return command.Write(listing, streams.Out, []changedEndpoint{row}, []string{"name", "result", "revision", "what follows"}, func(r changedEndpoint) []string {
		return []string{r.Name, r.Result, fmt.Sprint(r.Revision), r.Next}
	})
}

// pauseEndpoint pauses.
type pauseEndpoint struct{ OneEndpoint }

// Help is shown below the flags.
func (pauseEndpoint) Help() string {
	return `Nothing is sent to a paused endpoint, and nothing is cancelled: its deliveries wait, up to six days after they were
planned, and their attempts do not run out meanwhile.

Example:

    tollgate endpoint pause crm --tenant acme`
}

// Run pauses.
func (c pauseEndpoint) Run(ctx context.Context, streams command.Streams) error {
	return c.change(ctx, streams, "paused", func(e *configv1.Endpoint) { e.Paused = true },
		func(before, _ *configv1.Endpoint) (string, string) {
			did := "paused"
			if before.GetPaused() {
				did = "was paused already"
			}
			return did, "nothing is sent within 2 s from now on; deliveries wait up to six days after they were planned"
		})
}

// resumeEndpoint resumes.
type resumeEndpoint struct{ OneEndpoint }

// Help is shown below the flags.
func (resumeEndpoint) Help() string {
	return `What waited is sent in order, with one delivery as a probe first. A pause that is over does not end a suspension:
"tollgate endpoint activate" does.

Example:

    tollgate endpoint resume crm --tenant acme`
}

// Run resumes.
func (c resumeEndpoint) Run(ctx context.Context, streams command.Streams) error {
	return c.change(ctx, streams, "paused", func(e *configv1.Endpoint) { e.Paused = false },
		func(before, after *configv1.Endpoint) (string, string) {
			did := "resumed"
			if !before.GetPaused() {
				did = "was not paused"
			}
			return did, follows(before, after)
		})
}

// activateEndpoint activates.
type activateEndpoint struct{ OneEndpoint }

// Help is shown below the flags.
func (activateEndpoint) Help() string {
	return `Sets the status to active, also where it is active: that ends a suspension. What waits is sent in order, with one
delivery as a probe first; hours and failed attempts count from now on. An endpoint that is paused stays paused.

Example:

    tollgate endpoint activate crm --tenant acme`
}

// Run activates.
func (c activateEndpoint) Run(ctx context.Context, streams command.Streams) error {
	return c.change(ctx, streams, "status", func(e *configv1.Endpoint) { e.Status = configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE },
		func(before, after *configv1.Endpoint) (string, string) {
			did := fmt.Sprintf("activation %d", after.GetActivation())
			if before.GetHealth().GetState() == configv1.EndpointState_ENDPOINT_STATE_SUSPENDED {
				did += ", the suspension has ended"
			}
			// Whether it was suspended is over with the activation.
			before.Health = &configv1.EndpointHealth{Waiting: before.GetHealth().GetWaiting(), HoldUntil: before.GetHealth().GetHoldUntil()}
			return did, follows(before, after)
		})
}

// follows is what becomes of the deliveries of an endpoint that was resumed or activated.
func follows(before, after *configv1.Endpoint) string {
	h := before.GetHealth()
	switch {
	case after.GetPaused():
		return "nothing is sent: it is paused, tollgate endpoint resume ends that"
	case after.GetStatus() == configv1.EndpointStatus_ENDPOINT_STATUS_DISABLED:
		return "nothing is sent: it is disabled"
	case h.GetState() == configv1.EndpointState_ENDPOINT_STATE_SUSPENDED:
		return "nothing is sent: it is suspended, tollgate endpoint activate ends that"
	case h.GetHoldUntil().AsTime().After(time.Now()):
		return "deliveries are sent in order from " + at(h.GetHoldUntil()) + ", as the receiver asked by Retry-After; one of them is a probe first"
	}
	return fmt.Sprintf("%d deliveries waited when last reported; they are sent in order, one of them as a probe first", h.GetWaiting())
}
