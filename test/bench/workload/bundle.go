// Package workload is what the benchmarks ask of Writ: the policy bundles, the
// agents with their tokens, and the request of an ordinary day. It measures
// nothing itself.
package workload

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"testing/fstest"

	"github.com/writpdp/writ/policies/policiestest"
)

// Agents is how many agents of the support desk ask. The sample bundle caps each
// at 100,000 calls a day, so together they reach none of its caps.
const Agents = 64

// Agent is the subject of the i-th agent.
func Agent(i int) string {
	return fmt.Sprintf("spiffe://example.org/agent/support-%02d", i%Agents)
}

// Sample is the sample bundle with Agents agents in the team of the support desk
// where it has one.
func Sample() (fs.FS, error) {
	files, err := sample()
	return files, err
}

// Async is the bundle of Sample, but that Request may be answered before its
// record is durable.
func Async() (fs.FS, error) {
	files, err := async()
	return files, err
}

func async() (fstest.MapFS, error) {
	files, err := sample()
	if err != nil {
		return nil, err
	}
	manifest := files["writ.yaml"]
	manifest.Data = append(manifest.Data, "\naudit: { async: [read-only] }\n"...)
	return files, nil
}

// Candidate is the bundle of Async with one policy more, which does not matter to
// Request.
func Candidate() (fs.FS, error) {
	files, err := async()
	if err != nil {
		return nil, err
	}
	files["cedar/candidate.cedar"] = &fstest.MapFile{Data: []byte(other(0))}
	return files, nil
}

// Policies is the bundle of Sample with exactly n policies, at least as many as
// matter to Request. Those are the same in every such bundle; the others are for
// other agents, teams or tools.
func Policies(n int) (fs.FS, error) {
	if n < len(relevant) {
		return nil, fmt.Errorf("writing %d policies: the request alone needs %d", n, len(relevant))
	}
	files, err := sample()
	if err != nil {
		return nil, err
	}
	for name := range files {
		if strings.HasPrefix(name, "cedar/") {
			delete(files, name)
		}
	}
	files["cedar/relevant.cedar"] = &fstest.MapFile{Data: []byte(strings.Join(relevant, "\n"))}
	var text strings.Builder
	for i := range n - len(relevant) {
		text.WriteString(other(i))
	}
	files["cedar/others.cedar"] = &fstest.MapFile{Data: []byte(text.String())}
	return files, nil
}

func sample() (fstest.MapFS, error) {
	files := policiestest.Sample()
	if err := addAgents(files["entities.json"]); err != nil {
		return nil, fmt.Errorf("adding agents to the sample bundle: %w", err)
	}
	return files, nil
}

// addAgents puts the agents into the team of the support desk.
func addAgents(file *fstest.MapFile) error {
	type uid struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	}
	type entity struct {
		UID     uid            `json:"uid"`
		Attrs   map[string]any `json:"attrs"`
		Parents []uid          `json:"parents"`
	}
	var entities []entity
	if err := json.Unmarshal(file.Data, &entities); err != nil {
		return err
	}
	for i := range Agents {
		entities = append(entities, entity{UID: uid{"Agent", Agent(i)}, Attrs: map[string]any{}, Parents: []uid{{"Team", "support"}}})
	}
	var err error
	file.Data, err = json.Marshal(entities)
	return err
}

// relevant are the sample bundle's policies that Request meets.
var relevant = []string{`
@id("support-reads-files")
@reason("Support agents may read what lies under /srv/files.")
permit (
  principal in Team::"support",
  action in [Action::"filesystem/read_text_file", Action::"filesystem/list_directory", Action::"filesystem/get_file_info"],
  resource == Server::"filesystem"
)
when { context.purpose == "support" && context.args.path like "/srv/files/*" };
`, `
@id("no-parent-paths")
forbid (
  principal,
  action in [Action::"filesystem/read_text_file", Action::"filesystem/list_directory", Action::"filesystem/get_file_info"],
  resource
)
when { context.args.path like "*/..*" };
`, `
@id("limit-file-output")
@obligate("limit_output")
@max_bytes("65536")
permit (principal, action == Action::"filesystem/read_text_file", resource)
when { context.phase == "CALL" };
`}

// elsewhere are tools that Request does not call.
var elsewhere = []string{"stripe/list_customers", "stripe/create_refund", "supabase/execute_sql", "mongodb/find",
	"playwright/browser_navigate", "filesystem/write_file", "filesystem/edit_file", "memory/read_graph"}

// other is the i-th policy that does not matter to Request: for another agent or
// another team with the same tool, or for the same team or everybody with another
// tool.
func other(i int) string {
	tool := elsewhere[i/4%len(elsewhere)]
	server, _, _ := strings.Cut(tool, "/")
	who, what, where := "principal", tool, server
	switch i % 4 {
	case 0:
		who, what, where = fmt.Sprintf(`principal == Agent::"spiffe://example.org/agent/other-%d"`, i), "filesystem/read_text_file", "filesystem"
	case 1:
		who, what, where = fmt.Sprintf(`principal in Team::"team-%d"`, i), "filesystem/read_text_file", "filesystem"
	case 2:
		who = `principal in Team::"support"`
	}
	return fmt.Sprintf(`
@id("other-%d")
permit (%s, action == Action::%q, resource == Server::%q)
when { context.purpose == "purpose-%d" };
`, i, who, what, where, i)
}
