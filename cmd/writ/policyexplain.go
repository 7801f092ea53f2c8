package main

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/suite"
)

type policyExplainCmd struct {
	bundleArg
	Case    string `xor:"what" required:"" placeholder:"SUITE/NAME" help:"A case of the bundle's tests."`
	Request string `xor:"what" required:"" type:"existingfile" placeholder:"FILE" help:"A request in YAML, with the words of writ decide's flags, now, and what is true of tickets and budgets."`
	Output  string `short:"o" default:"text" enum:"text,json" help:"Output: ${enum}."`
}

// Run explains one decision.
func (c policyExplainCmd) Run(to streams) error {
	b, _, err := loadBundle(c.files())
	if err != nil {
		return err
	}
	one, err := c.find(b)
	if err != nil {
		return err
	}
	id := [16]byte{6: 0x70, 8: 0x80} // of the form that a record has
	one.Request.ID = id
	snap, d := one.Decide(b)
	explained, err := audit.Explained(id, one.Request, snap, &d)
	if err != nil {
		return err
	}
	answer := explained.Decision
	answer.DecisionId, answer.RequestId = "", "" // nothing was recorded
	return conclude(to, c.Output, explained, answer, explained)
}

// maxRequestFile bounds a request's file, in bytes.
const maxRequestFile = 4 << 20

func (c policyExplainCmd) find(b *decision.Bundle) (*suite.Case, error) {
	if c.Request != "" {
		file, err := os.Open(c.Request)
		if err != nil {
			return nil, fmt.Errorf("reading the request: %w", err)
		}
		defer file.Close()
		data, err := io.ReadAll(io.LimitReader(file, maxRequestFile))
		if err != nil {
			return nil, fmt.Errorf("reading the request: %w", err)
		}
		return suite.ReadRequest(c.Request, data, b)
	}
	cases, err := suite.Load(c.files(), b)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(cases, func(one *suite.Case) bool { return one.ID() == c.Case })
	if i < 0 {
		return nil, fmt.Errorf("there is no case %q", c.Case)
	}
	if cases[i].Request == nil {
		return nil, fmt.Errorf("%s is a test in Cedar's own form, of the policies alone", c.Case)
	}
	return cases[i], nil
}
