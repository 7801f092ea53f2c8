// Command schema runs the official test suite of JSON Schema, draft 2020-12 with
// its formats, through the check that tools' arguments and results are held to.
// What that check takes and the suite refuses is a difference, always. What it
// refuses and the suite takes is one too, unless it is refused by design: a schema
// that leads out of itself, or names what Writ does not read, and a property that
// no schema names. The last line is `N of N`; it exits with 1 when one differs.
//
//	go run ./test/conformance/schema [--show N] DIR
//
// DIR is the folder `tests` of the suite. Without it the suite comes with a
// package of Python's, by pip, once, into the user's cache.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	show := flag.Int("show", 10, "show at most so many differences")
	flag.Parse()
	dir := flag.Arg(0)
	if dir == "" {
		var err error
		if dir, err = install(); err != nil {
			fmt.Fprintln(os.Stderr, "schema:", err)
			os.Exit(2)
		}
	}
	t, err := run(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "schema:", err)
		os.Exit(2)
	}
	t.print(os.Stdout, *show)
	if len(t.differ) > 0 {
		os.Exit(1)
	}
}
