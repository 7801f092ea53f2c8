package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
)

// A journal is a caller's memory: a line for what it asks before it asks, and one
// for what it was told before it goes on, each by a write of its own.
type journal struct{ file *os.File }

func newJournal(name string) (*journal, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making a journal: %w", err)
	}
	return &journal{f}, nil
}

// line is one line; one of its fields is set.
type line struct {
	Asked    *asked    `json:"asked,omitempty"`
	Told     *told     `json:"told,omitempty"`
	Reported *reported `json:"reported,omitempty"`
	Settled  *settled  `json:"settled,omitempty"`
	Ticket   *granted  `json:"ticket,omitempty"`
	Lock     *locked   `json:"lock,omitempty"`
	Jump     *jumped   `json:"jump,omitempty"`
	// Gone is a request that was never answered.
	Gone string `json:"gone,omitempty"`
}

// asked is a question.
type asked struct {
	ID     string `json:"id"`
	Agent  string `json:"agent"`
	Human  string `json:"human"`
	JTI    string `json:"jti"`
	Ticket string `json:"ticket,omitempty"`
	Tokens int64  `json:"tokens"`
	Micros int64  `json:"micros"`
}

// told is an answer. Began and Came are when it was asked for and when it came, in
// nanoseconds since the run began.
type told struct {
	ID       string `json:"id"`
	Replica  int    `json:"replica"`
	Began    int64  `json:"began"`
	Came     int64  `json:"came"`
	Allowed  bool   `json:"allowed"`
	Effect   int32  `json:"effect"`
	Decision string `json:"decision"`
	Replayed bool   `json:"replayed,omitempty"`
	Leaf     []byte `json:"leaf"`
	Size     uint64 `json:"size"`
	// Charged is what each budget was charged, by its id.
	Charged map[string]int64 `json:"charged,omitempty"`
}

// reported is a report of what an action cost.
type reported struct {
	Decision string `json:"decision"`
	Tokens   int64  `json:"tokens"`
	Micros   int64  `json:"micros"`
}

// settled is the answer to a report. Charged is what each budget was charged in
// the end.
type settled struct {
	Decision   string           `json:"decision"`
	Settlement string           `json:"settlement"`
	Leaf       []byte           `json:"leaf"`
	Size       uint64           `json:"size"`
	Charged    map[string]int64 `json:"charged"`
}

// granted is a ticket that was created.
type granted struct {
	ID   string `json:"id"`
	Uses int64  `json:"uses"`
}

// locked is a lock on an agent or a human that was in force at least from one moment
// to another.
type locked struct {
	Agent string `json:"agent,omitempty"`
	Human string `json:"human,omitempty"`
	From  int64  `json:"from"`
	To    int64  `json:"to"`
}

// jumped is a replica's clock that was stepped, or set back to what it was, at a
// moment.
type jumped struct {
	Replica int   `json:"replica"`
	At      int64 `json:"at"`
}

func (j *journal) write(l line) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if _, err := j.file.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("writing a journal: %w", err)
	}
	return nil
}

// readJournal reads every line of a journal.
func readJournal(name string, each func(*line) error) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("reading a journal: %w", err)
	}
	for raw := range bytes.Lines(text) {
		var l line
		if err := json.Unmarshal(raw, &l); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := each(&l); err != nil {
			return err
		}
	}
	return nil
}
