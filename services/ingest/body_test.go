package ingest

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
)

func gzipped(t *testing.T, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestBody_GzipIsTakenWithinItsBound(t *testing.T) {
	t.Parallel()
	f := newFixture(t, streamtest.Embedded(t))
	r := f.start(nil)
	one := structured(t, "gzip", nil)
	packed := gzipped(t, one)
	batch := []byte("[" + string(one) + "]")
	spaces := func(n int) []byte { return append(bytes.Repeat([]byte(" "), n), one...) }
	for name, tc := range map[string]struct {
		body           []byte
		coding, typ    string
		status         int
		reason, accept string
	}{
		"gzip":                                 {packed, "gzip", event.ContentTypeCloudEvent, 200, "", ""},
		"by its older name, in capitals":       {packed, "X-GZip", event.ContentTypeCloudEvent, 200, "", ""},
		"of several parts":                     {append(gzipped(t, one[:9]), gzipped(t, one[9:])...), "gzip", event.ContentTypeCloudEvent, 200, "", ""},
		"a batch":                              {gzipped(t, batch), "gzip", event.ContentTypeBatch, 200, "", ""},
		"a batch of 8 MiB":                     {gzipped(t, append(bytes.Repeat([]byte(" "), 8<<20-len(batch)), batch...)), "gzip", event.ContentTypeBatch, 200, "", ""},
		"a batch of a byte more":               {gzipped(t, append(bytes.Repeat([]byte(" "), 8<<20-len(batch)+1), batch...)), "gzip", event.ContentTypeBatch, 413, reason.TooLarge, ""},
		"as it is":                             {one, "identity", event.ContentTypeCloudEvent, 200, "", ""},
		"an event of a mebibyte":               {gzipped(t, spaces(1<<20-len(one))), "gzip", event.ContentTypeCloudEvent, 200, "", ""},
		"an event of more":                     {gzipped(t, spaces(1<<20)), "gzip", event.ContentTypeCloudEvent, 413, reason.TooLarge, ""},
		"some bytes that would be 24 MiB":      {gzipped(t, make([]byte, 24<<20)), "gzip", event.ContentTypeBatch, 413, reason.TooLarge, ""},
		"no gzip at all":                       {one, "gzip", event.ContentTypeCloudEvent, 400, "BODY_INCOMPLETE", ""},
		"gzip that is cut off":                 {packed[:len(packed)-4], "gzip", event.ContentTypeCloudEvent, 400, "BODY_INCOMPLETE", ""},
		"gzip whose sum is wrong":              {append(bytes.Clone(packed[:len(packed)-8]), 1, 2, 3, 4, 5, 6, 7, 8), "gzip", event.ContentTypeCloudEvent, 400, "BODY_INCOMPLETE", ""},
		"nothing":                              {nil, "gzip", event.ContentTypeCloudEvent, 400, "BODY_INCOMPLETE", ""},
		"another coding":                       {packed, "zstd", event.ContentTypeCloudEvent, 415, reasonEncoding, "accept-encoding: gzip, identity"},
		"deflate":                              {packed, "deflate", event.ContentTypeCloudEvent, 415, reasonEncoding, "accept-encoding: gzip, identity"},
		"gzip in gzip":                         {gzipped(t, packed), "gzip, gzip", event.ContentTypeCloudEvent, 415, reasonEncoding, "accept-encoding: gzip, identity"},
		"another type of content":              {one, "", "text/csv", 415, reason.MediaTypeUnsupported, "accept: " + event.ContentTypes},
		"another format of CloudEvents":        {one, "", "application/cloudevents+avro", 415, reason.MediaTypeUnsupported, "accept: " + event.ContentTypes},
		"a batch in another format":            {one, "", "application/cloudevents-batch+protobuf", 415, reason.MediaTypeUnsupported, "accept: " + event.ContentTypes},
		"an event without its media type":      {one, "", "application/json", 400, reason.Undecodable, ""},
		"an event in gzip of an unsaid coding": {packed, "", event.ContentTypeCloudEvent, 400, reason.Undecodable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			headers := map[string]string{"Content-Type": tc.typ}
			if tc.coding != "" {
				headers["Content-Encoding"] = tc.coding
			}
			a := r.post(tc.body, headers)
			if a.Status != tc.status || a.Reason != tc.reason {
				t.Errorf("%+v", a)
			}
			var accept []string
			for _, header := range []string{"Accept", "Accept-Encoding"} {
				if value := a.Header.Get(header); value != "" {
					accept = append(accept, strings.ToLower(header)+": "+value)
				}
			}
			if diff := cmp.Diff(tc.accept, strings.Join(accept, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// counted is how much was read.
type counted struct {
	in   *bytes.Reader
	read int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.read += n
	return n, err
}

func TestBody_UnpacksNoMoreThanTheBound(t *testing.T) {
	t.Parallel()
	bomb := gzipped(t, make([]byte, 64<<20))
	in := &counted{in: bytes.NewReader(bomb)}
	if body, err := unpack(in, 1<<20, nil); body != nil || err == nil {
		t.Errorf("%d bytes, %v", len(body), err)
	}
	if in.read > len(bomb)/8 {
		t.Errorf("%d of %d bytes were unpacked", in.read, len(bomb))
	}
}
