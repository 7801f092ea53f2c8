package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/store/lane"
	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/test/pgtest"
)

// examined is the grades of what is found, but for the disk's, which is the
// machine's, and what it says.
func examined(t *testing.T, dsn string, now func() time.Time) (grades map[string]lane.Grade, says map[string]string) {
	t.Helper()
	found, err := postgres.Examine(t.Context(), dsn, now)
	if err != nil {
		t.Fatal(err)
	}
	grades, says = map[string]lane.Grade{}, map[string]string{}
	for _, f := range found {
		grades[f.Check], says[f.Check] = f.Grade, f.Says
		if (f.Grade == lane.Good) != (f.Remedy == "") {
			t.Errorf("%s is %s, with the remedy %q", f.Check, f.Grade, f.Remedy)
		}
	}
	if says["disk"] == "" && grades["primary"] == lane.Good {
		t.Error("nothing about the disk")
	}
	delete(grades, "disk")
	return grades, says
}

func TestExamine(t *testing.T) {
	dsn := pgtest.DSN(t)
	well := map[string]lane.Grade{"version": lane.Good, "primary": lane.Good, "fsync": lane.Good, "full_page_writes": lane.Good, "encoding": lane.Good,
		"synchronous_commit": lane.Good, "failover": lane.Suspect, "schema": lane.Good, "role": lane.Good, "leases": lane.Good, "clock": lane.Good, "pooler": lane.Good}
	but := func(changes map[string]lane.Grade) map[string]lane.Grade {
		all := map[string]lane.Grade{}
		for check, g := range well {
			all[check] = g
		}
		for check, g := range changes {
			all[check] = g
		}
		return all
	}
	empty, _ := examined(t, dsn, time.Now)
	none := but(map[string]lane.Grade{"schema": lane.Bad, "role": lane.Suspect})
	delete(none, "leases") // nor is there a table of them
	if diff := cmp.Diff(none, empty); diff != "" {
		t.Errorf("an empty database, as its owner (-want +got):\n%s", diff)
	}
	if err := postgres.Migrate(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	served := servedBy(t, dsn)
	got, _ := examined(t, served, time.Now)
	if diff := cmp.Diff(well, got); diff != "" {
		t.Errorf("as it should be (-want +got):\n%s", diff)
	}
	got, says := examined(t, served, func() time.Time { return time.Now().Add(-time.Minute) })
	if diff := cmp.Diff(but(map[string]lane.Grade{"clock": lane.Suspect}), got); diff != "" || !strings.HasPrefix(says["clock"], "the database's is 1m0") {
		t.Errorf("a clock that is behind: %s (-want +got):\n%s", says["clock"], diff)
	}
	conn := admin(t, dsn)
	execute(t, conn, "INSERT INTO lease_holder (id, told) VALUES (gen_random_uuid(), 'infinity'), (gen_random_uuid(), '2026-03-01')")
	got, says = examined(t, served, time.Now)
	if diff := cmp.Diff(but(map[string]lane.Grade{"leases": lane.Suspect}), got); diff != "" || says["leases"] != "0, of 2 processes, of which 1 are silent" {
		t.Errorf("a silent holder: %s (-want +got):\n%s", says["leases"], diff)
	}
	execute(t, conn, "DELETE FROM lease_holder")
	execute(t, conn, "GRANT DELETE ON record TO PUBLIC")
	got, says = examined(t, served, time.Now)
	if diff := cmp.Diff(but(map[string]lane.Grade{"role": lane.Suspect}), got); diff != "" || !strings.Contains(says["role"], "DELETE on record") {
		t.Errorf("a role that may delete: %s (-want +got):\n%s", says["role"], diff)
	}
	execute(t, conn, "REVOKE DELETE ON record FROM PUBLIC")
	execute(t, conn, "DROP TABLE lock_fence")
	execute(t, conn, "CREATE TABLE lock_fence (one boolean)")
	got, says = examined(t, served, time.Now)
	if diff := cmp.Diff(but(map[string]lane.Grade{"role": lane.Bad}), got); diff != "" || !strings.Contains(says["role"], "lacks UPDATE on lock_fence") {
		t.Errorf("a role that lacks a right: %s (-want +got):\n%s", says["role"], diff)
	}
	execute(t, conn, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)")
	if got, _ := examined(t, served, time.Now); got["schema"] != lane.Bad {
		t.Errorf("a newer schema is %s", got["schema"])
	}
}

func TestExamineWhatIsNotThere(t *testing.T) {
	_, err := postgres.Examine(t.Context(), "postgres://writ:secret@127.0.0.1:1/none", time.Now)
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}
