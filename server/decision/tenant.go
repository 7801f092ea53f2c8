package decision

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxTenant bounds a tenant's name, in bytes: what a record can hold.
const maxTenant = 128

// CheckTenant refuses what no caller's tenant can be called: a name is 1 to 128
// bytes of UTF-8, without spaces and control characters, and not System.
func CheckTenant(name string) error {
	blank := func(c rune) bool { return c <= ' ' || c == 0x7f }
	switch {
	case name == "", len(name) > maxTenant, !utf8.ValidString(name), strings.ContainsFunc(name, blank):
		return fmt.Errorf("the tenant is not 1 to %d bytes without spaces and control characters", maxTenant)
	case name == System:
		return errors.New(`the tenant "` + System + `" is reserved`)
	}
	return nil
}
