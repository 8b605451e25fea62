//go:build linux

package socket_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vgirpc/vgirpc-go/auth/socket"
	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/dial"
)

// asProgram makes the test binary the program that it has in JSON.
const asProgram = "SOCKET_TEST_PROGRAM"

// programRole is what a program does.
type programRole struct {
	Does   string `json:"does"`   // call, serve or leave
	Path   string `json:"path"`   // of the socket
	Shakes bool   `json:"shakes"` // with a handshake of mode signed
	Key    []byte `json:"key"`    // whose programs it trusts, nil for none
}

func TestMain(m *testing.M) {
	if text := os.Getenv(asProgram); text != "" {
		var role programRole
		err := json.Unmarshal([]byte(text), &role)
		if err == nil {
			err = role.run()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// run waits for a line on standard input where something else has to happen first.
func (r programRole) run() error {
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	var process *socket.SignedProcess
	var err error
	if r.Key != nil {
		if process, err = socket.NewSignedProcess(socket.ProcessOptions{Keys: []ed25519.PublicKey{r.Key}}); err != nil {
			return err
		}
	}
	switch r.Does {
	case "leave":
		_, err := net.Dial("unix", r.Path) // and the end closes it
		return err
	case "serve":
		return r.serve(process)
	}
	var opts dial.Options
	if r.Shakes {
		if opts.Handshake, err = socket.NewClient(socket.ClientOptions{Mode: socket.Signed, Server: process}); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(outcomeOf(ask(context.Background(), "unix:"+r.Path, opts)))
}

// serve serves until standard input ends.
func (r programRole) serve(process *socket.SignedProcess) error {
	h, err := socket.NewHandshake(socket.HandshakeOptions{Mode: socket.Signed, Process: process})
	if err != nil {
		return err
	}
	s, err := vgirpc.NewServer(vgirpc.ServerOptions{
		Logger: slog.New(slog.DiscardHandler), Conns: vgirpc.ConnOptions{Admit: []vgirpc.Admitter{h}},
	}, protocol)
	if err != nil {
		return err
	}
	vgirpc.HandleUnary(s, whoami, func(ctx context.Context, _ vgirpc.None) (string, error) {
		return vgirpc.CallFrom(ctx).Peer().Identity.Principal, nil
	})
	vgirpc.HandleUnary(s, ping, func(context.Context, vgirpc.None) (int64, error) { return 1, nil })
	l, err := vgirpc.ListenUnix(context.Background(), r.Path, vgirpc.UnixOptions{})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = l.Close()
	}()
	return s.Serve(context.Background(), l)
}

// program is a process of a copy of the test binary.
type program struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	err bytes.Buffer
}

// start starts the program at path, which waits for go.
func start(t *testing.T, path string, role programRole) *program {
	t.Helper()
	text, err := json.Marshal(role)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	p := &program{Cmd: exec.CommandContext(ctx, path)}
	p.Env = append(os.Environ(), asProgram+"="+string(text))
	p.Stderr = &p.err
	p.in = must[io.WriteCloser](t)(p.StdinPipe())
	p.out = bufio.NewReader(must[io.ReadCloser](t)(p.StdoutPipe()))
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.in.Close()
		_ = p.Wait() // it may have been waited for
	})
	return p
}

// go lets it begin.
func (p *program) begin(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(p.in, "go\n"); err != nil {
		t.Fatal(err)
	}
}

// outcome is what it prints.
func (p *program) outcome(t *testing.T) outcome {
	t.Helper()
	line, err := p.out.ReadString('\n')
	var got outcome
	if err == nil {
		err = json.Unmarshal([]byte(line), &got)
	}
	if err != nil {
		_ = p.Wait()
		t.Fatalf("%q: %v\n%s", line, err, p.err.String())
	}
	return got
}

// workshop has a program, and keys to sign it with.
type workshop struct {
	path          string
	public        ed25519.PublicKey
	private, evil ed25519.PrivateKey
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	w := &workshop{path: filepath.Join(t.TempDir(), "program")}
	var err error
	if w.public, w.private, err = ed25519.GenerateKey(nil); err != nil {
		t.Fatal(err)
	}
	if _, w.evil, err = ed25519.GenerateKey(nil); err != nil {
		t.Fatal(err)
	}
	w.copy(t, w.path)
	return w
}

// copy makes another program.
func (w *workshop) copy(t *testing.T, path string) {
	t.Helper()
	text := must[[]byte](t)(os.ReadFile(must[string](t)(os.Executable())))
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
}

// sign signs a program, as one that may be another.
func (w *workshop) sign(t *testing.T, key ed25519.PrivateKey, name, program string) {
	t.Helper()
	sum := must[[32]byte](t)(socket.HashProgram(t.Context(), program))
	s := must[*socket.Signature](t)(socket.Sign(key, name, sum))
	if err := os.WriteFile(w.path+socket.SignatureSuffix, must[[]byte](t)(s.MarshalText()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestASignedProcessIsLetInAndNoOther(t *testing.T) {
	refused := outcome{Code: vgirpc.PermissionDenied, Kind: socket.KindProcessNotSigned}
	good := outcome{Who: "signed/billing"}
	signs := func(t *testing.T, w *workshop) { t.Helper(); w.sign(t, w.private, "billing", w.path) }
	for _, tt := range []struct {
		name    string
		prepare func(*testing.T, *workshop)
		running func(*testing.T, *workshop) // once it runs
		names   []string
		want    outcome
		log     string
	}{
		{name: "signed", prepare: signs, want: good},
		{name: "signed by a name that is permitted", prepare: signs, names: []string{"a", "billing"}, want: good},
		{name: "signed by a name that is not", prepare: signs, names: []string{"a"}, want: refused, log: "not permitted"},
		{name: "not signed", want: refused, log: "no such file"},
		{name: "signed by somebody else", prepare: func(t *testing.T, w *workshop) {
			t.Helper()
			w.sign(t, w.evil, "billing", w.path)
		}, want: refused, log: "not trusted"},
		{name: "with the signature of another program", prepare: func(t *testing.T, w *workshop) {
			t.Helper()
			other := filepath.Join(t.TempDir(), "other")
			if err := os.WriteFile(other, []byte("other"), 0o600); err != nil {
				t.Fatal(err)
			}
			w.sign(t, w.private, "billing", other)
		}, want: refused, log: "not this program's"},
		{name: "changed since it was signed", prepare: func(t *testing.T, w *workshop) {
			t.Helper()
			signs(t, w)
			f := must[*os.File](t)(os.OpenFile(w.path, os.O_APPEND|os.O_WRONLY, 0))
			must[int](t)(f.Write([]byte{0}))
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}, want: refused, log: "not this program's"},
		{name: "with another's name in the signature", prepare: func(t *testing.T, w *workshop) {
			t.Helper()
			signs(t, w)
			text := must[[]byte](t)(os.ReadFile(w.path + socket.SignatureSuffix))
			text = bytes.Replace(text, []byte("name billing"), []byte("name payroll"), 1)
			if err := os.WriteFile(w.path+socket.SignatureSuffix, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}, want: refused, log: "not this program's"},
		{name: "with a signature that is none", prepare: func(t *testing.T, w *workshop) {
			t.Helper()
			if err := os.WriteFile(w.path+socket.SignatureSuffix, bytes.Repeat([]byte("x"), 1<<20), 0o600); err != nil {
				t.Fatal(err)
			}
		}, want: refused, log: "larger than"},
		{name: "with a pipe that nobody writes in the signature's place", prepare: func(t *testing.T, w *workshop) {
			t.Helper()
			if err := syscall.Mkfifo(w.path+socket.SignatureSuffix, 0o600); err != nil {
				t.Fatal(err)
			}
		}, want: refused, log: "not a regular file"},
		{name: "with a signed program in its place since it was started", running: func(t *testing.T, w *workshop) {
			t.Helper()
			if err := os.Remove(w.path); err != nil {
				t.Fatal(err)
			}
			w.copy(t, w.path)
			signs(t, w)
		}, want: refused, log: "replaced"},
		{name: "with another program in its place since it was started", prepare: signs, running: func(t *testing.T, w *workshop) {
			t.Helper()
			if err := os.Rename(w.path, w.path+".moved"); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(w.path, []byte("#!/bin/sh\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, want: refused, log: "no such file"}, // its name is another, and there is no signature beside it
	} {
		for _, shakes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, handshake %v", tt.name, shakes), func(t *testing.T) {
				w := newWorkshop(t)
				if tt.prepare != nil {
					tt.prepare(t, w)
				}
				process := must[*socket.SignedProcess](t)(socket.NewSignedProcess(socket.ProcessOptions{
					Keys: []ed25519.PublicKey{w.public}, Names: tt.names,
				}))
				admit := vgirpc.Admitter(process)
				if shakes {
					admit = must[*socket.Handshake](t)(socket.NewHandshake(socket.HandshakeOptions{Mode: socket.Signed, Process: process}))
				}
				p := serve(t, "unix", admit)
				child := start(t, w.path, programRole{Does: "call", Path: p.addr.String(), Shakes: shakes})
				if tt.running != nil {
					tt.running(t, w)
				}
				child.begin(t)
				if diff := cmp.Diff(tt.want, child.outcome(t)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if tt.log != "" {
					p.eventuallySays(t, tt.log)
				}
			})
		}
	}
}

func TestAClientLooksAtTheServersProgramToo(t *testing.T) {
	for _, tt := range []struct {
		name  string
		trust func(*workshop) []byte
		want  outcome
	}{
		{"signed by somebody whom it trusts", func(w *workshop) []byte { return w.public }, outcome{Who: "both"}},
		{
			"signed by somebody else", func(w *workshop) []byte { return w.evil.Public().(ed25519.PublicKey) },
			outcome{Code: vgirpc.PermissionDenied, Kind: socket.KindProcessNotSigned},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorkshop(t)
			w.sign(t, w.private, "both", w.path)
			path := filepath.Join(t.TempDir(), "s")
			server := start(t, w.path, programRole{Does: "serve", Path: path, Key: w.public})
			server.begin(t)
			if line, err := server.out.ReadString('\n'); err != nil || line != "ready\n" {
				_ = server.Wait()
				t.Fatalf("%q, %v\n%s", line, err, server.err.String())
			}
			client := start(t, w.path, programRole{Does: "call", Path: path, Shakes: true, Key: tt.trust(w)})
			client.begin(t)
			if diff := cmp.Diff(tt.want, client.outcome(t)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestAProcessThatHasEndedIsNotTakenForWhoHasItsNumberNow looks at a connection
// whose process is gone by the time.
func TestAProcessThatHasEndedIsNotTakenForWhoHasItsNumberNow(t *testing.T) {
	w := newWorkshop(t)
	w.sign(t, w.private, "billing", w.path)
	process := must[*socket.SignedProcess](t)(socket.NewSignedProcess(socket.ProcessOptions{Keys: []ed25519.PublicKey{w.public}}))
	l := must[*net.UnixListener](t)(net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"}))
	defer func() { _ = l.Close() }()
	child := start(t, w.path, programRole{Does: "leave", Path: l.Addr().String()})
	child.begin(t)
	if err := child.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, child.err.String())
	}
	conn := must[*net.UnixConn](t)(l.AcceptUnix())
	defer func() { _ = conn.Close() }()
	_, err := process.Verify(t.Context(), conn)
	if vgirpc.CodeOf(err) != vgirpc.PermissionDenied || !strings.Contains(err.Error(), "process") {
		t.Errorf("error %v", err)
	}
}

func TestAProcessIsLookedAtOnAUnixSocketAlone(t *testing.T) {
	w := newWorkshop(t)
	process := must[*socket.SignedProcess](t)(socket.NewSignedProcess(socket.ProcessOptions{Keys: []ed25519.PublicKey{w.public}}))
	p := serve(t, "tcp", process)
	want := outcome{Code: vgirpc.PermissionDenied, Kind: socket.KindProcessNotSigned}
	if diff := cmp.Diff(want, outcomeOf(ask(t.Context(), p.url(""), dial.Options{}))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
