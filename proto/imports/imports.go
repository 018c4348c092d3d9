// Package imports holds the .proto files that Tollgate's own files import: money, error details, HTTP annotations and
// validation rules. Their sources are not copied into this repository and not fetched from a schema registry. They are
// printed from the descriptors that their Go packages carry, so the files a generator reads and the Go code that is
// linked are always of the one version in go.mod.
//
// Comments are lost, because generated Go carries none. The files of google/protobuf are left out: every protobuf
// compiler has them built in.
package imports

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	validate "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/jhump/protoreflect/v2/protoprint"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/genproto/googleapis/type/dayofweek"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/genproto/googleapis/type/timeofday"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// offered lists what files of ours may import; what these import in turn comes along.
var offered = []protoreflect.FileDescriptor{
	validate.File_buf_validate_validate_proto,
	annotations.File_google_api_annotations_proto,
	annotations.File_google_api_client_proto,
	annotations.File_google_api_field_behavior_proto,
	annotations.File_google_api_field_info_proto,
	annotations.File_google_api_http_proto,
	annotations.File_google_api_resource_proto,
	code.File_google_rpc_code_proto,
	errdetails.File_google_rpc_error_details_proto,
	status.File_google_rpc_status_proto,
	dayofweek.File_google_type_dayofweek_proto,
	money.File_google_type_money_proto,
	timeofday.File_google_type_timeofday_proto,
}

// Print writes every offered file, and every file one of them imports, below dir under its import path. Files there
// already are overwritten; others are left alone.
func Print(dir string) error {
	printer := &protoprint.Printer{Compact: true}
	for path, file := range closure(offered) {
		target := filepath.Join(dir, filepath.FromSlash(path))
		text, err := printer.PrintProtoToString(file)
		if err != nil {
			return fmt.Errorf("print %s: %w", path, err)
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return fmt.Errorf("make the folder of %s: %w", path, err)
		}
		if err := os.WriteFile(target, []byte(text), 0o644); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
	}
	return nil
}

// closure answers the files and all they import, by import path, without those built into compilers.
func closure(files []protoreflect.FileDescriptor) map[string]protoreflect.FileDescriptor {
	found := make(map[string]protoreflect.FileDescriptor)
	var visit func(protoreflect.FileDescriptor)
	visit = func(file protoreflect.FileDescriptor) {
		path := file.Path()
		if _, seen := found[path]; seen || strings.HasPrefix(path, "google/protobuf/") {
			return
		}
		found[path] = file
		for i := range file.Imports().Len() {
			visit(file.Imports().Get(i).FileDescriptor)
		}
	}
	for _, file := range files {
		visit(file)
	}
	return found
}
