package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/policy"
)

// decideCmd asks one question, as an enforcement point would.
type decideCmd struct {
	connection `embed:""`

	Phase       string   `default:"call" enum:"list,prompt,call,result,connect" help:"Point in the action's life: ${enum}."`
	Agent       string   `default:"${dev_agent}" help:"The agent, for a token of writ dev."`
	OnBehalfOf  string   `help:"The human the agent acts for, for a token of writ dev." placeholder:"HUMAN"`
	TokenFile   string   `type:"existingfile" placeholder:"FILE" help:"A principal token. Without: one from writ dev."`
	ProofFile   string   `type:"existingfile" placeholder:"FILE" help:"The DPoP proof of a token that is bound to a key."`
	Purpose     string   `default:"support" help:"Why the agent acts."`
	Session     string   `help:"The agent's run." placeholder:"ID"`
	Depth       uint32   `help:"How many steps of the agent's plan this one lies below." placeholder:"N"`
	Tenant      string   `help:"Whose budgets, tickets and policies decide. Without: the caller's own." placeholder:"TENANT"`
	Tool        string   `help:"The tool, as server/name." placeholder:"SERVER/NAME"`
	Digest      string   `help:"The digest of the tool's definition. Without: as the bundle pins it." placeholder:"HEX"`
	Bundle      string   `type:"existingdir" placeholder:"DIR" help:"Where to look the digest up. Without: the sample bundle in this binary."`
	Args        string   `help:"The tool's arguments, a JSON object." placeholder:"JSON"`
	Candidate   []string `help:"list: a tool to choose from; repeat." placeholder:"SERVER/NAME"`
	Content     string   `help:"prompt, result: the content." placeholder:"TEXT"`
	ContentType string   `default:"application/json" enum:"application/json,text/plain" help:"Its media type: ${enum}."`
	Call        string   `help:"result: the decision id of the call." placeholder:"ID"`
	Host        string   `help:"prompt, connect: where to." placeholder:"HOST"`
	Vendor      string   `help:"The destination's vendor." placeholder:"ID"`
	Region      string   `help:"The destination's region." placeholder:"ID"`
	URL         string   `name:"url" help:"connect: the URL to be opened." placeholder:"URL"`
	Method      string   `help:"connect: the method it is opened by." placeholder:"GET"`
	Address     []string `help:"connect: an address that the host was resolved to; can be repeated." placeholder:"IP"`
	Redirected  string   `name:"redirected-from" help:"connect: the decision on the hop before, or its URL." placeholder:"ID|URL"`
	Ticket      string   `help:"The change ticket." placeholder:"ID"`
	Tokens      int64    `help:"Most model tokens it can take."`
	Micros      int64    `help:"Most money it can take, in millionths."`
	Currency    string   `help:"ISO 4217 code of the money."`
	Context     string   `help:"Free facts for the policies, a JSON object." placeholder:"JSON"`
	RequestID   string   `help:"Idempotency key, a UUIDv7. Without: a new one." placeholder:"ID"`
	Supports    []string `default:"redact,route,filter_tools,limit_output,notify,step_up,watermark,delay,pin" help:"Obligations that the caller can meet."`
	Explain     bool     `help:"Commit nothing; say what each stage found and which policies nearly matched."`
	Output      string   `short:"o" default:"table" enum:"table,json" help:"Output: ${enum}."`
}

// connection is how to reach a PDP.
type connection struct {
	Addr string        `default:"127.0.0.1:7700" env:"WRIT_ADDR" help:"The PDP's gRPC address."`
	HTTP string        `name:"http" default:"http://127.0.0.1:7701" env:"WRIT_HTTP" help:"writ dev's JSON face, for tokens."`
	CA   string        `name:"ca" type:"existingfile" placeholder:"FILE" help:"Authorities of the server; with --cert and --key for mTLS."`
	Cert string        `type:"existingfile" placeholder:"FILE" help:"This caller's certificate."`
	Key  string        `type:"existingfile" placeholder:"FILE" help:"Its private key."`
	Wait time.Duration `default:"10s" help:"How long to wait for an answer."`

	WorkloadAPI string `name:"workload-api" placeholder:"ADDR" help:"A SPIFFE Workload API, such as unix:///run/spire/agent.sock, in the place of --ca, --cert and --key; with --server-id."`
	ServerID    string `name:"server-id" placeholder:"ID" help:"The SPIFFE ID that the PDP must prove, whatever its name. Without: its name counts."`
}

// Run asks and prints the answer.
func (c decideCmd) Run(ctx context.Context, to streams) error {
	ctx, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	request, err := c.request(ctx)
	if err != nil {
		return err
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	client := writv1.NewDecisionServiceClient(conn)
	var answer *writv1.DecideResponse
	var message proto.Message
	var explained *writv1.ExplainResponse
	if c.Explain {
		if explained, err = client.Explain(ctx, &writv1.ExplainRequest{Request: request}); err == nil {
			answer, message = explained.Decision, explained
		}
	} else {
		answer, err = client.Decide(ctx, request)
		message = answer
	}
	if err != nil {
		return fmt.Errorf("no decision, so deny: %s", status.Convert(err).Message())
	}
	return conclude(to, c.Output, message, answer, explained)
}

// conclude prints an answer, and its explanation unless that is nil: as JSON the
// message that has them. A denial is errDenied.
func conclude(to streams, output string, message proto.Message, answer *writv1.DecideResponse, explained *writv1.ExplainResponse) error {
	if output == "json" {
		text, err := protojson.MarshalOptions{Multiline: true}.Marshal(message)
		if err != nil {
			return fmt.Errorf("printing the answer: %w", err)
		}
		fmt.Fprintln(to.out, string(text))
	} else {
		printAnswer(to.out, answer)
		printExplanation(to.out, explained)
	}
	if answer.Effect == writv1.Effect_EFFECT_DENY || answer.Effect == writv1.Effect_EFFECT_UNSPECIFIED {
		return errDenied
	}
	return nil
}

func (c decideCmd) request(ctx context.Context) (*writv1.DecideRequest, error) {
	digests, err := c.digests()
	if err != nil {
		return nil, err
	}
	tool := func(text string) *writv1.Tool {
		name := toolName(text)
		return &writv1.Tool{Server: name.Server, Name: name.Name, DefinitionDigest: digests(text)}
	}
	r := &writv1.DecideRequest{
		RequestId: c.RequestID, Phase: writv1.Phase(writv1.Phase_value["PHASE_"+strings.ToUpper(c.Phase)]),
		SessionId: c.Session, PlanDepth: c.Depth, Tenant: c.Tenant, Purpose: c.Purpose, Arguments: []byte(c.Args), TicketId: c.Ticket, CallDecisionId: c.Call,
		Context: []byte(c.Context), SupportedObligations: c.Supports,
		Cost: &writv1.Cost{Calls: 1, Tokens: c.Tokens, Micros: c.Micros, Currency: c.Currency},
	}
	if r.RequestId == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("making a request id: %w", err)
		}
		r.RequestId = id.String()
	}
	if c.Tool != "" {
		r.Tool = tool(c.Tool)
	}
	for _, candidate := range c.Candidate {
		r.Candidates = append(r.Candidates, tool(candidate))
	}
	if c.Content != "" {
		r.Content = &writv1.Content{MediaType: c.ContentType, Data: []byte(c.Content)}
	}
	if c.Host+c.Vendor+c.Region+c.URL != "" {
		r.Destination = &writv1.Destination{Host: c.Host, Vendor: c.Vendor, Region: c.Region, Url: c.URL, Method: c.Method, Addresses: c.Address,
			RedirectedFrom: c.Redirected}
	}
	if c.ProofFile != "" {
		if r.PrincipalProof, err = readLine(c.ProofFile); err != nil {
			return nil, err
		}
	}
	r.PrincipalToken, err = c.token(ctx)
	return r, err
}

// digests looks definition digests up.
func (c decideCmd) digests() (func(tool string) string, error) {
	if c.Digest != "" {
		return func(string) string { return c.Digest }, nil
	}
	if c.Tool == "" && len(c.Candidate) == 0 {
		return func(string) string { return "" }, nil
	}
	b, err := policy.Load(bundleFiles(c.Bundle))
	if err != nil {
		return nil, err
	}
	return func(tool string) string {
		if t := b.Tools[toolName(tool)]; t != nil {
			return t.Digest
		}
		return ""
	}, nil
}

// token reads a principal token, or gets one from writ dev.
func (c decideCmd) token(ctx context.Context) (string, error) {
	if c.TokenFile != "" {
		return readLine(c.TokenFile)
	}
	query := url.Values{"agent": {c.Agent}, "purpose": {c.Purpose}}
	if c.OnBehalfOf != "" {
		query.Set("on_behalf_of", c.OnBehalfOf)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.HTTP+"/dev/v1/token?"+query.Encode(), nil)
	if err != nil {
		return "", fmt.Errorf("asking writ dev for a token: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("asking writ dev for a token (is it running? else give --token-file): %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 32<<10))
	if err != nil {
		return "", fmt.Errorf("reading writ dev's token: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("asking writ dev for a token: %s: %s", response.Status, strings.TrimSpace(string(text)))
	}
	return string(text), nil
}

// dial connects by mTLS, or in the plain to loopback only.
func (c connection) dial(ctx context.Context) (*grpc.ClientConn, error) {
	if c.WorkloadAPI != "" || c.ServerID != "" {
		config, err := c.spiffe(ctx)
		if err != nil {
			return nil, err
		}
		return grpc.NewClient(c.Addr, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	}
	if given := []string{c.CA, c.Cert, c.Key}; slices.Contains(given, "") && strings.Join(given, "") != "" {
		return nil, usageError("--ca, --cert and --key go together")
	}
	if c.CA == "" {
		if !loopback(c.Addr) {
			return nil, usageError("without --ca, --cert and --key only a loopback address is asked")
		}
		return grpc.NewClient(c.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	data, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("reading the authorities: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return nil, errors.New("no certificate in " + c.CA)
	}
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("reading this caller's certificate: %w", err)
	}
	return grpc.NewClient(c.Addr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{pair}})))
}

// printAnswer prints for a person.
func printAnswer(out io.Writer, a *writv1.DecideResponse) {
	fmt.Fprintln(out, strings.TrimSpace(strings.TrimPrefix(a.Effect.String(), "EFFECT_")+"  "+a.DecisionId))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range a.Reasons {
		fmt.Fprintf(w, "  %s\t%s\n", r.Code, r.Text)
		if r.Lift != "" {
			fmt.Fprintf(w, "  \t→ %s\n", r.Lift)
		}
	}
	for _, o := range a.Obligations {
		if pin := o.GetPin(); pin != nil { // its ranges would be a page
			fmt.Fprintf(w, "  must pin\t%s to [%s], to none of %d ranges but [%s]\n", pin.Host, strings.Join(pin.Addresses, " "), len(pin.Refused), strings.Join(pin.Permitted, " "))
			continue
		}
		params, err := protojson.Marshal(o)
		if err != nil {
			params = []byte("unprintable")
		}
		fmt.Fprintf(w, "  must %s\t%s\n", o.Type, params)
	}
	for _, b := range a.Budgets {
		fmt.Fprintf(w, "  budget %s\treserved %d, %d of %d left\n", b.Budget, b.Reserved, b.Remaining, b.Cap)
	}
	if a.RetryAfter != nil {
		fmt.Fprintf(w, "  retry after\t%s\n", a.RetryAfter.AsDuration())
	}
	if r := a.AccessRequest; r != nil {
		fmt.Fprintf(w, "  a ticket lifts this\twrit ticket request --principal %s --tool %s --arguments-digest %s --reason WHY …\n",
			r.Principal, r.Tool, r.ArgumentsDigest)
	}
	w.Flush()
}

// printExplanation prints what Explain adds.
func printExplanation(out io.Writer, e *writv1.ExplainResponse) {
	if e == nil {
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "stages")
	for _, f := range e.Findings {
		fmt.Fprintf(w, "  %s\t%s\n", f.Stage, strings.ToLower(strings.TrimPrefix(f.Verdict.String(), "VERDICT_")))
	}
	if len(e.Matched) > 0 {
		fmt.Fprintln(w, "matched")
	}
	for _, m := range e.Matched {
		decided := map[bool]string{true: "decided", false: "overruled"}[m.Decided]
		fmt.Fprintf(w, "  %s %s\t%s\t%s\n", m.Effect, m.PolicyId, decided, m.Position)
	}
	w.Flush()
	if len(e.Near) > 0 {
		fmt.Fprintln(out, "nearly matched")
	}
	for _, n := range e.Near {
		fmt.Fprintf(out, "  %s %s  %d of %d clauses hold  %s\n    %s%s\n", n.Effect, n.PolicyId, n.Held, n.Clauses, n.Position, n.Failed, saw(n))
	}
}

// saw is what a clause that failed looked at.
func saw(n *writv1.NearPolicy) string {
	var b strings.Builder
	if n.Error {
		b.WriteString(" could not be evaluated")
	}
	for _, s := range n.Saw {
		fmt.Fprintf(&b, "\n      %s was %s", s.Expression, s.Value)
	}
	return b.String()
}
