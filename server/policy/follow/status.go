package follow

import "time"

// Status is the state of the bundle in force and of its source. It holds nothing
// secret.
type Status struct {
	// Source is the source's name.
	Source string `json:"source"`
	// Name, Digest and Commit are the bundle's; Commit is empty for a directory.
	Name   string `json:"name"`
	Digest string `json:"digest"`
	Commit string `json:"commit,omitzero"`
	// Signer is who signed it, and Key the fingerprint; empty where nobody has to.
	Signer string `json:"signer,omitzero"`
	Key    string `json:"key,omitzero"`
	// Since is when it came into force in this process.
	Since time.Time `json:"since"`
	// Kept says that it is the one that was kept, because the source had none
	// that may be used.
	Kept bool `json:"kept,omitzero"`
	// Tried is when the source was last asked, and Answered when it last answered,
	// with whatever.
	Tried    time.Time `json:"tried,omitzero"`
	Answered time.Time `json:"answered,omitzero"`
	// Error is why the source's newest state is not in force; empty: it is.
	Error string `json:"error,omitzero"`
}

// Status is how things stand.
func (f *Follower) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// Ready is the status, and whether decisions should be asked for here. They
// should while a bundle is in force, whatever is wrong with its successor: who
// can push a bad commit must not be able to stop decisions. Only a source that
// has not answered for Config.StaleAfter says no.
func (f *Follower) Ready() (Status, bool) {
	s := f.Status()
	last := s.Answered
	if last.IsZero() {
		last = s.Since
	}
	return s, f.c.StaleAfter == 0 || f.c.Now().Sub(last) <= f.c.StaleAfter
}

func (f *Follower) change(by func(*Status)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	by(&f.status)
}

// answered is a change because the source answered.
func (f *Follower) answered(by func(*Status)) {
	now := f.c.Now().UTC()
	f.change(func(s *Status) {
		s.Tried, s.Answered = now, now
		by(s)
	})
}
