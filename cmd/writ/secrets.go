package main

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// secretVariables are the environment variables by which the libraries of this
// program would take a secret, and where that secret belongs. Files, which some
// of them name, and a platform's own workload identity are allowed.
var secretVariables = map[string]string{
	"PGPASSWORD":                        "the file that database_file names",
	"PGSSLPASSWORD":                     "the file that database_file names",
	"VAULT_TOKEN":                       "the file that vault.token_file names",
	"BAO_TOKEN":                         "the file that vault.token_file names",
	"VAULT_HEADERS":                     "the file that vault.token_file names",
	"VAULT_MFA":                         "the file that vault.token_file names",
	"AWS_ACCESS_KEY_ID":                 "the machine's role or web identity, and no static key",
	"AWS_SECRET_ACCESS_KEY":             "the machine's role or web identity, and no static key",
	"AWS_SESSION_TOKEN":                 "the machine's role or web identity, and no static key",
	"AWS_SECRET_KEY":                    "the machine's role or web identity, and no static key",
	"AWS_ACCESS_KEY":                    "the machine's role or web identity, and no static key",
	"AWS_CONTAINER_AUTHORIZATION_TOKEN": "the file that AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE names",
	"AZURE_CLIENT_SECRET":               "the workload's identity, and no static secret",
	"AZURE_PASSWORD":                    "the workload's identity, and no static secret",
	"AZURE_CLIENT_CERTIFICATE_PASSWORD": "the workload's identity, and no static secret",
	"COSIGN_PASSWORD":                   "the file that a passphrase_file names",
	"SIGSTORE_PASSWORD":                 "the file that a passphrase_file names",
}

// laxVariables turn off the checks that keep secrets from whoever listens.
var laxVariables = []string{"VAULT_SKIP_VERIFY", "BAO_SKIP_VERIFY", "AWS_TLS_INSECURE_SKIP_VERIFY"}

// ownSecret is a name that would be one of this program's secrets, if it took any
// from the environment.
var ownSecret = regexp.MustCompile(`(?i)^WRIT_.*(KEY|PASSWORD|PASSPHRASE|TOKEN|SECRET|CREDENTIALS?|DSN|DATABASE)$`)

// Forms of secrets, whatever the variable or the flag is called.
var (
	keyword    = regexp.MustCompile(`(?i)(^|[\s&?;])password\s*=\s*\S`) // of a connection string
	privateKey = regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY|PRIVATE\+KEY\+|AGE-SECRET-KEY-`)
	urlStart   = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"']+`)
)

// refuseSecrets refuses secrets in the arguments and in the environment of a
// process that serves: both can be read by others of the machine, are inherited
// by every child, and end up in crash reports and support bundles. The error names
// the variable and where the secret belongs, and never the value.
func refuseSecrets(args, environ []string) error {
	for i, arg := range args {
		if what := secretForm(arg); what != "" {
			return fmt.Errorf("argument %d holds %s: secrets are named by file in the configuration", i+1, what)
		}
	}
	environ = slices.Sorted(slices.Values(environ)) // the same variable is told each time
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		if value == "" {
			continue
		}
		if place, known := secretVariables[name]; known {
			return fmt.Errorf("the environment variable %s holds a secret: it belongs in %s", name, place)
		}
		if ownSecret.MatchString(name) {
			return fmt.Errorf("the environment variable %s would hold a secret: writ serve takes none from the environment; name a file in the configuration", name)
		}
		if what := secretForm(value); what != "" {
			return fmt.Errorf("the environment variable %s holds %s: secrets are named by file in the configuration", name, what)
		}
		if slices.Contains(laxVariables, name) && !slices.Contains([]string{"0", "f", "false"}, strings.ToLower(value)) {
			return fmt.Errorf("the environment variable %s would turn off the check of a server's certificate: unset it", name)
		}
	}
	return nil
}

// secretForm says what kind of secret a text holds; empty: none that is known.
func secretForm(text string) string {
	if privateKey.MatchString(text) {
		return "a private key"
	}
	if keyword.MatchString(text) {
		return "a connection string with a password"
	}
	for _, candidate := range urlStart.FindAllString(text, -1) {
		// What cannot be parsed, such as a password with a stray percent sign, is
		// judged by its form.
		if u, err := url.Parse(candidate); err == nil {
			if password, has := u.User.Password(); has && password != "" {
				return "a URL with a password"
			}
			continue
		}
		_, rest, _ := strings.Cut(candidate, "://")
		if user, _, found := strings.Cut(rest, "@"); found && strings.Contains(user, ":") {
			return "a URL with a password"
		}
	}
	return ""
}
