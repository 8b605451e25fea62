package httpserver

import (
	"context"
	"net/http"
	"time"

	"github.com/vgirpc/vgirpc-go/vgirpc"
)

// methodUploads is the server's own method that hands out places for requests
// that are too large to send (WIRE_PROTOCOL section 10).
const methodUploads = "__upload_url__"

// maxUploads is for how many places one call may ask.
const maxUploads = 100

type uploadParams struct {
	Count *int64 `vgi:"count,default=1"`
}

type uploadRow struct {
	UploadURL   string    `vgi:"upload_url"`
	DownloadURL string    `vgi:"download_url"`
	ExpiresAt   time.Time `vgi:"expires_at"`
}

// hostUploads makes the method.
func (h *Handler) hostUploads() (err error) {
	if h.opts.Uploads == nil {
		return nil
	}
	h.uploads, err = vgirpc.NewBuiltin(h.server, methodUploads, func(ctx context.Context, p uploadParams) ([]uploadRow, error) {
		count := int64(1)
		if p.Count != nil {
			count = *p.Count
		}
		rows := make([]uploadRow, min(max(count, 1), maxUploads))
		for i := range rows {
			u, err := h.opts.Uploads.NewUploadURL(ctx)
			if err != nil {
				return nil, vgirpc.Errorf(vgirpc.Unavailable, "no upload URL can be had now: %w", err)
			}
			rows[i] = uploadRow{u.Upload, u.Download, u.Expires}
		}
		return rows, nil
	})
	return err
}

func (h *Handler) serveUploads(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, target{method: methodUploads}, func(q *request) error {
		q.route = h.uploads
		return q.unary()
	})
}
