package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/segmentio/kafka-go"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// names of the services, config first.
var names = []string{"config", "ingest", "safeguard", "trigger", "webhook"}

// bed is the product under attack.
type bed struct {
	kafka, redis *fleet.Server
	fleet        *fleet.Fleet
	members      map[string]*fleet.Member
	receiver     *fleet.Receiver
	inbox        *inbox
	// key has the API key, stranger has none.
	key, stranger map[string]*grpc.ClientConn
	raw           *kafka.Client
}

// start brings everything up: own servers, two tenants ("good" and "bad") with a class, an endpoint and a notification.
func start(ctx context.Context, dir string) (b *bed, err error) {
	b = &bed{members: map[string]*fleet.Member{}, inbox: newInbox(), key: map[string]*grpc.ClientConn{}, stranger: map[string]*grpc.ClientConn{}}
	if b.kafka, err = fleet.StartServer(ctx, fleet.Kafka, filepath.Join(dir, "kafka")); err != nil {
		return b, err
	}
	if b.redis, err = fleet.StartServer(ctx, fleet.Redis, filepath.Join(dir, "redis")); err != nil {
		return b, err
	}
	binaries := filepath.Join(dir, "bin")
	if err := fleet.Build(ctx, binaries, names...); err != nil {
		return b, err
	}
	b.fleet, err = fleet.Open(ctx, fleet.Config{
		Brokers: []string{b.kafka.Address()}, Redis: b.redis.Address(), Dir: filepath.Join(dir, "fleet"), Partitions: partitions,
		Binaries: binaries, Memory: memory,
	})
	if err != nil {
		return b, err
	}
	b.raw = &kafka.Client{Addr: kafka.TCP(b.kafka.Address()), Transport: &kafka.Transport{}}
	if b.receiver, err = fleet.StartReceiver(ctx, b.inbox); err != nil {
		return b, err
	}
	for _, name := range names {
		if b.members[name], err = b.fleet.Start(ctx, name); err != nil {
			return b, err
		}
		if name != "config" {
			continue
		}
		if err := b.members[name].Ready(ctx); err != nil {
			return b, err
		}
		if _, err := b.fleet.Configure(ctx, b.resources()...); err != nil {
			return b, err
		}
	}
	if err := b.ready(ctx); err != nil {
		return b, err
	}
	for _, name := range names {
		if b.key[name], err = b.fleet.Dial(b.members[name].Address("grpc")); err != nil {
			return b, err
		}
		if b.stranger[name], err = grpc.NewClient(b.members[name].Address("grpc"), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
			return b, err
		}
	}
	return b, nil
}

const partitions = 8

func (b *bed) resources() []resource {
	var all []resource
	for _, tenant := range []string{"tenants/good", "tenants/bad"} {
		all = append(all,
			&configv1.Tenant{Name: tenant, Outbound: b.receiver.Policy()},
			&configv1.ClassOfService{Name: tenant + "/classesOfService/roamer", DataSafeguard: &configv1.DataSafeguardOption{
				Limit: &money.Money{CurrencyCode: "EUR", Units: 50},
			}},
			&configv1.Endpoint{
				Name: tenant + "/endpoints/receiver", Url: b.receiver.URL("/" + strings.TrimPrefix(tenant, "tenants/")), Secrets: []string{b.receiver.Secret},
				CaCertificates: b.receiver.Authority, Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE,
			},
			notification(tenant+"/notifications/plain", "", "client.created"),
		)
	}
	return all
}

// notification sends a webhook to the tenant's receiver.
func notification(name, filter string, types ...string) *configv1.Notification {
	tenant := name[:strings.Index(name, "/notifications/")]
	return &configv1.Notification{
		Name: name, Active: true, Trigger: &configv1.Trigger{EventTypes: types, Filter: filter},
		Actions: []*configv1.Action{{Name: "notify", Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: tenant + "/endpoints/receiver"}}}},
	}
}

// ready waits until every service reports it.
func (b *bed) ready(ctx context.Context) error {
	for _, name := range names {
		if err := b.members[name].Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// dead is an error that names the service that has ended, nil where all run.
func (b *bed) dead() error {
	for _, name := range names {
		select {
		case <-b.members[name].Ended():
			return fmt.Errorf("%s has ended\n%s", name, b.members[name].Tail())
		default:
		}
	}
	return nil
}

// peaks is the most memory that each service has had.
func (b *bed) peaks() (text string, highest int64, err error) {
	var out bytes.Buffer
	for _, name := range names {
		peak, err := b.members[name].PeakMemory()
		if err != nil {
			return "", 0, err
		}
		fmt.Fprintf(&out, "%s %d MiB, ", name, peak>>20)
		highest = max(highest, peak)
	}
	return strings.TrimSuffix(out.String(), ", "), highest, nil
}

func (b *bed) on(ctx context.Context) (string, error) { return fleet.On(ctx, b.kafka, b.redis) }

func (b *bed) stop(ctx context.Context) error {
	var faults []error
	for _, conn := range b.stranger {
		faults = append(faults, conn.Close())
	}
	if b.fleet != nil {
		faults = append(faults, b.fleet.Close(ctx))
	}
	if b.receiver != nil {
		faults = append(faults, b.receiver.Close())
	}
	for _, server := range []*fleet.Server{b.kafka, b.redis} {
		if server != nil {
			faults = append(faults, server.Stop(ctx))
		}
	}
	return errors.Join(faults...)
}

// inbound is the topic that producers write.
func (b *bed) inbound() string { return b.fleet.Client.Topic(stream.EventsInbound) }

// url of ingest's HTTP source.
func (b *bed) url() string { return "http://" + b.members["ingest"].Address("http") + "/v1/events" }

// web keeps no connections.
var web = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}}
