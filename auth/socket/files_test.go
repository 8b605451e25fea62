//go:build unix

package socket

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAFileOfSecretsIsReplacedWithoutAnInterruption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "secrets")
		write := func(text string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var log bytes.Buffer
		write("one " + oneKey)
		s := must[*Secrets](t)(OpenSecrets(path, slog.New(slog.NewTextHandler(&log, nil))))
		has := func(id string) bool { _, ok := s.find(id); return ok }
		for _, step := range []struct {
			name     string
			text     string
			one, two bool
			log      string
		}{
			{"a second secret", "two " + otherKey + "\none " + oneKey, true, true, "secrets=2"},
			{"a file that is no good", "two " + otherKey + "\nthree 11", true, true, "line 2"},
			{"the first one gone", "two " + otherKey, false, true, "secrets=1"},
		} {
			before := [2]bool{has("one"), has("two")}
			write(step.text)
			if now := [2]bool{has("one"), has("two")}; now != before {
				t.Errorf("%s: read again at once", step.name)
			}
			time.Sleep(secretsPoll)
			if has("one") != step.one || has("two") != step.two {
				t.Errorf("%s: one %v, two %v", step.name, has("one"), has("two"))
			}
			if !strings.Contains(log.String(), step.log) || strings.Contains(log.String(), otherKey) {
				t.Errorf("%s: the log is %s", step.name, log.String())
			}
			log.Reset()
		}
	})
}

func TestFilesThatAreNoSecrets(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, bytes.Repeat([]byte("#"), maxSecretsFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "none", dir: "regular", large: "larger", empty: "no secret",
	} {
		if _, err := OpenSecrets(path, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := OpenSecrets(empty, nil); err == nil {
		t.Error("no logger, and no error")
	}
}
