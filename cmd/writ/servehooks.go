package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/face/webhook"
	"github.com/writpdp/writ/server/secret"
)

// ticketWebhook is a source of approvals: a tracker that delivers to
// /hooks/tickets/NAME.
type ticketWebhook struct {
	Name string `yaml:"name"`
	// SecretFiles hold the keys that sign, any of which will do.
	SecretFiles []string `yaml:"secret_files"`
	// Tenant is whose tickets it makes.
	Tenant  string          `yaml:"tenant"`
	Mapping webhook.Mapping `yaml:"mapping"`
}

// approvals is where a source's changes go: tickets are read from the store, and
// everything is committed to the ledger.
type approvals struct {
	server.Tickets
	server.Ledger
}

// ticketRoutes are the routes of the sources of approvals.
func (c *config) ticketRoutes(p parts, log *slog.Logger) (map[string]http.Handler, error) {
	routes := map[string]http.Handler{}
	for i := range c.TicketWebhooks {
		w := &c.TicketWebhooks[i]
		pattern := "POST /hooks/tickets/" + w.Name
		if routes[pattern] != nil {
			return nil, fmt.Errorf("ticket_webhooks: two have the name %q", w.Name)
		}
		keys, err := w.keys()
		if err == nil {
			routes[pattern], err = webhook.Handler(webhook.Config{Name: w.Name, Keys: keys, Tenant: w.Tenant, Mapping: w.Mapping,
				Store: approvals{p.store, p.store.ledger}, Bundle: func() *decision.Bundle { return p.bundles.Live() }, Now: time.Now,
				NewID: func() ([16]byte, error) { id, err := uuid.NewV7(); return id, err }, Log: log})
		}
		if err != nil {
			return nil, fmt.Errorf("ticket_webhooks[%d]: %w", i, err)
		}
	}
	return routes, nil
}

func (w *ticketWebhook) keys() ([]secret.Bytes, error) {
	if len(w.SecretFiles) == 0 {
		return nil, errors.New("secret_files is missing")
	}
	var keys []secret.Bytes
	for _, file := range w.SecretFiles {
		text, err := secret.ReadLine(file)
		if err != nil {
			return nil, err
		}
		key, err := webhook.Key(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}
