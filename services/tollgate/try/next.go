package try

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/tollgate/tollgate/services/config"
	"github.com/tollgate/tollgate/services/ingest"
	"github.com/tollgate/tollgate/services/safeguard"
)

// called are the services that commands call, and where they look for them.
var called = []struct{ name, usual string }{
	{"config", config.DefaultConfig().GRPC.Listen},
	{"ingest", ingest.DefaultConfig().GRPC.Listen},
	{"safeguard", safeguard.DefaultConfig().GRPC.Listen},
}

// next are the lines to type in another terminal, in any folder: what commands have to know of this
// run, and one that tries it.
func (r *run) next(ctx context.Context) ([]string, error) {
	key, err := filepath.Abs(r.folder.file(keyFile))
	if err != nil {
		return nil, fmt.Errorf("find the API key's file: %w", err)
	}
	lines := []string{"export TOLLGATE_API_KEY=$(cat " + quoted(key) + ")"}
	for _, service := range called {
		address, err := r.installation.Service(service.name).Address(ctx, "grpc")
		if err != nil {
			return nil, err
		}
		if address != service.usual {
			lines = append(lines, fmt.Sprintf("export TOLLGATE_%s_ADDR=%s", strings.ToUpper(service.name), address))
		}
	}
	program := r.cfg.Program
	if strings.ContainsRune(program, filepath.Separator) {
		if program, err = filepath.Abs(program); err != nil {
			return nil, fmt.Errorf("find this program: %w", err)
		}
	}
	return append(lines,
		"export TOLLGATE_KAFKA_BROKERS="+r.installation.Kafka,
		"export TOLLGATE_REDIS_ADDRESS="+r.installation.Redis,
		quoted(program)+" check --partitions 8 --single-node",
	), nil
}

// quoted is a word as a shell reads it.
func quoted(word string) string {
	if strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
