package ingest

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
)

// reasonEncoding is of a body in a content coding that is not taken.
const reasonEncoding = "ENCODING_UNSUPPORTED"

// acceptEncoding is what a producer may send, for an answer that refuses another one.
const acceptEncoding = "gzip, identity"

// readBody reads a body of at most limit bytes, before and after it is unpacked: what a few bytes of gzip unpack to is
// never held beyond that. What its headers refuse is not read at all.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	packed, err := isGzip(r.Header)
	if err != nil {
		return nil, err
	}
	if r.ContentLength > limit {
		return nil, bodyFault(&http.MaxBytesError{Limit: limit}, limit, "")
	}
	sent := http.MaxBytesReader(w, r.Body, limit)
	if !packed {
		body, err := io.ReadAll(sent)
		return body, bodyFault(err, limit, "the body could not be read to its end")
	}
	body, err := unpack(sent, limit, r.Body)
	return body, bodyFault(err, limit, "the body must be gzip, as in content-encoding, and whole")
}

// unpack takes what comes out of the budget too, where the body is metered.
func unpack(sent io.Reader, limit int64, body io.ReadCloser) ([]byte, error) {
	unpacked, err := gzip.NewReader(sent)
	if err != nil {
		return nil, err
	}
	var out io.Reader = unpacked
	if m, ok := body.(*metered); ok {
		out = &metered{unpacked, m.hold}
	}
	all, err := io.ReadAll(io.LimitReader(out, limit+1))
	if int64(len(all)) > limit {
		return nil, &http.MaxBytesError{Limit: limit}
	}
	return all, err
}

// isGzip reads Content-Encoding. x-gzip is the same coding; of several, one in another, none is taken.
func isGzip(header http.Header) (bool, error) {
	var codings []string
	for _, coding := range strings.Split(strings.Join(header.Values("Content-Encoding"), ","), ",") {
		if coding = strings.ToLower(strings.TrimSpace(coding)); coding != "" && coding != "identity" {
			codings = append(codings, coding)
		}
	}
	switch {
	case len(codings) == 0:
		return false, nil
	case len(codings) == 1 && (codings[0] == "gzip" || codings[0] == "x-gzip"):
		return true, nil
	}
	return false, fault.NewInvalid(reasonEncoding, fault.Violation{
		Field: "content-encoding", Description: fmt.Sprintf("%.60q is not taken: send the body as gzip, or as it is",
			strings.Join(codings, ", ")),
	})
}

// bodyFault is the error for a body that could not be read: it is too large, or else detail.
func bodyFault(err error, limit int64, detail string) error {
	if err == nil || fault.KindOf(err) == fault.Throttled {
		return err
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return fault.NewInvalid(reason.TooLarge,
			fault.Violation{Description: fmt.Sprintf("the body must be at most %d bytes, unpacked", limit)})
	}
	return fault.New(fault.Invalid, "BODY_INCOMPLETE", "%s", detail)
}
