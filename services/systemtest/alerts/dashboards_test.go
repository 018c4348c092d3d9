package alerts

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func TestDashboards_NameWhatExists(t *testing.T) {
	files, err := filepath.Glob(root + "deploy/grafana/dashboards/*.json")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	all, uids := reference(t), map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var board struct {
			UID    string `json:"uid"`
			Title  string `json:"title"`
			Panels []struct {
				ID      int    `json:"id"`
				Type    string `json:"type"`
				Title   string `json:"title"`
				Targets []struct {
					Expr string `json:"expr"`
				} `json:"targets"`
			} `json:"panels"`
		}
		if err := json.Unmarshal(text, &board); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if other := uids[board.UID]; board.UID == "" || other != "" {
			t.Errorf("%s and %s have the uid %q", file, other, board.UID)
		}
		uids[board.UID] = file
		ids := map[int]bool{}
		for _, p := range board.Panels {
			where := filepath.Base(file) + ", " + p.Title
			if ids[p.ID] {
				t.Errorf("%s: its id is another panel's", where)
			}
			ids[p.ID] = true
			if p.Type != "row" && len(p.Targets) == 0 {
				t.Errorf("%s shows nothing", where)
			}
			for _, target := range p.Targets {
				known(t, where, target.Expr, all)
			}
		}
	}
}
