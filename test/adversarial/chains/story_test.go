package chains

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/goccy/go-yaml"
)

// step is one thing that an agent does.
type step struct {
	As string `yaml:"as"`
	// Call is a tool, "server/name", with its arguments and what it answers.
	Call     string `yaml:"call"`
	Args     string `yaml:"args"`
	Text     string `yaml:"text"`
	Resource string `yaml:"resource"`
	// Prompt is a text for a vendor's model.
	Prompt string `yaml:"prompt"`
	Vendor string `yaml:"vendor"`
	Region string `yaml:"region"`
	Micros int64  `yaml:"micros"`
	Tokens int64  `yaml:"tokens"`
	// Connect is a host, and Sends what goes there.
	Connect string `yaml:"connect"`
	Sends   string `yaml:"sends"`
	// Ticket is "true" where there is one for exactly this call, "task" where the one
	// of the task is shown.
	Ticket string `yaml:"ticket"`
	Repeat int    `yaml:"repeat"`
}

// attack is what a stranger has an agent do.
type attack struct {
	Needs  string   `yaml:"needs"`
	In     []string `yaml:"in"`
	Says   string   `yaml:"says"`
	Steps  []step   `yaml:"steps"`
	Effect struct {
		Done  string   `yaml:"done"`
		Sent  string   `yaml:"sent"`
		Has   []string `yaml:"has"`
		Times int      `yaml:"times"`
		Spent int64    `yaml:"spent"`
	} `yaml:"effect"`
}

// script is one run: a task, and the attack that comes in through it, if any.
type script struct {
	name, task string
	steps      []step
	attack     *attack
}

func read[T any](t *testing.T, name string) map[string]T {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all map[string]T
	if err := yaml.NewDecoder(f, yaml.Strict()).Decode(&all); err != nil {
		t.Fatalf("%s: %s", name, yaml.FormatError(err, false, true))
	}
	return all
}

// stories are the tasks alone, and every attack in each of its tasks.
func stories(t *testing.T) (benign, attacked []script) {
	t.Helper()
	tasks, attacks := read[[]step](t, "tasks.yaml"), read[*attack](t, "attacks.yaml")
	for _, name := range slices.Sorted(maps.Keys(tasks)) {
		benign = append(benign, script{name: name, task: name, steps: tasks[name]})
	}
	for _, name := range slices.Sorted(maps.Keys(attacks)) {
		for _, task := range attacks[name].In {
			steps, ok := tasks[task]
			if !ok {
				t.Fatalf("attacks.yaml: %s: there is no task %q", name, task)
			}
			attacked = append(attacked, script{name: fmt.Sprintf("%s in %s", name, task), task: task, steps: steps, attack: attacks[name]})
		}
	}
	return benign, attacked
}
