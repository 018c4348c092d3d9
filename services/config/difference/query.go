package difference

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"regexp"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/store"
)

var tenantForm = regexp.MustCompile(`^tenants/[a-z0-9][a-z0-9_-]{0,62}$`)

// Read validates a request. kind is the kind in the database of a message's name, empty where there is none.
func Read(req *configv1.ListChangesRequest, kind func(message string) string) (w store.Wanted, err error) {
	var f fault.Violations
	if req.GetParent() != "tenants/-" {
		if w.Tenant = req.GetParent(); !tenantForm.MatchString(w.Tenant) {
			f.Add("parent", "must look like tenants/{tenant}, or be tenants/- for all, not %.100q", req.GetParent())
		}
	}
	if w.Name = req.GetName(); w.Name != "" && w.Tenant != "" && w.Name != w.Tenant && !strings.HasPrefix(w.Name, w.Tenant+"/") {
		f.Add("name", "must be of %.100s", w.Tenant)
	}
	if req.GetKind() != "" {
		if w.Kind = kind(req.GetKind()); w.Kind == "" {
			f.Add("kind", "%.100q is no kind of resource, such as Notification", req.GetKind())
		}
	}
	for _, one := range []struct {
		field string
		at    *timestamppb.Timestamp
		to    *int64
	}{{"start_time", req.GetStartTime(), &w.From}, {"end_time", req.GetEndTime(), &w.To}} {
		if one.at == nil {
			continue
		}
		if err := one.at.CheckValid(); err != nil {
			f.Add(one.field, "must lie between the years 1 and 9999")
		}
		*one.to = one.at.AsTime().UnixMilli()
	}
	if req.GetPageSize() < 0 {
		f.Add("page_size", "must not be negative")
	}
	if req.GetPageToken() != "" {
		token, err := base64.RawURLEncoding.DecodeString(req.GetPageToken())
		query := queryOf(req)
		if err != nil || len(token) != len(query)+8 || string(token[:len(query)]) != string(query) {
			f.Add("page_token", "must be the next_page_token of an answer to the same request")
		} else {
			w.Before = int64(binary.BigEndian.Uint64(token[len(query):]))
		}
	}
	return w, f.Err(reason.RequestInvalid)
}

// queryOf names what a request asks for, without its page.
func queryOf(req *configv1.ListChangesRequest) []byte {
	plain := proto.CloneOf(req)
	plain.PageSize, plain.PageToken = 0, ""
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(plain)
	if err != nil {
		panic("encode a request that was decoded: " + err.Error())
	}
	sum := sha256.Sum256(body)
	return sum[:8]
}

// Token is that of the page behind the one that ends with a revision.
func Token(req *configv1.ListChangesRequest, last int64) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(queryOf(req), uint64(last)))
}
