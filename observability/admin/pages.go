package admin

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
)

// text answers with a line.
func text(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, line+"\n") //nolint:gosec // plain text; the peer may be gone
}

// writeJSON answers with a value that people can read, too.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		text(w, http.StatusInternalServerError, "it cannot be written as JSON")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the peer may be gone
}

// build is what was built of what.
type build struct {
	ServerID string            `json:"server_id,omitempty"`
	Version  string            `json:"version,omitempty"`
	Path     string            `json:"path,omitempty"`
	Module   string            `json:"module,omitempty"`
	Built    string            `json:"module_version,omitempty"`
	Go       string            `json:"go,omitempty"`
	Settings map[string]string `json:"settings,omitempty"`
	Modules  map[string]string `json:"dependencies,omitempty"`
}

// serveBuild says what was built.
func (s *Server) serveBuild(w http.ResponseWriter, _ *http.Request) {
	b := build{ServerID: s.opts.ServerID, Version: s.opts.Version}
	if info, ok := debug.ReadBuildInfo(); ok {
		b.Path, b.Module, b.Built, b.Go = info.Path, info.Main.Path, info.Main.Version, info.GoVersion
		b.Settings, b.Modules = map[string]string{}, map[string]string{}
		for _, set := range info.Settings {
			b.Settings[set.Key] = set.Value
		}
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			b.Modules[m.Path] = m.Version
		}
	}
	writeJSON(w, http.StatusOK, b)
}

// level is a severity in JSON.
type level struct {
	Level slog.Level `json:"level"`
}

// serveLevel says what is logged.
func (s *Server) serveLevel(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, level{s.opts.Level.Level()})
}

// maxLevelBody bounds the body of a new level, in bytes.
const maxLevelBody = 256

// changeLevel changes what is logged: to a word, or to what GET answers with.
func (s *Server) changeLevel(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxLevelBody))
	if err != nil {
		text(w, http.StatusRequestEntityTooLarge, "want one word: debug, info, warn or error")
		return
	}
	var want level
	if word := strings.TrimSpace(string(body)); strings.HasPrefix(word, "{") {
		err = json.Unmarshal(body, &want)
	} else {
		err = want.Level.UnmarshalText([]byte(word))
	}
	if err != nil {
		text(w, http.StatusBadRequest, "want one word: debug, info, warn or error")
		return
	}
	before := s.opts.Level.Level()
	s.opts.Level.Set(want.Level)
	s.opts.Logger.LogAttrs(r.Context(), slog.LevelWarn, "the log level was changed",
		slog.String("from", before.String()), slog.String("to", want.Level.String()))
	writeJSON(w, http.StatusOK, want)
}
