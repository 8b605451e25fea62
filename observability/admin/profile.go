package admin

import (
	"fmt"
	"net/http"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"strings"
	"time"
)

// Times of profiles.
const (
	defaultCPU   = 30 * time.Second
	defaultTrace = time.Second
	longest      = 5 * time.Minute
)

// serveProfiles lists the profiles.
func serveProfiles(w http.ResponseWriter, _ *http.Request) {
	var b strings.Builder
	b.WriteString("profile?seconds=30\ntrace?seconds=1")
	for _, p := range pprof.Profiles() {
		fmt.Fprintf(&b, "\n%s (%d)", p.Name(), p.Count())
	}
	text(w, http.StatusOK, b.String())
}

// serveProfile writes a profile as it is now: with ?debug=1 or 2 for people, and
// with ?gc=1 after a collection.
func serveProfile(w http.ResponseWriter, r *http.Request) {
	p := pprof.Lookup(r.PathValue("name"))
	if p == nil {
		http.NotFound(w, r)
		return
	}
	query := r.URL.Query()
	if query.Get("gc") == "1" && p.Name() == "heap" {
		runtime.GC()
	}
	form, _ := strconv.Atoi(query.Get("debug")) // 0 is what tools want
	if form > 0 {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	} else {
		binary(w, p.Name())
	}
	_ = p.WriteTo(w, form) // the peer may be gone
}

func binary(w http.ResponseWriter, name string) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name))
}

// serveCPU says where the time goes. There can be but one such profile at a time.
func serveCPU(w http.ResponseWriter, r *http.Request) {
	record(w, r, "profile", defaultCPU, func() error { return pprof.StartCPUProfile(w) }, pprof.StopCPUProfile)
}

// serveTrace says what the scheduler does. There can be but one at a time.
func serveTrace(w http.ResponseWriter, r *http.Request) {
	record(w, r, "trace", defaultTrace, func() error { return trace.Start(w) }, trace.Stop)
}

// record lets something write for as long as the request says, or as its sender
// waits.
func record(w http.ResponseWriter, r *http.Request, name string, usual time.Duration, start func() error, stop func()) {
	d, err := seconds(r, usual)
	if err != nil {
		text(w, http.StatusBadRequest, err.Error())
		return
	}
	// It is refused where there are no deadlines, as in tests.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d + writeTimeout))
	binary(w, name)
	if err := start(); err != nil {
		w.Header().Del("Content-Disposition")
		text(w, http.StatusConflict, "somebody else is at it: "+err.Error())
		return
	}
	defer stop()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}

// seconds is how long the request says.
func seconds(r *http.Request, usual time.Duration) (time.Duration, error) {
	given := r.URL.Query().Get("seconds")
	if given == "" {
		return usual, nil
	}
	n, err := strconv.ParseFloat(given, 64)
	if err != nil || !(n > 0 && n <= longest.Seconds()) { // NaN as well
		return 0, fmt.Errorf("seconds: want a number up to %v", longest.Seconds())
	}
	return time.Duration(n * float64(time.Second)), nil
}
