package audit

import "fmt"

// about is a problem with one record.
func about(row *Row, index int64, what, detail string) *Problem {
	return &Problem{What: what, Index: index, Last: index, Tenant: row.Tenant, Record: row.ID, Detail: detail}
}

// fit reads a stored row's body and compares every column with it. The problem
// names the record as its body does, which the tree vouches for.
func fit(stored *Row, index int64) (*record, *Problem) {
	r, err := decode(stored.Body)
	if err != nil {
		return nil, about(stored, index, "body", err.Error())
	}
	column := differs(stored, &r.Row)
	switch {
	case column == "leaf":
		return nil, about(stored, index, "leaf", "it is not the hash of the body, or the body was changed")
	case stored.Leaf != r.Leaf:
		return nil, about(stored, index, "body", "it fits neither its hash nor its columns")
	case column != "":
		return nil, about(&r.Row, index, column, fmt.Sprintf("the stored %s is not what the body says", column))
	}
	return r, nil
}

// differs names the first column in which two rows differ; empty: none.
func differs(a, b *Row) string {
	for _, column := range []struct {
		name string
		same bool
	}{
		{"tenant", a.Tenant == b.Tenant},
		{"id", a.ID == b.ID},
		{"kind", a.Kind == b.Kind},
		{"key", a.Key == b.Key},
		{"digest", a.Digest == b.Digest},
		{"at", a.At.Equal(b.At)},
		{"caller", a.Caller == b.Caller},
		{"principal", a.Principal == b.Principal},
		{"session", a.Session == b.Session},
		{"purpose", a.Purpose == b.Purpose},
		{"phase", a.Phase == b.Phase},
		{"server", a.Server == b.Server},
		{"tool", a.Tool == b.Tool},
		{"outcome", a.Outcome == b.Outcome},
		{"ticket", a.Ticket == b.Ticket},
		{"bundle", a.Bundle == b.Bundle},
		{"leaf", a.Leaf == b.Leaf},
	} {
		if !column.same {
			return column.name
		}
	}
	return ""
}
