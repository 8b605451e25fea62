package vgirpc

import (
	"os"
	"strconv"

	"github.com/vgirpc/vgirpc-go/wire"
)

// CarriesFiles implements [FileCarrier].
func (t *streamTransport) CarriesFiles() error {
	if fileConn(t.rw) == nil {
		return errNoFiles()
	}
	return nil
}

// requestWith is request for one that brings files.
func (t *streamTransport) requestWith(req *ClientRequest, placed bool) error {
	fds, err := t.passed(req.Files)
	if err != nil {
		return err
	}
	defer fds.close()
	batch := req.Batch
	if t.shm != nil {
		if err := t.shm.negotiate(t); err != nil {
			return t.fail(err)
		}
		batch = t.shm.request(&req.Batch, placed)
	}
	return t.sent(t.sendWith(&batch, fds))
}

// passed are descriptors to send of a call's files. The server is asked once
// whether it takes any; the connection stays as it is when it does not.
func (t *streamTransport) passed(files []*os.File) (duplicates, error) {
	if err := t.CarriesFiles(); err != nil {
		return nil, err
	}
	if !t.askedFiles {
		answer, err := t.ask(wire.Metadata{{Key: KeyFiles, Value: AskFiles}}, nil)
		if err != nil {
			return nil, t.fail(err)
		}
		t.askedFiles = true
		t.mostFiles, _ = strconv.Atoi(answer.Value(KeyFiles)) // 0 for no answer
	}
	switch {
	case t.mostFiles <= 0:
		return nil, filesErrorf(FailedPrecondition, "the server at the other end of this socket takes no files")
	case len(files) > t.mostFiles:
		return nil, filesErrorf(ResourceExhausted, "the call brings %d files: the server takes at most %d", len(files), t.mostFiles)
	}
	return duplicate(files)
}

// sendWith is send with descriptors beside the first byte, if there are any.
func (t *streamTransport) sendWith(batch *wire.Batch, fds duplicates) error {
	if len(fds) == 0 {
		return t.send(batch)
	}
	out := *batch
	out.Meta = out.Meta.With(KeyFiles, strconv.Itoa(len(fds)))
	t.w.Redirect(&fileWriter{conn: fileConn(t.rw), fds: fds})
	defer t.w.Redirect(t.rw)
	return t.send(&out)
}
