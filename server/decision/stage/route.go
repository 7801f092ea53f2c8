package stage

import (
	"fmt"
	"slices"
	"strings"

	"github.com/writpdp/writ/server/decision"
)

// Route holds data to the vendors that the purpose allows and to the regions
// that purpose and policies ask for, and sends it elsewhere where it must.
func Route(req *decision.Request, snap *decision.Snapshot, d *decision.Decision) decision.Finding {
	dest := req.Destination
	if dest == (decision.Destination{}) {
		return abstain()
	}
	id := snap.Bundle.Vendor(dest)
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
	return choose(req, snap, vendor, purpose, d.Routes())
}

// maxListed bounds the endpoints that a reason lists.
const maxListed = 8

// choose takes the endpoint that was asked for when it is eligible, else the
// vendor's first eligible one in the region that was asked for, else its first
// eligible one.
func choose(req *decision.Request, snap *decision.Snapshot, vendor *decision.Vendor, purpose *decision.Purpose, rules []decision.RouteRule) decision.Finding {
	dest := req.Destination
	var failed []string
	policy := ""
	var eligible []decision.Endpoint
	var locks []decision.Lock
	for _, e := range vendor.Endpoints {
		why, by := objection(e, vendor.ID, purpose, rules)
		if l := locked(req, snap, vendor.ID, e); why == "" && l != nil {
			why, locks = "lock "+l.ID, append(locks, *l)
		}
		if why != "" {
			if len(failed) < maxListed {
				failed = append(failed, fmt.Sprintf("%s (%s)", e.Host, why))
			}
			if policy == "" {
				policy = by
			}
		} else {
			eligible = append(eligible, e)
		}
	}
	if len(eligible) == 0 {
		f := deny("route.no_eligible", fmt.Sprintf("No endpoint of the vendor %q is eligible: %s.", vendor.ID, strings.Join(failed, "; ")),
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
		f.Obligations = []decision.Obligation{{Policy: policy, Duty: decision.Route{Vendor: vendor.ID, Region: chosen.Region, Host: chosen.Host}}}
		f.Reasons = []decision.Reason{{Code: "route.changed", Policy: policy,
			Text: fmt.Sprintf("The data goes to %s in the region %q.", chosen.Host, chosen.Region)}}
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
func objection(e decision.Endpoint, vendor string, purpose *decision.Purpose, rules []decision.RouteRule) (why, policy string) {
	if len(purpose.Regions) > 0 && !slices.Contains(purpose.Regions, e.Region) {
		return fmt.Sprintf("region %s is not one of the purpose's", e.Region), ""
	}
	for _, rule := range rules {
		if rule.Region != "" && rule.Region != e.Region {
			return fmt.Sprintf("region %s, %s is required", e.Region, rule.Region), rule.Policy
		}
		if rule.Vendor != "" && rule.Vendor != vendor {
			return fmt.Sprintf("vendor %s, %s is required", vendor, rule.Vendor), rule.Policy
		}
	}
	return "", ""
}
