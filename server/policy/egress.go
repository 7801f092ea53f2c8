package policy

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/writpdp/writ/address"
	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/egress"
)

// egressFile is egress.yaml.
type egressFile struct {
	// Schemes are those that URLs may have; none: https and http.
	Schemes []string `yaml:"schemes"`
	// Ports are those that URLs may have where a list says nothing; none: 80 and 443.
	Ports []uint16 `yaml:"ports"`
	// Allow are the allow lists, by id.
	Allow map[string]struct {
		Description string `yaml:"description"`
		// Hosts are names, or *.SUFFIX for all names below SUFFIX.
		Hosts []string `yaml:"hosts"`
		// Addresses are addresses and ranges that the hosts may have although they are
		// not public.
		Addresses []string `yaml:"addresses"`
		// Ports, Schemes and Methods are the only ones, if any are given.
		Ports   []uint16 `yaml:"ports"`
		Schemes []string `yaml:"schemes"`
		Methods []string `yaml:"methods"`
		// Purposes and Tools are those that the list is for; none: all.
		Purposes []string `yaml:"purposes"`
		Tools    []string `yaml:"tools"`
		// Connections makes it one for connections alone, and for no arguments.
		Connections bool `yaml:"connections"`
		// Lint silences lints of the list: "-code".
		Lint []string `yaml:"lint"`
	} `yaml:"allow"`
	// Residency are rules for data that stays somewhere, by id.
	Residency map[string]struct {
		Description string `yaml:"description"`
		// Labels and Tenants are of what data the rule is; none: of any.
		Labels  []string `yaml:"labels"`
		Tenants []string `yaml:"tenants"`
		// Regions, if any, are the only ones, and Contract the kind that it takes.
		Regions  []string `yaml:"regions"`
		Contract string   `yaml:"contract"`
	} `yaml:"residency"`
}

// Bounds of egress.yaml.
const (
	maxAllow  = 1024 // allow lists, and rules of residency
	maxHosts  = 4096 // of one list
	maxRanges = 64   // of one list: a pin names those of all that lead to a host
)

var (
	schemeForm = regexp.MustCompile(`^[a-z][a-z0-9+.-]{0,31}$`)
	methodForm = regexp.MustCompile(`^[A-Z]{1,16}$`)
)

func (f *egressFile) rules(b *decision.Bundle) error {
	rules := egress.Standard()
	if len(f.Schemes) > 0 {
		rules.Schemes = f.Schemes
	}
	if len(f.Ports) > 0 {
		rules.Ports = f.Ports
	}
	if err := errors.Join(forms("scheme", schemeForm, rules.Schemes), portsFit(rules.Ports)); err != nil {
		return err
	}
	if len(f.Allow) > maxAllow || len(f.Residency) > maxAllow {
		return fmt.Errorf("more than %d allow lists or rules of residency", maxAllow)
	}
	for _, id := range slices.Sorted(maps.Keys(f.Allow)) {
		if err := checkName("allow list", id); err != nil {
			return err
		}
		rule, err := f.rule(b, id)
		if err != nil {
			return fmt.Errorf("allow list %q: %w", id, err)
		}
		rules.Allow = append(rules.Allow, rule)
	}
	b.Egress = rules
	return f.residency(b)
}

func (f *egressFile) rule(b *decision.Bundle, id string) (egress.Rule, error) {
	in := f.Allow[id]
	rule := egress.Rule{ID: id, Ports: in.Ports, Schemes: in.Schemes, Methods: in.Methods, Purposes: in.Purposes, Tools: in.Tools, Connections: in.Connections}
	switch {
	case len(in.Hosts)+len(in.Addresses) == 0:
		return rule, errors.New("it names neither hosts nor addresses")
	case len(in.Hosts) > maxHosts || len(in.Addresses) > maxRanges:
		return rule, fmt.Errorf("more than %d hosts or %d addresses", maxHosts, maxRanges)
	}
	for _, host := range in.Hosts {
		name, below := strings.CutPrefix(host, "*.")
		if !egress.Name(name) {
			return rule, fmt.Errorf("%q is neither a host's name in ASCII and lower case nor *. and such a name", host)
		}
		if egress.LocalName(name) == egress.OfMetadata {
			return rule, fmt.Errorf("%q is a metadata service's", host)
		}
		if below {
			name = "." + name
		}
		rule.Hosts = append(rule.Hosts, name)
	}
	for _, text := range in.Addresses {
		prefix, err := prefixOf(text)
		if err != nil {
			return rule, err
		}
		rule.Addresses = append(rule.Addresses, prefix)
	}
	if _, err := patterns(b.Tools, in.Tools); err != nil {
		return rule, err
	}
	for _, purpose := range in.Purposes {
		if b.Purposes[purpose] == nil {
			return rule, fmt.Errorf("there is no purpose %q", purpose)
		}
	}
	return rule, errors.Join(forms("scheme", schemeForm, in.Schemes), forms("method", methodForm, in.Methods), portsFit(in.Ports))
}

// prefixOf reads an address or a range. One that is of a metadata service alone can
// be allowed by nobody.
func prefixOf(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		a, failed := netip.ParseAddr(text)
		if failed != nil || a.Zone() != "" {
			return prefix, fmt.Errorf("%q is neither an address nor a range", text)
		}
		prefix = netip.PrefixFrom(a, a.BitLen())
	}
	switch {
	case prefix != prefix.Masked():
		return prefix, fmt.Errorf("the range %q has bits beyond its length", text)
	case prefix.Addr().Is4In6():
		return prefix, fmt.Errorf("%q is an IPv4 address in IPv6: write it as an IPv4 address", text)
	case address.Of(prefix.Addr()) == address.Metadata && prefix.IsSingleIP():
		return prefix, fmt.Errorf("%q is a metadata service's", text)
	}
	return prefix, nil
}

func forms(what string, form *regexp.Regexp, texts []string) error {
	for _, text := range texts {
		if !form.MatchString(text) {
			return fmt.Errorf("the %s %q is not of the form %s", what, text, form)
		}
	}
	return nil
}

func portsFit(ports []uint16) error {
	if slices.Contains(ports, 0) {
		return errors.New("0 is no port")
	}
	return nil
}

func (f *egressFile) residency(b *decision.Bundle) error {
	for _, id := range slices.Sorted(maps.Keys(f.Residency)) {
		in := f.Residency[id]
		if err := checkName("rule of residency", id); err != nil {
			return err
		}
		if len(in.Regions) == 0 && in.Contract == "" {
			return fmt.Errorf("rule of residency %q: it names neither regions nor a contract", id)
		}
		for _, region := range in.Regions {
			if !serves(b.Vendors, region) {
				return fmt.Errorf("rule of residency %q: no vendor is in the region %q", id, region)
			}
		}
		for _, label := range in.Labels {
			if err := checkName("label", label); err != nil {
				return fmt.Errorf("rule of residency %q: %w", id, err)
			}
		}
		b.Residency = append(b.Residency, decision.Residency{ID: id, Labels: in.Labels, Tenants: in.Tenants, Regions: in.Regions, Contract: in.Contract})
	}
	return nil
}

// contract is one of a vendor's in vendors.yaml.
type contract struct {
	// Kind is what it is, such as dpa.
	Kind string `yaml:"kind"`
	// Until is the last day that it holds, as 2006-01-02, in UTC; empty: it does not end.
	Until string `yaml:"until"`
	// Regions and Labels are the only ones that it covers; none: all.
	Regions []string `yaml:"regions"`
	Labels  []string `yaml:"labels"`
}

// terms reads what a vendor may receive, and by what.
func terms(v *decision.Vendor, receives []string, contracts map[string]contract) error {
	for _, label := range receives {
		if err := checkName("label", label); err != nil {
			return err
		}
	}
	v.Receives = receives
	for _, id := range slices.Sorted(maps.Keys(contracts)) {
		in := contracts[id]
		c := decision.Contract{ID: id, Kind: in.Kind, Regions: in.Regions, Labels: in.Labels}
		err := errors.Join(checkName("contract", id), checkName("kind of contract", in.Kind))
		for _, label := range in.Labels {
			err = errors.Join(err, checkName("label", label))
		}
		for _, region := range in.Regions {
			if !slices.ContainsFunc(v.Endpoints, func(e decision.Endpoint) bool { return e.Region == region }) {
				err = errors.Join(err, fmt.Errorf("no endpoint is in the region %q", region))
			}
		}
		if in.Until != "" {
			day, failed := time.Parse(time.DateOnly, in.Until)
			if failed != nil {
				err = errors.Join(err, fmt.Errorf("until is no day, as %s", time.DateOnly))
			}
			c.Until = day.AddDate(0, 0, 1)
		}
		if err != nil {
			return fmt.Errorf("contract %q: %w", id, err)
		}
		v.Contracts = append(v.Contracts, c)
	}
	return nil
}

// uriFormats are the formats of JSON Schema that strings which lead somewhere have.
var uriFormats = []string{"uri", "url", "iri", "uri-reference", "iri-reference", "hostname", "idn-hostname", "ipv4", "ipv6"}

// Bounds of the search for them.
const (
	maxPlaces     = 256
	maxPlaceDepth = 12
)

// places are the patterns of the pointers at which a tool's schema says that URLs and
// hosts stand, with those that the operator adds.
func places(schema map[string]any, said []string) ([]string, error) {
	p := placing{root: schema}
	p.look(schema, nil, 0)
	for _, pattern := range said {
		if err := document.CheckPattern(pattern); err != nil {
			return nil, fmt.Errorf("urls: %q: %w", pattern, err)
		}
	}
	return append(p.found, said...), nil
}

type placing struct {
	root  map[string]any
	found []string
	seen  int
}

func (p *placing) look(s any, at []byte, depth int) {
	m, ok := s.(map[string]any)
	if p.seen++; !ok || depth > maxPlaceDepth || p.seen > maxArgumentTypes || len(p.found) == maxPlaces {
		return
	}
	if ref, ok := m["$ref"].(string); ok {
		p.look(Follow(p.root, ref), at, depth+1)
	}
	if format, _ := m["format"].(string); slices.Contains(uriFormats, format) {
		p.found = append(p.found, string(at))
	}
	if properties, ok := m["properties"].(map[string]any); ok {
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			p.look(properties[name], document.AppendToken(at[:len(at):len(at)], name), depth+1)
		}
	}
	for _, keyword := range []string{"items", "additionalProperties"} {
		p.look(m[keyword], append(at[:len(at):len(at)], "/*"...), depth+1)
	}
	for _, keyword := range []string{"anyOf", "oneOf", "allOf", "prefixItems"} {
		list, _ := m[keyword].([]any)
		below := at
		if keyword == "prefixItems" {
			below = append(at[:len(at):len(at)], "/*"...)
		}
		for _, one := range list {
			p.look(one, below, depth+1)
		}
	}
}
