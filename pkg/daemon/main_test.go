package daemon

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// role, when set, makes this test binary a service, so that exit codes and signals are those of a real process.
const role = "TOLLGATE_TEST_DAEMON"

func TestMain(m *testing.M) {
	cfg := testDefaults()
	switch os.Getenv(role) {
	case "clean":
		Main("clean", cfg, func(ctx context.Context, _ testConfig, _ Env) error { <-ctx.Done(); return nil })
	case "stuck":
		cfg.ShutdownTimeout = time.Millisecond
		Main("stuck", cfg, func(_ context.Context, _ testConfig, env Env) error {
			env.InFlight.Add("partition 1 of events.ordered")
			select {}
		})
	case "failing":
		Main("failing", cfg, func(context.Context, testConfig, Env) error { return os.ErrPermission })
	}
	os.Exit(m.Run())
}

func process(t *testing.T, as string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), role+"="+as)
	return cmd
}

func TestMain_SignalStopsTheProcess(t *testing.T) {
	tests := map[string]struct {
		as   string
		code int
		want string
	}{
		"a service that drains exits 0":                {"clean", 0, `"message":"stopped"`},
		"one that does not exits 1 and names the rest": {"stuck", 1, "partition 1 of events.ordered"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			cmd := process(t, tc.as)
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var last string
			for lines := bufio.NewScanner(stderr); lines.Scan(); {
				last = lines.Text()
				if strings.Contains(last, `"message":"listening"`) {
					if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
						t.Fatal(err)
					}
				}
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			if !strings.Contains(last, tc.want) {
				t.Errorf("the last line does not have %s: %s", tc.want, last)
			}
		})
	}
}

func TestMain_ExitCodes(t *testing.T) {
	tests := map[string]struct {
		as   string
		args []string
		env  string
		code int
		want string
	}{
		"a failing service exits 1":            {as: "failing", code: 1, want: "permission denied"},
		"-check-config of a good one exits 0":  {as: "clean", args: []string{"-check-config"}, code: 0, want: "is valid"},
		"an unknown variable exits 2":          {as: "clean", env: "TOLLGATE_OTHER=1", code: 2, want: "TOLLGATE_OTHER is not known"},
		"a broken rule exits 2 with the check": {as: "clean", args: []string{"-check-config"}, env: "TOLLGATE_SIZE=0", code: 2, want: "size: must be at least 1"},
		"-healthy without the process exits 1": {as: "clean", args: []string{"-healthy"}, env: "TOLLGATE_ADMIN_LISTEN=127.0.0.1:1", code: 1, want: "does not answer"},
		"an unknown flag exits 2":              {as: "clean", args: []string{"-verbose"}, code: 2, want: "-verbose"},
		"an argument exits 2":                  {as: "clean", args: []string{"extra"}, code: 2, want: `"extra"`},
		"a file that is missing exits 2":       {as: "clean", args: []string{"-config", "none.yaml"}, code: 2, want: "no such file"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			cmd := process(t, tc.as, tc.args...)
			if tc.env != "" {
				cmd.Env = append(cmd.Env, tc.env)
			}
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != tc.code || !strings.Contains(string(out), tc.want) {
				t.Errorf("exit code %d, want %d; output %s", code, tc.code, out)
			}
		})
	}
}
