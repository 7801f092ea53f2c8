package audit

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/writpdp/writ/address"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/egress"
)

// destinationFacts is what a record keeps of a destination: no URL, which can hold
// secrets, and of a redirect only the decision that it names.
func destinationFacts(req *decision.Request) *writv1.Destination {
	d, c := req.Destination, &req.Connection
	out := &writv1.Destination{Host: d.Host, Vendor: d.Vendor, Region: d.Region, Scheme: c.To.Scheme, Port: uint32(c.To.Port), Method: c.Method,
		RedirectedFrom: c.FromDecision}
	for _, a := range c.Addresses {
		out.Addresses = append(out.Addresses, a.String())
	}
	return out
}

// egressFacts is what a record keeps of where a request leads; nil: nowhere, or it was
// not looked into.
func egressFacts(req *decision.Request, d *decision.Decision) *writv1.EgressFacts {
	found := d.URLs()
	if req.Phase == decision.Result {
		found = nil // its call's record has them, and knows what must not stand there
	}
	if found == nil && req.Connection.To.Kind == 0 {
		return nil
	}
	facts := &writv1.EgressFacts{}
	if found != nil {
		facts.FinderDigest, facts.Cut = found.By[:], found.Cut
		if len(found.Found) > 0 {
			never, known := redacted(d)
			enterURLs(facts, found, never, known)
		}
	}
	if c := &req.Connection; c.To.Kind != 0 {
		facts.To = urlFacts(c.To)
		if found == nil {
			enterURLs(facts, &egress.Facts{Found: c.Within}, nil, true)
		} else if len(c.Within) > 0 {
			facts.Withheld = true // those of the arguments stand there
		}
		if c.From.Kind != 0 {
			facts.From = urlFacts(c.From)
		}
	}
	return facts
}

// enterURLs enters the URLs that stand at no pointer of never, each once.
func enterURLs(facts *writv1.EgressFacts, found *egress.Facts, never []string, known bool) {
	seen := map[egress.Found]bool{}
	for _, u := range found.Found {
		pointer := u.Pointer
		u.Pointer = ""
		switch {
		case seen[u]:
			continue
		case !known, len(facts.Urls) == maxItems, slices.ContainsFunc(never, func(n string) bool { return pointer == n || strings.HasPrefix(pointer, n+"/") }):
			facts.Withheld = true
			continue
		}
		seen[u] = true
		facts.Urls = append(facts.Urls, urlFacts(u))
	}
}

func urlFacts(u egress.Found) *writv1.UrlFacts {
	out := &writv1.UrlFacts{Kind: writv1.UrlKind(u.Kind), Scheme: u.Scheme, Port: uint32(u.Port), Problem: writv1.UrlProblem(u.Problem)}
	if len(u.Host) <= 253 {
		out.Host = strings.ToValidUTF8(u.Host, "")
	}
	if u.Addr.IsValid() {
		out.Class = string(address.Of(u.Addr))
	}
	return out
}

// checkEgress refuses what egressFacts cannot have written.
func checkEgress(facts *writv1.EgressFacts) error {
	switch {
	case facts == nil:
		return nil
	case len(facts.FinderDigest) != 0 && len(facts.FinderDigest) != 32:
		return errors.New("egress: finder_digest is not 32 bytes")
	case len(facts.Urls) > maxItems:
		return fmt.Errorf("egress: more than %d urls", maxItems)
	}
	all := facts.Urls[:len(facts.Urls):len(facts.Urls)]
	for _, one := range []*writv1.UrlFacts{facts.To, facts.From} {
		if one != nil {
			all = append(all, one)
		}
	}
	for _, u := range all {
		switch {
		case u.GetKind() < writv1.UrlKind_URL_KIND_STATED || u.Kind > writv1.UrlKind_URL_KIND_ORIGIN:
			return errors.New("egress: a kind is unknown")
		case u.Problem < 0 || u.Problem > writv1.UrlProblem_URL_PROBLEM_TOO_LONG:
			return errors.New("egress: a problem is unknown")
		case u.Port > 65535:
			return errors.New("egress: a port is out of range")
		}
		if err := errors.Join(text("egress: scheme", u.Scheme, 0, 65), text("egress: host", u.Host, 0, 253), text("egress: class", u.Class, 0, 32)); err != nil {
			return err
		}
	}
	return nil
}

func urlOf(u *writv1.UrlFacts) egress.Found {
	found := egress.Found{Kind: egress.Kind(u.GetKind()), Problem: egress.Problem(u.GetProblem())}
	found.Scheme, found.Host, found.Port = u.GetScheme(), u.GetHost(), uint16(u.GetPort())
	if a, err := netip.ParseAddr(found.Host); err == nil {
		found.Addr = a
	}
	return found
}

// ledOf is what a record tells of the URLs in a request's arguments, of a result the
// record of its call. Where it does not, nobody looked.
func ledOf(e *writv1.DecisionEvent, call []byte) *egress.Facts {
	facts := e.Egress
	if e.Phase == writv1.Phase_PHASE_RESULT {
		facts = callEvent(call, e.ArgumentsDigest).GetEgress()
	}
	led := &egress.Facts{Cut: facts.GetCut()}
	if len(facts.GetFinderDigest()) == 0 || facts.GetWithheld() {
		return led // of a finder that no tool has
	}
	copy(led.By[:], facts.FinderDigest)
	for _, u := range facts.Urls {
		led.Found = append(led.Found, urlOf(u))
	}
	return led
}

// connectionOf is what a record tells of a connection. Of a record of before there
// were such facts, the host is what it says.
func connectionOf(e *writv1.DecisionEvent) egress.Connection {
	d := e.Destination
	if d == nil {
		return egress.Connection{}
	}
	c := egress.Connect(egress.StatedConnection{Scheme: d.Scheme, Host: d.Host, Port: uint16(d.Port), Method: d.Method, Addresses: d.Addresses, RedirectedFrom: d.RedirectedFrom})
	if e.Egress.GetTo() != nil {
		c.To = urlOf(e.Egress.To)
	}
	if len(e.Egress.GetFinderDigest()) == 0 {
		for _, u := range e.Egress.GetUrls() {
			c.Within = append(c.Within, urlOf(u))
		}
	}
	if e.Egress.GetFrom() != nil {
		c.From = urlOf(e.Egress.From)
	}
	return c
}
