package server

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// anybody is the rule of methods that anybody may call who has connected: they tell
// nothing of any tenant.
const anybody decision.Action = ""

// rules are what a caller must be admitted to for each method. One that is
// missing here is not served.
var rules = map[string]decision.Action{
	writv1.DecisionService_Decide_FullMethodName:      decision.ToDecide,
	writv1.DecisionService_DecideBatch_FullMethodName: decision.ToDecide, // for each item
	writv1.DecisionService_Explain_FullMethodName:     decision.ToExplain,
	writv1.DecisionService_Settle_FullMethodName:      decision.ToSettle,
	writv1.TokenService_Exchange_FullMethodName:       decision.ToExchange,
	writv1.BudgetService_List_FullMethodName:          decision.ToReadBudgets,
	writv1.BudgetService_Get_FullMethodName:           decision.ToReadBudgets,
	writv1.BudgetService_Change_FullMethodName:        decision.ToChangeBudget,

	writv1.TicketService_RequestTicket_FullMethodName: decision.ToRequestTicket,
	writv1.TicketService_CreateTicket_FullMethodName:  decision.ToCreateTicket,
	writv1.TicketService_ApproveTicket_FullMethodName: decision.ToApproveTicket,
	writv1.TicketService_RejectTicket_FullMethodName:  decision.ToRejectTicket,
	writv1.TicketService_RevokeTicket_FullMethodName:  decision.ToRevokeTicket,
	writv1.TicketService_GetTicket_FullMethodName:     decision.ToReadTickets,
	writv1.TicketService_ListTickets_FullMethodName:   decision.ToReadTickets,

	writv1.SessionService_Show_FullMethodName:       decision.ToReadSessions,
	writv1.SessionService_Declassify_FullMethodName: decision.ToDeclassify,
	writv1.VaultService_Reveal_FullMethodName:       decision.ToReveal,
	writv1.VaultService_Forget_FullMethodName:       decision.ToForget,

	healthv1.Health_Check_FullMethodName:                                   anybody,
	healthv1.Health_List_FullMethodName:                                    anybody,
	healthv1.Health_Watch_FullMethodName:                                   anybody,
	reflectionv1.ServerReflection_ServerReflectionInfo_FullMethodName:      anybody,
	reflectionv1alpha.ServerReflection_ServerReflectionInfo_FullMethodName: anybody,
}

// checkRules refuses a method without a rule, and a rule without its method.
func checkRules(services map[string]grpc.ServiceInfo) error {
	left := maps.Clone(rules)
	for name, service := range services {
		for _, method := range service.Methods {
			full := "/" + name + "/" + method.Name
			if _, ok := rules[full]; !ok {
				return fmt.Errorf("no rule says who may call %s", full)
			}
			delete(left, full)
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("rules for methods that are not served: %v", slices.Sorted(maps.Keys(left)))
	}
	return nil
}

// admit is the caller as it works for a tenant, its own where none is named, if
// the bundle in force permits it to.
func (s *Server) admit(caller decision.Caller, action decision.Action, tenant string) (decision.Caller, error) {
	if tenant == "" {
		tenant = caller.Tenant
	}
	// The bundle may admit to every tenant: then also to what is none.
	if decision.CheckTenant(tenant) != nil || !s.live().Access.Admits(caller, action, tenant) {
		return decision.Caller{}, fail(errForbidden, fmt.Sprintf("no access policy permits the caller the action %s for this tenant", action))
	}
	caller.Tenant = tenant
	return caller, nil
}
