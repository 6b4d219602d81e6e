package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/fault"
)

// DecodeCall reads the body of a v1 call into m. The answer is empty, or the text of the
// 400 as Mesos words it on all its v1 endpoints: what is no JSON is not parsed, what does
// not fit the message or lacks required fields is not converted.
func DecodeCall(c Codec, body []byte, m proto.Message) (why string) {
	err := c.Unmarshal(body, m)
	var missing MissingFields
	inJSON := c.MediaType == MediaJSON
	const convert = "Failed to convert JSON into Call protobuf: "
	switch {
	case err == nil:
		return ""
	case !inJSON && errors.As(err, &missing):
		return "Failed to parse body into Call protobuf: " + missing.Error()
	case !inJSON:
		return "Failed to parse body into Call protobuf"
	case errors.As(err, &missing):
		return convert + missing.Error()
	case !json.Valid(body):
		return "Failed to parse body into JSON: " + err.Error()
	case !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")):
		return convert + "Expecting a JSON object"
	default:
		return convert + misfitText(err)
	}
}

// misfitText is the text of a value that its field does not take, with the place unless
// the sentence names the field itself.
func misfitText(err error) string {
	var f *fault.Error
	if errors.As(err, &f) && f.Err != nil && strings.Contains(f.Err.Error(), "for field '") {
		return f.Err.Error()
	}
	return err.Error()
}
