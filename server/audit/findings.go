package audit

import (
	"fmt"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// FindingsOf is what each stage found, as a decision's record holds it.
// Another record's body is ErrNotFound.
func FindingsOf(body []byte) ([]*writv1.Finding, error) {
	r, err := decode(body)
	if err != nil {
		return nil, err
	}
	if r.decision == nil {
		return nil, fmt.Errorf("reading a decision: %w", ErrNotFound)
	}
	return r.decision.Findings, nil
}
