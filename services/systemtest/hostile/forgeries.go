package main

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
)

// forgeries are events that pretend to be another one, or of another tenant, or that people cannot read.
func forgeries() []attempt {
	var all []attempt
	send := func(name, line string) {
		all = append(all, attempt{"forgery: " + name, func(ctx context.Context, b *bed) (string, error) {
			return post(ctx, b, true, map[string]string{"content-type": "application/cloudevents+json"}, strings.NewReader(line), 400)
		}})
	}
	line := func(change func(map[string]string)) string {
		fields := map[string]string{
			"specversion": `"1.0"`, "id": `"f-1"`, "source": `"forger"`, "type": `"client.created"`, "tenant": `"bad"`, "subject": `"client/1"`,
			"time": `"2026-11-29T00:00:00Z"`, "data": "{}",
		}
		change(fields)
		var parts []string
		for name, value := range fields {
			parts = append(parts, fmt.Sprintf("%q:%s", name, value))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	with := func(name, value string) string { return line(func(f map[string]string) { f[name] = value }) }
	send("an outcome of the safeguard", with("type", `"safeguard.reached"`))
	send("a control record", with("type", `"system.tick"`))
	send("a call", with("type", `"command.charge"`))
	send("an event of operations", with("type", `"endpoint.suspended"`))
	send("a source that is Tollgate's", with("source", `"tollgate/charge"`))
	send("a tenant that does not exist", with("tenant", `"missing"`))
	send("a lone surrogate", with("id", `"\ud800"`))
	send("text that is not UTF-8", with("id", "\"\xff\xfe\""))
	send("two ids", strings.TrimSuffix(line(func(map[string]string) {}), "}")+`,"id":"f-2"}`)
	send("a number spelled with 00", line(func(f map[string]string) { f["type"], f["subject"] = `"subscriber.terminated"`, `"0034600100200"` }))
	send("a number of Arabic digits", line(func(f map[string]string) {
		f["type"], f["subject"] = `"subscriber.terminated"`, `"٣٤٦٠٠١٠٠٢٠٠"`
	}))
	send("a currency that does not exist", line(func(f map[string]string) {
		f["type"], f["subject"] = `"usage.charged"`, `"34600100200"`
		f["data"] = `{"category":"CATEGORY_DATA","roaming":true,"net":{"currency_code":"XQZ","units":"1"}}`
	}))
	send("a subject of 1 MB", with("subject", `"client/`+strings.Repeat("7", 900_000)+`"`))
	send("a type that turns a terminal around", with("type", `"client\u202e.created\u001b[2J"`))
	all = append(all, attempt{"forgery: a name that turns a terminal around", func(ctx context.Context, b *bed) (string, error) {
		n := notification("tenants/bad/notifications/turned", "", "client.created")
		n.Name = "tenants/bad/notifications/a\u202eb\x1b[2J"
		return refused(save(ctx, b, n), codes.InvalidArgument)
	}})
	return all
}
