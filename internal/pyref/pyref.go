// Package pyref finds the Python reference implementation for tests that talk to
// it.
package pyref

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Variables that say where the interpreter is, in the order in which they count.
const (
	envInterpreter = "VGI_PYTHON_BIN" // the interpreter itself
	envDirectory   = "VGI_PY"         // what conformance/setup-python.sh made, elsewhere
)

// made is where conformance/setup-python.sh makes the interpreter, in the module.
const made = ".cache/python/python"

// errMissing is why a test is skipped.
var errMissing = errors.New("no Python with vgi-rpc: run conformance/setup-python.sh, or set " + envInterpreter + " or " + envDirectory)

// Python returns the absolute path of an interpreter that has the reference
// implementation: the one that $VGI_PYTHON_BIN names, or else python in the
// directory $VGI_PY, or else what conformance/setup-python.sh has made. Without
// any of them the test is skipped, or fails where the variable CI is set. A
// variable that leads nowhere fails it everywhere.
func Python(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	path, err := find(os.Getenv, dir)
	switch {
	case err == nil:
	case errors.Is(err, errMissing) && os.Getenv("CI") == "":
		tb.Skip(err)
	default:
		tb.Fatal(err)
	}
	return path
}

// find looks for the interpreter from a directory of the module.
func find(getenv func(string) string, dir string) (string, error) {
	if path := getenv(envInterpreter); path != "" {
		return named(path, envInterpreter)
	}
	if dir := getenv(envDirectory); dir != "" {
		return named(filepath.Join(dir, "python"), envDirectory)
	}
	for ; ; dir = filepath.Dir(dir) {
		_, err := os.Stat(filepath.Join(dir, "go.mod"))
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return "", fmt.Errorf("pyref: the module's directory: %w", err)
		}
	}
	path := filepath.Join(dir, made)
	if _, err := os.Stat(path); err != nil {
		return "", errMissing
	}
	return path, nil
}

// named is the interpreter at a path that a variable gives.
func named(path, variable string) (string, error) {
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("pyref: %s: %w", variable, err)
	}
	return filepath.Abs(path)
}
