package resource

import (
	"errors"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// ParseAttributes reads an --attributes flag: "rack:r1;zone:a", items split by ";" or a
// line feed and each at its first ":". Order and repeated names are kept. Values are
// numbers, ranges or text; sets are refused. The error is fault.Invalid and quotes the
// item.
func ParseAttributes(text string) ([]*mesos.Attribute, error) {
	var out []*mesos.Attribute
	for _, item := range strings.FieldsFunc(text, func(r rune) bool { return r == ';' || r == '\n' }) {
		a, err := parseAttribute(item)
		if err != nil {
			return nil, fault.New("parse attributes", fault.Invalid, strconv.Quote(item), err)
		}
		out = append(out, a)
	}
	return out, nil
}

func parseAttribute(item string) (*mesos.Attribute, error) {
	name, value, found := strings.Cut(item, ":")
	if !found || strings.TrimSpace(name) == "" || value == "" {
		return nil, errors.New("write name:value, neither empty")
	}
	v, err := ParseValue(value)
	if err != nil {
		return nil, err
	}
	if v.GetType() == mesos.Value_SET {
		return nil, errors.New("sets are not allowed in attributes, use several items or text")
	}
	return &mesos.Attribute{
		Name: proto.String(strings.TrimSpace(name)), Type: v.Type,
		Scalar: v.Scalar, Ranges: v.Ranges, Text: v.Text,
	}, nil
}

// AttributeText prints an attribute's value alone: "r1", "10", "[1000-1005]".
func AttributeText(a *mesos.Attribute) string {
	switch a.GetType() {
	case mesos.Value_SCALAR:
		return FromFloat(a.GetScalar().GetValue()).String()
	case mesos.Value_RANGES:
		return RangesOf(a.GetRanges()).String()
	case mesos.Value_SET:
		return "{" + strings.Join(a.GetSet().GetItem(), ", ") + "}"
	}
	return a.GetText().GetValue()
}
