package workload_test

import (
	"crypto/rand"
	"io/fs"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/test/bench/workload"
)

// Whatever is measured loads, pins the tool that is called, and counts the
// policies that it says.
func TestBundles(t *testing.T) {
	sample, err := workload.Sample()
	if err != nil {
		t.Fatal(err)
	}
	ten, err := workload.Policies(10)
	if err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string]fs.FS{"sample": sample, "10 policies": ten} {
		bundle, err := policy.Load(files)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if bundle.Tools[workload.Tool] == nil {
			t.Errorf("%s: the tool %s is not pinned", name, workload.Tool)
		}
	}
	if _, err := workload.Policies(2); err == nil {
		t.Error("a bundle without the policies that matter was written")
	}
}

// Requests differ in what must differ, and have one size.
func TestRequests(t *testing.T) {
	minter, err := identity.NewMinter(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := workload.Verifier(minter.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	agency, at := workload.NewAgency(minter, "", rand.Reader), time.Now()
	seen := map[[32]byte]bool{}
	previous, size := "", 0
	for i := range 100 {
		request, err := agency.Request(i*5, at, at)
		if err != nil {
			t.Fatal(err)
		}
		principal, err := tokens.Verify(identity.Presented{Token: request.PrincipalToken}, at)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		if seen[principal.Token] {
			t.Errorf("request %d: its token was seen before", i)
		}
		seen[principal.Token] = true
		if diff := cmp.Diff(workload.Agent(i*5), principal.Subject); diff != "" {
			t.Errorf("request %d: subject (-want +got):\n%s", i, diff)
		}
		if request.RequestId[:13] < previous {
			t.Errorf("request %d: its id is older than the one before", i)
		}
		previous = request.RequestId[:13]
		length := len(request.PrincipalToken) + len(request.Arguments) + len(request.SessionId)
		if size != 0 && length != size {
			t.Errorf("request %d: got %d bytes, want %d as the others", i, length, size)
		}
		size = length
	}
}
