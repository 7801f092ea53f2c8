package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/respond"
)

type lockStatusCmd struct {
	storeFlags `embed:""`
	Output     string `short:"o" default:"table" enum:"table,json" help:"Output: ${enum}."`
}

// Help is what the command's help says besides.
func (lockStatusCmd) Help() string {
	return "A server tells of itself every few seconds and when it goes by newer locks; one that is silent has ended, hangs, or does not reach the store. " +
		"Whatever this list says, none allows anything by older locks: see docs/incident.md."
}

// serverStatus is a server as the command shows it.
type serverStatus struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Version int64     `json:"version"`
	Since   time.Time `json:"since"`
	Told    time.Time `json:"told"`
	// State is "current", "behind" or "silent".
	State string `json:"state"`
}

func statusOf(r *decision.Replica, newest int64, now time.Time) serverStatus {
	s := serverStatus{ID: uuid.UUID(r.ID).String(), Name: r.Name, Version: r.Version, Since: r.Applied, Told: r.Told, State: "current"}
	switch {
	case now.Sub(r.Told) > respond.Silent:
		s.State = "silent"
	case r.Version < newest:
		s.State = "behind"
	}
	return s
}

// Run prints which servers go by which locks.
func (c lockStatusCmd) Run(ctx context.Context, to streams) error {
	var newest audit.ControlFacts
	var replicas []decision.Replica
	err := c.use(ctx, false, func(store dataStore) (err error) {
		if newest, err = respond.Newest(ctx, store); err == nil {
			replicas, err = store.Replicas(ctx)
		}
		return err
	})
	if err != nil {
		return err
	}
	now, states := time.Now(), map[string]int{}
	servers := make([]serverStatus, 0, len(replicas))
	for i := range replicas {
		s := statusOf(&replicas[i], newest.Control.Version, now)
		states[s.State]++
		servers = append(servers, s)
	}
	if c.Output == "json" {
		return printJSON(to, map[string]any{"version": newest.Control.Version, "servers": servers})
	}
	fmt.Fprintf(to.out, "version %d; of %d servers %d go by it, %d are behind, %d silent\n",
		newest.Control.Version, len(servers), states["current"], states["behind"], states["silent"])
	w := tabwriter.NewWriter(to.out, 0, 0, 2, ' ', 0)
	for _, s := range servers {
		fmt.Fprintf(w, "%s\t%s\tversion %d since %s\ttold %s\n", printable(s.Name), s.State, s.Version, s.Since.Format(time.RFC3339Nano), s.Told.Format(time.RFC3339))
	}
	return w.Flush()
}
