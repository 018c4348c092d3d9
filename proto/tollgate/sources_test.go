package tollgate

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Public types of java.lang in Java 17. A class of one of these names makes "import com.tollgate.event.v1.*" ambiguous.
var javaLang = strings.Fields(`AbstractMethodError Appendable ArithmeticException ArrayIndexOutOfBoundsException
	ArrayStoreException AssertionError AutoCloseable Boolean BootstrapMethodError Byte CharSequence Character Class
	ClassCastException ClassCircularityError ClassFormatError ClassLoader ClassNotFoundException ClassValue
	CloneNotSupportedException Cloneable Comparable Compiler Deprecated Double Enum Error Exception
	ExceptionInInitializerError Float FunctionalInterface IllegalAccessError IllegalAccessException
	IllegalArgumentException IllegalCallerException IllegalMonitorStateException IllegalStateException
	IllegalThreadStateException IncompatibleClassChangeError IndexOutOfBoundsException InheritableThreadLocal
	InstantiationError InstantiationException Integer InternalError InterruptedException Iterable
	LayerInstantiationException LinkageError Long Math Module ModuleLayer NegativeArraySizeException
	NoClassDefFoundError NoSuchFieldError NoSuchFieldException NoSuchMethodError NoSuchMethodException
	NullPointerException Number NumberFormatException Object OutOfMemoryError Override Package Process ProcessBuilder
	ProcessHandle Readable Record ReflectiveOperationException Runnable Runtime RuntimeException RuntimePermission
	SafeVarargs SecurityException SecurityManager Short StackOverflowError StackTraceElement StackWalker StrictMath
	String StringBuffer StringBuilder StringIndexOutOfBoundsException SuppressWarnings System Thread ThreadDeath
	ThreadGroup ThreadLocal Throwable TypeNotPresentException UnknownError UnsatisfiedLinkError
	UnsupportedClassVersionError UnsupportedOperationException VerifyError VirtualMachineError Void`)

var (
	packageLine = regexp.MustCompile(`(?m)^package (tollgate\.\w+\.v1);$`)
	outerClass  = regexp.MustCompile(`(?m)^option java_outer_classname = "(\w+)";$`)
	declaration = regexp.MustCompile(`(?m)^(?:message|enum|service) (\w+) `)
)

// sources are the files' texts by their names.
func sources(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(Sources, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := Sources.ReadFile(name)
		all[name] = string(text)
		return err
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("read %d files: %v", len(all), err)
	}
	return all
}

func TestJavaOptions_EveryFileNamesItsPackageAndClasses(t *testing.T) {
	for name, text := range sources(t) {
		pkg := packageLine.FindStringSubmatch(text)
		if pkg == nil {
			t.Errorf("%s names no package tollgate.<area>.v1", name)
			continue
		}
		for _, want := range []string{`option java_package = "com.` + pkg[1] + `";`, "option java_multiple_files = true;"} {
			if !strings.Contains(text, "\n"+want+"\n") {
				t.Errorf("%s lacks %s", name, want)
			}
		}
	}
}

func TestJavaOptions_NoClassHidesOneOfTheLanguageOrAnother(t *testing.T) {
	seen := map[string]string{}
	for name, text := range sources(t) {
		outer := outerClass.FindStringSubmatch(text)
		if outer == nil {
			t.Errorf("%s has no java_outer_classname: its class would be named after the file", name)
			continue
		}
		classes := []string{outer[1]}
		for _, d := range declaration.FindAllStringSubmatch(text, -1) {
			classes = append(classes, d[1])
		}
		for _, class := range classes {
			if slices.Contains(javaLang, class) {
				t.Errorf("%s makes a class %s, which hides java.lang.%s", name, class, class)
			}
			full := path.Dir(name) + "/" + class
			if other, taken := seen[full]; taken {
				t.Errorf("%s and %s both make a class %s", name, other, full)
			}
			seen[full] = name
		}
	}
}
