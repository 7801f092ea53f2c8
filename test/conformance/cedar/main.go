// Command cedar runs the published integration corpus of Cedar through Writ: its
// requests through the index of policies, and its schemas, policies, entities
// and requests through the validation that bundles are held to. What Rust Cedar
// answered is in the corpus. The last line is `N of N`, the requests that were
// answered alike; it exits with 1 when one was not, or when a validator's
// verdict differs.
//
// The corpus is in the Cedar module, so nothing is fetched.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

// skipped are tests that are not run, by name, with the reason.
var skipped = map[string]string{}

func main() {
	every := flag.Int("every", 1, "run every n-th test only")
	show := flag.Int("show", 10, "show at most so many differences")
	flag.Parse()
	ok, err := run(os.Stdout, *every, *show)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cedar:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// run runs every n-th test and reports whether all agreed.
func run(out io.Writer, every, show int) (bool, error) {
	dir, err := module()
	if err != nil {
		return false, err
	}
	files := corpus{}
	for _, name := range []string{archiveTests, archiveValidation} {
		if err := files.add(dir, name); err != nil {
			return false, err
		}
	}
	if err := files.addChecks(dir); err != nil {
		return false, err
	}
	names := files.tests()
	t := newTally()
	for i, name := range names {
		if reason, skip := skipped[name]; skip {
			fmt.Fprintf(out, "skipped %s: %s\n", name, reason)
		} else if i%max(1, every) == 0 {
			if err := t.test(files, name); err != nil {
				return false, fmt.Errorf("%s: %w", name, err)
			}
		}
		if (i+1)%1000 == 0 || i+1 == len(names) {
			fmt.Fprintf(out, "%d of %d tests\n", i+1, len(names))
		}
	}
	t.print(out, show)
	return t.agreed(), nil
}
