package blobstore

import (
	"context"
	"fmt"

	"gocloud.dev/gcerrors"

	"github.com/vgirpc/vgirpc-go/external"
)

// Ready returns nil when storage answers: it asks for an object that there is
// not. That it may not be told is an answer as well, as a store needs no right to
// look at objects. The error shows no part of a URL that is secret.
func (s *Store) Ready(ctx context.Context) error {
	_, err := s.bucket.Attributes(ctx, s.opts.Prefix+"ready")
	switch gcerrors.Code(err) {
	case gcerrors.OK, gcerrors.NotFound, gcerrors.PermissionDenied:
		return nil
	default:
		return fmt.Errorf("blobstore: storage does not answer: %w", external.Redacted(err))
	}
}
