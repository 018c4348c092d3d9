//go:build !linux

package script

import (
	"context"
	"errors"
)

// Stage does nothing here.
func Stage() {}

// Run refuses: what keeps scripts within bounds is of Linux.
func Run(context.Context, Config, Program, []byte) (Output, error) {
	return Output{}, errors.New("scripts run on Linux alone")
}
