package main

import (
	"strings"
	"testing"
)

func TestRefuseSecrets(t *testing.T) {
	const canary = "canary-secret"
	for name, c := range map[string]struct {
		args, environ []string
		says          string // empty: accepted
	}{
		"nothing":                        {nil, nil, ""},
		"an ordinary environment":        {[]string{"--config", "/etc/writ/writ.yaml"}, []string{"PATH=/bin", "HOME=/", "GOGC=400", "WRIT_ADDR=127.0.0.1:7700", "LANG=C"}, ""},
		"a database's password":          {nil, []string{"PGPASSWORD=" + canary}, "PGPASSWORD holds a secret: it belongs in the file that database_file names"},
		"a file of passwords":            {nil, []string{"PGPASSFILE=/run/secrets/pgpass", "PGHOST=db"}, ""},
		"a Vault's token":                {nil, []string{"VAULT_ADDR=https://vault", "VAULT_TOKEN=" + canary}, "vault.token_file"},
		"an OpenBao's token":             {nil, []string{"BAO_TOKEN=" + canary}, "vault.token_file"},
		"a Vault's address":              {nil, []string{"VAULT_ADDR=https://vault:8200", "VAULT_CACERT=/etc/ca.pem", "VAULT_NAMESPACE=x"}, ""},
		"a Vault that is not verified":   {nil, []string{"VAULT_SKIP_VERIFY=true"}, "unset it"},
		"a Vault that is":                {nil, []string{"VAULT_SKIP_VERIFY=false"}, ""},
		"a static key of AWS":            {nil, []string{"AWS_REGION=eu-west-1", "AWS_SECRET_ACCESS_KEY=" + canary}, "the machine's role or web identity"},
		"its id alone":                   {nil, []string{"AWS_ACCESS_KEY_ID=" + canary}, "no static key"},
		"a workload's identity in AWS":   {nil, []string{"AWS_ROLE_ARN=arn:aws:iam::1:role/x", "AWS_WEB_IDENTITY_TOKEN_FILE=/var/run/secrets/token", "AWS_REGION=eu-west-1"}, ""},
		"AWS in the plain":               {nil, []string{"AWS_TLS_INSECURE_SKIP_VERIFY=1"}, "unset it"},
		"a client secret of Azure":       {nil, []string{"AZURE_CLIENT_SECRET=" + canary}, "no static secret"},
		"a workload's identity in Azure": {nil, []string{"AZURE_CLIENT_ID=x", "AZURE_TENANT_ID=y", "AZURE_FEDERATED_TOKEN_FILE=/var/run/t"}, ""},
		"a service account's file":       {nil, []string{"GOOGLE_APPLICATION_CREDENTIALS=/var/run/gcp.json"}, ""},
		"Writ's own key":                 {nil, []string{"WRIT_LOG_KEY=" + canary}, "takes none from the environment"},
		"Writ's own token in small":      {nil, []string{"writ_token=" + canary}, "takes none from the environment"},
		"Writ's own database":            {nil, []string{"WRIT_DATABASE=" + canary}, "takes none from the environment"},
		"an empty one":                   {nil, []string{"WRIT_TOKEN=", "PGPASSWORD="}, ""},
		"a URL with a password":          {nil, []string{"DATABASE_URL=postgres://u:" + canary + "@db/writ"}, "DATABASE_URL holds a URL with a password"},
		"a URL with a broken password":   {nil, []string{"DATABASE_URL=postgres://u:" + canary + "%zz@db/writ"}, "DATABASE_URL holds a URL with a password"},
		"a URL with a user":              {nil, []string{"DATABASE_URL=postgres://u@db/writ"}, ""},
		"a URL with a port":              {nil, []string{"X=https://db:5432/a@b"}, ""},
		"a proxy with a password":        {nil, []string{"HTTPS_PROXY=http://u:" + canary + "@proxy:3128"}, "HTTPS_PROXY holds a URL"},
		"a connection string":            {nil, []string{"CONN=host=db user=u password=" + canary}, "a connection string with a password"},
		"a password in a query":          {nil, []string{"CONN=postgres://db/writ?password=" + canary}, "with a password"},
		"a key's text":                   {nil, []string{"K=-----BEGIN EC PRIVATE KEY-----\n" + canary}, "K holds a private key"},
		"a note key's text":              {nil, []string{"K=PRIVATE+KEY+log+0123+" + canary}, "K holds a private key"},
		"a password in a flag":           {[]string{"--database=postgres://u:" + canary + "@db/writ"}, nil, "argument 1 holds a URL with a password"},
		"a password as an argument":      {[]string{"--config", "f", "postgres://u:" + canary + "@db/writ"}, nil, "argument 3 holds"},
		"a key in a flag":                {[]string{"--key", "PRIVATE+KEY+" + canary}, nil, "argument 2 holds a private key"},
	} {
		t.Run(name, func(t *testing.T) {
			err := refuseSecrets(c.args, c.environ)
			switch {
			case c.says == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
				t.Errorf("got %v, want %q", err, c.says)
			}
			if err != nil && strings.Contains(err.Error(), canary) {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

// The binary refuses before anything is read, also what the parser would quote.
func TestServeRefusesSecrets(t *testing.T) {
	for name, args := range map[string][]string{
		"a flag that is not there": {"serve", "--config", "nothing.yaml", "--database", "postgres://u:" + hidden + "@db/writ"},
		"a stray argument":         {"serve", "postgres://u:" + hidden + "@db/writ"},
	} {
		code, out, errs := writ(t, args...)
		if code != exitFailed || !strings.Contains(errs, "a URL with a password") || strings.Contains(out+errs, hidden) {
			t.Errorf("%s: exit code %d: %s%s", name, code, out, errs)
		}
	}
	t.Setenv("VAULT_TOKEN", hidden)
	code, out, errs := writ(t, "serve", "--config", "nothing.yaml")
	if code != exitFailed || !strings.Contains(errs, "vault.token_file") || strings.Contains(out+errs, hidden) {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
}
