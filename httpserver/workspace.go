package httpserver

import (
	"io"
	"sync"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/wire"
)

// workspace is the memory that one request needs, used again by later ones.
type workspace struct {
	reader *wire.Reader
	writer *wire.Writer
	opened vgirpc.Reply // what a call, or the opening of a stream, sends
	turned vgirpc.Reply // what a turn sends
	aad    []byte
	plain  []byte // of a token
	coded  []byte // of a compressed response
}

// Bounds of what is kept for later requests.
const (
	keptWorkspaces = 64
	keptBuffer     = 1 << 20 // bytes
)

// workspaces is a list of workspaces that are free. It is no sync.Pool: readers
// count what they keep against the server's budget, so none may vanish.
type workspaces struct {
	mu   sync.Mutex
	free []*workspace
}

// get returns a workspace that reads from src.
func (p *workspaces) get(s *vgirpc.Server, src io.Reader) *workspace {
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		ws := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		ws.reader.Reset(src)
		return ws
	}
	p.mu.Unlock()
	return &workspace{reader: wire.NewReader(src, s.Limits(), s.Schemas()), writer: wire.NewWriter(nil)}
}

// put gives a workspace back. Nothing of the request may be used any more.
func (p *workspaces) put(ws *workspace) {
	ws.reader.Reset(nil)
	ws.writer.Reset(nil)
	ws.opened.Forget()
	ws.turned.Forget()
	if cap(ws.coded) > keptBuffer {
		ws.coded = nil
	}
	if cap(ws.plain) > keptBuffer {
		ws.plain = nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) < keptWorkspaces {
		p.free = append(p.free, ws)
		return
	}
	ws.reader.Close()
}
