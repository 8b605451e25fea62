package clientdriver

import (
	"context"
	"strings"

	"github.com/vgirpc/vgirpc-go/vgirpc"
	"github.com/vgirpc/vgirpc-go/vgirpc/httpclient"
)

// session is an open scope: calls go through its client.
type session struct {
	scope  *httpclient.Session
	client *vgirpc.Client
}

// capabilities does the operation of that name.
func (d *driver) capabilities(ctx context.Context, _ *request) (answers, error) {
	a := answers{"caps": nil, "error": nil}
	c, err := d.conn.http.Capabilities(ctx)
	if err != nil {
		return a.failed(err)
	}
	a["caps"] = answers{
		"sticky_enabled": c.Sticky, "sticky_default_ttl": orNull(int64(c.StickyTTL.Seconds())),
		"sticky_echo_headers": append([]string{}, c.StickyEcho...), "upload_url_support": c.UploadURLs,
		"max_request_bytes": orNull(c.MaxRequestBytes), "max_response_bytes": orNull(c.MaxResponseBytes),
		"max_externalized_response_bytes": orNull(c.MaxExternalizedResponseBytes),
		"externalization_enabled":         c.Externalization, "max_upload_bytes": orNull(c.MaxUploadBytes),
		"supported_encodings": append([]string{}, c.Encodings...),
	}
	return a, nil
}

// orNull is a number that the client has as 0 when the server does not name it.
func orNull(n int64) any {
	if n == 0 {
		return nil
	}
	return n
}

// uploadURLs does the operation request_upload_urls.
func (d *driver) uploadURLs(ctx context.Context, q *request) (answers, error) {
	count := 1
	if q.Count != nil {
		count = *q.Count
	}
	a := answers{"urls": nil, "error": nil}
	urls, err := d.conn.http.UploadURLs(ctx, count)
	if err != nil {
		return a.failed(err)
	}
	out := make([]answers, len(urls))
	for i, u := range urls {
		out[i] = answers{"upload_url": u.Upload, "download_url": u.Download, "expires_at": u.Expires.Unix()}
	}
	a["urls"] = out
	return a, nil
}

// beginSession does the operation session_begin.
func (d *driver) beginSession(_ context.Context, q *request) (answers, error) {
	scope := d.conn.http.Session()
	if q.Token != nil && *q.Token != "" {
		resumed, err := d.conn.http.Resume(*q.Token, nil)
		if err != nil {
			return nil, err
		}
		scope = resumed
	}
	d.sessions = append(d.sessions, session{scope, scope.Client()})
	return answers{}, nil
}

// sessionToken does the operation of that name.
func (d *driver) sessionToken(context.Context, *request) (answers, error) {
	s, err := d.innermost()
	if err != nil {
		return nil, err
	}
	return answers{"token": textOrNull(s.Token())}, nil
}

// echoHeaders does the operation session_echo_headers.
func (d *driver) echoHeaders(context.Context, *request) (answers, error) {
	s, err := d.innermost()
	if err != nil {
		return nil, err
	}
	headers := map[string]string{}
	for name, value := range s.EchoHeaders() {
		headers[strings.ToLower(name)] = value // names have no case; this is the suite's
	}
	return answers{"headers": headers}, nil
}

// detachSession does the operation session_detach.
func (d *driver) detachSession(context.Context, *request) (answers, error) {
	s, err := d.innermost()
	if err != nil {
		return nil, err
	}
	token, _ := s.Detach()
	return answers{"token": textOrNull(token)}, nil
}

// endSession does the operation session_end.
func (d *driver) endSession(ctx context.Context, _ *request) (answers, error) {
	if len(d.sessions) > 0 {
		d.popSession(ctx)
	}
	return answers{}, nil
}

func (d *driver) innermost() (*httpclient.Session, error) {
	if len(d.sessions) == 0 {
		return nil, errNoSession
	}
	return d.sessions[len(d.sessions)-1].scope, nil
}

// popSession ends the innermost scope. That the server could not be told is no
// failure: its session expires.
func (d *driver) popSession(ctx context.Context) {
	last := len(d.sessions) - 1
	s := d.sessions[last]
	d.sessions = d.sessions[:last]
	d.note("end of a session", s.scope.End(ctx))
}

func textOrNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}
