package audit

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/content/detect"
)

// inspectionFacts is what a record keeps of what was found: how often what, and
// not where.
func inspectionFacts(found *detect.Inspection) *writv1.InspectionFacts {
	if found == nil {
		return nil
	}
	facts := &writv1.InspectionFacts{DetectorsDigest: found.By[:], Cut: found.Cut, Skipped: found.Skipped}
	for i := range found.Findings {
		f := &found.Findings[i]
		at, known := slices.BinarySearchFunc(facts.Found, f, func(have *writv1.FoundFacts, f *detect.Finding) int {
			return cmp.Or(strings.Compare(have.Detector, f.Detector), slices.Compare(have.Labels, f.Labels))
		})
		if !known && len(facts.Found) == maxItems {
			facts.Cut = true
			continue
		}
		if !known {
			facts.Found = slices.Insert(facts.Found, at, &writv1.FoundFacts{Detector: f.Detector, Labels: f.Labels})
		}
		facts.Found[at].Count++
	}
	for _, g := range found.Gaps {
		at, known := slices.BinarySearchFunc(facts.Gaps, g.Kind, func(have *writv1.GapFacts, kind string) int { return strings.Compare(have.Kind, kind) })
		if !known && len(facts.Gaps) == maxItems {
			facts.Cut = true
			continue
		}
		if !known {
			facts.Gaps = slices.Insert(facts.Gaps, at, &writv1.GapFacts{Kind: g.Kind})
		}
		facts.Gaps[at].Count++
	}
	return facts
}

// checkInspection refuses what inspectionFacts cannot have written.
func checkInspection(facts *writv1.InspectionFacts) error {
	switch {
	case facts == nil:
		return nil
	case len(facts.DetectorsDigest) != 32:
		return errors.New("inspection: detectors_digest is not 32 bytes")
	case len(facts.Found) > maxItems || len(facts.Gaps) > maxItems:
		return fmt.Errorf("inspection: more than %d detectors or kinds", maxItems)
	}
	for _, f := range facts.Found {
		if err := text("inspection: detector", f.GetDetector(), 1, 64); err != nil {
			return err
		}
		if f.Count < 1 {
			return errors.New("inspection: something was found less than once")
		}
	}
	for _, g := range facts.Gaps {
		if err := text("inspection: kind", g.GetKind(), 1, 64); err != nil {
			return err
		}
		if g.Count < 1 {
			return errors.New("inspection: a gap is there less than once")
		}
	}
	return nil
}

// inspectionOf is what a decision's record tells of what was found, one finding for
// each detector, with no place. An inspection of nobody knows: nothing was looked
// into.
func inspectionOf(e *writv1.DecisionEvent) *detect.Inspection {
	found := &detect.Inspection{}
	facts := e.Inspection
	if facts == nil {
		return found
	}
	copy(found.By[:], facts.DetectorsDigest)
	found.Cut, found.Skipped = facts.Cut, facts.Skipped
	for _, f := range facts.Found {
		found.Findings = append(found.Findings, detect.Finding{Detector: f.Detector, Labels: f.Labels})
	}
	for _, g := range facts.Gaps {
		found.Gaps = append(found.Gaps, detect.Gap{Kind: g.Kind})
	}
	return found
}
