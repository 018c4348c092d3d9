package try

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFolder_OfAnotherVersionIsRefused(t *testing.T) {
	for name, kept := range map[string]string{
		"one from before folders had formats": `{"run":3,"secret":"whsec_x","announced":4,"receiver":""}`,
		"an older one":                        `{"format":1,"run":3}`,
		"a newer one":                         `{"format":99,"run":3}`,
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, keptFile)
		if err := os.WriteFile(path, []byte(kept), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := openFolder(dir, "")
		if err == nil {
			_ = f.close(false)
			t.Errorf("%s was taken", name)
			continue
		}
		if !strings.Contains(err.Error(), "give --data a new folder") {
			t.Errorf("%s: %v does not name what to do", name, err)
		}
		if left, _ := os.ReadFile(path); string(left) != kept {
			t.Errorf("%s was changed to %s", name, left)
		}
	}
}

func TestFolder_IsUsedAgain(t *testing.T) {
	dir := t.TempDir()
	for run := 1; run <= 2; run++ {
		f, err := openFolder(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		if f.kept.Run != run {
			t.Errorf("run %d, want %d", f.kept.Run, run)
		}
		if err := f.close(false); err != nil {
			t.Fatal(err)
		}
	}
}
