package shape

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tollgate/tollgate/pkg/daemon"
)

const module = "github.com/tollgate/tollgate/"

// file is one Go file of the repository, without generated ones.
type file struct {
	path    string // from the root, with slashes
	syntax  *ast.File
	imports []string
}

func (f file) dir() string  { return filepath.ToSlash(filepath.Dir(f.path)) }
func (f file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// isProbe: tests, bare loops of benchmarks and soaks talk to servers on purpose.
func (f file) isProbe() bool {
	return strings.Contains(f.path, "test/")
}

// parsed is read once for all tests, which only read it.
var parsed = sync.OnceValues(parse)

func repository(t *testing.T) []file {
	t.Helper()
	files, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("found %d Go files: the walk is wrong", len(files))
	}
	return files
}

func parse() (files []file, err error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "gen" || name == "node_modules") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		syntax, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f := file{path: filepath.ToSlash(rel), syntax: syntax}
		for _, im := range syntax.Imports {
			p, err := strconv.Unquote(im.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, p)
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

func TestImports_OfDriversAreInTheirPackageAlone(t *testing.T) {
	rules := []struct {
		imported string
		by       []string // folders that may, with what lies below
		why      string
	}{
		{"github.com/segmentio/kafka-go", []string{"pkg/stream"}, "its traps are dealt with in one place"},
		{"github.com/redis/go-redis/v9", []string{"pkg/state/redisstate"}, "state is read and written through its fence"},
		{"github.com/alicebob/miniredis/v2", []string{"services/tollgate"}, "no other package knows about embedded servers"},
		{"github.com/twmb/franz-go/pkg/kfake", []string{"services/tollgate"}, "no other package knows about embedded servers"},
		{module + "pkg/fold", []string{"pkg/fold", "services/safeguard", "services/trigger", "services/config", "services/tollgate", "pkg/configclient"}, "deliveries have no log to fold"},
		{"modernc.org/sqlite", []string{"services/config/store", "services/history"}, "only their owners keep tables"},
		{"github.com/jackc/pgx/v5", []string{"services/config/store", "services/history"}, "only their owners keep tables"},
	}
	for _, f := range repository(t) {
		if f.isTest() || f.isProbe() {
			continue
		}
		for _, rule := range rules {
			if !slices.ContainsFunc(f.imports, func(p string) bool { return p == rule.imported || strings.HasPrefix(p, rule.imported+"/") }) {
				continue
			}
			if !slices.ContainsFunc(rule.by, func(dir string) bool { return f.dir() == dir || strings.HasPrefix(f.dir(), dir+"/") }) {
				t.Errorf("%s imports %s, which is for %s: %s", f.path, rule.imported, strings.Join(rule.by, ", "), rule.why)
			}
		}
	}
}

func TestImports_GoFromServicesToPkgToProto(t *testing.T) {
	for _, f := range repository(t) {
		for _, p := range f.imports {
			to, ours := strings.CutPrefix(p, module)
			if !ours {
				continue
			}
			switch from, _, _ := strings.Cut(f.path, "/"); {
			case from == "proto" && !strings.HasPrefix(to, "proto/"):
				t.Errorf("%s imports %s: proto stands below everything", f.path, p)
			case from == "pkg" && strings.HasPrefix(to, "services/"):
				t.Errorf("%s imports %s: pkg stands below services", f.path, p)
			case from == "services" && strings.HasPrefix(to, "services/") && !f.isTest():
				mine, his := service(f.path), service(to)
				if mine != his && his == "systemtest" {
					t.Errorf("%s imports %s: nothing of the product needs its tests", f.path, p)
				}
				if mine != his && mine != "tollgate" && !f.isProbe() {
					t.Errorf("%s imports %s: services talk over topics and gRPC", f.path, p)
				}
			}
		}
	}
}

func service(path string) string {
	parts := strings.Split(path, "/")
	if len(parts) < 2 {
		return path
	}
	return parts[1]
}

// Pure packages decide; others read clocks, files and sockets for them.
func TestPurePackages_DoNoIO(t *testing.T) {
	const account = "services/safeguard/account"
	pure := []string{"pkg/spend", "pkg/rules", "pkg/template", "pkg/expr", "pkg/scope", "pkg/access", account}
	forbidden := []string{"context", "os", "net", "net/http", "io/fs", "database/sql", "log", "sync", "math/rand", "math/rand/v2", "crypto/rand"}
	// What account may not import beside, with what lies below. Of the engine it knows the fold alone, in two files.
	inputAndOutput := []string{
		module + "pkg/stream", module + "pkg/rpc", module + "pkg/daemon", module + "pkg/outbound", module + "pkg/state/redisstate",
		"google.golang.org/grpc", "github.com/prometheus", "go.uber.org/zap", "github.com/redis", "github.com/segmentio",
	}
	meetsFold := []string{account + "/fold.go", account + "/apply.go"}
	clocks := []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTicker", "NewTimer"}
	found := map[string]bool{}
	for _, f := range repository(t) {
		inChannel := f.dir() == "pkg/channel" || strings.HasPrefix(f.dir(), "pkg/channel/")
		if f.isTest() || f.isProbe() || !slices.Contains(pure, f.dir()) && !inChannel {
			continue
		}
		found[f.dir()] = true
		for _, p := range f.imports {
			if slices.Contains(forbidden, p) && !(p == "sync" && (f.dir() == "pkg/rules" || f.dir() == "pkg/scope")) {
				t.Errorf("%s imports %s: %s is pure", f.path, p, f.dir())
			}
			if f.dir() == "pkg/spend" && strings.Contains(p, ".") {
				t.Errorf("%s imports %s: pkg/spend needs the standard library alone", f.path, p)
			}
			if f.dir() != account {
				continue
			}
			for _, other := range inputAndOutput {
				if p == other || strings.HasPrefix(p, other+"/") {
					t.Errorf("%s imports %s: %s is pure", f.path, p, account)
				}
			}
			if p == module+"pkg/fold" && !slices.Contains(meetsFold, f.path) {
				t.Errorf("%s imports %s: the rules meet the engine in %s", f.path, p, strings.Join(meetsFold, " and "))
			}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && isPackage(s.X, "time") && slices.Contains(clocks, s.Sel.Name) {
				t.Errorf("%s reads the clock (time.%s): %s is pure", f.path, s.Sel.Name, f.dir())
			}
			// A fold that a deadline cuts decides otherwise when it is worked again.
			if s, ok := n.(*ast.SelectorExpr); ok && (s.Sel.Name == "InterruptCheckFrequency" || s.Sel.Name == "ContextEval") {
				t.Errorf("%s can be interrupted (%s): what is decided depends on no clock", f.path, s.Sel.Name)
			}
			return true
		})
	}
	for _, dir := range append(pure, "pkg/channel") {
		if !found[dir] {
			t.Errorf("no file of %s was found: the walk is wrong", dir)
		}
	}
}

// A request to a tenant's URL goes through pkg/outbound, which checks the
// address that is dialled. A process that asks itself whether it is ready names no address of a tenant.
func TestHTTPClients_AreMadeInOutboundAlone(t *testing.T) {
	client := []string{"Client", "Transport", "DefaultClient", "DefaultTransport", "Get", "Post", "PostForm", "Head"}
	for _, f := range repository(t) {
		if f.isTest() || f.isProbe() || strings.HasPrefix(f.path, "pkg/outbound/") || f.path == "pkg/daemon/healthy.go" || !slices.Contains(f.imports, "net/http") {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && isPackage(s.X, "http") && slices.Contains(client, s.Sel.Name) {
				t.Errorf("%s uses http.%s: HTTP clients are made in pkg/outbound", f.path, s.Sel.Name)
			}
			return true
		})
	}
}

func isPackage(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

func TestPackages_AreDocumented(t *testing.T) {
	documented := make(map[string]bool)
	for _, f := range repository(t) {
		if f.isTest() {
			continue
		}
		documented[f.dir()] = documented[f.dir()] || f.syntax.Doc != nil && len(f.syntax.Doc.Text()) > 20
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package in %s has no doc comment", dir)
		}
	}
}

// One environment serves every process, so each must know the variables of all.
func TestVariables_AreKnownToEveryService(t *testing.T) {
	declared := map[string]bool{}
	for _, f := range repository(t) {
		if f.isTest() {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			field, ok := n.(*ast.Field)
			if !ok || field.Tag == nil {
				return true
			}
			tag, err := strconv.Unquote(field.Tag.Value)
			if err != nil {
				t.Fatal(err)
			}
			if name, _, _ := strings.Cut(reflect.StructTag(tag).Get("env"), ","); strings.HasPrefix(name, "TOLLGATE_") {
				declared[name] = true
				if !slices.Contains(daemon.Variables(), name) {
					t.Errorf("%s declares %s, which pkg/daemon/variables.go lacks: other services would refuse to start beside it", f.path, name)
				}
			}
			return true
		})
	}
	// What no field declares: tests read the first, and the addresses of services to come are set in shells already.
	for _, name := range daemon.Variables() {
		if !declared[name] && name != "TOLLGATE_REAL" && !strings.HasSuffix(name, "_ADDR") {
			t.Errorf("pkg/daemon/variables.go has %s, which no code reads", name)
		}
	}
	if !slices.IsSorted(daemon.Variables()) {
		t.Error("pkg/daemon/variables.go is not sorted")
	}
}

// A subscriber number is a person: into a log, a fault, an error or a metric it goes as display.Subject, which masks itself.
func TestSubscriberNumbers_AreMaskedInLogsFaultsAndMetrics(t *testing.T) {
	person := regexp.MustCompile(`(?i)^(get)?(new|previous|old|former)?_?(subject|msisdn|subscriber|recipient)s?$`)
	for _, f := range repository(t) {
		// The command line shows a person what that person asked for.
		if f.isTest() || f.isProbe() || strings.HasPrefix(f.path, "services/tollgate/") {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			fun, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			args := call.Args
			switch {
			case isPackage(fun.X, "zap") && len(args) > 1:
				key, ok := args[0].(*ast.BasicLit)
				if !ok {
					return true
				}
				args = args[1:]
				if name, err := strconv.Unquote(key.Value); err == nil && person.MatchString(name) && !masks(args[0]) {
					t.Errorf("%s logs %q as something else than display.Subject", f.path, name)
				}
			case isPackage(fun.X, "fault") && fun.Sel.Name == "New", isPackage(fun.X, "fmt") && fun.Sel.Name == "Errorf",
				fun.Sel.Name == "Add" || fun.Sel.Name == "AddAs" || fun.Sel.Name == "WithLabelValues" || fun.Sel.Name == "With":
			default:
				return true
			}
			for _, arg := range args {
				if named := unmasked(arg, person); named != "" {
					t.Errorf("%s gives %s to %s: wrap it in display.Subject", f.path, named, fun.Sel.Name)
				}
			}
			return true
		})
	}
}

// masks reports that an expression is display.Subject(…).
func masks(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	fun, ok := call.Fun.(*ast.SelectorExpr)
	return ok && isPackage(fun.X, "display") && fun.Sel.Name == "Subject"
}

// unmasked is the name of a person's number in an expression, as it is or as text.
func unmasked(e ast.Expr, person *regexp.Regexp) string {
	switch e := e.(type) {
	case *ast.Ident:
		if person.MatchString(e.Name) {
			return e.Name
		}
	case *ast.SelectorExpr:
		if person.MatchString(e.Sel.Name) {
			return e.Sel.Name
		}
	case *ast.BinaryExpr:
		return unmasked(e.X, person) + unmasked(e.Y, person)
	case *ast.CallExpr:
		if masks(e) {
			return ""
		}
		if fun, ok := e.Fun.(*ast.SelectorExpr); ok && person.MatchString(fun.Sel.Name) {
			return fun.Sel.Name
		}
		if fun, ok := e.Fun.(*ast.Ident); ok && fun.Name == "string" && len(e.Args) == 1 {
			return unmasked(e.Args[0], person)
		}
	}
	return ""
}

// What stands at the root is fixed: people script against it.
func TestRoot_HasNothingUnknown(t *testing.T) {
	allowed := []string{"services", "proto", "deploy", "pkg", "docker-compose.yml", "Makefile", "go.work", "go.work.sum", "README.md", "CHANGELOG.md",
		"tollgate-data"} // of make up and of installations tried here: git ignores it
	entries, err := os.ReadDir("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(allowed, e.Name()) {
			t.Errorf("%s does not belong at the root", e.Name())
		}
	}
}

// The model of rules with a state knows what an event is, and nothing of what makes rules of it: a fault of that would be its own.
func TestModel_SharesNoCodeWithRules(t *testing.T) {
	const model = "services/systemtest/trigger/model"
	found := false
	for _, f := range repository(t) {
		if f.dir() != model || f.isTest() {
			continue
		}
		found = true
		for _, p := range f.imports {
			if to, ours := strings.CutPrefix(p, module); ours && to != "pkg/event" && !strings.HasPrefix(to, "proto/") {
				t.Errorf("%s imports %s: the model decides for itself when a rule fires", f.path, p)
			}
		}
	}
	if !found {
		t.Fatalf("no file of %s was found: the walk is wrong", model)
	}
}

// What holds spend against a limit, and the model that it is held against, share no code, and know no floating point.
func TestModel_SharesNoCodeWithSpend(t *testing.T) {
	const spend, model = "pkg/spend", "services/systemtest/safeguard/model"
	found := map[string]bool{}
	for _, f := range repository(t) {
		if f.dir() != spend && f.dir() != model {
			continue
		}
		found[f.dir()] = true
		for _, p := range f.imports {
			to, ours := strings.CutPrefix(p, module)
			if ours && f.dir() == model && to != "pkg/event" && to != "pkg/stream" && to != model && !strings.HasPrefix(to, "proto/") && !f.isTest() {
				t.Errorf("%s imports %s: the model reads events and configuration, and reckons for itself", f.path, p)
			}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				if n.Name == "float64" || n.Name == "float32" {
					t.Errorf("%s has a %s: money is whole nanos", f.path, n.Name)
				}
			case *ast.BasicLit:
				if n.Kind == token.FLOAT {
					t.Errorf("%s has the number %s: money is whole nanos", f.path, n.Value)
				}
			}
			return true
		})
	}
	if !found[spend] || !found[model] {
		t.Fatalf("found %v: the walk is wrong", found)
	}
}
