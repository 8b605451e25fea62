package vgirpc

import (
	"context"
	"os"
	"strconv"

	"github.com/vgirpc/vgirpc-go/wire"
)

// KeyFiles in the metadata of a request is how many files came beside its first
// byte, as descriptors of a Unix socket. In a capability request the value
// [AskFiles] asks whether any may come, and in the answer it is how many one call
// may bring. A key of this implementation, that others ignore.
const KeyFiles = "vgirpc_go.files"

// AskFiles is the value of [KeyFiles] in the capability request that asks.
const AskFiles = "?"

// How many files a call may bring.
const (
	defaultMaxFiles = 16
	// mostFiles stays below what the systems pass at once, which is 253 on Linux.
	mostFiles = 128
)

// filesKey finds the files of requests in a context.
type filesKey struct{}

// WithFiles returns a context whose calls bring files: their handler gets other
// descriptors of the same open files from [Call.Files]. It replaces the files
// that ctx has. They stay the caller's, and must stay open until the call has
// returned, or until its stream is open.
//
// Files travel on a Unix socket alone, without TLS, to a server of this module.
// Elsewhere such a call fails with FAILED_PRECONDITION before anything is sent,
// and with RESOURCE_EXHAUSTED when there are more of them than the server takes
// ([ConnOptions.MaxFiles]).
func WithFiles(ctx context.Context, files ...*os.File) context.Context {
	return context.WithValue(ctx, filesKey{}, files)
}

// FileCarrier is a [Transport] that may be able to pass files. Others refuse
// calls that bring any.
type FileCarrier interface {
	Transport
	// CarriesFiles returns nil when calls can bring files, else why they cannot.
	CarriesFiles() error
}

// filesOf are the files of a call over t, refused where t cannot pass them.
func filesOf(ctx context.Context, t Transport) ([]*os.File, error) {
	files, _ := ctx.Value(filesKey{}).([]*os.File)
	if len(files) == 0 {
		return nil, nil
	}
	c, ok := t.(FileCarrier)
	if !ok {
		return nil, errNoFiles()
	}
	if err := c.CarriesFiles(); err != nil {
		return nil, err
	}
	for _, f := range files {
		if f == nil {
			return nil, filesErrorf(InvalidArgument, "one of the files of WithFiles is nil")
		}
	}
	return files, nil
}

func filesErrorf(code Code, format string, args ...any) *Error {
	e := protocolErrorf("FilesError", format, args...)
	e.Code = code
	return e
}

// errNoFiles refuses files where nothing can carry them.
func errNoFiles() *Error {
	return filesErrorf(FailedPrecondition,
		"this connection cannot pass files: only a Unix socket can, without TLS; pipes, TCP and HTTP cannot")
}

// CarriesFiles implements [FileCarrier] for what it wraps.
func (t resolver) CarriesFiles() error {
	if c, ok := t.Transport.(FileCarrier); ok {
		return c.CarriesFiles()
	}
	return errNoFiles()
}

// Files returns the files that came with the call ([WithFiles]), in order, and
// hands them over: whoever asks closes them. A unary handler asks before it
// returns, a stream's while it opens; files that nobody has asked for by then are
// closed. Asking again returns none. They are close-on-exec, and share the open
// file, its position and its flags with the caller's.
func (c *Call) Files() []*os.File {
	files := c.files
	c.files = nil
	return files
}

// dropFiles closes the files that nobody took.
func (d *Dispatch) dropFiles() {
	if d.call.files != nil {
		closeFiles(d.call.Files())
	}
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close() // nobody has used it
		}
	}
}

// checkFiles refuses a call that says that it brings files when none came: over a
// transport that has none, or on a connection that has not negotiated them. Where
// it has, they were counted when they came.
func (d *Dispatch) checkFiles(meta wire.Metadata) error {
	text, ok := meta.Get(KeyFiles)
	if !ok || text == "0" || len(d.call.files) > 0 {
		return nil
	}
	return filesErrorf(FailedPrecondition, "%q is %.32q, and no file came: files travel on a Unix socket that has negotiated them, and nowhere else",
		KeyFiles, text)
}

// filesIn is how many files a request's metadata says that it brings.
func filesIn(meta wire.Metadata, most int) (int, error) {
	text, ok := meta.Get(KeyFiles)
	if !ok || text == AskFiles && meta.Value(wire.KeyMethod) == wire.MethodTransport {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	switch {
	case err != nil:
		return 0, filesErrorf(InvalidArgument, "%q is %.32q: want a number of files", KeyFiles, text)
	case int(n) > most:
		return 0, filesErrorf(ResourceExhausted, "the request brings %d files: at most %d are taken (ConnOptions.MaxFiles)", n, most)
	}
	return int(n), nil
}
