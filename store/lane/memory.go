package lane

import (
	"sync"

	"github.com/writpdp/writ/server/decision"
)

// maxRemembered bounds the counters that are remembered; beyond it all are
// forgotten, and read again when they are wanted.
const maxRemembered = 1 << 16

// Memory is what the counters held when this process last saw them. Another
// process, or a batch under way, may have changed them since: what is remembered
// is good enough to allow, because the commit has guards, and not to deny. The
// zero value remembers nothing. Safe for concurrent use.
type Memory struct {
	mu   sync.Mutex // guards used
	used map[CounterKey]int64
}

// Facts are the facts that are wanted, where counters are all that is wanted and
// all of them are remembered. Whether the token was used is left to the commit.
func (m *Memory) Facts(w *decision.Want) (decision.Facts, bool) {
	if !w.Remembered || w.Ticket != "" || w.CallID != [16]byte{} {
		return decision.Facts{}, false
	}
	facts := decision.Facts{Remembered: true, Used: make(map[decision.BudgetKey]int64, len(w.Budgets))}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range w.Budgets {
		used, known := m.used[CounterKey{w.Tenant, key}]
		if !known {
			return decision.Facts{}, false
		}
		facts.Used[key] = used
	}
	return facts, true
}

// Read remembers counters as they were read.
func (m *Memory) Read(tenant string, used map[decision.BudgetKey]int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, n := range used {
		m.keep(CounterKey{tenant, key}, n)
	}
}

// note remembers counters as a batch left them, once it is committed: what some
// hold, and by how much others changed, of which it saw no more.
func (m *Memory) note(seen, moved []Counter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range seen {
		m.keep(c.Key, c.Used)
	}
	for _, c := range moved {
		if was, known := m.used[c.Key]; known {
			m.used[c.Key] = max(0, plus(was, c.Used))
		}
	}
}

// Written remembers counters as a batch left them, once it is committed.
func (m *Memory) Written(w *Writes) { m.note(w.Counters, nil) }

func (m *Memory) keep(key CounterKey, used int64) {
	if m.used == nil || len(m.used) >= maxRemembered {
		m.used = map[CounterKey]int64{}
	}
	m.used[key] = used
}
