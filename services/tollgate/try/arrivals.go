package try

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
)

// arrivals is the file of what came to a server of try, a line of JSON each, over all runs.
type arrivals[T any] struct {
	// id is by what a repeat is recognised, empty for what was not acknowledged.
	id func(*T) string

	mu   sync.Mutex
	seen map[string]bool
	file *os.File
}

// openArrivals reads what came in earlier runs.
func openArrivals[T any](path string, id func(*T) string) (*arrivals[T], error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of arrivals: %w", err)
	}
	a := &arrivals[T]{id: id, seen: map[string]bool{}, file: file}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 2*maxBody)
	for lines.Scan() {
		var before T
		// A line that was cut off by a kill was not acknowledged either.
		if json.Unmarshal(lines.Bytes(), &before) == nil {
			a.seen[id(&before)] = true
		}
	}
	if err := lines.Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("read the log of arrivals: %w", err), file.Close())
	}
	return a, nil
}

// note writes what came, with whether it came before.
func (a *arrivals[T]) note(got *T, repeat *bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if id := a.id(got); id != "" {
		*repeat = a.seen[id]
		a.seen[id] = true
	}
	line, err := json.Marshal(got)
	if err != nil {
		return err
	}
	_, err = a.file.Write(append(line, '\n'))
	return err
}

func (a *arrivals[T]) close() error { return a.file.Close() }
