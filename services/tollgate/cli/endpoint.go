package cli

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/manifest"
)

// Endpoints are the flags of commands about endpoints.
type Endpoints struct {
	command.Key
	command.Listing
	Tenant  string `env:"TOLLGATE_TENANT" help:"Id of the tenant, where the name does not have it." placeholder:"ID"`
	Address string `name:"config" env:"TOLLGATE_CONFIG_ADDR" default:"127.0.0.1:7010" help:"Configuration service; ${default} by default." placeholder:"HOST:PORT"`
}

// kindEndpoint is the kind as documents have it.
const kindEndpoint = "Endpoint"

// named is the full name of an endpoint that was typed.
func (e Endpoints) named(typed string) (string, error) {
	name, err := manifest.NameOf(kindEndpoint, e.Tenant, typed)
	if err != nil {
		return "", command.UsageError("NAME " + err.Error())
	}
	return name, nil
}

// endpointHealth shows health.
type endpointHealth struct {
	Endpoints
	Name string `arg:"" optional:"" help:"Full name, or the id beside --tenant; all of the tenant without it."`
}

// Help is shown below the flags.
func (endpointHealth) Help() string {
	return `The service that sends reports health every few seconds. States: healthy, failing (the last attempt failed), suspended
(nothing is sent until "tollgate endpoint activate"), unknown (not reported since the endpoint was set to active). While
the circuit is open one delivery at a time is tried, the next at "next probe". Until "hold until" the receiver wants no
request (Retry-After). "behind" are those of the waiting deliveries that are read again later.

Example:

    tollgate endpoint health crm --tenant acme

    tollgate endpoint health --tenant acme -o json`
}

// AfterApply is called by kong once the flags are read.
func (c endpointHealth) AfterApply() error {
	if c.Name == "" {
		if c.Tenant == "" {
			return command.UsageError("--tenant is required where no full name is given")
		}
		return nil
	}
	_, err := c.named(c.Name)
	return err
}

// Run reads.
func (c endpointHealth) Run(ctx context.Context, streams command.Streams) error {
	conn, err := c.Dial(c.Address)
	if err != nil {
		return err
	}
	defer command.Close(conn)
	var rows []healthRow
	if c.Name == "" {
		all, err := manifest.List(ctx, conn, kindEndpoint, c.Tenant, manifest.Query{})
		if err != nil {
			return explained("configuration", c.Address, err)
		}
		for _, r := range all {
			rows = append(rows, rowOfHealth(r.(*configv1.Endpoint)))
		}
		return command.Write(c.Listing, streams.Out, rows,
			[]string{"name", "status", "state", "since", "failures", "circuit", "next probe", "hold until", "waiting", "behind"},
			func(r healthRow) []string {
				return []string{r.Name, r.status(), r.state(), r.Since, fmt.Sprint(r.Failures), r.Circuit, r.NextProbe, r.HoldUntil, fmt.Sprint(r.Waiting), fmt.Sprint(r.Behind)}
			})
	}
	name, err := c.named(c.Name)
	if err != nil {
		return err
	}
	e, err := configv1.NewEndpointServiceClient(conn).GetEndpoint(ctx, &configv1.GetEndpointRequest{Name: name})
	if err != nil {
		return explained("configuration", c.Address, err)
	}
	if gone := e.GetMetadata().GetDeleteTime(); gone != nil {
		return fmt.Errorf("%s was deleted at %s: nothing is sent to it", name, at(gone))
	}
	row := rowOfHealth(e)
	if c.Output != "table" {
		return command.Write(c.Listing, streams.Out, []healthRow{row}, nil, nil)
	}
	return command.Write(c.Listing, streams.Out, row.lines(), []string{"health", "value"}, func(l [2]string) []string { return l[:] })
}

// healthRow is what is known of an endpoint.
type healthRow struct {
	Name               string `json:"name"`
	Status             string `json:"status"`
	Paused             bool   `json:"paused"`
	State              string `json:"state"`
	Reason             string `json:"reason,omitempty"`
	Since              string `json:"since,omitempty"`
	Failures           int64  `json:"failures"`
	FailingSince       string `json:"failing_since,omitempty"`
	LastSuccess        string `json:"last_success,omitempty"`
	LastStatus         int32  `json:"last_status,omitempty"`
	LastError          string `json:"last_error,omitempty"`
	Circuit            string `json:"circuit,omitempty"`
	NextProbe          string `json:"next_probe,omitempty"`
	HoldUntil          string `json:"hold_until,omitempty"`
	Waiting            int64  `json:"waiting"`
	Behind             int64  `json:"behind"`
	Activation         int64  `json:"activation"`
	Reported           string `json:"reported,omitempty"`
	CertificateExpires string `json:"certificate_expires,omitempty"`
}

func rowOfHealth(e *configv1.Endpoint) healthRow {
	h := e.GetHealth()
	row := healthRow{
		Name: e.GetName(), Status: statusWord(e), Paused: e.GetPaused(), State: stateWord(h.GetState()), Reason: h.GetReason(),
		Since: at(h.GetSince()), Failures: h.GetFailures(), FailingSince: at(h.GetFailingSince()), LastSuccess: at(h.GetLastSuccess()),
		LastStatus: h.GetLastStatus(), LastError: h.GetLastError(), NextProbe: at(h.GetNextProbe()), HoldUntil: at(h.GetHoldUntil()),
		Waiting: h.GetWaiting(), Behind: h.GetBehind(), Activation: e.GetActivation(), Reported: at(h.GetReportTime()),
		CertificateExpires: certificateExpires(e.GetAuth().GetClientCertificate().GetCertificateChain()),
	}
	if h != nil {
		row.Circuit = "closed"
	}
	if h.GetCircuitOpen() {
		row.Circuit = "open"
	}
	return row
}

func statusWord(e *configv1.Endpoint) string {
	switch e.GetStatus() {
	case configv1.EndpointStatus_ENDPOINT_STATUS_UNSPECIFIED, configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE:
		return "active"
	}
	return strings.ToLower(strings.TrimPrefix(e.GetStatus().String(), "ENDPOINT_STATUS_"))
}

func stateWord(s configv1.EndpointState) string {
	if s == configv1.EndpointState_ENDPOINT_STATE_UNSPECIFIED {
		return "unknown"
	}
	return strings.ToLower(strings.TrimPrefix(s.String(), "ENDPOINT_STATE_"))
}

// certificateExpires is when the first certificate of a chain does, in PEM; empty where there is none.
func certificateExpires(chain string) string {
	block, _ := pem.Decode([]byte(chain))
	if block == nil {
		return ""
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return ""
	}
	return at(timestamppb.New(cert.NotAfter))
}

// status is the status in a table.
func (r healthRow) status() string {
	if r.Paused {
		return r.Status + ", paused"
	}
	return r.Status
}

// state is the state in a table.
func (r healthRow) state() string {
	if r.Reason != "" {
		return r.State + " (" + r.Reason + ")"
	}
	return r.State
}

// lines are a row as a list of what is known.
func (r healthRow) lines() [][2]string {
	all := [][2]string{{"name", r.Name}, {"status", r.status()}, {"state", r.state()}}
	for _, l := range [][2]string{
		{"since", r.Since}, {"failures", fmt.Sprint(r.Failures)}, {"failing since", r.FailingSince}, {"last success", r.LastSuccess},
		{"last status", number(r.LastStatus)}, {"last error", r.LastError}, {"circuit", r.Circuit}, {"next probe", r.NextProbe},
		{"hold until", r.HoldUntil}, {"waiting", fmt.Sprint(r.Waiting)}, {"behind", fmt.Sprint(r.Behind)}, {"activation", fmt.Sprint(r.Activation)},
		{"reported", r.Reported}, {"client certificate expires", r.CertificateExpires},
	} {
		if l[1] != "" {
			all = append(all, l)
		}
	}
	return all
}

// number is a number, empty where it is 0.
func number(n int32) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}
