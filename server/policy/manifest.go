package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/writpdp/writ/server/decision"
)

// The files of a bundle. Cedar policies stand in cedar/*.cedar, those of one tenant
// in cedar/tenants/TENANT/*.cedar, and what servers answered to tools/list in
// tools/*.json.
const (
	fileManifest = "writ.yaml"
	fileSchema   = "schema.cedarschema"
	fileEntities = "entities.json"
	fileTools    = "tools.yaml"
	filePurposes = "purposes.yaml"
	fileVendors  = "vendors.yaml"
	fileBudgets  = "budgets.yaml"
	fileBreakers = "breakers.yaml"
	fileLabels   = "labels.yaml"
	fileChains   = "chains.yaml"
	dirAccess    = "access"
	dirCedar     = "cedar"
	dirTools     = "tools"
)

// maxDepth is the deepest that a request can say that its step lies.
const maxDepth = 10000

// manifest is writ.yaml.
type manifest struct {
	// Version is the version of the bundle's format: 1.
	Version int `yaml:"version"`
	// Name says which bundle this is, in records and in logs.
	Name  string `yaml:"name"`
	Audit struct {
		// Async are the classes of tools that may be called before the record of
		// the decision is durable; none: every answer waits for its record.
		Async []string `yaml:"async"`
		// Record are the pointer patterns of the strings in context.extra that
		// stand in records; none: no string does.
		Record []string `yaml:"record"`
	} `yaml:"audit"`
	// Plan bounds what agents plan.
	Plan struct {
		// Depth is the most that a step may lie below another; 0: however deep.
		Depth int64 `yaml:"depth"`
	} `yaml:"plan"`
	Sessions struct {
		// Required says that what has no session is denied, but for lists.
		Required bool `yaml:"required"`
	} `yaml:"sessions"`
	Locks struct {
		// FailOpen are the classes of tools that may be called although the store
		// has not told for too long whether there are new locks; none: nothing is.
		FailOpen []string `yaml:"fail_open"`
	} `yaml:"locks"`
	Tickets struct {
		// Roles are who has which role when a ticket is approved: SPIFFE ids, the
		// `sub` of people's tokens, or users of a tracker, by role.
		Roles map[string][]string `yaml:"roles"`
		// Approvals is how many must approve a ticket that is asked for, at least, and
		// ApproverRoles are the only roles that count; without: one, of any role.
		Approvals     int      `yaml:"approvals"`
		ApproverRoles []string `yaml:"approver_roles"`
	} `yaml:"tickets"`
}

// Bounds of the roles of approvers, and of how many must approve.
const (
	maxApprovals = 16
	maxRoles     = 64
	maxMembers   = 4096
	maxMember    = 2048 // bytes
)

// roles turns who has a role into which roles somebody has.
func (m *manifest) roles(b *decision.Bundle) error {
	if len(m.Tickets.Roles) > maxRoles {
		return fmt.Errorf("%s: tickets.roles: more than %d", fileManifest, maxRoles)
	}
	b.Roles = map[string][]string{}
	for _, role := range slices.Sorted(maps.Keys(m.Tickets.Roles)) {
		if err := checkName("tickets.roles", role); err != nil {
			return fmt.Errorf("%s: %w", fileManifest, err)
		}
		members := m.Tickets.Roles[role]
		if len(members) == 0 || len(members) > maxMembers {
			return fmt.Errorf("%s: tickets.roles: %s: not 1 to %d members", fileManifest, role, maxMembers)
		}
		for i, who := range members {
			switch {
			case who == "" || len(who) > maxMember || strings.ContainsFunc(who, func(r rune) bool { return r < ' ' || r == 0x7f }):
				return fmt.Errorf("%s: tickets.roles: %s: member %d is not 1 to %d bytes without control characters", fileManifest, role, i+1, maxMember)
			case slices.Contains(b.Roles[who], role):
				return fmt.Errorf("%s: tickets.roles: %s: member %d is there twice", fileManifest, role, i+1)
			}
			b.Roles[who] = append(b.Roles[who], role)
		}
	}
	if m.Tickets.Approvals < 0 || m.Tickets.Approvals > maxApprovals {
		return fmt.Errorf("%s: tickets.approvals: not 0 to %d", fileManifest, maxApprovals)
	}
	for i, role := range m.Tickets.ApproverRoles {
		if _, known := m.Tickets.Roles[role]; !known || slices.Contains(m.Tickets.ApproverRoles[:i], role) || i == maxApprovals {
			return fmt.Errorf("%s: tickets.approver_roles: %q has no members, is there twice, or is one too many", fileManifest, role)
		}
	}
	b.Approvals, b.ApproverRoles = m.Tickets.Approvals, m.Tickets.ApproverRoles
	return nil
}

// classes holds the classes against those that tools have: a misspelt one would
// silently allow nothing.
func (m *manifest) classes(b *decision.Bundle) error {
	known := map[string]bool{}
	for _, t := range b.Tools {
		for _, class := range t.Classes {
			known[class] = true
		}
	}
	for _, list := range []struct {
		key     string
		classes []string
	}{{"audit.async", m.Audit.Async}, {"locks.fail_open", m.Locks.FailOpen}} {
		for _, class := range list.classes {
			if !known[class] {
				return fmt.Errorf("%s: %s: no tool has the class %q", fileManifest, list.key, class)
			}
		}
	}
	b.Async, b.FailOpen = m.Audit.Async, m.Locks.FailOpen
	return nil
}

// toolsFile is tools.yaml: the operator's word on tools, by server and tool.
type toolsFile map[string]map[string]struct {
	// Classes become groups of Cedar actions.
	Classes []string `yaml:"classes"`
	// Labels are what the tool's results give a session; nil: what its server's
	// annotations say.
	Labels *[]string `yaml:"labels"`
	// Resources are the Cedar entity types that the tool acts upon.
	Resources []string `yaml:"resources"`
	// Lint silences lints of the tool: "-code".
	Lint []string `yaml:"lint"`
	// Record are the pointer patterns of the strings in the arguments that stand
	// in records, beside those that the tool's schema lists.
	Record []string `yaml:"record"`
}

// purposesFile is purposes.yaml, by id.
type purposesFile map[string]struct {
	Description string `yaml:"description"`
	// Tools are "server/tool" or "server/*".
	Tools []string `yaml:"tools"`
	// Vendors are ids of vendors.yaml.
	Vendors []string `yaml:"vendors"`
	// Regions, if any, are the only ones data may go to.
	Regions []string `yaml:"regions"`
	// Lint silences lints of the purpose: "-code".
	Lint []string `yaml:"lint"`
}

// vendorsFile is vendors.yaml, by id.
type vendorsFile map[string]struct {
	Description string `yaml:"description"`
	// Endpoints are in order of preference.
	Endpoints []struct {
		Region string `yaml:"region"`
		Host   string `yaml:"host"`
	} `yaml:"endpoints"`
}

// readYAML decodes a strict YAML file: unknown and duplicate keys are errors
// with line and column. A missing file leaves out as it is when optional.
func readYAML(files *files, name string, out any, optional bool) error {
	data, err := files.read(name)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return DecodeYAML(name, data, out)
}

// DecodeYAML decodes one strict YAML document within the bounds of a bundle's
// files: unknown and duplicate keys are errors, with file, line and column.
func DecodeYAML(name string, data []byte, out any) error {
	if err := checkYAML(name, data); err != nil {
		return err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict())
	if err := decoder.Decode(out); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s:%s", name, YAMLMessage(err))
	}
	var more struct{} // into anything else its aliases would be put in their places
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: more than one YAML document", name)
	}
	return nil
}

// yamlPlace is how the parser writes a place.
var yamlPlace = regexp.MustCompile(`^\[(\d+):(\d+)\] `)

// YAMLMessage is an error of the YAML parser as "line:column: message".
func YAMLMessage(err error) string {
	message := strings.TrimSpace(yaml.FormatError(err, false, false))
	if m := yamlPlace.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("%s:%s: %s", m[1], m[2], short(message[len(m[0]):]))
	}
	return " " + short(message)
}

// nameForm is what ids of purposes, vendors, budgets, classes and labels are.
var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

func checkName(kind, name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("the %s %q is not of the form %s", kind, name, nameForm)
	}
	return nil
}

// patterns reads "server/tool" and "server/*"; the server must be known and so
// must the tool.
func patterns(tools map[decision.ToolName]*decision.Tool, texts []string) ([]decision.ToolPattern, error) {
	var all []decision.ToolPattern
	for _, text := range texts {
		server, name, ok := strings.Cut(text, "/")
		p := decision.ToolPattern{Server: server, Name: name}
		if !ok || server == "*" {
			return nil, fmt.Errorf("the tool %q is neither server/tool nor server/*", text)
		}
		matched := false
		for t := range tools {
			matched = matched || p.Match(t)
		}
		if !matched {
			return nil, fmt.Errorf("the tool %q is in no manifest", text)
		}
		all = append(all, p)
	}
	return all, nil
}

func (f purposesFile) purposes(b *decision.Bundle) error {
	b.Purposes = map[string]*decision.Purpose{}
	for _, id := range slices.Sorted(maps.Keys(f)) {
		in := f[id]
		if err := checkName("purpose", id); err != nil {
			return err
		}
		tools, err := patterns(b.Tools, in.Tools)
		if err != nil {
			return fmt.Errorf("purpose %q: %w", id, err)
		}
		for _, v := range in.Vendors {
			if _, ok := b.Vendors[v]; !ok {
				return fmt.Errorf("purpose %q: there is no vendor %q", id, v)
			}
		}
		for _, region := range in.Regions {
			if !serves(b.Vendors, region) {
				return fmt.Errorf("purpose %q: no vendor is in the region %q", id, region)
			}
		}
		b.Purposes[id] = &decision.Purpose{ID: id, Tools: tools, Vendors: in.Vendors, Regions: in.Regions}
	}
	return nil
}

func serves(vendors map[string]*decision.Vendor, region string) bool {
	for _, v := range vendors {
		if slices.ContainsFunc(v.Endpoints, func(e decision.Endpoint) bool { return e.Region == region }) {
			return true
		}
	}
	return false
}

// hostForm and regionForm are what a request can name a host and a region.
var regionForm = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

var hostForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

func (f vendorsFile) vendors(b *decision.Bundle) error {
	b.Vendors, b.Hosts = map[string]*decision.Vendor{}, map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(f)) {
		in := f[id]
		if err := checkName("vendor", id); err != nil {
			return err
		}
		v := &decision.Vendor{ID: id}
		for _, e := range in.Endpoints {
			if !hostForm.MatchString(e.Host) {
				return fmt.Errorf("vendor %q: %q is not a host name in lower case", id, e.Host)
			}
			if !regionForm.MatchString(e.Region) {
				return fmt.Errorf("vendor %q: the region %q is not of the form %s", id, e.Region, regionForm)
			}
			if other, taken := b.Hosts[e.Host]; taken {
				return fmt.Errorf("vendor %q: the host %q belongs to the vendor %q already", id, e.Host, other)
			}
			b.Hosts[e.Host] = id
			v.Endpoints = append(v.Endpoints, decision.Endpoint{Region: e.Region, Host: e.Host})
		}
		if len(v.Endpoints) == 0 {
			return fmt.Errorf("vendor %q has no endpoints", id)
		}
		b.Vendors[id] = v
	}
	return nil
}
