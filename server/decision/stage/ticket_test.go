package stage_test

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
)

func TestTicket(t *testing.T) {
	digest := fmt.Sprintf("%x", object(t, `{"path":"/a"}`).Digest())
	tests := []struct {
		name   string
		change func(*decision.Request, *decision.Ticket)
		want   string
	}{
		{"valid", func(*decision.Request, *decision.Ticket) {}, ""},
		{"for any definition and arguments", func(_ *decision.Request, k *decision.Ticket) { k.ToolDigest, k.ArgumentsDigest = "", "" }, ""},
		{"a phase that has a ticket", func(r *decision.Request, _ *decision.Ticket) { r.Phase = decision.Connect }, ""},
		{"from now on", func(_ *decision.Request, k *decision.Ticket) { k.NotBefore = now }, ""},
		{"from in a moment on", func(_ *decision.Request, k *decision.Ticket) { k.NotBefore = now.Add(time.Nanosecond) }, "ticket.early"},
		{"until in a moment", func(_ *decision.Request, k *decision.Ticket) { k.NotAfter = now.Add(time.Nanosecond) }, ""},
		{"until now", func(_ *decision.Request, k *decision.Ticket) { k.NotAfter = now }, "ticket.expired"},
		{"until never", func(_ *decision.Request, k *decision.Ticket) { k.NotAfter = time.Time{} }, "ticket.expired"},
		{"revoked", func(_ *decision.Request, k *decision.Ticket) { k.State = decision.TicketRevoked }, "ticket.revoked"},
		{"rejected", func(_ *decision.Request, k *decision.Ticket) { k.State = decision.TicketRejected }, "ticket.rejected"},
		{"waiting", func(_ *decision.Request, k *decision.Ticket) { k.State = decision.TicketRequested }, "ticket.pending"},
		{"in no state", func(_ *decision.Request, k *decision.Ticket) { k.State = 0 }, "ticket.pending"},
		{"in a state that is not stored", func(_ *decision.Request, k *decision.Ticket) { k.State = decision.TicketUsedUp }, "ticket.pending"},
		{"for the resource", func(_ *decision.Request, k *decision.Ticket) {
			k.Resource = decision.TicketResource{Type: "File", ID: "/a"}
		}, ""},
		{"for another resource", func(_ *decision.Request, k *decision.Ticket) {
			k.Resource = decision.TicketResource{Type: "File", ID: "/b"}
		}, "ticket.resource"},
		{"for a resource of another type", func(_ *decision.Request, k *decision.Ticket) {
			k.Resource = decision.TicketResource{Type: "Folder", ID: "/a"}
		}, "ticket.resource"},
		{"for a resource, and there is none", func(r *decision.Request, k *decision.Ticket) {
			r.Resource, k.Resource = decision.Resource{}, decision.TicketResource{Type: "File", ID: "/a"}
		}, "ticket.resource"},
		{"for a resource that is known by its digest", func(r *decision.Request, k *decision.Ticket) {
			r.Resource = decision.Resource{Type: "File", Digest: sha256.Sum256([]byte("/a"))}
			k.Resource = decision.TicketResource{Type: "File", ID: "/a"}
		}, ""},
		{"for another than what is known by its digest", func(r *decision.Request, k *decision.Ticket) {
			r.Resource = decision.Resource{Type: "File", Digest: sha256.Sum256([]byte("/b"))}
			k.Resource = decision.TicketResource{Type: "File", ID: "/a"}
		}, "ticket.resource"},
		{"under the bundle", func(_ *decision.Request, k *decision.Ticket) { k.Bundle = "bundle" }, ""},
		{"under another bundle", func(_ *decision.Request, k *decision.Ticket) { k.Bundle = "other" }, "ticket.bundle"},
		{"with a scope that does not hold", func(_ *decision.Request, k *decision.Ticket) { k.Scope = "false" }, "ticket.scope"},
		{"its last use", func(_ *decision.Request, k *decision.Ticket) { k.Uses, k.MaxUses = 4, 5 }, ""},
		{"used up", func(_ *decision.Request, k *decision.Ticket) { k.Uses, k.MaxUses = 5, 5 }, "ticket.used"},
		{"used beyond", func(_ *decision.Request, k *decision.Ticket) { k.Uses, k.MaxUses = 6, 5 }, "ticket.used"},
		{"of no use", func(_ *decision.Request, k *decision.Ticket) { k.MaxUses = 0 }, "ticket.used"},
		{"of another agent", func(_ *decision.Request, k *decision.Ticket) { k.Principal = "other" }, "ticket.principal"},
		{"of no agent", func(_ *decision.Request, k *decision.Ticket) { k.Principal = "" }, "ticket.principal"},
		{"approved by the agent", func(_ *decision.Request, k *decision.Ticket) { k.Approvers = []string{"lead", "agent"} }, "ticket.self_approved"},
		{"approved by its human", func(_ *decision.Request, k *decision.Ticket) { k.Approvers = []string{"human"} }, "ticket.self_approved"},
		{"approved by who delegated", func(_ *decision.Request, k *decision.Ticket) { k.Approvers = []string{"planner"} }, "ticket.self_approved"},
		{"approved by nobody, for no human", func(r *decision.Request, k *decision.Ticket) { r.Principal.OnBehalfOf, k.Approvers = "", []string{""} }, ""},
		{"for another tool", func(_ *decision.Request, k *decision.Ticket) { k.Tool.Name = "write" }, "ticket.tool"},
		{"for another server", func(_ *decision.Request, k *decision.Ticket) { k.Tool.Server = "x" }, "ticket.tool"},
		{"for another definition", func(_ *decision.Request, k *decision.Ticket) { k.ToolDigest = "d2" }, "ticket.tool"},
		{"for no definition", func(r *decision.Request, _ *decision.Ticket) { r.Tool.Digest = "" }, "ticket.tool"},
		{"for other arguments", func(r *decision.Request, _ *decision.Ticket) { r.Arguments = object(t, `{"path":"/b"}`) }, "ticket.arguments"},
		{"for arguments that are none", func(r *decision.Request, _ *decision.Ticket) { r.Arguments = nil }, "ticket.arguments"},
		{"any arguments, of which there are none", func(r *decision.Request, k *decision.Ticket) { r.Arguments, k.ArgumentsDigest = nil, "" }, ""},
		{"for the same arguments in another spelling", func(r *decision.Request, _ *decision.Ticket) { r.Arguments = object(t, "\n{ \"path\":\"\\u002fa\" }") }, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req, snap := call(t), snapshot(t, &rules{})
			req.Ticket, req.Resource, snap.Bundle.Digest = "T", decision.Resource{Type: "File", ID: "/a"}, "bundle"
			snap.Ticket = &decision.Ticket{ID: "T", Version: 7, State: decision.TicketApproved, Principal: "agent", Tool: read, ToolDigest: "d1", ArgumentsDigest: digest,
				NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), MaxUses: 1, Approvers: []string{"lead"}}
			test.change(req, snap.Ticket)
			f := stage.Ticket(req, snap, nil)
			if test.want != "" {
				judged(t, f, "deny, "+test.want+" *")
				if f.Ticket != nil || f.Effects != nil {
					t.Error("a wrong ticket is shown or redeemed")
				}
				return
			}
			judged(t, f, "abstain")
			if diff := cmp.Diff([]decision.Effect{decision.Redeem{Ticket: "T", Version: 7}}, f.Effects); diff != "" || f.Ticket != snap.Ticket {
				t.Errorf("the ticket is not redeemed: %s", diff)
			}
		})
	}
}

func TestNoTicket(t *testing.T) {
	req, snap := call(t), snapshot(t, nil)
	judged(t, stage.Ticket(req, snap, nil), "abstain")
	req.Ticket = "T"
	judged(t, stage.Ticket(req, snap, nil), "deny, ticket.unknown *")
	req.Phase = decision.Result // goes by its call's ticket
	judged(t, stage.Ticket(req, snap, nil), "abstain")
	// Everything that is wrong with it is said at once.
	req.Phase, snap.Ticket = decision.Call, &decision.Ticket{ID: "T", State: decision.TicketRevoked, NotBefore: now.Add(1), ToolDigest: "d2", ArgumentsDigest: "x", Approvers: []string{"agent"}}
	judged(t, stage.Ticket(req, snap, nil), "deny, ticket.revoked *, ticket.early *, ticket.expired *, ticket.used *, ticket.principal *, "+
		"ticket.self_approved *, ticket.tool *, ticket.tool *, ticket.arguments *")
}

// A ticket's scope is asked of the policies, on the request without a ticket; what
// they cannot tell denies, unless something else does already.
func TestTicketScope(t *testing.T) {
	for within, want := range map[decision.Verdict]decision.Verdict{decision.Permit: decision.Abstain, decision.Deny: decision.Deny,
		decision.Abstain: decision.Undetermined, decision.Undetermined: decision.Undetermined, 99: decision.Undetermined} {
		policies := &rules{within: within}
		req, snap := call(t), snapshot(t, policies)
		req.Ticket = "T"
		snap.Ticket = &decision.Ticket{ID: "T", State: decision.TicketApproved, Principal: "agent", Tool: read, Scope: "true",
			NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), MaxUses: 1}
		f := stage.Ticket(req, snap, nil)
		if f.Verdict != want || (f.Ticket != nil) == (want == decision.Deny) || (f.Effects != nil) != (want == decision.Abstain) {
			t.Errorf("%v of the scope: got %+v", within, f)
		}
		if policies.asked.Request != req || policies.asked.Ticket != nil {
			t.Errorf("%v of the scope: asked %+v", within, policies.asked)
		}
		snap.Ticket.Uses = 1
		if f := stage.Ticket(req, snap, nil); f.Verdict != decision.Deny {
			t.Errorf("%v of the scope, used up: got %v", within, f.Verdict)
		}
	}
}
