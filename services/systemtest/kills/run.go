package kills

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"
)

// Options are the length of a run, FOR, and the seed of its choices, SEED, of the environment.
func Options() (length time.Duration, seed uint64, err error) {
	length, seed = 3*time.Minute, rand.Uint64()
	var faults []error
	if text := os.Getenv("FOR"); text != "" {
		if length, err = time.ParseDuration(text); err != nil || length <= 0 {
			faults = append(faults, fmt.Errorf("FOR must be a time such as 10m, not %q", text))
		}
	}
	if text := os.Getenv("SEED"); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			faults = append(faults, fmt.Errorf("SEED must be a number, not %q", text))
		}
	}
	return length, seed, errors.Join(faults...)
}

// Together runs all of it at once and returns what went wrong.
func Together(all ...func() error) error {
	faults := make([]error, len(all))
	var work sync.WaitGroup
	for i, do := range all {
		work.Go(func() { faults[i] = do() })
	}
	work.Wait()
	return errors.Join(faults...)
}
