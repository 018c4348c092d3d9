//go:build linux

package provision

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
)

// script adds a script of /bin/sh to the hooks of acme.
func (f *fixture) script(id, text string) (path string, hook *configv1.Hook) {
	f.Helper()
	path = filepath.Join(f.TempDir(), id)
	body := []byte("#!/bin/sh\n" + text + "\n")
	if err := os.WriteFile(path, body, 0o700); err != nil {
		f.Fatal(err)
	}
	sum := sha256.Sum256(body)
	hook = &configv1.Hook{
		Name: "tenants/acme/hooks/" + id, EventTypes: []string{"client.created"}, Priority: int32(len(f.hooks)),
		FailurePolicy: configv1.FailurePolicy_FAILURE_POLICY_FORBID, Timeout: durationpb.New(9 * time.Second),
		Handler: &configv1.Hook_Script{Script: &configv1.ScriptHandler{Path: path, Sha256: hex.EncodeToString(sum[:])}},
	}
	f.hooks = append(f.hooks, hook)
	return path, hook
}

const (
	// decidingScript sets the day of a client that it knows.
	decidingScript = `read q; case $q in *Nord*) echo '{"decision":"allow","data":{"client":{"bill_day":7}}}';; *) exit 1;; esac`
	// ignoring ignores SIGTERM.
	ignoring = "trap '' TERM INT; while :; do sleep 1000; done"
)

func TestDecide_ScriptHandlers(t *testing.T) {
	onServers(t, func(f *fixture) {
		f.cfg.Scripts.Enabled, f.cfg.Scripts.User = true, scriptUser()
		f.script("check", decidingScript)
		f.save()
		if res := f.decided(f.start(), nord("k")); clientOf(f, res).GetBillDay() != 7 {
			f.Errorf("got %v", res)
		}
	})
}

func TestDecide_ScriptsAreOffByDefault(t *testing.T) {
	onServers(t, func(f *fixture) {
		_, hook := f.script("check", decidingScript)
		hook.FailurePolicy = configv1.FailurePolicy_FAILURE_POLICY_ALLOW
		f.save()
		res := f.decided(f.start(), nord("k"))
		if got := res.GetHandlers()[0]; got.GetOutcome() != provisionv1.Outcome_OUTCOME_FAULT || !strings.Contains(got.GetText(), "scripts are off") || clientOf(f, res).GetBillDay() != 3 {
			f.Errorf("got %v", res)
		}
	})
}

// misbehaving is a script, and what the log has of it.
type misbehaving struct {
	text    string
	outcome provisionv1.Outcome
	entry   string
}

func TestDecide_EachScriptThatMisbehavesEndsByThePolicyWithAPreciseEntry(t *testing.T) {
	misbehave(t, map[string]misbehaving{
		"fills":    {"f=$(mktemp) && trap 'rm -f $f' EXIT && dd if=/dev/zero of=$f bs=1M count=64", provisionv1.Outcome_OUTCOME_FAULT, "the script ended with"},
		"eats":     {"x=0123456789; while :; do x=$x$x; done", provisionv1.Outcome_OUTCOME_FAULT, "the script ended with"},
		"ignores":  {ignoring, provisionv1.Outcome_OUTCOME_TIMED_OUT, "it did not answer within 500ms"},
		"replaced": {decidingScript, provisionv1.Outcome_OUTCOME_FAULT, "it was replaced"},
		"floods":   {"while :; do echo 0123456789012345678901234567890123456789; done", provisionv1.Outcome_OUTCOME_FAULT, "wrote more than 1048576 bytes"},
		"fails":    {"echo '{\"decision\":\"allow\"}'; echo no such client >&2; exit 3", provisionv1.Outcome_OUTCOME_FAULT, `exit status 3: "no such client"`},
		"chatters": {"echo welcome", provisionv1.Outcome_OUTCOME_FAULT, "JSON"},
	}, nil)
}

// The processes of the user are counted on the whole machine: these leave most of them to other scripts.
func TestDecide_AScriptThatForksWithoutEndEndsByThePolicy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the number of processes is bounded only for a user of its own")
	}
	misbehave(t, map[string]misbehaving{
		"forks": {"f() { f | f & f; }; f", provisionv1.Outcome_OUTCOME_UNSPECIFIED, ""}, // a fault, or late
	}, func(f *fixture) { f.cfg.Scripts.Processes = 40 })
}

// misbehave shows that each script ends in its policy's decision with an entry that names what was wrong, and that the service goes on.
func misbehave(t *testing.T, scripts map[string]misbehaving, change func(*fixture)) {
	for name, policy := range map[string]configv1.FailurePolicy{"allow": configv1.FailurePolicy_FAILURE_POLICY_ALLOW, "forbid": configv1.FailurePolicy_FAILURE_POLICY_FORBID} {
		t.Run(name, func(t *testing.T) {
			onServers(t, func(f *fixture) {
				f.cfg.Scripts.Enabled, f.cfg.Scripts.User, f.cfg.Scripts.MemoryBytes = true, scriptUser(), 64<<20
				if change != nil {
					change(f)
				}
				for id, s := range scripts {
					path, hook := f.script(id, s.text)
					hook.FailurePolicy = policy
					switch id {
					case "ignores":
						hook.Timeout = durationpb.New(500 * time.Millisecond)
					case "forks":
						hook.Timeout = durationpb.New(2 * time.Second)
					case "replaced":
						if err := os.WriteFile(path, []byte("#!/bin/sh\necho '{}'"), 0o700); err != nil {
							f.Fatal(err)
						}
					}
				}
				f.save()
				r := f.start()
				want := provisionv1.Decision_DECISION_FORBID
				if policy == configv1.FailurePolicy_FAILURE_POLICY_ALLOW {
					want = provisionv1.Decision_DECISION_ALLOW
				}
				for id := range scripts {
					res, err := f.test(r, &provisionv1.TestRunRequest{Name: "tenants/acme/hooks/" + id, ObjectId: "7401", Data: nord("k").GetData()})
					if err != nil {
						f.Fatal(err)
					}
					if x := res.GetResult(); x.GetOutcome() <= provisionv1.Outcome_OUTCOME_FORBADE || !x.GetByFailurePolicy() || res.GetDecision() != want {
						f.Errorf("%s: %s %q, decision %s", id, x.GetOutcome(), x.GetText(), res.GetDecision())
					}
				}
				for _, x := range f.executions(len(scripts)) {
					id := x.GetResult().GetHandler()[len("tenants/acme/hooks/"):]
					if s := scripts[id]; s.outcome != provisionv1.Outcome_OUTCOME_UNSPECIFIED && (x.GetResult().GetOutcome() != s.outcome || !strings.Contains(x.GetResult().GetText(), s.entry)) {
						f.Errorf("%s: logged is %s %q, want %s %q", id, x.GetResult().GetOutcome(), x.GetResult().GetText(), s.outcome, s.entry)
					}
				}
				// The service goes on: an action is decided, with a script that does what it should.
				f.hooks = nil
				f.script("check", decidingScript)
				f.save()
				for res := (*provisionv1.DecideResponse)(nil); strings.Join(outcomesOf(res), ", ") != "check OUTCOME_CHANGED" || clientOf(f, res).GetBillDay() != 7; {
					if f.Ctx.Err() != nil {
						f.Fatalf("got %v", res)
					}
					dry := nord("k")
					dry.DryRun = true
					res = f.decided(r, dry)
				}
			})
		})
	}
}
