package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/pseudonym"
	"github.com/writpdp/writ/server/secret"
	"github.com/writpdp/writ/server/signer"
)

// signingKey names a private key in a configuration: a file or a KMS URI.
type signingKey struct {
	// KeyFile is PKCS#8 in PEM, plain or as sigstore encrypts it; the log's may be
	// as `writ log keygen` writes it.
	KeyFile string `yaml:"key_file"`
	// PassphraseFile is that of an encrypted KeyFile.
	PassphraseFile string `yaml:"passphrase_file"`
	// KMS is a URI in the place of KeyFile.
	KMS string `yaml:"kms"`
	// KMSVersion is that of a hashivault:// key; 0: the newest.
	KMSVersion int `yaml:"kms_version"`
}

// vaultConfig is a HashiCorp Vault or an OpenBao.
type vaultConfig struct {
	Address   string `yaml:"address"`
	TokenFile string `yaml:"token_file"`
	Mount     string `yaml:"mount"`
}

func (k *signingKey) paths() []*string { return []*string{&k.KeyFile, &k.PassphraseFile} }

// check refuses what names no key, or two. where is the section's name.
func (k *signingKey) check(where string) error {
	switch {
	case k.KeyFile == "" && k.KMS == "":
		return fmt.Errorf("%s: the key is not named: one of key_file and kms", where)
	case k.KeyFile != "" && k.KMS != "":
		return fmt.Errorf("%s: key_file and kms name two keys", where)
	case k.PassphraseFile != "" && k.KeyFile == "":
		return fmt.Errorf("%s: passphrase_file without key_file", where)
	}
	return nil
}

// open finds the key.
func (k *signingKey) open(ctx context.Context, v vaultConfig) (*signer.Key, error) {
	return signer.Open(ctx, signer.Config{File: k.KeyFile, PassphraseFile: k.PassphraseFile, KMS: k.KMS,
		Vault: signer.Vault{Address: v.Address, TokenFile: v.TokenFile, Mount: v.Mount, Version: k.KMSVersion}})
}

// keyPaths are the paths of keys and secrets that are relative to the file.
func (c *config) keyPaths() []*string {
	all := append(c.Log.Key.paths(), &c.Vault.TokenFile, &c.Redaction.KeyFile)
	for i := range c.Log.RetiredKeyFiles {
		all = append(all, &c.Log.RetiredKeyFiles[i])
	}
	if x := c.Tokens.Exchange; x != nil {
		all = append(all, x.paths()...)
	}
	for i := range c.TicketWebhooks {
		for j := range c.TicketWebhooks[i].SecretFiles {
			all = append(all, &c.TicketWebhooks[i].SecretFiles[j])
		}
	}
	return all
}

// checkKeys refuses keys that are not named, or named twice.
func (c *config) checkKeys() error {
	if err := c.Log.Key.check("log"); err != nil {
		return err
	}
	if x := c.Tokens.Exchange; x != nil {
		if err := x.Key.check("tokens.exchange"); err != nil {
			return err
		}
	}
	return nil
}

// checkSecrets refuses secrets that are not there, or that others can read.
func (c *config) checkSecrets() error {
	for _, file := range c.secretFiles() {
		if file == "" {
			continue
		}
		if err := secret.Check(file); err != nil {
			return err
		}
	}
	return nil
}

// secretFiles are all files of a configuration that hold a secret.
func (c *config) secretFiles() []string {
	files := []string{c.DatabaseFile, c.Log.Key.KeyFile, c.Log.Key.PassphraseFile, c.Vault.TokenFile, c.Redaction.KeyFile}
	if x := c.Tokens.Exchange; x != nil {
		files = append(files, x.Key.KeyFile, x.Key.PassphraseFile)
	}
	if c.TLS != nil {
		files = append(files, c.TLS.KeyFile)
	}
	if g := c.Bundle.Git; g != nil {
		files = append(files, g.SSHKeyFile, g.PasswordFile)
	}
	if o := c.Bundle.OCI; o != nil {
		files = append(files, o.PasswordFile)
	}
	if c.Bundle.Webhook != nil {
		files = append(files, c.Bundle.Webhook.SecretFile)
	}
	for _, w := range c.TicketWebhooks {
		files = append(files, w.SecretFiles...)
	}
	return files
}

// pseudonyms is the key with which redacted values are hashed and tokenised; nil: there is none.
func (c *config) pseudonyms() (*pseudonym.Key, error) {
	if c.Redaction.KeyFile == "" {
		return nil, nil
	}
	key, err := pseudonym.Read(c.Redaction.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("redaction.key_file: %w", err)
	}
	return key, nil
}

// sealPatience bounds one signature of a checkpoint.
const sealPatience = 10 * time.Second

// logSigner signs the log's checkpoints.
func (c *config) logSigner(ctx context.Context) (*audit.Signer, error) {
	key, err := c.Log.Key.open(ctx, c.Vault)
	if err != nil {
		return nil, fmt.Errorf("the log's key: %w", err)
	}
	return logSignerOf(c.Log.Origin, key, c.Log.RetiredKeyFiles)
}

func logSignerOf(origin string, key *signer.Key, retiredFiles []string) (*audit.Signer, error) {
	public, ok := key.Public().(ed25519.PublicKey)
	switch {
	case !ok:
		return nil, errors.New("the log's key: checkpoints are signed with Ed25519, and this is a key of another kind")
	case key.Name() != "" && key.Name() != origin:
		return nil, fmt.Errorf("the log's key: it is named %q, the log's origin is %q", key.Name(), origin)
	}
	var retired []string
	for _, file := range retiredFiles {
		line, err := readLine(file)
		if err != nil {
			return nil, fmt.Errorf("a retired key of the log: %w", err)
		}
		retired = append(retired, line)
	}
	return audit.NewSignerBy(origin, public, func(message []byte) ([]byte, error) {
		ctx, cancel := context.WithTimeout(context.Background(), sealPatience)
		defer cancel()
		return key.Sign(ctx, message)
	}, retired...)
}
