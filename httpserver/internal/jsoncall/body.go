package jsoncall

import (
	"errors"
	"io"
	"unicode/utf8"

	"github.com/vgirpc/vgirpc-go/internal/arrowjson"
)

// maxDepth bounds the nesting of a body. Schemas are finite and never come
// near it.
const maxDepth = 64

// readBody reads a body of at most limit bytes.
func readBody(body io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(data)) > limit:
		return nil, ErrTooLarge
	case !utf8.Valid(data):
		return nil, &ParamError{Reason: "the body is not valid UTF-8"}
	}
	return data, nil
}

// parse reads the JSON of a body.
func parse(data []byte) (any, error) {
	v, err := arrowjson.Parse(data, maxDepth)
	if e, ok := errors.AsType[*arrowjson.Error](err); ok && e.Kind != arrowjson.KindTwice {
		return nil, &ParamError{Reason: "the body " + e.Reason}
	}
	return v, paramError(err)
}
