package conformance

import (
	"context"
	"sync"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// publisher answers published_string by reference to objects that it has stored
// before.
type publisher struct {
	server *vgirpc.Server

	mu   sync.Mutex
	refs map[PublishParams]vgirpc.ExternalRef
}

func newPublisher(s *vgirpc.Server) *publisher {
	return &publisher{server: s, refs: map[PublishParams]vgirpc.ExternalRef{}}
}

func (p *publisher) answer(ctx context.Context, params PublishParams) (string, error) {
	ref, err := p.ref(ctx, params)
	if err != nil {
		return "", err
	}
	return "", vgirpc.CallFrom(ctx).AnswerWith(ref)
}

// ref stores a string unless that has been done.
func (p *publisher) ref(ctx context.Context, params PublishParams) (vgirpc.ExternalRef, error) {
	storage, ok := p.server.Offload().(*external.Offload)
	if !ok {
		return vgirpc.ExternalRef{}, raise(runtimeError, "published_string requires external storage")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ref, ok := p.refs[params]; ok {
		return ref, nil
	}
	batch, err := PublishedString.EncodeResult(params.Value)
	if err != nil {
		return vgirpc.ExternalRef{}, err
	}
	ref, err := storage.Publish(ctx, batch.Schema, batch, params.IncludeSHA256)
	if err == nil {
		p.refs[params] = ref
	}
	return ref, err
}
