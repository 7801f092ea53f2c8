package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// An approval in a tracker becomes a ticket of a server, by the example of its
// documentation; and a ticket is asked for over gRPC.
func TestServeTickets(t *testing.T) {
	s := newSite(t)
	example, err := os.ReadFile(filepath.Join("..", "..", "deploy", "examples", "webhooks", "jira.yaml"))
	must(t, err)
	key := []byte("a key of thirty-two bytes, or so")
	s.write(t, "hook", "whsec_"+base64.StdEncoding.EncodeToString(key)+"\n")
	source := strings.ReplaceAll(strings.ReplaceAll(string(example), "/run/secrets/jira-webhook", "hook"), "\n", "\n    ")
	s.write(t, "writ.yaml", goodConfig+"ticket_webhooks:\n  -\n    "+source+"\n")
	succeed(t, "migrate", "--database-file", s.path("database"))
	p := s.serve(t)
	refund := []string{"--tool", "stripe/create_refund", "--args", `{"payment_intent":"pi_1","amount":9000}`}
	body, err := os.ReadFile(filepath.Join("..", "..", "deploy", "examples", "webhooks", "jira.json"))
	must(t, err)
	now := time.Now().UTC()
	text := strings.NewReplacer("spiffe://example.org/agent/operations", testAgent, "supabase/execute_sql", "stripe/create_refund",
		"4f1c7c7f2b6a3c1b5f9b7a3d0e2c4d6f8a0b1c2d3e4f5061728394a5b6c7d8e9", refundDigest(t, s, p, refund),
		"2026-11-27T02:00:00.000+0000", now.Add(-time.Minute).Format(time.RFC3339), "2026-11-27T04:00:00.000+0000", now.Add(time.Hour).Format(time.RFC3339)).Replace(string(body))
	if code, out := s.deliver(t, p, []byte("another key"), text); code != http.StatusUnauthorized {
		t.Errorf("an unsigned delivery: %d %s", code, out)
	}
	for range 2 {
		if code, out := s.deliver(t, p, key, text); code != http.StatusOK || !strings.Contains(out, `"state":"approved"`) {
			t.Fatalf("a delivery: %d %s", code, out)
		}
	}
	if code, out := s.decide(t, p, append(refund, "--ticket", "OPS-42")...); code != exitOK {
		t.Errorf("with the ticket: %d %s", code, out)
	}
	conn, err := grpc.NewClient(p.grpc, grpc.WithTransportCredentials(credentials.NewTLS(s.client(s.ca.issue(t, nil, testGateway)))))
	must(t, err)
	defer conn.Close()
	tickets := writv1.NewTicketServiceClient(conn)
	got, err := tickets.GetTicket(t.Context(), &writv1.GetTicketRequest{TicketId: "OPS-42"})
	must(t, err)
	if got.Ticket.State != writv1.TicketState_TICKET_STATE_USED_UP || fmt.Sprint(got.Ticket.Approvers) != "[dba-lead@example.org]" {
		t.Errorf("the ticket is %v", got)
	}
	if _, err := tickets.ApproveTicket(t.Context(), &writv1.ApproveTicketRequest{RequestId: s.listing(t).RequestId, Reason: "x", TicketId: "OPS-42"}); err == nil || !strings.Contains(err.Error(), "no access policy") {
		t.Errorf("a gateway approves: %v", err)
	}
	if code := p.stop(t, syscall.SIGTERM); code != exitOK {
		t.Errorf("exit code %d: %s", code, p.stderr)
	}
	if strings.Contains(p.stderr.String(), base64.StdEncoding.EncodeToString(key)) {
		t.Error("the log tells the key")
	}
	if v := s.verify(t); !v.OK {
		t.Errorf("the log: %+v", v)
	}
}

// refundDigest is the digest of the arguments that the denial tells.
func refundDigest(t *testing.T, s *site, p *process, refund []string) string {
	t.Helper()
	_, out := s.decide(t, p, refund...)
	_, after, found := strings.Cut(out, "--arguments-digest ")
	if !found {
		t.Fatalf("the denial: %s", out)
	}
	return after[:64]
}

// deliver sends a delivery of one id, signed now.
func (s *site) deliver(t *testing.T, p *process, key []byte, body string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{TLSClientConfig: s.client(s.ca.issue(t, nil, testGateway))}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+p.http+"/hooks/tickets/jira", strings.NewReader(body))
	must(t, err)
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("msg-1." + stamp + "." + body))
	r.Header.Set("webhook-id", "msg-1")
	r.Header.Set("webhook-timestamp", stamp)
	r.Header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	response, err := client.Do(r)
	must(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(t, err)
	return response.StatusCode, string(text)
}
