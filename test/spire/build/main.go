// Command build builds SPIRE for the tests, where that was not done yet, and prints
// the directory of its programs. It is run at the repository's root.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/writpdp/writ/test/spire"
)

func main() {
	dir, err := spire.Build(context.Background(), ".")
	if err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
	fmt.Println(dir)
}
