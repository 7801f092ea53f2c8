package stage

import (
	"fmt"
	"slices"
	"strings"

	"github.com/writpdp/writ/server/decision"
)

// whatIsFound is what would have to be known of contents that a record does not
// have.
const whatIsFound = "content: what is found in it"

// Route holds data to the vendors that the purpose allows, to what each may receive,
// and to the regions that purpose, policies and residency ask for, and sends it
// elsewhere where it must.
func Route(req *decision.Request, snap *decision.Snapshot, d *decision.Decision) decision.Finding {
	dest := req.Destination
	if dest == (decision.Destination{}) {
		return abstain()
	}
	id := snap.Bundle.Vendor(dest)
	if id == "" && dest.Vendor == "" && req.Phase != decision.Prompt && rulesOf(snap.Bundle).Names(req.Connection.To.Target, asker(req, true)) {
		return abstain() // an allow list names it, and no vendor is to be chosen
	}
	if id == "" {
		return deny("route.vendor_unknown", "The destination belongs to no vendor in the policy bundle.",
			"Review the vendor and add it to the bundle's vendors.")
	}
	vendor := snap.Bundle.Vendors[id]
	if dest.Host != "" && !slices.ContainsFunc(vendor.Endpoints, func(e decision.Endpoint) bool { return e.Host == dest.Host }) {
		return deny("route.host_unknown", fmt.Sprintf("The host is not one of the vendor %q.", id),
			"Connect to one of the vendor's hosts, or add the host to the vendor.")
	}
	purpose := snap.Bundle.Purposes[req.Purpose]
	if purpose == nil || !slices.Contains(purpose.Vendors, id) {
		return deny("route.vendor", fmt.Sprintf("The purpose %q does not grant the vendor %q.", req.Purpose, id),
			"Act under a purpose that grants the vendor, or add the vendor to this one in the bundle.")
	}
	if found := d.Inspection(); found != nil && found.Unknown {
		return undetermined([]string{whatIsFound})
	}
	return cargoOf(req, snap, d, vendor, purpose).choose()
}

// maxListed bounds the endpoints that a reason lists.
const maxListed = 8

// shipment is some data on its way to a vendor.
type shipment struct {
	req     *decision.Request
	snap    *decision.Snapshot
	vendor  *decision.Vendor
	purpose *decision.Purpose
	rules   []decision.RouteRule
	// labels are what is known of the data, in order.
	labels []string
}

func cargoOf(req *decision.Request, snap *decision.Snapshot, d *decision.Decision, vendor *decision.Vendor, purpose *decision.Purpose) *shipment {
	return &shipment{req: req, snap: snap, vendor: vendor, purpose: purpose, rules: d.Routes(), labels: dataClasses(d)}
}

// dataClasses are the labels of what a request carries to a vendor. What could not be
// looked into has one too. That a text came from strangers says nothing of whom it
// may go to.
func dataClasses(d *decision.Decision) []string {
	found := d.Inspection()
	labels := found.Labels()
	if found != nil && !found.Skipped && !found.Whole() {
		labels = append(labels, "uninspected")
	}
	labels = slices.DeleteFunc(labels, func(label string) bool { return label == "untrusted-content" })
	slices.Sort(labels)
	return slices.Compact(labels)
}

// choose takes the endpoint that was asked for when it is eligible, else the
// vendor's first eligible one in the region that was asked for, else its first
// eligible one.
func (s *shipment) choose() decision.Finding {
	dest := s.req.Destination
	var failed []string
	policy, because := "", ""
	var eligible []decision.Endpoint
	var locks []decision.Lock
	for _, e := range s.vendor.Endpoints {
		why, by := s.objection(e)
		if l := locked(s.req, s.snap, s.vendor.ID, e); why == "" && l != nil {
			why, locks = "lock "+l.ID, append(locks, *l)
		}
		if why == "" {
			eligible = append(eligible, e)
			continue
		}
		if len(failed) < maxListed {
			failed = append(failed, fmt.Sprintf("%s (%s)", e.Host, why))
		}
		if policy == "" {
			policy = by
		}
		if because == "" || e.Host == dest.Host {
			because = why
		}
	}
	if len(eligible) == 0 {
		f := deny("route.no_eligible", fmt.Sprintf("No endpoint of the vendor %q is eligible: %s.", s.vendor.ID, strings.Join(failed, "; ")),
			"Use a vendor with an endpoint where the data may go, or add one to the bundle.")
		f.Reasons[0].Policy, f.Locks = policy, locks
		return f
	}
	asked := func(e decision.Endpoint) bool { return dest.Region == "" || e.Region == dest.Region }
	i := slices.IndexFunc(eligible, func(e decision.Endpoint) bool { return asked(e) && (dest.Host == "" || e.Host == dest.Host) })
	if i < 0 {
		i = slices.IndexFunc(eligible, asked)
	}
	chosen := eligible[max(0, i)]
	f := abstain()
	f.Locks = locks
	if chosen.Host != dest.Host || dest.Region != "" && chosen.Region != dest.Region {
		why := "the vendor's first endpoint that is eligible"
		if because != "" {
			why = "what was asked for is not eligible: " + because
		}
		f.Obligations = []decision.Obligation{{Policy: policy, Duty: decision.Route{Vendor: s.vendor.ID, Region: chosen.Region, Host: chosen.Host, Why: why}}}
		f.Reasons = []decision.Reason{{Code: "route.changed", Policy: policy,
			Text: fmt.Sprintf("The data goes to %s in the region %q: %s.", chosen.Host, chosen.Region, why)}}
	}
	return f
}

// locked is the first lock that keeps data from an endpoint; nil: none does.
func locked(req *decision.Request, snap *decision.Snapshot, vendor string, e decision.Endpoint) *decision.Lock {
	if snap.Control == nil {
		return nil
	}
	there := *req
	there.Destination = decision.Destination{Host: e.Host, Vendor: vendor, Region: e.Region}
	for i := range snap.Control.Locks {
		if l := &snap.Control.Locks[i]; l.Stops(&there, snap.Bundle.Tools[req.Tool.ToolName], vendor, snap.At) {
			return l
		}
	}
	return nil
}

// objection says why an endpoint may not be used and which policy says so.
func (s *shipment) objection(e decision.Endpoint) (why, policy string) {
	if len(s.purpose.Regions) > 0 && !slices.Contains(s.purpose.Regions, e.Region) {
		return fmt.Sprintf("region %s is not one of the purpose's", e.Region), ""
	}
	for _, rule := range s.rules {
		if rule.Region != "" && rule.Region != e.Region {
			return fmt.Sprintf("region %s, %s is required", e.Region, rule.Region), rule.Policy
		}
		if rule.Vendor != "" && rule.Vendor != s.vendor.ID {
			return fmt.Sprintf("vendor %s, %s is required", s.vendor.ID, rule.Vendor), rule.Policy
		}
	}
	for _, label := range s.labels {
		if !slices.Contains(s.vendor.Receives, label) {
			return fmt.Sprintf("the vendor does not receive data labelled %s", label), ""
		}
	}
	if why := s.uncovered(e, ""); why != "" {
		return why, ""
	}
	return s.residency(e), ""
}

// residency says why data may not be in an endpoint's region, by the bundle's rules
// for it.
func (s *shipment) residency(e decision.Endpoint) string {
	for _, rule := range s.snap.Bundle.Residency {
		if len(rule.Tenants) > 0 && !slices.Contains(rule.Tenants, s.req.Caller.Tenant) ||
			len(rule.Labels) > 0 && !slices.ContainsFunc(rule.Labels, func(l string) bool { return slices.Contains(s.labels, l) }) {
			continue
		}
		if len(rule.Regions) > 0 && !slices.Contains(rule.Regions, e.Region) {
			return fmt.Sprintf("region %s, residency %s requires %s", e.Region, rule.ID, strings.Join(rule.Regions, " or "))
		}
		if why := s.uncovered(e, rule.Contract); rule.Contract != "" && why != "" {
			return fmt.Sprintf("residency %s: %s", rule.ID, why)
		}
	}
	return ""
}

// uncovered says why no contract of the vendor covers the data at an endpoint. Of a
// kind there must be one; without a kind a vendor may have no contracts at all.
func (s *shipment) uncovered(e decision.Endpoint, kind string) string {
	if len(s.vendor.Contracts) == 0 && kind == "" {
		return ""
	}
	why := "the vendor has no contract"
	if kind != "" {
		why = fmt.Sprintf("the vendor has no contract of the kind %s", kind)
	}
	for _, c := range s.vendor.Contracts {
		switch missing := slices.IndexFunc(s.labels, func(l string) bool { return !slices.Contains(c.Labels, l) }); {
		case kind != "" && c.Kind != kind:
		case !c.Until.IsZero() && !s.snap.At.Before(c.Until):
			why = fmt.Sprintf("the contract %s ended at %s", c.ID, moment(c.Until))
		case len(c.Regions) > 0 && !slices.Contains(c.Regions, e.Region):
			why = fmt.Sprintf("the contract %s is not for the region %s", c.ID, e.Region)
		case len(c.Labels) > 0 && missing >= 0:
			why = fmt.Sprintf("the contract %s does not cover data labelled %s", c.ID, s.labels[missing])
		default:
			return ""
		}
	}
	return why
}
