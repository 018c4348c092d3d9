// Command printimports writes the .proto files that ours import into the folder named as its one argument, where buf
// reads them as a second module of its workspace.
package main

import (
	"fmt"
	"os"

	"github.com/tollgate/tollgate/proto/imports"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: printimports DIR")
		os.Exit(2)
	}
	if err := imports.Print(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "printimports:", err)
		os.Exit(1)
	}
}
