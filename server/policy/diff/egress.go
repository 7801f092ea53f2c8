package diff

import (
	"fmt"
	"strings"
	"time"

	"github.com/writpdp/writ/server/decision"
)

// leads are what a bundle says of where requests may lead: of all, by allow list, and
// by rule of residency.
func leads(b Bundle, whole, lists, residency items) {
	if b.Egress != nil {
		whole["egress.yaml"] = map[string]string{"schemes": strings.Join(b.Egress.Schemes, " "), "ports": words(b.Egress.Ports)}
		for _, rule := range b.Egress.Allow {
			lists[rule.ID] = map[string]string{"hosts": strings.Join(rule.Hosts, " "), "addresses": words(rule.Addresses), "ports": words(rule.Ports),
				"schemes": strings.Join(rule.Schemes, " "), "methods": strings.Join(rule.Methods, " "), "purposes": strings.Join(rule.Purposes, " "),
				"tools": strings.Join(rule.Tools, " "), "connections": fmt.Sprint(rule.Connections)}
		}
	}
	for _, rule := range b.Residency {
		residency[rule.ID] = map[string]string{"labels": strings.Join(rule.Labels, " "), "tenants": strings.Join(rule.Tenants, " "),
			"regions": strings.Join(rule.Regions, " "), "contract": rule.Contract}
	}
}

// words are values in one line.
func words[T any](all []T) string { return strings.Trim(fmt.Sprint(all), "[]") }

func contracts(v *decision.Vendor) string {
	var all []string
	for _, c := range v.Contracts {
		until := "no end"
		if !c.Until.IsZero() {
			until = "before " + c.Until.Format(time.DateOnly)
		}
		all = append(all, fmt.Sprintf("%s (%s, %s, regions [%s], labels [%s])", c.ID, c.Kind, until, strings.Join(c.Regions, " "), strings.Join(c.Labels, " ")))
	}
	return strings.Join(all, "; ")
}
