package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/writpdp/writ/server/content/detect"
)

// maxColumn bounds the column that is hashed, in bytes.
const maxColumn = 64 << 20

type policyHashesCmd struct {
	Values string `arg:"" type:"existingfile" help:"A file of values, one a line: letters and digits alone count."`
}

// Run hashes values with a new salt.
func (c policyHashesCmd) Run(to streams) error {
	file, err := os.Open(c.Values)
	if err != nil {
		return fmt.Errorf("reading values: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxColumn+1))
	if err != nil {
		return fmt.Errorf("reading values: %w", err)
	}
	if len(text) > maxColumn {
		return fmt.Errorf("reading values: more than %d bytes", maxColumn)
	}
	salt := make([]byte, 16)
	rand.Read(salt) // it never fails
	hashed, err := detect.Hashes(salt, strings.Split(string(text), "\n"))
	if err != nil {
		return fmt.Errorf("hashing values: %w", err)
	}
	_, err = to.out.Write(hashed)
	return err
}
