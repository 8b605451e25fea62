package httpserver

import (
	"context"
	"net/http"
	"time"

	"github.com/vgirpc/vgirpc-go/external"
	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// methodUploads is the server's own method that hands out places for requests
// that are too large to send (WIRE_PROTOCOL section 10).
const methodUploads = "__upload_url__"

// Bounds of how many places one call may ask for.
const maxUploads = 100

type uploadParams struct {
	Count int64 `vgi:"count,default=1"`
}

type uploadRow struct {
	UploadURL   string    `vgi:"upload_url"`
	DownloadURL string    `vgi:"download_url"`
	ExpiresAt   time.Time `vgi:"expires_at"`
}

// hostUploads makes the method one of the server's.
func (h *Handler) hostUploads(uploads external.UploadURLs) error {
	return vgirpc.HandleBuiltin(h.server, methodUploads, func(ctx context.Context, p uploadParams) ([]uploadRow, error) {
		rows := make([]uploadRow, min(max(p.Count, 1), maxUploads))
		for i := range rows {
			u, err := uploads.NewUploadURL(ctx)
			if err != nil {
				return nil, vgirpc.Errorf(vgirpc.Unavailable, "no upload URL can be had now: %w", err)
			}
			rows[i] = uploadRow{u.Upload, u.Download, u.Expires}
		}
		return rows, nil
	})
}

func (h *Handler) serveUploads(w http.ResponseWriter, r *http.Request) {
	h.unary(w, r, target{method: methodUploads})
}
