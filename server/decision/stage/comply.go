package stage

import (
	"fmt"
	"strings"

	"github.com/writpdp/writ/server/decision"
)

// Comply refuses what the caller could not carry out: an allow rests on its
// obligations.
func Comply(req *decision.Request, _ *decision.Snapshot, d *decision.Decision) decision.Finding {
	unmet := d.Unmet(req.Supports)
	if len(unmet) == 0 {
		return abstain()
	}
	return deny("comply.unsupported", fmt.Sprintf("The caller cannot meet obligations of the type %s.", strings.Join(unmet, ", ")),
		"Use an enforcement point that supports them.")
}
