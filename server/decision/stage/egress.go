package stage

import (
	"fmt"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/egress"
)

// whereTo is what would have to be known of arguments that are withheld in part.
const whereTo = "arguments: the URLs in them"

// maxURLs bounds the reasons of one request's URLs.
const maxURLs = 16

// Egress holds where a request leads to the rules of the bundle: the URLs in the
// arguments of a call, and the destination of a connection. What may be led to is
// pinned, for what a name resolves to is known when it is connected to.
func Egress(req *decision.Request, snap *decision.Snapshot, _ *decision.Decision) decision.Finding {
	f := abstain()
	rules := rulesOf(snap.Bundle)
	if tool := snap.Bundle.Tools[req.Tool.ToolName]; tool != nil && req.Arguments != nil {
		f.URLs = led(req, snap, tool)
		if f.URLs.Unknown {
			f = undetermined([]string{whereTo})
			f.URLs = &egress.Facts{Unknown: true}
		} else {
			judgeURLs(&f, req, rules)
			lockedURLs(&f, req, snap)
		}
	}
	if req.Phase == decision.Connect && req.Connection.To.Kind == 0 {
		return deny("egress.malformed", "The connection names no destination.", "Send the URL, or the host, that is to be connected to.")
	}
	if req.Connection.To.Kind != 0 {
		connected(&f, req, snap.Bundle, rules)
	}
	return f
}

func rulesOf(b *decision.Bundle) *egress.Rules {
	if b.Egress == nil {
		return egress.Standard()
	}
	return b.Egress
}

// asker is for whom a request's URLs are judged.
func asker(req *decision.Request, connects bool) egress.Asker {
	return egress.Asker{Connects: connects, Purpose: req.Purpose, Server: req.Tool.Server, Tool: req.Tool.Name}
}

// led are the URLs of the arguments, from a record where there is one.
func led(req *decision.Request, snap *decision.Snapshot, tool *decision.Tool) *egress.Facts {
	finder := tool.URLs
	if finder == nil {
		finder = egress.NewFinder(nil)
	}
	switch {
	case snap.Led != nil && snap.Led.By == finder.Digest():
		return snap.Led
	case snap.Led != nil, len(req.Arguments.Withheld()) > 0:
		return &egress.Facts{By: finder.Digest(), Unknown: true}
	}
	facts := finder.Find(req.Arguments)
	return &facts
}

func judgeURLs(f *decision.Finding, req *decision.Request, rules *egress.Rules) {
	said := map[string]bool{}
	for _, found := range f.URLs.Found {
		why := rules.Judge(found, asker(req, false), "", false)
		if why == nil {
			continue
		}
		object(f, said, "The URL "+argumentAt(found.Pointer), *why)
	}
	if f.URLs.Cut {
		object(f, said, "The arguments", egress.Refusal{Code: "bounds", Text: "hold more URLs than are looked at", Lift: "Send fewer URLs in one call."})
	}
}

// lockedURLs stops what leads to a host, or to a vendor's, that a lock stops.
func lockedURLs(f *decision.Finding, req *decision.Request, snap *decision.Snapshot) {
	if snap.Control == nil {
		return
	}
	for i := range snap.Control.Locks {
		l := &snap.Control.Locks[i]
		if l.Target.Kind != decision.OfHost && l.Target.Kind != decision.OfVendor {
			continue // the lock stage has asked it
		}
		for _, found := range f.URLs.Found {
			there := *req
			there.Destination = decision.Destination{Host: found.Host}
			if found.Host != "" && l.Stops(&there, snap.Bundle.Tools[req.Tool.ToolName], snap.Bundle.Hosts[found.Host], snap.At) {
				f.Verdict, f.Locks = decision.Deny, append(f.Locks, *l)
				f.Reasons = append(f.Reasons, decision.Reason{Code: lockCodes[l.Effect], Text: lockText(l), Lift: lockLift(l)})
				break
			}
		}
	}
}

func argumentAt(pointer string) string {
	if pointer == "" {
		return "in the arguments"
	}
	return fmt.Sprintf("at %.256q of the arguments", pointer)
}

// object adds a reason, each once.
func object(f *decision.Finding, said map[string]bool, what string, why egress.Refusal) {
	text := what + " " + why.Text + "."
	f.Verdict = decision.Deny
	if said[why.Code+text] || len(said) == maxURLs {
		return
	}
	said[why.Code+text] = true
	f.Reasons = append(f.Reasons, decision.Reason{Code: "egress." + why.Code, Text: text, Lift: why.Lift})
}

// connected judges a destination and what is said of it, and pins a connection.
func connected(f *decision.Finding, req *decision.Request, b *decision.Bundle, rules *egress.Rules) {
	c, as, said := &req.Connection, asker(req, true), map[string]bool{}
	_, vendor := b.Hosts[c.To.Host]
	if why := rules.Judge(c.To, as, c.Method, vendor); why != nil {
		object(f, said, "The destination", *why)
	} else if why := rules.Addresses(c.To.Target, as, c.Addresses, vendor); why != nil {
		object(f, said, "The destination's name", *why)
	}
	for _, found := range c.Within {
		if why := rules.Judge(found, as, "", false); why != nil {
			object(f, said, "The destination", *why)
		}
	}
	if why := c.Redirect(); why != nil {
		object(f, said, "The connection", *why)
	}
	if req.Phase != decision.Connect {
		return
	}
	pin := decision.Pin{Host: c.To.Host}
	bounds := rules.Bounds(c.To.Target, as, vendor)
	for _, p := range bounds.Refused {
		pin.Refused = append(pin.Refused, p.String())
	}
	for _, p := range bounds.Permitted {
		pin.Permitted = append(pin.Permitted, p.String())
	}
	for _, a := range c.Addresses {
		pin.Addresses = append(pin.Addresses, a.String())
	}
	f.Obligations = append(f.Obligations, decision.Obligation{Duty: pin})
}
