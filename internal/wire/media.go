package wire

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/fault"
)

// Media types of the v1 endpoints. Answers carry them exactly as written here:
// clients compare byte for byte, a charset parameter is a protocol error.
const (
	MediaJSON     = "application/json"
	MediaProtobuf = "application/x-protobuf"
	MediaRecordIO = "application/recordio"
)

// MaxDepth bounds the nesting of messages, and in JSON of objects and arrays, that
// is accepted from outside.
const MaxDepth = 512

// Codec turns messages into the bytes of one media type and back. Marshal and
// Unmarshal both refuse a message that lacks required fields and name them all, see
// RequireFields. Unmarshal resets the message first and keeps no reference to data.
type Codec struct {
	MediaType string // value for Content-Type or Message-Content-Type
	Marshal   func(proto.Message) ([]byte, error)
	Unmarshal func([]byte, proto.Message) error
}

// The two codecs of the v1 APIs.
var (
	JSON     = Codec{MediaType: MediaJSON, Marshal: MarshalJSON, Unmarshal: UnmarshalJSON}
	Protobuf = Codec{MediaType: MediaProtobuf, Marshal: marshalProtobuf, Unmarshal: unmarshalProtobuf}
)

// CodecFor gives the codec of a request's Content-Type. Case and parameters such as
// charset are ignored on input; ok is false for any other type and for "".
func CodecFor(contentType string) (c Codec, ok bool) {
	switch mediaType(contentType) {
	case MediaJSON:
		return JSON, true
	case MediaProtobuf:
		return Protobuf, true
	}
	return Codec{}, false
}

// IsRecordIO tells whether a Content-Type or Accept value names RecordIO framing.
func IsRecordIO(contentType string) bool { return mediaType(contentType) == MediaRecordIO }

// Accepts tells whether a request with these Accept header lines takes the media
// type: no line at all takes everything, q=0 excludes, and a more specific entry
// beats a wildcard.
func Accepts(accept []string, media string) bool {
	if len(accept) == 0 {
		return true
	}
	kind, _, _ := strings.Cut(media, "/")
	best, taken := 0, false
	for _, line := range accept {
		for entry := range strings.SplitSeq(line, ",") {
			rank := 0
			switch mediaType(entry) {
			case media:
				rank = 3
			case kind + "/*":
				rank = 2
			case "*/*":
				rank = 1
			}
			switch {
			case rank == 0 || rank < best:
			case rank == best:
				taken = taken || quality(entry) > 0
			default:
				best, taken = rank, quality(entry) > 0
			}
		}
	}
	return taken
}

// Negotiate picks the codec of an answer as Mesos does: JSON whenever it is
// accepted, then protobuf, whatever order the client gave. ok is false when the
// answer is 406.
func Negotiate(accept []string) (c Codec, ok bool) {
	for _, c := range [...]Codec{JSON, Protobuf} {
		if Accepts(accept, c.MediaType) {
			return c, true
		}
	}
	return Codec{}, false
}

// mediaType strips parameters, space and case.
func mediaType(s string) string {
	s, _, _ = strings.Cut(s, ";")
	return strings.ToLower(strings.TrimSpace(s))
}

// quality is the q parameter of one Accept entry; 1 when absent or unreadable.
func quality(entry string) float64 {
	_, params, _ := strings.Cut(entry, ";")
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.TrimSpace(strings.ToLower(name)) != "q" {
			continue
		}
		if q, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil {
			return q
		}
	}
	return 1
}

func marshalProtobuf(m proto.Message) ([]byte, error) {
	b, err := proto.Marshal(m)
	if err == nil {
		return b, nil
	}
	if missing := RequireFields(m); missing != nil {
		return nil, missing
	}
	return nil, fault.New("encode protobuf", fault.Invalid, messageName(m), err)
}

func unmarshalProtobuf(data []byte, m proto.Message) error {
	if err := UnmarshalPartial(data, m); err != nil {
		return err
	}
	return RequireFields(m)
}

// UnmarshalPartial decodes protobuf bytes without asking for required fields, with
// the depth limit of this package. Callers that must name the missing fields in an
// answer of their own follow it with RequireFields. The error is fault.Malformed.
func UnmarshalPartial(data []byte, m proto.Message) error {
	o := proto.UnmarshalOptions{AllowPartial: true, RecursionLimit: MaxDepth}
	if err := o.Unmarshal(data, m); err != nil {
		return fault.New("decode protobuf", fault.Malformed, messageName(m), err)
	}
	return nil
}

func messageName(m proto.Message) string {
	return string(m.ProtoReflect().Descriptor().FullName())
}
