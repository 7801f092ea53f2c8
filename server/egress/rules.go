package egress

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/writpdp/writ/address"
)

// Rules are what a bundle says of where requests may lead.
type Rules struct {
	// Schemes are those that URLs may have.
	Schemes []string
	// Ports are those that URLs may have, where no rule says others.
	Ports []uint16
	// Allow are the allow lists.
	Allow []Rule
}

// Rule is one entry of an allow list.
type Rule struct {
	ID string
	// Hosts are names, and suffixes with their first dot: ".example.com" is of every
	// name below example.com, and not of itself.
	Hosts []string
	// Addresses may be connected to by these hosts although they are not public, and
	// stand for themselves as hosts.
	Addresses []netip.Prefix
	// Ports, Schemes and Methods are the only ones, if any are given.
	Ports   []uint16
	Schemes []string
	Methods []string
	// Purposes and Tools ("server/tool" or "server/*") are those that the rule is
	// for; none: for all. One for some tools is for no connection of no tool.
	Purposes []string
	Tools    []string
	// Connections says that it is for connections alone, and for no arguments.
	Connections bool
}

// Asker is for whom URLs are judged.
type Asker struct {
	Purpose string
	// Server and Tool are empty where no tool asks.
	Server, Tool string
	// Connects says that a connection is asked for, and not a tool's call.
	Connects bool
}

// applies reports whether a rule is for somebody.
func (r *Rule) applies(as Asker) bool {
	if r.Connections && !as.Connects || len(r.Purposes) > 0 && !slices.Contains(r.Purposes, as.Purpose) {
		return false
	}
	return len(r.Tools) == 0 || as.Server != "" &&
		(slices.Contains(r.Tools, as.Server+"/"+as.Tool) || slices.Contains(r.Tools, as.Server+"/*"))
}

// leads reports whether a rule names a host.
func (r *Rule) leads(t Target) bool {
	if t.Addr.IsValid() && slices.ContainsFunc(r.Addresses, func(p netip.Prefix) bool { return p.Contains(t.Addr.Unmap()) }) {
		return true
	}
	return slices.ContainsFunc(r.Hosts, func(h string) bool {
		return h == t.Host || h[0] == '.' && !t.Addr.IsValid() && strings.HasSuffix(t.Host, h) && len(t.Host) > len(h)
	})
}

// lists are the rules that are for somebody.
func (r *Rules) lists(as Asker) []*Rule {
	var all []*Rule
	for i := range r.Allow {
		if r.Allow[i].applies(as) {
			all = append(all, &r.Allow[i])
		}
	}
	return all
}

// leading are those of some rules that name a host.
func leading(rules []*Rule, t Target) []*Rule {
	return slices.DeleteFunc(slices.Clone(rules), func(r *Rule) bool { return !r.leads(t) })
}

// Names reports whether an allow list names a host for somebody.
func (r *Rules) Names(t Target, as Asker) bool { return len(leading(r.lists(as), t)) > 0 }

// Standard are the rules of a bundle that has none.
func Standard() *Rules {
	return &Rules{Schemes: []string{"https", "http"}, Ports: []uint16{80, 443}}
}

// Bounds are the addresses that may be connected to for a host. A vendor's host that
// is an address may be connected to, unless it is a metadata service's.
func (r *Rules) Bounds(t Target, as Asker, vendor bool) address.Bounds {
	var permitted []netip.Prefix
	if vendor && t.Addr.IsValid() && address.Of(t.Addr) != address.Metadata {
		permitted = append(permitted, netip.PrefixFrom(t.Addr.Unmap(), t.Addr.Unmap().BitLen()))
	}
	for _, rule := range leading(r.lists(as), t) {
		permitted = append(permitted, rule.Addresses...)
	}
	return address.Default(permitted)
}

// Refusal is why a URL may not be opened. Its texts hold nothing of the URL but
// its kind of scheme, host or address.
type Refusal struct {
	// Code is what comes after "egress." in the reason's.
	Code, Text, Lift string
}

// problems are the refusals that no rule lifts, by problem.
var problems = [...]Refusal{
	Malformed:  {"malformed", "is not a URL that can be read", "Send a URL as RFC 3986 has it."},
	Ambiguous:  {"ambiguous", "leads elsewhere for one program than for another", "Write the URL plainly: scheme://host/path, the host as it is, without anything that programs read differently."},
	Userinfo:   {"userinfo", "holds a user's name or password", "Leave out what stands before the @, and give credentials where they belong."},
	Confusable: {"confusable", "has a host that is written to look like another", "Use the host's own name; one that mixes scripts is not reached."},
	TooLong:    {"bounds", fmt.Sprintf("is longer than %d bytes", MaxURL), "Send a shorter URL."},
}

// Judge says why somebody may not be led somewhere; nil: they may. vendor says that
// the host is one of a vendor's, whose rules are others: no allow list need name it.
func (r *Rules) Judge(f Found, as Asker, method string, vendor bool) *Refusal {
	if f.Kind == Guessed || f.Kind == Nested {
		return r.hidden(f, as)
	}
	if f.Problem != Fine {
		return &problems[f.Problem]
	}
	if f.Scheme != "" && !slices.Contains(r.Schemes, f.Scheme) {
		return &Refusal{"scheme", "has a scheme that is not listed", "Use one of the schemes that the bundle's egress.yaml lists."}
	}
	if f.Host == "" {
		return nil // of its scheme nothing else is read
	}
	lists := r.lists(as)
	named := leading(lists, f.Target)
	if why := local(f.Target, len(named) > 0 || vendor, r.Bounds(f.Target, as, vendor)); why != nil {
		return why
	}
	if len(named) == 0 && len(lists) > 0 && !vendor {
		return &Refusal{"host", "leads to a host that no allow list names", "Use a host that is allowed for this tool and purpose, or add it to the bundle's egress.yaml."}
	}
	return r.terms(f, named, method, vendor)
}

// terms hold scheme, port and method to the rules that name the host: one of them
// must take all three.
func (r *Rules) terms(f Found, named []*Rule, method string, vendor bool) *Refusal {
	port := func(ports []uint16) bool { return f.Port == 0 || slices.Contains(ports, f.Port) }
	if len(named) == 0 {
		if !port(r.Ports) && !vendor {
			return &refusedPort
		}
		return nil
	}
	var why *Refusal // of the first rule
	for _, rule := range named {
		ports := rule.Ports
		if len(ports) == 0 {
			ports = r.Ports
		}
		switch {
		case len(rule.Schemes) > 0 && f.Scheme != "" && !slices.Contains(rule.Schemes, f.Scheme):
			why = cmp.Or(why, &Refusal{"scheme", "has a scheme that its allow list does not take", "Use a scheme that the allow list takes for this host."})
		case !port(ports):
			why = cmp.Or(why, &refusedPort)
		case len(rule.Methods) > 0 && method != "" && !slices.Contains(rule.Methods, method):
			why = cmp.Or(why, &Refusal{"method", "is to be used by a method that its allow list does not take", "Use a method that the allow list takes for this host."})
		default:
			return nil
		}
	}
	return why
}

var refusedPort = Refusal{"port", "leads to a port that is not listed", "Use the scheme's own port, or one that the bundle's egress.yaml lists."}

// local says why a host is out of bounds for everybody whom no rule lets there.
func local(t Target, listed bool, bounds address.Bounds) *Refusal {
	if t.Addr.IsValid() {
		if bounds.Allow(t.Addr) {
			return nil
		}
		return refusedAddress(t.Addr)
	}
	kind := LocalName(t.Host)
	if kind == "" || listed && kind != OfMetadata {
		return nil
	}
	return &Refusal{"name", fmt.Sprintf("leads to %s", kind), "Use a name of the open internet, or have the bundle's egress.yaml list this one with its addresses."}
}

func refusedAddress(a netip.Addr) *Refusal {
	class := address.Of(a)
	if class == address.Public {
		class = "refused"
	}
	return &Refusal{"address", fmt.Sprintf("leads to an address that is not public (%s)", class),
		"Use a public address, or have the bundle's egress.yaml list the range for the host."}
}

// hidden judges what a program could be led to: refused is only what nobody is let
// to, and schemes that read files or speak for others.
func (r *Rules) hidden(f Found, as Asker) *Refusal {
	within := func(why *Refusal) *Refusal {
		if why == nil || f.Kind == Guessed {
			return why
		}
		return &Refusal{"nested", "holds another URL, which " + why.Text, "Leave out the URL within, or have it allowed."}
	}
	if f.Problem == TooLong && f.Kind == Nested {
		return &Refusal{"nested", "holds more URLs than are looked at, or one that is too long", "Send a URL that holds fewer."}
	}
	if hostile[f.Scheme] && f.Kind == Nested && !slices.Contains(r.Schemes, f.Scheme) {
		return within(&Refusal{Text: "has a scheme that is not listed"})
	}
	if f.Host == "" || f.Kind == Guessed && !f.Addr.IsValid() && !strings.Contains(f.Host, ".") && LocalName(f.Host) == OfNetwork {
		return nil
	}
	return within(local(f.Target, r.Names(f.Target, as), r.Bounds(f.Target, as, false)))
}

// hostile are schemes by which redirectors have read files and spoken to services.
var hostile = map[string]bool{"file": true, "gopher": true, "dict": true, "ldap": true, "ldaps": true, "tftp": true, "jar": true, "netdoc": true, "php": true,
	"phar": true, "expect": true, "smb": true, "sftp": true, "javascript": true, "data": true, "view-source": true, "glob": true, "zip": true, "ogg": true}

// Addresses says why a connection may not be made to addresses that a name was
// resolved to; nil: it may.
func (r *Rules) Addresses(t Target, as Asker, resolved []netip.Addr, vendor bool) *Refusal {
	bounds := r.Bounds(t, as, vendor)
	for _, a := range resolved {
		if !bounds.Allow(a) {
			return refusedAddress(a)
		}
	}
	return nil
}
