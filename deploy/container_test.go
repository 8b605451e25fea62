//go:build linux

package deploy_test

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const containerfile = "container/Containerfile"

// An instruction is one of a container file, continued lines joined.
type instruction struct{ name, rest string }

// instructions are those of the stages of the container file; the first element is
// what comes before the first stage.
func instructions() (stages [][]instruction, err error) {
	text, err := os.ReadFile(containerfile)
	if err != nil {
		return nil, err
	}
	var kept []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			kept = append(kept, line)
		}
	}
	stages = [][]instruction{nil}
	for line := range strings.SplitSeq(strings.ReplaceAll(strings.Join(kept, "\n"), "\\\n", " "), "\n") {
		name, rest, _ := strings.Cut(line, " ")
		if name == "FROM" {
			stages = append(stages, nil)
		}
		last := &stages[len(stages)-1]
		*last = append(*last, instruction{name, strings.TrimSpace(rest)})
	}
	return stages, nil
}

// buildCommand is the line of the container file that builds the program, for a
// shell, without what only a container engine knows.
func buildCommand(into string) (string, error) {
	stages, err := instructions()
	if err != nil {
		return "", err
	}
	variables := map[string]string{"TARGETARCH": runtime.GOARCH, "VERSION": "1.2.3"}
	for _, stage := range stages {
		for _, i := range stage {
			name, value, _ := strings.Cut(i.rest, "=")
			if i.name == "ARG" && variables[name] == "" {
				variables[name] = value
			}
			command := regexp.MustCompile(`--mount=\S+ +`).ReplaceAllString(i.rest, "")
			if i.name == "RUN" && strings.Contains(command, "go build") {
				// It only changes paths, and every package would have to be compiled for it.
				command = strings.Replace(command, " -trimpath", "", 1)
				command = os.Expand(command, func(name string) string { return variables[name] })
				return strings.Replace(command, "/out/worker", into, 1), nil
			}
		}
	}
	return "", errors.New("the container file has no RUN with go build")
}

// program is the program of the image, built once as the container file says.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "vgi-deploy")
	if err != nil {
		return "", err
	}
	built.Lock()
	built.dir = dir
	built.Unlock()
	path := filepath.Join(dir, "worker")
	command, err := buildCommand(path)
	if err != nil {
		return "", err
	}
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", command, err, out)
	}
	return path, nil
})

// worker is the path of the image's program.
func worker(t *testing.T) string {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheContainerFileMakesASmallImageThatRunsAsNobody(t *testing.T) {
	stages, err := instructions()
	if err != nil {
		t.Fatal(err)
	}
	args := map[string]string{}
	for _, i := range stages[0] {
		name, value, _ := strings.Cut(i.rest, "=")
		args[name] = value
	}
	for name, image := range args {
		if _, tag, ok := strings.Cut(image, ":"); !ok || tag == "latest" {
			t.Errorf("%s is %s: want a tag that says which", name, image)
		}
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../go.mod"))
	if !strings.HasPrefix(args["GO_IMAGE"], "docker.io/library/golang:"+version[1]+".") {
		t.Errorf("GO_IMAGE is %s, and go.mod wants Go %s", args["GO_IMAGE"], version[1])
	}
	if !strings.Contains(args["BASE_IMAGE"], "distroless/static") || !strings.HasSuffix(args["BASE_IMAGE"], ":nonroot") {
		t.Errorf("BASE_IMAGE is %s: want one without a shell and without root", args["BASE_IMAGE"])
	}
	want := []instruction{
		{"FROM", "${BASE_IMAGE}"},
		{"COPY", "--from=build --chown=0:0 --chmod=0555 /out/worker /worker"},
		{"USER", "65532:65532"},
		{"EXPOSE", "8080 9090"},
		{"STOPSIGNAL", "SIGTERM"},
		{"ENTRYPOINT", `["/worker"]`},
		{"CMD", `["--http", "8080", "--host", "0.0.0.0"]`},
	}
	if diff := cmp.Diff(want, stages[len(stages)-1], cmp.AllowUnexported(instruction{})); diff != "" {
		t.Errorf("the image holds one program, and nothing is run or fetched to make it (-want +got):\n%s", diff)
	}
	for _, stage := range stages {
		for _, i := range stage {
			if i.name == "ADD" || strings.Contains(i.rest, "curl") || strings.Contains(i.rest, "wget") || strings.Contains(i.rest, "apt-get") {
				t.Errorf("%s %s: the build fetches modules alone, which go.sum holds", i.name, i.rest)
			}
			if (i.name == "ENV" || i.name == "ARG") && regexp.MustCompile(`(?i)key|token|secret|password`).MatchString(i.rest) {
				t.Errorf("%s %s: an image keeps what it was built with", i.name, i.rest)
			}
		}
	}
}

func TestTheImagesProgramIsStatic(t *testing.T) {
	path := worker(t)
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("it has a segment of type %v: want none that is linked when it starts", p.Type)
		}
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if settings["CGO_ENABLED"] != "0" {
		t.Errorf("built with %v", settings)
	}
	if version := output(t, path, "--version"); !strings.Contains(version, "1.2.3") {
		t.Errorf("--version says %q, and the build said 1.2.3", version)
	}
}

// The image is a directory with the program and nothing else, no certificates even.
func TestTheImagesProgramNeedsNothingBesideIt(t *testing.T) {
	const nobody = 65532 // as in the image
	dir := t.TempDir()
	for path := dir; path != "/" && path != os.TempDir(); path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(worker(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "worker"), content, 0o555); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/worker", "--http", "0", "--host", "0.0.0.0", "--admin", "0.0.0.0:9090", "--admin-public", "--check")
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: dir, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	user := os.Geteuid()
	if user != 0 { // only root may change the root of a process, or who is root in a namespace
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: nobody, HostID: user, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: nobody, HostID: os.Getegid(), Size: 1}}
		cmd.SysProcAttr.Credential.NoSetGroups = true
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	switch err := cmd.Start(); {
	case err != nil && user != 0: // no program that could be installed would help
		t.Skip("the root of a process takes root, or the right to have a user namespace: ", err)
	case err != nil:
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
}

func TestSecretsStayOutOfTheBuild(t *testing.T) {
	ignored := strings.Fields(regexp.MustCompile(`(?m)^#.*$`).ReplaceAllString(read(t, containerfile+".dockerignore"), ""))
	have := map[string]bool{}
	for _, pattern := range ignored {
		have[pattern] = true
	}
	for _, pattern := range []string{".git", ".cache", "**/*.pem", "**/*.key", "**/*.env"} {
		if !have[pattern] {
			t.Errorf("%s is not ignored", pattern)
		}
	}
	// What the program embeds is not ignored.
	embedded := output(t, "go", "list", "-deps", "-f", `{{if and .Module .EmbedFiles}}{{if .Module.Main}}{{range .EmbedFiles}}{{$.Dir}}/{{.}}{{"\n"}}{{end}}{{end}}{{end}}`, "../examples/production")
	for path := range strings.FieldsSeq(embedded) {
		for _, suffix := range []string{".pem", ".key", ".env"} {
			if strings.HasSuffix(path, suffix) || strings.Contains(path, "/testdata/") {
				t.Errorf("%s is part of the program, and is ignored", path)
			}
		}
	}
}
