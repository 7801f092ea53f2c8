package lint

import (
	"fmt"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/writpdp/writ/address"
	"github.com/writpdp/writ/server/egress"
)

const egressFile = "egress.yaml"

// list is where egress.yaml has an allow list.
func (l *linter) list(rule *egress.Rule) Finding { return l.place(egressFile, "allow", rule.ID) }

func (l *linter) ofList(rule *egress.Rule, text, fix string) {
	f := l.list(rule)
	f.Severity, f.Text, f.Fix = Warning, text, fix
	l.report("allow list "+rule.ID, f)
}

func privateRange(l *linter) {
	for i := range l.src.Bundle.Egress.Allow {
		rule := &l.src.Bundle.Egress.Allow[i]
		for _, p := range rule.Addresses {
			// A range that is wider than what is refused permits nothing of it.
			if class := address.Of(p.Addr()); class != address.Public {
				l.ofList(rule, fmt.Sprintf("The allow list %s lets its hosts have the addresses %s, which are not public (%s).", rule.ID, p, class),
					"Take the narrowest range that the hosts have, and say in a comment why.")
			} else if p.Bits() < 8 {
				l.ofList(rule, fmt.Sprintf("The allow list %s names the range %s, which permits nothing that is refused: only what is as narrow as that does.", rule.ID, p),
					"Name the ranges that the hosts have.")
			}
		}
	}
}

func broadSuffix(l *linter) {
	for i := range l.src.Bundle.Egress.Allow {
		rule := &l.src.Bundle.Egress.Allow[i]
		for _, host := range rule.Hosts {
			suffix, below := strings.CutPrefix(host, ".")
			if !below {
				continue
			}
			if public, _ := publicsuffix.PublicSuffix(suffix); public == suffix {
				l.ofList(rule, fmt.Sprintf("The allow list %s names *.%s, below which anybody can have a name.", rule.ID, suffix),
					"Name the hosts, or a suffix of one owner.")
			}
		}
	}
}

func openScheme(l *linter) {
	b := l.src.Bundle
	check := func(at Finding, about string, schemes []string) {
		for _, scheme := range schemes {
			if egress.Reads(scheme) {
				continue
			}
			at.Severity, at.Text = Warning, fmt.Sprintf("The scheme %s is listed, and of its URLs nothing else is looked at.", scheme)
			at.Fix = "Take it away, unless whatever follows it may be opened."
			l.report(about, at)
		}
	}
	check(l.place(egressFile, "schemes"), egressFile, b.Egress.Schemes)
	for i := range b.Egress.Allow {
		check(l.list(&b.Egress.Allow[i]), "allow list "+b.Egress.Allow[i].ID, b.Egress.Allow[i].Schemes)
	}
}
