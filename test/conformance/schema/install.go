package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// What the suite comes in: the source of a validator for Python, which has the whole
// of it with its licence.
const (
	distribution = "jsonschema"
	release      = "4.25.1"
	digest       = "e4a9655ce0da0c0b67a085847e00a3a51449e1157f4f75e9fb5aa545e122eb85"
)

// install is the suite's folder in the user's cache, fetched unless it is there.
func install() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache: %w", err)
	}
	name := distribution + "-" + release
	dir := filepath.Join(cache, "writ", "schema-suite")
	archive := filepath.Join(dir, name+".tar.gz")
	if _, err := os.Stat(archive); err != nil {
		pip := exec.Command("pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", dir, distribution+"=="+release)
		if out, err := pip.CombinedOutput(); err != nil {
			return "", fmt.Errorf("downloading the suite: %w: %s", err, bytes.TrimSpace(out))
		}
	}
	data, err := os.ReadFile(archive)
	if err != nil {
		return "", fmt.Errorf("reading the suite: %w", err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != digest {
		return "", fmt.Errorf("%s is another archive than the one that is pinned", archive)
	}
	return filepath.Join(dir, name, "json", "tests"), unpack(data, name+"/json/tests/draft2020-12/", dir)
}

// unpack writes an archive's files below a prefix into a directory.
func unpack(data []byte, prefix, dir string) error {
	unzipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("reading the suite: %w", err)
	}
	root, err := os.OpenRoot(dir) // whatever names the archive has
	if err != nil {
		return fmt.Errorf("unpacking the suite: %w", err)
	}
	defer root.Close()
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the suite: %w", err)
		}
		if !strings.HasPrefix(header.Name, prefix) || header.Typeflag != tar.TypeReg {
			continue
		}
		text, err := io.ReadAll(archive)
		if err == nil {
			err = root.MkdirAll(filepath.Dir(header.Name), 0o755)
		}
		if err == nil {
			err = root.WriteFile(header.Name, text, 0o644)
		}
		if err != nil {
			return fmt.Errorf("unpacking the suite: %w", err)
		}
	}
}
