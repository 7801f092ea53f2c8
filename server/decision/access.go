package decision

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Access says who may call. Implementations are pure and safe for concurrent use.
type Access interface {
	// Admits reports whether a caller may do something for a tenant, its own or
	// another. What cannot be evaluated is no.
	Admits(caller Caller, action Action, tenant string) bool
}

// Action is what a caller asks Writ for.
type Action string

// The actions, with their names in access policies.
const (
	ToDecide   Action = "Decide"
	ToExplain  Action = "Explain"
	ToSettle   Action = "Settle"
	ToExchange Action = "Exchange"

	ToRequestTicket Action = "RequestTicket"
	ToCreateTicket  Action = "CreateTicket"
	ToApproveTicket Action = "ApproveTicket"
	ToRejectTicket  Action = "RejectTicket"
	ToRevokeTicket  Action = "RevokeTicket"
	ToReadTickets   Action = "ReadTickets"
)

const maxTenant = 128 // bytes, in records

// CheckTenant refuses a name that no caller's tenant can have.
func CheckTenant(tenant string) error {
	blank := func(c rune) bool { return c <= ' ' || c == 0x7f }
	switch {
	case tenant == "" || len(tenant) > maxTenant || !utf8.ValidString(tenant) || strings.ContainsFunc(tenant, blank):
		return fmt.Errorf("the tenant is not 1 to %d bytes without spaces and control characters", maxTenant)
	case tenant == System:
		return fmt.Errorf("the tenant %q is reserved", System)
	}
	return nil
}
