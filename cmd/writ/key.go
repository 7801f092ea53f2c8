package main

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/signer"
)

type keyCmd struct {
	Public keyPublicCmd `cmd:"" help:"Print a private key's public half, to be published or kept by auditors."`
}

// keyFlags name a private key.
type keyFlags struct {
	KeyFile        string `xor:"key" required:"" type:"existingfile" placeholder:"FILE" help:"The private key."`
	PassphraseFile string `type:"existingfile" placeholder:"FILE" help:"Its passphrase."`
	KMS            string `name:"kms" xor:"key" required:"" placeholder:"URI" help:"The key in a key management service: awskms://, azurekms://, gcpkms://, hashivault://."`
	KMSVersion     int    `name:"kms-version" help:"The version of a hashivault:// key. Without: the newest."`
	VaultAddress   string `placeholder:"URL" help:"Where a hashivault:// key is."`
	VaultTokenFile string `type:"existingfile" placeholder:"FILE" help:"A token for it."`
	VaultMount     string `default:"transit" placeholder:"PATH" help:"The transit engine's mount."`
}

func (k keyFlags) open(ctx context.Context) (*signer.Key, error) {
	return signer.Open(ctx, signer.Config{File: k.KeyFile, PassphraseFile: k.PassphraseFile, KMS: k.KMS,
		Vault: signer.Vault{Address: k.VaultAddress, TokenFile: k.VaultTokenFile, Mount: k.VaultMount, Version: k.KMSVersion}})
}

type keyPublicCmd struct {
	keyFlags `embed:""`
	Origin   string `placeholder:"NAME" help:"Print it as the key of the log of this name. Without: PEM."`
}

// Run prints the public key.
func (c keyPublicCmd) Run(ctx context.Context, to streams) error {
	key, err := c.open(ctx)
	if err != nil {
		return err
	}
	if c.Origin != "" {
		public, ok := key.Public().(ed25519.PublicKey)
		if !ok {
			return errors.New("a log's key is Ed25519, and this is a key of another kind")
		}
		text, err := audit.PublicKey(c.Origin, public)
		if err != nil {
			return err
		}
		fmt.Fprintln(to.out, text)
		return nil
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("encoding the public key: %w", err)
	}
	return pem.Encode(to.out, &pem.Block{Type: "PUBLIC KEY", Bytes: der})
}
