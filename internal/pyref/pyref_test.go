package pyref

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheInterpreterIsFound(t *testing.T) {
	root := t.TempDir()
	write := func(parts ...string) string {
		path := filepath.Join(append([]string{root}, parts...)...)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("bare", "go.mod")
	write("module", "go.mod")
	inside := filepath.Dir(write("module", "deep", "er", "x_test.go"))
	cached := write("module", ".cache", "python", "python")
	own := write("own", "bin", "python3")
	elsewhere := write("elsewhere", "python")

	for _, tt := range []struct {
		name string
		env  map[string]string
		dir  string
		want string
		err  error
	}{
		{"what the script has made is found from any directory of the module", nil, inside, cached, nil},
		{"a directory that is named comes first", map[string]string{envDirectory: filepath.Dir(elsewhere)}, inside, elsewhere, nil},
		{"an interpreter that is named comes before that", map[string]string{envInterpreter: own, envDirectory: root}, inside, own, nil},
		{"a directory without an interpreter is an error", map[string]string{envDirectory: root}, inside, "", fs.ErrNotExist},
		{"an interpreter that is not there is an error", map[string]string{envInterpreter: own + "x"}, inside, "", fs.ErrNotExist},
		{"a module without one has none", nil, filepath.Join(root, "bare"), "", errMissing},
		{"a directory of no module is an error", nil, root, "", fs.ErrNotExist},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := find(func(key string) string { return tt.env[key] }, tt.dir)
			if diff := cmp.Diff(tt.want, got); diff != "" || !errors.Is(err, tt.err) {
				t.Errorf("error %v, want %v (-want +got):\n%s", err, tt.err, diff)
			}
		})
	}
}
