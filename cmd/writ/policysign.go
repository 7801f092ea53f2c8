package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/writpdp/writ/server/policy/trust"
	"github.com/writpdp/writ/server/signer"
)

type policySignCmd struct {
	keyFlags `embed:""`
	Digest   string `arg:"" help:"The digest of the artefact's manifest, sha256:…"`
}

// Run prints an approval of an artefact.
func (c policySignCmd) Run(ctx context.Context, to streams) error {
	sum, ok := strings.CutPrefix(c.Digest, "sha256:")
	if !ok {
		return usageError("the digest does not begin with sha256:")
	}
	message, envelope, err := trust.Unsigned(sum)
	if err != nil {
		return err
	}
	key, err := c.open(ctx)
	if err != nil {
		return err
	}
	if a := key.Algorithm(); a != signer.EdDSA && a != signer.ES256 {
		return fmt.Errorf("bundles are signed with Ed25519 or ECDSA on P-256, and this key is for %s", a)
	}
	signature, err := key.Sign(ctx, message)
	if err != nil {
		return err
	}
	text, err := envelope(signature)
	if err != nil {
		return fmt.Errorf("writing the signature: %w", err)
	}
	fmt.Fprintln(to.out, string(text))
	return nil
}
