package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/writpdp/writ/store/lane"
	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/store/sqlite"
)

type doctorCmd struct {
	storeFlags `embed:""`
	Output     string `short:"o" default:"table" enum:"table,json" help:"Output: ${enum}."`
}

// Run examines a store's place and says what is wrong with it.
func (c doctorCmd) Run(ctx context.Context, to streams) error {
	found, err := c.examine(ctx)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		all := []map[string]any{}
		for _, f := range found {
			all = append(all, map[string]any{"check": f.Check, "grade": f.Grade.String(), "says": f.Says, "remedy": f.Remedy})
		}
		if err := printJSON(to, all); err != nil {
			return err
		}
	} else {
		w := tabwriter.NewWriter(to.out, 0, 0, 2, ' ', 0)
		for _, f := range found {
			fmt.Fprintf(w, "%s\t%s\t%s\n", f.Grade, f.Check, f.Says)
			if f.Remedy != "" {
				fmt.Fprintf(w, "\t\t→ %s\n", f.Remedy)
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	for _, f := range found {
		if f.Grade == lane.Bad {
			return errors.New("what Writ promises cannot be kept here")
		}
	}
	return nil
}

func (c doctorCmd) examine(ctx context.Context) ([]lane.Finding, error) {
	switch {
	case c.DatabaseFile != "":
		dsn, err := readDSN(c.DatabaseFile)
		if err != nil {
			return nil, err
		}
		return postgres.Examine(ctx, dsn, time.Now)
	case c.Data != "":
		return sqlite.Examine(ctx, filepath.Join(c.Data, fileStore), time.Now)
	}
	return nil, usageError("name a store: --data DIR or --database-file FILE")
}
