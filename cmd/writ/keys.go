package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/identity"
)

// tokenKey reads the dev issuer's key, or makes it the first time.
func tokenKey(file string) (*identity.Minter, error) {
	data, err := os.ReadFile(file)
	if err == nil {
		m, err := identity.ReadMinter(data)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		return m, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the dev issuer's key: %w", err)
	}
	m, err := identity.NewMinter(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the dev issuer's key: %w", err)
	}
	text, err := m.PEM()
	if err != nil {
		return nil, fmt.Errorf("making the dev issuer's key: %w", err)
	}
	return m, writePrivate(file, text)
}

// logKey reads the log's key in a data directory, or makes it the first time.
func logKey(dir, origin string) (*audit.Signer, error) {
	file := filepath.Join(dir, fileLogKey)
	text, err := readLine(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeLogKey(dir, origin); err != nil {
			return nil, err
		}
		text, err = readLine(file)
	}
	if err != nil {
		return nil, err
	}
	signer, err := audit.NewSigner(origin, text)
	if err != nil {
		return nil, fmt.Errorf("reading the log's key in %s: %w", file, err)
	}
	return signer, nil
}

// makeLogKey writes a new key pair for a log.
func makeLogKey(dir, origin string) error {
	private, public, err := audit.GenerateKey(rand.Reader, origin)
	if err != nil {
		return fmt.Errorf("making the log's key: %w", err)
	}
	if err := writePrivate(filepath.Join(dir, fileLogKey), []byte(private+"\n")); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, fileLogPub), []byte(public+"\n"), 0o644); err != nil {
		return fmt.Errorf("writing the log's public key: %w", err)
	}
	return nil
}

// writePrivate writes a file that only its owner can read, and never over one
// that is there.
func writePrivate(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing a private key: %w", err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing a private key: %w", err)
	}
	return nil
}
