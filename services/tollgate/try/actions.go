package try

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/reason"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
)

// debtor is the client that the hook of the sample forbids.
const debtor = "Westwind Ltd"

// billDay is what the hook sets.
const billDay = 28

// check is the handler of the sample's hook: no debtor becomes a client, and each client has one bill day.
func (r *receiver) check(w http.ResponseWriter, req *http.Request) {
	content, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err != nil {
		http.Error(w, "cannot read the body", http.StatusBadRequest)
		return
	}
	if err := verify(r.secret, req.Header, content, time.Now()); err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	var question struct {
		Data struct {
			Client struct {
				DisplayName string `json:"displayName"`
			} `json:"client"`
		} `json:"data"`
	}
	if err := json.Unmarshal(content, &question); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if question.Data.Client.DisplayName == debtor {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"reason":"on the list of debtors"}`)
		return
	}
	_, _ = fmt.Fprintf(w, `{"decision":"allow","data":{"client":{"bill_day":%d}}}`, billDay)
}

// actions asks before two clients are created: of one the hook changes the data, the other it forbids.
func (r *run) actions(ctx context.Context) error {
	r.story.waitFor("provision to listen")
	if err := r.dial(ctx, "provision", &r.actionsConn); err != nil {
		return err
	}
	for i, name := range []string{"Nordlicht GmbH", debtor} {
		if err := r.create(ctx, fmt.Sprintf("%d%02d", r.folder.kept.Run, i+1), name); err != nil {
			return err
		}
	}
	return nil
}

// create asks before a client is created, and prints what was decided.
func (r *run) create(ctx context.Context, id, name string) error {
	r.story.waitFor("the decision about client " + id)
	data, err := anypb.New(&eventv1.ClientChanged{Client: &eventv1.Account{Id: id, DisplayName: name, BillDay: 3}})
	if err != nil {
		return fmt.Errorf("ask about client %s: %w", id, err)
	}
	res, err := r.decide(ctx, &provisionv1.DecideRequest{
		Tenant: tenant, Type: "client.created", ObjectId: id, Data: data, IdempotencyKey: "try-client-" + id,
	})
	if err != nil {
		return fmt.Errorf("ask about client %s: %w", id, err)
	}
	by := res.GetHandler()
	if all := res.GetHandlers(); len(all) > 0 {
		by = all[len(all)-1].GetHandler()
	}
	by = by[strings.LastIndexByte(by, '/')+1:]
	if res.GetDecision() != provisionv1.Decision_DECISION_ALLOW {
		r.story.step("asked", "may client %s, %s, be created: forbidden by %s: %s", id, name, by, res.GetReason())
		return nil
	}
	var changes []string
	for _, h := range res.GetHandlers() {
		for _, c := range h.GetChanges() {
			changes = append(changes, fmt.Sprintf("%s from %s to %s", c.GetPath(), c.GetBefore(), c.GetAfter()))
		}
	}
	r.story.step("asked", "may client %s, %s, be created: allowed by %s, which changed %s; published as client.created", id, name, by, strings.Join(changes, ", "))
	return nil
}

// decide repeats a call while provision has no configuration yet.
func (r *run) decide(ctx context.Context, req *provisionv1.DecideRequest) (*provisionv1.DecideResponse, error) {
	for {
		res, err := provisionv1.NewProvisioningServiceClient(r.actionsConn).Decide(ctx, req)
		if err == nil || fault.ReasonOf(err) != reason.ConfigNotRead || !pause.For(ctx, look) {
			return res, err
		}
	}
}
