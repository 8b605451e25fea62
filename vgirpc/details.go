package vgirpc

import (
	"encoding/json"
	"math"
)

// Detail is one machine-readable specific of an error, from the fixed catalog
// of WIRE_PROTOCOL section 8, or a [CustomDetail] under a protocol's own name.
type Detail interface {
	// DetailType is the value of "@type".
	DetailType() string
}

// ErrorInfo is extra context for an error's kind.
type ErrorInfo struct {
	Metadata map[string]string `json:"metadata"`
}

// RetryInfo says how long to wait before a retry.
type RetryInfo struct {
	RetryDelaySeconds float64 `json:"retry_delay_seconds"`
}

// BadRequest names the inputs that were wrong.
type BadRequest struct {
	FieldViolations []FieldViolation `json:"field_violations"`
}

// FieldViolation is one wrong input of a [BadRequest].
type FieldViolation struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

// PreconditionFailure names the state that has to change first.
type PreconditionFailure struct {
	Violations []PreconditionViolation `json:"violations"`
}

// PreconditionViolation is one condition of a [PreconditionFailure].
type PreconditionViolation struct {
	Type        string `json:"type"`
	Subject     string `json:"subject"`
	Description string `json:"description"`
}

// QuotaFailure names the limits that were hit.
type QuotaFailure struct {
	Violations []QuotaViolation `json:"violations"`
}

// QuotaViolation is one limit of a [QuotaFailure].
type QuotaViolation struct {
	Subject     string `json:"subject"`
	Description string `json:"description"`
}

// ResourceInfo names the object that an error concerns.
type ResourceInfo struct {
	ResourceType string `json:"resource_type"`
	ResourceName string `json:"resource_name"`
	Owner        string `json:"owner"`
	Description  string `json:"description"`
}

// Help points to further reading.
type Help struct {
	Links []HelpLink `json:"links"`
}

// HelpLink is one link of a [Help].
type HelpLink struct {
	Description string `json:"description"`
	URL         string `json:"url"`
}

// LocalizedMessage is text that may be shown to an end user.
type LocalizedMessage struct {
	Locale  string `json:"locale"`
	Message string `json:"message"`
}

// CustomDetail is a detail that a protocol defines under its own name, or one
// that this side does not know. Type must be qualified by the protocol's name.
type CustomDetail struct {
	Type   string
	Fields map[string]any
}

// DetailType implements [Detail].
func (ErrorInfo) DetailType() string { return "vgi_rpc.ErrorInfo" }

// DetailType implements [Detail].
func (RetryInfo) DetailType() string { return "vgi_rpc.RetryInfo" }

// DetailType implements [Detail].
func (BadRequest) DetailType() string { return "vgi_rpc.BadRequest" }

// DetailType implements [Detail].
func (PreconditionFailure) DetailType() string { return "vgi_rpc.PreconditionFailure" }

// DetailType implements [Detail].
func (QuotaFailure) DetailType() string { return "vgi_rpc.QuotaFailure" }

// DetailType implements [Detail].
func (ResourceInfo) DetailType() string { return "vgi_rpc.ResourceInfo" }

// DetailType implements [Detail].
func (Help) DetailType() string { return "vgi_rpc.Help" }

// DetailType implements [Detail].
func (LocalizedMessage) DetailType() string { return "vgi_rpc.LocalizedMessage" }

// DetailType implements [Detail].
func (d CustomDetail) DetailType() string { return d.Type }

// MarshalJSON puts the fields of d beside its type.
func (d CustomDetail) MarshalJSON() ([]byte, error) { return json.Marshal(d.Fields) }

// encodeDetail is the JSON of d, with "@type" in it.
func encodeDetail(d Detail) (json.RawMessage, error) {
	body, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, err
	}
	name, err := json.Marshal(d.DetailType())
	if err != nil {
		return nil, err
	}
	fields["@type"] = name
	return json.Marshal(fields)
}

// decodeDetail reads one detail as it came over the wire. A type that is not
// known, or whose fields are malformed, is nil: it stays in the raw list only.
func decodeDetail(raw json.RawMessage) Detail {
	var head struct {
		Type string `json:"@type"`
	}
	if json.Unmarshal(raw, &head) != nil {
		return nil
	}
	switch head.Type {
	case "vgi_rpc.ErrorInfo":
		return decodeAs[ErrorInfo](raw)
	case "vgi_rpc.RetryInfo":
		d := decodeAs[RetryInfo](raw)
		if r, ok := d.(RetryInfo); ok && (r.RetryDelaySeconds < 0 || math.IsInf(r.RetryDelaySeconds, 0)) {
			return nil
		}
		return d
	case "vgi_rpc.BadRequest":
		return decodeAs[BadRequest](raw)
	case "vgi_rpc.PreconditionFailure":
		return decodeAs[PreconditionFailure](raw)
	case "vgi_rpc.QuotaFailure":
		return decodeAs[QuotaFailure](raw)
	case "vgi_rpc.ResourceInfo":
		return decodeAs[ResourceInfo](raw)
	case "vgi_rpc.Help":
		return decodeAs[Help](raw)
	case "vgi_rpc.LocalizedMessage":
		return decodeAs[LocalizedMessage](raw)
	}
	return nil
}

func decodeAs[D Detail](raw json.RawMessage) Detail {
	var d D
	if json.Unmarshal(raw, &d) != nil {
		return nil
	}
	return d
}
