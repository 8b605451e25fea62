//go:build unix

package launch

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// vectors are workers, and the keys that the Python implementation gives them.
var vectors = []struct {
	name    string
	command []string
	dir     string
	env     []string
	key     string
}{
	{"a program alone", []string{"python"}, "/tmp", []string{}, "13ddf92fa852a381"},
	{"no command, no settings", []string{}, "/tmp", []string{}, "21499d847854c192"},
	{"several arguments", []string{"python", "-m", "foo", "--bar", "baz"}, "/tmp", []string{}, "1d95f2117bce8c2d"},
	{"blanks, quotes and backslashes", []string{"echo", "a\"b\\c", "/path with spaces/<&>"}, "/tmp/has spaces and \"quotes\"", []string{}, "6f9cfe6c6debb496"},
	{"settings in order", []string{"python"}, "/tmp", []string{"VGI_RPC_Z=z", "VGI_RPC_A=a", "VGI_RPC_=m"}, "e9bb48dbea26d924"},
	{"variables of others", []string{"python"}, "/tmp", []string{"PATH=/bin", "VGI_RPCX=1", "XVGI_RPC_A=1", "VGI_RPC_A=a=b"}, "ff9f2c4608315787"},
	{"control characters", []string{"a\x08\x0c\x0a\x0d\x09b\x01\x1f\x7f"}, "/tmp", []string{"VGI_RPC_A="}, "d7e7e8063cb9f06a"},
	{"every plane", []string{"é ü", "日本語", "😀𝄞", "\uffff\ue000"}, "/tmp/ñ", []string{"VGI_RPC_Ä=ö"}, "aa671f5fd1c85313"},
	{"bytes that are no UTF-8", []string{"\xff\xe4x", "ok\x80"}, "/tmp/\xfe", []string{"VGI_RPC_\xff=1", "VGI_RPC_日=2", "VGI_RPC_\uffff=3", "VGI_RPC_😀=\xc3("}, "70d8e5d4e73317d4"},
}

func TestKeys(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			if got := keyOf(v.command, v.dir, v.env); got != v.key {
				t.Errorf("got %s, want %s", got, v.key)
			}
			if !isKey(v.key) {
				t.Errorf("%s is no key", v.key)
			}
		})
	}
	t.Run("of a setting that comes twice the last one counts", func(t *testing.T) {
		twice := keyOf([]string{"x"}, "/", []string{"VGI_RPC_A=1", "VGI_RPC_A=2", "nonsense"})
		if diff := cmp.Diff(keyOf([]string{"x"}, "/", []string{"VGI_RPC_A=2"}), twice); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("other names are no keys", func(t *testing.T) {
		for _, name := range []string{"", "notes", "00000000000000g0", "00000000000000AA", "0000000000000000a", "00000000000000é"} {
			if isKey(name) {
				t.Errorf("%q is one", name)
			}
		}
	})
}

func TestWorkingDirectory(t *testing.T) {
	resolved, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	inner := filepath.Join(resolved, "inner")
	link := filepath.Join(resolved, "link")
	if err := os.Mkdir(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(inner, link); err != nil {
		t.Fatal(err)
	}
	t.Chdir(link) // which sets PWD to the link
	for dir, want := range map[string]string{"": inner, ".": inner, "..": resolved, link: inner, "../link": inner} {
		got, err := workingDir(dir)
		if err != nil || got != want {
			t.Errorf("%q is %q, %v: want %q", dir, got, err, want)
		}
	}
}
