package adversarial

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/gofrs/uuid/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/writpdp/writ/clients/go/writtest"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// noToken is a token of a redaction that nobody has made.
const noToken = "[token:00000000000000000000000000000000]"

// questions are one of each method that is in order, for a tenant.
func (x *target) questions(t *testing.T, tenant string) map[string]proto.Message {
	t.Helper()
	id := func() string {
		id, err := uuid.NewV7()
		if err != nil {
			t.Fatal(err)
		}
		return id.String()
	}
	token, err := x.Token(writtest.Agent{Subject: "spiffe://example.org/agent/support", Purposes: []string{"support"}})
	if err != nil {
		t.Fatal(err)
	}
	ask := &writv1.DecideRequest{RequestId: id(), PrincipalToken: token, Phase: writv1.Phase_PHASE_PROMPT, Purpose: "support", Tenant: tenant,
		Content: &writv1.Content{MediaType: "text/plain", Data: []byte("Hello.")}, Destination: &writv1.Destination{Host: "api.example-ai.com"}}
	terms := &writv1.TicketTerms{Principal: "spiffe://example.org/agent/operations", Tool: &writv1.Tool{Server: "supabase", Name: "execute_sql"},
		NotAfter: timestamppb.New(x.now().AddDate(0, 0, 1)), MaxUses: 1}
	return map[string]proto.Message{
		"DecisionService.Decide":      ask,
		"DecisionService.DecideBatch": &writv1.DecideBatchRequest{Items: []*writv1.BatchItem{{CorrelationId: "1", Request: ask}}},
		"DecisionService.Explain":     &writv1.ExplainRequest{Request: ask},
		"DecisionService.Settle":      &writv1.SettleRequest{DecisionId: id(), Tenant: tenant, Outcome: writv1.Outcome_OUTCOME_SUCCEEDED},
		"TokenService.Exchange":       &writv1.ExchangeRequest{RequestId: id(), Purposes: []string{"support"}, Count: 1, Tenant: tenant},
		"TicketService.RequestTicket": &writv1.RequestTicketRequest{RequestId: id(), Tenant: tenant, Reason: "x", Terms: terms},
		"TicketService.CreateTicket":  &writv1.CreateTicketRequest{RequestId: id(), Tenant: tenant, Reason: "x", Terms: terms, Approvers: []string{"ann"}},
		"TicketService.ApproveTicket": &writv1.ApproveTicketRequest{RequestId: id(), Tenant: tenant, Reason: "x", TicketId: "none"},
		"TicketService.RejectTicket":  &writv1.RejectTicketRequest{RequestId: id(), Tenant: tenant, Reason: "x", TicketId: "none"},
		"TicketService.RevokeTicket":  &writv1.RevokeTicketRequest{RequestId: id(), Tenant: tenant, Reason: "x", TicketId: "none"},
		"TicketService.GetTicket":     &writv1.GetTicketRequest{Tenant: tenant, TicketId: "none"},
		"TicketService.ListTickets":   &writv1.ListTicketsRequest{Tenant: tenant},
		"SessionService.Show":         &writv1.SessionServiceShowRequest{Tenant: tenant, SessionId: "none"},
		"SessionService.Declassify":   &writv1.SessionServiceDeclassifyRequest{RequestId: id(), Tenant: tenant, SessionId: "none", Labels: []string{"pii"}, Reason: "x"},
		"VaultService.Reveal":         &writv1.RevealRequest{Tenant: tenant, Token: noToken, Reason: "x"},
		"VaultService.Forget":         &writv1.ForgetRequest{Tenant: tenant, Token: noToken, Reason: "x"},
		"BudgetService.List":          &writv1.BudgetServiceListRequest{Tenant: tenant},
		"BudgetService.Get":           &writv1.BudgetServiceGetRequest{Tenant: tenant, Budget: "refunds-daily"},
		"BudgetService.Change": &writv1.BudgetServiceChangeRequest{RequestId: id(), Tenant: tenant, Budget: "refunds-daily", Reason: "x",
			Change: &writv1.BudgetServiceChangeRequest_Raise{Raise: -1}},
	}
}

// Whoever has no part in a method is refused it, whatever tenant is named; every
// method of every service is asked for.
func TestRoles(t *testing.T) {
	data, err := os.ReadFile("roles.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var roles []struct {
		Caller string   `yaml:"caller"`
		Tenant string   `yaml:"tenant"`
		May    []string `yaml:"may"`
	}
	if err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(&roles); err != nil {
		t.Fatal(yaml.FormatError(err, false, true))
	}
	x := start(t)
	refused, admitted := 0, 0
	for _, role := range roles {
		x.as.Store(&step{Tenant: "acme", Caller: role.Caller})
		asked := x.questions(t, role.Tenant)
		protoregistry.GlobalFiles.RangeFilesByPackage("writ.v1", func(file protoreflect.FileDescriptor) bool {
			for i := range file.Services().Len() {
				methods := file.Services().Get(i).Methods()
				for j := range methods.Len() {
					method := methods.Get(j)
					name := string(method.Parent().Name()) + "." + string(method.Name())
					in := asked[name]
					if in == nil {
						t.Errorf("nobody asks for %s", name)
						continue
					}
					denied := x.call(t, method, in) == "CALLER_FORBIDDEN"
					if denied == slices.Contains(role.May, string(method.Name())) {
						t.Errorf("%s for the tenant %q: %s: refused is %t", role.Caller, role.Tenant, name, denied)
					}
					if denied {
						refused++
					} else {
						admitted++
					}
				}
			}
			return true
		})
	}
	t.Logf("suite %-16s %3d cases: %3d refused, %2d admitted as their role has it", "roles", refused+admitted, refused, admitted)
}

// call is the reason of a method's error, the first item of a batch included;
// empty: there is none.
func (x *target) call(t *testing.T, method protoreflect.MethodDescriptor, in proto.Message) string {
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(method.Output().FullName())
	if err != nil {
		t.Fatal(err)
	}
	out := kind.New().Interface()
	if err := x.conn.Invoke(t.Context(), "/"+string(method.Parent().FullName())+"/"+string(method.Name()), in, out); err != nil {
		return reasonOf(err)
	}
	if batch, ok := out.(*writv1.DecideBatchResponse); ok && batch.Results[0].GetError() != nil {
		return strings.TrimPrefix(batch.Results[0].GetError().Reason, "ERROR_REASON_")
	}
	return ""
}
