// Command transit serves Vault's own transit engine on loopback, for tests of
// what signs with it. The engine is the real one, with its keys in memory; what
// stands before it is as much of Vault's HTTP API as a client of the engine sees:
// one token, one mount, reads and writes.
//
// It is a module of its own, so that the product depends on none of this. It
// prints its address and serves until its standard input ends.
package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/sdk/logical"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: transit TOKENFILE")
	}
	if err := serve(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func serve(tokenFile string) error {
	storage := &logical.InmemStorage{}
	engine, err := transit.Factory(context.Background(), &logical.BackendConfig{
		StorageView: storage, System: logical.TestSystemView(), Config: map[string]string{},
	})
	if err != nil {
		return fmt.Errorf("making the engine: %w", err)
	}
	if err := engine.Initialize(context.Background(), &logical.InitializationRequest{Storage: storage}); err != nil {
		return fmt.Errorf("starting the engine: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + listener.Addr().String())
	server := &http.Server{Handler: api{engine, storage, tokenFile}, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with who started this
		_ = server.Close()
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// api is the engine at /v1/transit/, for whoever has the token that is in the
// file at the moment.
type api struct {
	engine    logical.Backend
	storage   logical.Storage
	tokenFile string
}

func (a api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, err := os.ReadFile(a.tokenFile)
	if err != nil || subtle.ConstantTimeCompare([]byte(strings.TrimSpace(string(token))), []byte(r.Header.Get("X-Vault-Token"))) != 1 {
		answer(w, http.StatusForbidden, map[string]any{"errors": []string{"permission denied"}})
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/transit/")
	if !ok {
		answer(w, http.StatusNotFound, map[string]any{"errors": []string{}})
		return
	}
	request := &logical.Request{Operation: logical.ReadOperation, Path: path, Storage: a.storage, MountPoint: "transit/"}
	if r.Method != http.MethodGet {
		request.Operation = logical.UpdateOperation
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
		decoder.UseNumber()
		if err := decoder.Decode(&request.Data); err != nil && !errors.Is(err, io.EOF) {
			answer(w, http.StatusBadRequest, map[string]any{"errors": []string{"malformed JSON"}})
			return
		}
	}
	response, err := a.engine.HandleRequest(r.Context(), request)
	switch {
	case err != nil:
		problems := []string{err.Error()}
		if response != nil && response.IsError() {
			problems = []string{response.Error().Error()}
		}
		answer(w, http.StatusBadRequest, map[string]any{"errors": problems})
	case response == nil && request.Operation == logical.ReadOperation:
		answer(w, http.StatusNotFound, map[string]any{"errors": []string{}})
	case response == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		answer(w, http.StatusOK, map[string]any{"data": response.Data})
	}
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // whoever left does not read it
}
