package policy

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/writpdp/writ/server/decision"
)

// dirTenants is the directory, within that of the policies and that of the tests,
// whose directories are each a tenant's.
const dirTenants = "tenants"

// tenantForm is what a tenant's directory can be called: what every file system,
// every source of bundles and every place of a mistake, file:line:column, holds as
// it is. A name that begins with a dot is hidden from sources, and some file
// systems drop one at the end, which would make it another tenant's.
var tenantForm = regexp.MustCompile(`^[A-Za-z0-9_@+-]([A-Za-z0-9._@+-]*[A-Za-z0-9_@+-])?$`)

// TenantDirectories are the directories of tenants in one directory of a bundle,
// that of the policies or DirTests, by the tenants' names; none when there are
// none.
func TenantDirectories(fsys fs.FS, dir string) (names []string, err error) {
	f := &files{fsys: fsys, sums: map[string][sha256.Size]byte{}}
	return f.tenants(dir)
}

// TenantDirectory is where a directory of a bundle holds what is one tenant's.
func TenantDirectory(dir, tenant string) string { return path.Join(dir, dirTenants, tenant) }

// tenants are the names of the tenants that have a directory of their own in one
// of the bundle's, in order. Whatever is there and is no tenant's is an error: it
// would silently be no part of the bundle.
func (f *files) tenants(dir string) ([]string, error) {
	at := path.Join(dir, dirTenants)
	for _, name := range []string{dir, at} {
		if err := f.directory(name); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
	}
	entries, err := fs.ReadDir(f.fsys, at)
	if err != nil {
		return nil, fmt.Errorf("reading the bundle: %w", err)
	}
	var names []string
	folded := map[string]string{}
	for _, entry := range entries {
		name := entry.Name()
		if !entry.IsDir() && name[0] == '.' {
			continue // as sources do
		}
		if !entry.IsDir() {
			return nil, fmt.Errorf("%s: not the directory of a tenant, and would not be read", path.Join(at, name))
		}
		if err := checkTenantDirectory(name); err != nil {
			return nil, fmt.Errorf("%s: %w", path.Join(at, name), err)
		}
		// Where upper and lower case are the same, one would be read as the other.
		fold := strings.ToLower(name)
		if other, taken := folded[fold]; taken {
			return nil, fmt.Errorf("%s: differs from %s in upper and lower case alone", path.Join(at, name), path.Join(at, other))
		}
		folded[fold] = name
		names = append(names, name)
	}
	return names, nil
}

// deciding reads the policies that decide: those of every tenant, and then each
// tenant's own. An @id is unique among all of them, because reasons, records and
// tests name a policy by it alone.
func (f *files) deciding() ([]*statement, error) {
	all, err := f.statementsIn(dirCedar)
	if err != nil {
		return nil, err
	}
	where := map[string]string{}
	for _, st := range all {
		where[st.id] = st.at()
	}
	tenants, err := f.tenants(dirCedar)
	if err != nil {
		return nil, err
	}
	for _, tenant := range tenants {
		own, err := f.statementsIn(TenantDirectory(dirCedar, tenant))
		if err != nil {
			return nil, err
		}
		for _, st := range own {
			if other, twice := where[st.id]; twice {
				return nil, fmt.Errorf("%s: the @id %q is taken by %s", st.at(), st.id, other)
			}
			st.tenant, where[st.id] = tenant, st.at()
		}
		all = append(all, own...)
	}
	return all, nil
}

func checkTenantDirectory(name string) error {
	if err := decision.CheckTenant(name); err != nil {
		return err
	}
	if !tenantForm.MatchString(name) {
		return fmt.Errorf("the directory of a tenant is not of the form %s", tenantForm)
	}
	return nil
}
