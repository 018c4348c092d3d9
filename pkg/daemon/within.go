package daemon

import (
	_ "time/tzdata" // zones of tenants, where the system has none

	_ "golang.org/x/crypto/x509roots/fallback" // roots, where the system has none: an image from scratch
)
