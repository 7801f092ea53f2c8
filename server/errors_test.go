package server

import (
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// Every reason has the code that error.proto gives it; one without would be
// taken for a defect.
func TestEveryReasonHasACode(t *testing.T) {
	for number, name := range writv1.ErrorReason_name {
		got := status.Code(fail(writv1.ErrorReason(number), "x"))
		switch writv1.ErrorReason(number) {
		case writv1.ErrorReason_ERROR_REASON_UNSPECIFIED, writv1.ErrorReason_ERROR_REASON_INTERNAL:
			if got != codes.Internal {
				t.Errorf("%s is %s", name, got)
			}
		default:
			if got == codes.Internal || got == codes.OK || got == codes.Unknown {
				t.Errorf("%s is %s", name, got)
			}
		}
	}
}

// A message of any length is cut to what trailers take, between characters.
func TestFailCutsItsMessage(t *testing.T) {
	for _, lead := range []string{"", "a", "ab"} {
		st := status.Convert(fail(errField, lead+strings.Repeat("€", 1<<20)))
		if m := st.Message(); len(m) > maxText+8 || !utf8.ValidString(m) || !strings.HasSuffix(m, "€…") {
			t.Errorf("%d bytes, ending in %q", len(m), m[max(0, len(m)-9):])
		}
		if n := proto.Size(st.Proto()); n > 2*maxText {
			t.Errorf("the status takes %d bytes", n)
		}
	}
}
