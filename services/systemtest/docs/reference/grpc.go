package reference

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/proto/tollgate"
)

// GRPC is the page of the services and of all messages that are not those of events.
func GRPC(context.Context, string) (string, error) {
	comments, err := tollgate.Comments()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	head(&b, "gRPC and messages", `
Every call carries the metadata `+"`authorization: Bearer <API key>`"+`; health and reflection answer without one. Errors are a gRPC code
with google.rpc.ErrorInfo (domain `+"`tollgate`"+`) and google.rpc.BadRequest: see [errors](../errors.md). Resource names follow
[AIP-122](https://google.aip.dev/122), methods of resources [AIP-130](https://google.aip.dev/130) to AIP-136. `+
		"`tollgate proto export DIR`"+` writes the .proto files with all that they import. The messages of events are described under [Events](events.md).
`)
	w := writer{Builder: &b, comments: comments, page: func(n protoreflect.FullName) (string, bool) {
		if strings.HasPrefix(string(n), eventPackage+".") {
			return "events.md", true
		}
		return "", strings.HasPrefix(string(n), "tollgate.")
	}}
	names, files := protoPackages()
	for _, name := range names {
		if name == eventPackage {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n", name)
		for _, f := range files[name] {
			for i := range f.Services().Len() {
				w.service(f.Services().Get(i))
			}
		}
		for _, f := range files[name] {
			for i := range f.Messages().Len() {
				w.message(f.Messages().Get(i))
			}
			for i := range f.Enums().Len() {
				w.enum(f.Enums().Get(i))
			}
		}
	}
	return b.String(), nil
}

// service writes a service with its methods.
func (w writer) service(s protoreflect.ServiceDescriptor) {
	fmt.Fprintf(w, "\n### %s\n", strings.TrimPrefix(string(s.FullName()), "tollgate."))
	if c := w.comments[string(s.FullName())]; c != "" {
		fmt.Fprintf(w, "\n%s\n", plain(c))
	}
	var rows [][]string
	for i := range s.Methods().Len() {
		m := s.Methods().Get(i)
		request, answer := w.link(m.Input()), w.link(m.Output())
		if m.IsStreamingClient() {
			request = "stream of " + request
		}
		if m.IsStreamingServer() {
			answer = "stream of " + answer
		}
		rows = append(rows, []string{code(string(m.Name())), request, answer, plain(w.comments[string(m.FullName())])})
	}
	table(w.Builder, []string{"method", "request", "answer", "meaning"}, rows)
}
