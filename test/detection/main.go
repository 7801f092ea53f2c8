// Detection measures what the built-in detectors find in a labelled corpus: precision
// and recall by type, for the half that they may be developed on and for the half that
// is held out.
//
//	go run ./test/detection
//	go run ./test/detection -half develop -mistakes
//	go run ./test/detection -write DIR
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/writpdp/writ/test/detection/corpus"
)

func main() {
	half := flag.String("half", "", "`develop` or heldout; without: both")
	mistakes := flag.Bool("mistakes", false, "list what was missed and what was found falsely, by category")
	write := flag.String("write", "", "write the halves as lines of JSON into the `directory`, and measure nothing")
	beside := flag.String("beside", "", "measure what another scanner found too: the `directory` has HALF.found.jsonl")
	markdown := flag.Bool("markdown", false, "write the tables for a page")
	flag.Parse()
	if err := run(os.Stdout, *half, *mistakes, *markdown, *write, *beside); err != nil {
		fmt.Fprintln(os.Stderr, "detection:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, half string, mistakes, markdown bool, write, beside string) error {
	set, err := detectors()
	if err != nil {
		return err
	}
	for _, h := range halves {
		if half != "" && half != h.name {
			continue
		}
		documents, err := h.documents()
		if err != nil {
			return err
		}
		if write != "" {
			if err := save(filepath.Join(write, h.name+".jsonl"), documents); err != nil {
				return err
			}
			continue
		}
		score, err := measure(set, documents)
		if err != nil {
			return err
		}
		names, scores := []string{"writ"}, []*corpus.Score{score}
		if beside != "" {
			other, err := compare(filepath.Join(beside, h.name+".found.jsonl"), documents)
			if err != nil {
				return err
			}
			names, scores = append(names, "beside"), append(scores, other)
		}
		fmt.Fprintf(out, "\n%s: %d documents, %s\n", h.name, score.Documents, h.made)
		table := corpus.Table(names, scores)
		if markdown {
			fmt.Fprintln(out)
			corpus.Markdown(out, table)
		} else if err := corpus.Plain(out, table); err != nil {
			return err
		}
		if mistakes {
			score.Mistakes(out)
		}
	}
	return nil
}

func save(name string, documents []corpus.Document) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := corpus.Write(f, documents); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
