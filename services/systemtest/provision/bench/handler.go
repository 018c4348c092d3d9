package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/systemtest/bench"
)

// described is the first line that the handlers' process prints.
type described struct{ Port int }

func (d described) url(i int) string { return fmt.Sprintf("http://127.0.0.1:%d/h%d", d.Port, i) }

// handle is the handlers' process: each answers with what it was sent.
func handle(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		_, _ = w.Write(body)
	})}
	go server.Serve(l) //nolint:errcheck // it ends with its listener
	address, _ := l.Addr().(*net.TCPAddr)
	return bench.Described(described{Port: address.Port})
}

// action is one that handlers are asked about, of some 600 bytes.
func action(eventType, key string) (*provisionv1.DecideRequest, error) {
	data, err := anypb.New(&eventv1.ClientChanged{Client: &eventv1.Account{
		Id: "7401", Name: "Nord Energie GmbH", DisplayName: "Nord", Status: "active", BillDay: 3, Language: "de-CH",
		CompanyAddress: &eventv1.PostalAddress{Company: "Nord Energie GmbH", Lines: []string{"Hafenstrasse 12"}, PostalCode: "4057", City: "Basel", Country: "CH"},
	}})
	if err != nil {
		return nil, err
	}
	return &provisionv1.DecideRequest{Tenant: "acme", Type: eventType, ObjectId: "7401", Data: data, IdempotencyKey: key}, nil
}
