package ingest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
)

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// answered is a decoded answer of the HTTP API, of a single event or of a batch.
type answered struct {
	Status     int
	Header     http.Header `json:"-"`
	Reason     string
	Violations []violation
	ID         string
	Topic      string
	Results    []struct {
		Status  int
		Receipt *receipt
		Problem *problem
	}
}

func readAnswer(t testing.TB, res *http.Response) answered {
	t.Helper()
	var a answered
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil {
		t.Fatalf("%s: %v", res.Status, err)
	}
	if res.StatusCode >= 400 && (res.Header.Get("Content-Type") != "application/problem+json" ||
		a.Status != res.StatusCode) {
		t.Errorf("%s as %s, in its body %d", res.Status, res.Header.Get("Content-Type"), a.Status)
	}
	a.Status, a.Header = res.StatusCode, res.Header
	return a
}

func TestHTTP_AnswersProblems(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, f *fixture) {
		r := f.start(f.configured())
		ce := map[string]string{"Content-Type": "application/cloudevents+json"}
		many := map[string]string{"Content-Type": "application/cloudevents-batch+json"}
		tests := map[string]struct {
			body    []byte
			headers map[string]string
			status  int
			reason  string
			fields  []string
		}{
			"every violation at once":      {structured(t, "1", map[string]any{"time": nil, "subject": nil}), ce, 400, reason.EventInvalid, []string{"time", "subject"}},
			"not JSON":                     {[]byte("hello"), ce, 400, reason.Undecodable, []string{""}},
			"no CloudEvent at all":         {[]byte("{}"), map[string]string{"Content-Type": "application/json"}, 400, reason.Undecodable, []string{"content-type"}},
			"an unknown type":              {structured(t, "1", map[string]any{"type": "weather.changed"}), ce, 400, reason.UnknownType, []string{"type"}},
			"a type that is ours":          {structured(t, "1", map[string]any{"type": "safeguard.reached", "data": map[string]any{}}), ce, 400, reason.TypeReserved, []string{"type"}},
			"an amount that overflows":     {structured(t, "1", map[string]any{"data": map[string]any{"net": map[string]any{"currencyCode": "EUR", "units": "9223372037"}}}), ce, 400, reason.AmountInvalid, []string{"data.net.units"}},
			"more than a mebibyte":         {structured(t, strings.Repeat("x", event.MaxBytes), nil), ce, 413, reason.TooLarge, []string{""}},
			"a batch of more than we take": {bytes.Repeat([]byte(" "), 9<<20), many, 413, reason.TooLarge, []string{""}},
			"a batch of too many":          {[]byte("[" + strings.Repeat("1,", maxBatch) + "1]"), many, 413, "BATCH_TOO_LARGE", []string{"events"}},
			"a batch that is none":         {[]byte("{}"), many, 400, reason.Undecodable, []string{""}},
			"no key":                       {structured(t, "1", nil), map[string]string{"Authorization": ""}, 401, "API_KEY_MISSING", nil},
			"another key":                  {structured(t, "1", nil), map[string]string{"Authorization": "Bearer tg_x"}, 503, "CONFIG_NOT_READ", nil},
		}
		for name, tc := range tests {
			t.Run(name, func(t *testing.T) {
				a := r.post(tc.body, tc.headers)
				var fields []string
				for _, v := range a.Violations {
					fields = append(fields, v.Field)
				}
				if diff := cmp.Diff(tc.fields, fields); a.Status != tc.status || a.Reason != tc.reason || diff != "" {
					t.Errorf("%d %s%s", a.Status, a.Reason, diff)
				}
				if a.Status == 401 && !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer") {
					t.Error("401 without how to authenticate")
				}
			})
		}

		batch := "[" + string(structured(t, "a", nil)) + "," + string(structured(t, "b",
			map[string]any{"time": nil})) + "," + string(structured(t, "c", nil)) + "]"
		a := r.post([]byte(batch), many)
		if a.Status != 207 || len(a.Results) != 3 || a.Results[0].Receipt == nil || a.Results[2].Receipt == nil ||
			a.Results[1].Status != 400 || a.Results[1].Problem == nil ||
			a.Results[1].Problem.Violations[0].Field != "time" {
			t.Errorf("%+v", a)
		}
		if n := len(f.read(stream.EventsOrdered, 2)); n != 2 {
			t.Errorf("%d events of the batch came through", n)
		}

		req, err := http.NewRequestWithContext(f.ctx, http.MethodGet, "http://"+r.http+"/v1/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := r.browser.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if a := readAnswer(t, res); a.Status != 405 || res.Header.Get("Allow") != "POST" {
			t.Errorf("GET: %+v", a)
		}
	})
}
