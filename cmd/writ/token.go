package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

type tokenCmd struct {
	Exchange tokenExchangeCmd `cmd:"" help:"Exchange what proves an agent for principal tokens that allow less."`
}

// tokenType is the start of RFC 8693's names of token types.
const tokenType = "urn:ietf:params:oauth:token-type:"

type tokenExchangeCmd struct {
	connection `embed:""`

	Purpose   []string      `required:"" help:"A purpose that the tokens carry; repeat."`
	Tool      []string      `help:"One of the only tools that they are for; repeat. Without: as what they come from." placeholder:"SERVER/NAME"`
	Audience  []string      `help:"Who they are for; repeat. Without: as what they come from."`
	TTL       time.Duration `name:"ttl" help:"How long they are valid, at most 10m. Without: as long as may be."`
	Count     uint32        `default:"1" help:"How many: each is accepted once."`
	SVIDFile  string        `name:"svid-file" xor:"actor" type:"existingfile" placeholder:"FILE" help:"The agent's JWT-SVID."`
	TokenFile string        `xor:"actor" type:"existingfile" placeholder:"FILE" help:"The agent's principal token. Without this and --svid-file the agent is who connects, by --cert."`
	Human     string        `xor:"subject" type:"existingfile" placeholder:"FILE" help:"The ID token of the human that the agent acts for."`
	From      string        `xor:"subject" type:"existingfile" placeholder:"FILE" help:"The principal token of an agent that delegates to this one."`
	RequestID string        `help:"Idempotency key, a UUIDv7. Without: a new one." placeholder:"ID"`
	Output    string        `short:"o" default:"token" enum:"token,table,json" help:"Output: ${enum}. A token stands alone on its line."`
}

// Run exchanges and prints the tokens.
func (c tokenExchangeCmd) Run(ctx context.Context, to streams) error {
	ctx, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	request, err := c.request()
	if err != nil {
		return err
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := writv1.NewTokenServiceClient(conn).Exchange(ctx, request)
	if err != nil {
		return fmt.Errorf("no token: %s", status.Convert(err).Message())
	}
	tokens := append([]string{answer.AccessToken}, answer.FurtherAccessTokens...)
	switch c.Output {
	case "json":
		text, err := protojson.MarshalOptions{Multiline: true}.Marshal(answer)
		if err != nil {
			return fmt.Errorf("printing the answer: %w", err)
		}
		fmt.Fprintln(to.out, string(text))
	case "table":
		w := tabwriter.NewWriter(to.out, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "tokens\t%d\nvalid for\t%s\npurposes\t%s\ntools\t%s\naudience\t%s\nrecord\t%s\n", len(tokens), time.Duration(answer.ExpiresIn)*time.Second,
			strings.Join(answer.Purposes, ", "), or(strings.Join(answer.Tools, ", "), "any of the purposes"), strings.Join(answer.Audience, ", "), answer.Receipt.GetRecordId())
		return w.Flush()
	default:
		fmt.Fprintln(to.out, strings.Join(tokens, "\n"))
	}
	return nil
}

func (c tokenExchangeCmd) request() (*writv1.ExchangeRequest, error) {
	r := &writv1.ExchangeRequest{RequestId: c.RequestID, Purposes: c.Purpose, Tools: c.Tool, Audience: c.Audience, Count: c.Count}
	if r.RequestId == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("making a request id: %w", err)
		}
		r.RequestId = id.String()
	}
	if c.TTL != 0 {
		r.Ttl = durationpb.New(c.TTL)
	}
	for _, given := range []struct {
		file, kind string
		token, is  *string
	}{
		{c.SVIDFile, "jwt", &r.ActorToken, &r.ActorTokenType},
		{c.TokenFile, "access_token", &r.ActorToken, &r.ActorTokenType},
		{c.Human, "id_token", &r.SubjectToken, &r.SubjectTokenType},
		{c.From, "access_token", &r.SubjectToken, &r.SubjectTokenType},
	} {
		if given.file == "" {
			continue
		}
		text, err := readLine(given.file)
		if err != nil {
			return nil, err
		}
		*given.token, *given.is = text, tokenType+given.kind
	}
	return r, nil
}
