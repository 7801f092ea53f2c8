package decision

// System is the tenant of records that belong to nobody's: changes of the
// rollout. No caller works for it.
const System = "writ:system"

// Rollout is which bundles decide: the whole state, as one change left it. It is
// an effect too. Guard: the newest version that is stored is Version-1.
type Rollout struct {
	// Version is 1, 2, 3, and so on.
	Version int64
	// Live is the bundle in force.
	Live BundleRef
	// Candidate is the bundle that is tried out; zero: none is, and then all
	// below is zero too.
	Candidate BundleRef
	Mode      RolloutMode
	// Share is how many sessions of a canary the candidate decides, from 0 to
	// Whole.
	Share int
	// Tenants are whose sessions, sorted; none: every tenant's.
	Tenants []string
	// Margin is how far the candidate may depart from the live bundle.
	Margin Margin
}

// Whole is all of something that is counted in hundredths of a per cent.
const Whole = 10_000

// BundleRef names a bundle and the archive of its files.
type BundleRef struct {
	// Digest is the bundle's, in hex.
	Digest string
	// Archive is the archive's SHA-256.
	Archive [32]byte
}

// RolloutMode is how a candidate is tried out.
type RolloutMode uint8

// The modes, with the numbers of writ.v1.RolloutMode.
const (
	Shadow RolloutMode = iota + 1 // decides beside the live bundle
	Canary                        // answers some sessions
)

// Margin is how far a candidate's decisions may be from the live bundle's, in
// hundredths of a per cent of all decisions; Whole: as far as they may get.
type Margin struct {
	// Denials bounds the difference of the shares of denials, either way.
	Denials int
	// Errors bounds by how much more of the candidate's decisions may have a
	// policy that could not be evaluated.
	Errors int
}

func (Rollout) effect() {}

// CodePolicyError is the code of the reason that a policy could not be evaluated.
const CodePolicyError = "policy.error"

// Erred reports whether some policy could not be evaluated.
func (d *Decision) Erred() bool {
	for i := range d.Findings {
		for j := range d.Findings[i].Reasons {
			if d.Findings[i].Reasons[j].Code == CodePolicyError {
				return true
			}
		}
	}
	return false
}
