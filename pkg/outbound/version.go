package outbound

import (
	"runtime/debug"
	"strings"
)

// userAgent is the header of a request that has none of its own: "Tollgate/" and the version of the build.
var userAgent = []string{"Tollgate/" + version()}

// version is that of the module, as the build has stamped it, or "dev".
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || strings.HasPrefix(info.Main.Version, "(") {
		return "dev"
	}
	return info.Main.Version
}
