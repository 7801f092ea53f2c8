package server_test

import (
	"slices"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// What a fuzzed question is given, by bits, so that it comes further than noise
// would.
const (
	fillToken = 1 << iota
	fillID
	fillPurpose
	fillDigest
	fillCall
	fillSupports
	fillArguments
	fillAll = 1<<iota - 1
)

func (p *pdp) fill(t testing.TB, in *writv1.DecideRequest, what byte, arguments []byte) {
	good := p.listing(t)
	if what&fillArguments != 0 {
		in.Arguments = arguments
	}
	if what&fillToken != 0 {
		in.PrincipalToken = good.PrincipalToken
	}
	if what&fillID != 0 {
		in.RequestId = good.RequestId
	}
	if what&fillPurpose != 0 {
		in.Purpose = good.Purpose
	}
	if what&fillDigest != 0 && in.Tool != nil {
		if tool := p.bundle.Tools[decision.ToolName{Server: in.Tool.Server, Name: in.Tool.Name}]; tool != nil {
			in.Tool.DefinitionDigest = tool.Digest
		}
	}
	if what&fillCall != 0 {
		in.Phase, in.Candidates, in.Content, in.CallDecisionId = writv1.Phase_PHASE_CALL, nil, nil, ""
		if in.Tool == nil {
			in.Tool = good.Tool
		}
	}
	if what&fillSupports != 0 {
		in.SupportedObligations = good.SupportedObligations
	}
}

// unsound says why an answer must not have been an allow; empty: it may.
func (p *pdp) unsound(in *writv1.DecideRequest, a *writv1.DecideResponse) string {
	for _, o := range a.Obligations {
		if !slices.Contains(in.SupportedObligations, o.Type) {
			return "the caller cannot meet " + o.Type
		}
	}
	if in.Purpose != "support" {
		return "the token does not carry the purpose"
	}
	if in.Phase != writv1.Phase_PHASE_CALL {
		return ""
	}
	tool := p.bundle.Tools[decision.ToolName{Server: in.Tool.GetServer(), Name: in.Tool.GetName()}]
	if tool == nil || tool.Digest != in.Tool.DefinitionDigest {
		return "nobody pinned the tool"
	}
	arguments, err := document.ParseObject(in.Arguments)
	if err != nil {
		return "the arguments are no document"
	}
	if len(tool.Input.Check(arguments)) > 0 {
		return "the arguments do not fit the schema"
	}
	return ""
}

func seed(f *testing.F, p *pdp) {
	requests := []*writv1.DecideRequest{
		p.listing(f), p.forbidden(f),
		p.call(f, "filesystem", "read_text_file", `{"path":"/srv/files/a","head":3}`),
		p.call(f, "stripe", "create_customer", `{"name":"Ada","email":"ada@example.com"}`),
		p.call(f, "stripe", "create_refund", `{"payment_intent":"pi_1","amount":9000}`),
		p.call(f, "everything", "get-sum", `{"a":1,"b":2.5}`),
	}
	for _, phase := range []writv1.Phase{writv1.Phase_PHASE_LIST, writv1.Phase_PHASE_PROMPT} {
		r := p.listing(f)
		into(r, phase)
		requests = append(requests, r)
	}
	result := p.listing(f)
	result.Phase, result.CallDecisionId = writv1.Phase_PHASE_RESULT, newID(f)
	result.Content = &writv1.Content{MediaType: "application/json", Data: []byte(`{"content":[{"type":"text","text":"{}"}]}`)}
	connect := p.listing(f)
	connect.Phase, connect.Tool, connect.Arguments = writv1.Phase_PHASE_CONNECT, nil, nil
	connect.Destination = &writv1.Destination{Host: "mail.example.org"}
	requests = append(requests, result, connect)
	for _, bad := range append(badDocuments, badFields...) {
		r := p.listing(f)
		bad.break_(r)
		requests = append(requests, r)
	}
	for _, r := range requests {
		if data, err := proto.Marshal(r); err == nil && len(data) < 64<<10 {
			f.Add(data, byte(fillAll), r.Arguments)
			f.Add(data, byte(fillToken|fillID), r.Arguments)
		}
	}
}

// Whatever is asked: no defect, an answer that keeps its own rules, no allow that
// is not sound, and the same answer for the same question.
func FuzzDecideRequest(f *testing.F) {
	p := open(f)
	rules, err := protovalidate.New()
	must(f, err)
	seed(f, p)
	f.Fuzz(func(t *testing.T, data []byte, what byte, arguments []byte) {
		in := &writv1.DecideRequest{}
		if proto.Unmarshal(data, in) != nil {
			return
		}
		p.fill(t, in, what, arguments)
		explained, explainErr := p.Explain(t.Context(), gateway, &writv1.ExplainRequest{Request: in})
		answer, err := p.Decide(t.Context(), gateway, in)
		if err != nil {
			failed := failureOf(err)
			if failed.Code == codes.Internal || failed.Reason == "" || len(failed.Message) > 1100 || len(in.PrincipalToken) > 16 && strings.Contains(failed.Message, in.PrincipalToken) {
				t.Errorf("failed with %+v", failed)
			}
			if failureOf(explainErr) != failed && failed.Reason != "REQUEST_ID_REUSED" {
				t.Errorf("explaining failed with %+v, deciding with %+v", failureOf(explainErr), failed)
			}
			return
		}
		must(t, rules.Validate(answer))
		must(t, explainErr)
		must(t, rules.Validate(explained))
		if explained.Decision.Effect != answer.Effect && !answer.Replayed {
			t.Errorf("explained as %s, decided as %s", explained.Decision.Effect, answer.Effect)
		}
		if why := p.unsound(in, answer); why != "" && answer.Effect != writv1.Effect_EFFECT_DENY {
			t.Errorf("%s, although %s", answer.Effect, why)
		}
		again, err := p.Decide(t.Context(), gateway, in)
		must(t, err)
		same(t, answer, again)
	})
}
