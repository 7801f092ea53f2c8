//go:build !linux

package main

// noCoreDumps does nothing: this system has no way for a process to say it.
func noCoreDumps() error { return nil }
