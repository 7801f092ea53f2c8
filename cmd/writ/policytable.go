package main

import (
	"encoding/json"
	"fmt"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/table"
)

type policyTableCmd struct {
	bundleArg
	Tenant string `placeholder:"TENANT" help:"Where the policies permit this tenant otherwise than every tenant."`
	Output string `short:"o" default:"text" enum:"text,csv,markdown,json" help:"Output: ${enum}."`
}

// Run prints what the policies permit.
func (c policyTableCmd) Run(to streams) error {
	if c.Tenant != "" {
		if err := decision.CheckTenant(c.Tenant); err != nil {
			return usageError("--tenant: " + err.Error())
		}
	}
	b, set, err := loadBundle(c.files())
	if err != nil {
		return err
	}
	t, err := table.Of(b, set, c.Tenant)
	if err != nil {
		return err
	}
	switch c.Output {
	case "csv":
		_, err = to.out.Write(t.CSV())
	case "markdown":
		_, err = fmt.Fprint(to.out, t.Markdown())
	case "json":
		e := json.NewEncoder(to.out)
		e.SetIndent("", "  ")
		err = e.Encode(append([]table.Row{}, t.Rows...))
	default:
		_, err = fmt.Fprint(to.out, t.Text())
	}
	return err
}
