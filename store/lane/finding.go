package lane

// Grade says how bad a finding is.
type Grade uint8

// The grades.
const (
	Good    Grade = iota + 1 // as it should be
	Suspect                  // it works, and a promise is weaker than it could be
	Bad                      // a promise cannot be kept
)

// String is the grade in a word.
func (g Grade) String() string {
	switch g {
	case Good:
		return "ok"
	case Suspect:
		return "warning"
	}
	return "failed"
}

// Finding is what an examination of a store's place has found about one thing.
type Finding struct {
	// Check names the thing, in a few words.
	Check string
	Grade Grade
	// Says is what was found, in a sentence, and Remedy what to do about it; empty
	// where there is nothing to do.
	Says, Remedy string
}
