package api

import (
	"context"
	"errors"
	"time"

	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/services/safeguard/account"
)

// Catalogs are the revisions of the configuration at hand, each compiled once for all partitions.
type Catalogs interface {
	state.Revisions[*account.Catalog]
	// Latest is that of the highest revision at hand.
	Latest() (*account.Catalog, bool)
}

// catalogs are asked for reads.
type catalogs struct{ Catalogs }

// readPatience bounds the wait of a read for a revision that no partition here is folded by.
const readPatience = time.Second

// at is the catalog of a revision.
func (c catalogs) at(ctx context.Context, r state.Revision) (*account.Catalog, error) {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	return state.Await(ctx, c.Catalogs, r)
}

// newest is the catalog of the newest revision at hand.
func (c catalogs) newest() (*account.Catalog, error) {
	if found := c.latest(); found != nil {
		return found, nil
	}
	return nil, errNoConfiguration
}

var errNoConfiguration = errors.New("no configuration was read yet")

// latest is the catalog of the highest revision at hand; nil where there is none.
func (c catalogs) latest() *account.Catalog {
	found, _ := c.Latest()
	return found
}
