package server

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/access"
)

// A method that somebody adds without saying who may call it keeps the server from
// starting.
func TestAMethodWithoutARule(t *testing.T) {
	services := func() map[string]grpc.ServiceInfo {
		all := map[string]grpc.ServiceInfo{}
		for full := range rules {
			name, method, _ := strings.Cut(full[1:], "/")
			info := all[name]
			info.Methods = append(info.Methods, grpc.MethodInfo{Name: method})
			all[name] = info
		}
		return all
	}
	if err := checkRules(services()); err != nil {
		t.Error(err)
	}
	more := services()
	more["writ.v1.DecisionService"] = grpc.ServiceInfo{Methods: append(more["writ.v1.DecisionService"].Methods, grpc.MethodInfo{Name: "Undecide"})}
	if err := checkRules(more); err == nil || !strings.Contains(err.Error(), "/writ.v1.DecisionService/Undecide") {
		t.Errorf("got %v", err)
	}
	less := services()
	delete(less, "grpc.health.v1.Health")
	if err := checkRules(less); err == nil || !strings.Contains(err.Error(), "/grpc.health.v1.Health/Check") {
		t.Errorf("got %v", err)
	}
}

// Policies speak of the actions that some method asks for, and of no others.
func TestActionsOfTheSchema(t *testing.T) {
	asked := map[decision.Action]bool{}
	for _, action := range rules {
		if action != anybody {
			asked[action] = true
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(asked)), access.Actions()); diff != "" {
		t.Errorf("actions (-asked for +in the schema):\n%s", diff)
	}
}
