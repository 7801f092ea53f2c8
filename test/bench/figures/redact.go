package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content/detect"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/redact"
	"github.com/writpdp/writ/server/pseudonym"
)

// redactFigure is what redacting a result of 1 KiB costs that was parsed and
// inspected already: the edits of two policies for three findings, one of them
// hashed, and the document that they make.
const redactFigure = "redact_1kib_us"

// redactionsEach is how many documents each round redacts.
const redactionsEach = 2000

// redactions measures the figure, if it is wanted.
func (b *bench) redactions(wanted []figure) error {
	for _, f := range wanted {
		if f.name != redactFigure {
			continue
		}
		rounds := make([]float64, b.settings.rounds)
		for i := range rounds {
			took, err := redaction()
			if err != nil {
				return fmt.Errorf("measuring %s: %w", f.name, err)
			}
			rounds[i] = 1e6 * took.Seconds()
		}
		b.results.redacted = median(rounds)
	}
	return nil
}

// redaction is the mean of one round.
func redaction() (time.Duration, error) {
	const card, mail = "4111111111111111", "ann@example.com"
	text := "Paid with " + card + " by " + mail + "."
	data, err := json.Marshal(map[string]any{"content": []any{map[string]any{"type": "text", "text": text}},
		"owner": mail, "notes": strings.Repeat("nothing to see here. ", 41)})
	if err != nil {
		return 0, err
	}
	doc, err := document.Parse(data)
	if err != nil {
		return 0, err
	}
	key, err := pseudonym.New(bytes.Repeat([]byte{1}, pseudonym.MinKey))
	if err != nil {
		return 0, err
	}
	at := func(detector, pointer, value string) detect.Finding {
		start := strings.Index(text, value)
		return detect.Finding{Detector: detector, Pointer: pointer, Start: start, End: start + len(value)}
	}
	q := decision.Query{Keys: key.Of("acme"), Detect: detect.Default(),
		Request: &decision.Request{Phase: decision.Result, Content: decision.Content{Document: doc, Size: len(data)}},
		Inspection: &detect.Inspection{Findings: []detect.Finding{at("payment-card", "/content/0/text", card), at("email", "/content/0/text", mail),
			{Detector: "email", Pointer: "/owner"}}}}
	rules := []*decision.RedactRule{{Policy: "cards", Detectors: []string{"payment-card"}, Method: document.LastFour},
		{Policy: "mail", Detectors: []string{"email"}, Method: document.Hashed}}
	began := time.Now()
	for range redactionsEach {
		duty, ok := redact.Edits(q, rules).Obligation.Duty.(decision.Redact)
		if !ok || len(duty.Edits) != 3 {
			return 0, errors.New("not all was redacted")
		}
		if _, err := doc.Apply(duty.Edits); err != nil {
			return 0, err
		}
	}
	return time.Since(began) / redactionsEach, nil
}
