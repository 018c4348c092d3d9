package shape

import (
	"flag"
	"go/ast"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/reason"
)

var updateReference = flag.Bool("update-reference", false, "writes the reference of reasons anew")

// reference is generated from the table of reasons, from the root.
const reference = "deploy/docs/reasons.md"

var (
	// codes look so wherever they stand in the sources; a word alone is one only where it is given as a reason.
	code = regexp.MustCompile(`^([A-Z][A-Z0-9]*(_[A-Z0-9]+)+|CARRIER_BILLING\.[A-Z_]+)$`)
	word = regexp.MustCompile(`^[A-Z]{3,}$`)
	// reasonNames are constants that are reasons.
	reasonNames = regexp.MustCompile(`^(reason|Reason|refused|refusal|because|Incident)[A-Z]`)
	// reasonTakers are functions that a reason is given to.
	reasonTakers = []string{"New", "NewInvalid", "AddAs", "Err", "ErrShared", "Reject", "RejectLoudly", "RejectWaiting", "refuse", "reject"}
)

// noReasons look like some.
var noReasons = map[string]string{
	// Names of codes of gRPC, for errors of others.
	"ABORTED": "grpc", "ALREADY_EXISTS": "grpc", "FAILED_PRECONDITION": "grpc", "INVALID_ARGUMENT": "grpc", "OUT_OF_RANGE": "grpc",
	"PERMISSION_DENIED": "grpc", "RESOURCE_EXHAUSTED": "grpc",
}

// constants are those of pkg/reason, by name: codes that several packages give.
func constants(files []file) map[string]string {
	codes := map[string]string{}
	for _, f := range files {
		if f.dir() != "pkg/reason" || f.isTest() {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
				if l, ok := spec.Values[0].(*ast.BasicLit); ok && l.Kind == token.STRING {
					codes[spec.Names[0].Name], _ = strconv.Unquote(l.Value)
				}
			}
			return true
		})
	}
	return codes
}

// given are the reasons that a file gives, as literals or by a constant of pkg/reason.
func given(f file, constants map[string]string) (codes []string) {
	add := func(e ast.Expr, like *regexp.Regexp) {
		l, ok := e.(*ast.BasicLit)
		if !ok || l.Kind != token.STRING {
			return
		}
		text, err := strconv.Unquote(l.Value)
		if err == nil && like.MatchString(text) && !strings.HasPrefix(text, "TOLLGATE_") && noReasons[text] == "" {
			codes = append(codes, text)
		}
	}
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			add(n, code)
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "reason" && constants[n.Sel.Name] != "" {
				codes = append(codes, constants[n.Sel.Name])
			}
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if i < len(n.Values) && reasonNames.MatchString(name.Name) {
					add(n.Values[i], word)
				}
			}
		case *ast.CallExpr:
			called := ""
			switch fun := n.Fun.(type) {
			case *ast.SelectorExpr:
				called = fun.Sel.Name
			case *ast.Ident:
				called = fun.Name
			}
			if slices.Contains(reasonTakers, called) {
				for _, arg := range n.Args {
					add(arg, word)
				}
			}
		}
		return true
	})
	return codes
}

func TestReasons_AreDeclaredAndUsed(t *testing.T) {
	used := map[string]bool{}
	files := repository(t)
	codes := constants(files)
	for _, f := range files {
		if f.isTest() || f.isProbe() || strings.Contains(f.path, "/model/") || f.dir() == "pkg/reason" {
			continue
		}
		for _, c := range given(f, codes) {
			if used[c] = true; !reason.Declared(c) {
				t.Errorf("%s gives %s, which pkg/reason does not declare: add it there, with where it is given and what it means, and run `go test ./pkg/shape -update-reference`", f.path, c)
			}
		}
	}
	for i, r := range reason.All {
		// Of a resource that does not exist the code is made of its kind.
		if !used[r.Code] && !strings.HasSuffix(r.Code, "_NOT_FOUND") {
			t.Errorf("no code gives %s: take it out of pkg/reason", r.Code)
		}
		if i > 0 && r.Code <= reason.All[i-1].Code {
			t.Errorf("%s stands behind %s: the table is in the order of the alphabet, each code once", r.Code, reason.All[i-1].Code)
		}
		if r.Where == 0 || r.Meaning == "" {
			t.Errorf("%s lacks where it is given, or what it means", r.Code)
		}
	}
}

// A code that several packages give stands in pkg/reason once, as a constant.
func TestReasons_OfSeveralPackagesAreConstants(t *testing.T) {
	files := repository(t)
	named := map[string]string{}
	for name, code := range constants(files) {
		named[code] = name
	}
	givenBy := map[string]map[string]bool{}
	for _, f := range files {
		// pkg/fault has the names of gRPC's codes.
		if f.isTest() || f.isProbe() || f.dir() == "pkg/reason" || f.dir() == "pkg/fault" || strings.HasPrefix(f.path, "services/systemtest/") {
			continue
		}
		for _, c := range given(f, nil) { // literals alone
			if !reason.Declared(c) {
				continue
			}
			if named[c] != "" {
				t.Errorf("%s writes %q: it is reason.%s", f.path, c, named[c])
			}
			if givenBy[c] == nil {
				givenBy[c] = map[string]bool{}
			}
			givenBy[c][f.dir()] = true
		}
	}
	for c, packages := range givenBy {
		if len(packages) > 1 {
			t.Errorf("%s stands in %v: make it a constant of pkg/reason", c, slices.Sorted(maps.Keys(packages)))
		}
	}
}

func TestReasons_ReferenceIsCurrent(t *testing.T) {
	path := filepath.Join("..", "..", filepath.FromSlash(reference))
	if *updateReference {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(reason.Page()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(path)
	if err != nil || string(page) != reason.Page() {
		t.Errorf("%s is not what pkg/reason has (%v): run `go test ./pkg/shape -update-reference`", reference, err)
	}
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil || !strings.Contains(string(readme), reference) {
		t.Errorf("README.md does not lead to %s (%v)", reference, err)
	}
}
