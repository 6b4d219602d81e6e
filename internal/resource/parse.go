package resource

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Parse reads the text of a --resources flag: "cpus:4;mem:1024;ports:[31000-32000]",
// with a role as in "cpus(prod):2", or a JSON array of Resource. What names no role is
// reserved to defaultRole unless that is "*" or "". Values of zero vanish, see
// ParseList. The error is fault.Invalid and quotes the item.
func Parse(text, defaultRole string) (Resources, error) {
	list, err := ParseList(text, defaultRole)
	if err != nil {
		return nil, err
	}
	return Of(list...), nil
}

// ParseList is Parse before summing: every item in order and also those of zero, which
// tell an agent that this resource is not to be detected.
func ParseList(text, defaultRole string) ([]*mesos.Resource, error) {
	if defaultRole == "" {
		defaultRole = AnyRole
	}
	parse := parseItems
	if strings.HasPrefix(strings.TrimSpace(text), "[") {
		parse = parseArray
	}
	list, err := parse(text, defaultRole)
	if err != nil {
		return nil, err
	}
	if err := Validate(list); err != nil {
		return nil, err
	}
	return list, validateFlag(list)
}

func parseArray(text, defaultRole string) ([]*mesos.Resource, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return nil, fault.New("parse resources", fault.Invalid, "JSON array", err)
	}
	list := make([]*mesos.Resource, len(raw))
	for i, item := range raw {
		list[i] = new(mesos.Resource)
		if err := wire.UnmarshalJSON(item, list[i]); err != nil {
			return nil, fault.New("parse resources", fault.Invalid, fmt.Sprintf("[%d]", i), err)
		}
		if list[i].Role == nil && len(list[i].Reservations) == 0 {
			list[i].Role = proto.String(defaultRole)
		}
	}
	return list, nil
}

func parseItems(text, defaultRole string) ([]*mesos.Resource, error) {
	var list []*mesos.Resource
	for item := range strings.SplitSeq(text, ";") {
		if strings.TrimSpace(item) == "" {
			continue
		}
		r, err := parseItem(item, defaultRole)
		if err != nil {
			return nil, fault.New("parse resources", fault.Invalid, strconv.Quote(item), err)
		}
		list = append(list, r)
	}
	return list, nil
}

func parseItem(item, role string) (*mesos.Resource, error) {
	if strings.Count(item, ":") != 1 {
		return nil, errors.New("missing or extra ':', write name:value or name(role):value")
	}
	name, value, _ := strings.Cut(item, ":")
	if name, rest, found := strings.Cut(name, "("); found {
		inner, after, closed := strings.Cut(rest, ")")
		if !closed || strings.TrimSpace(after) != "" {
			return nil, errors.New("mismatched parentheses")
		}
		return newResource(name, strings.TrimSpace(inner), value)
	}
	return newResource(name, role, value)
}

func newResource(name, role, value string) (*mesos.Resource, error) {
	v, err := ParseValue(value)
	if err != nil {
		return nil, err
	}
	if v.GetType() == mesos.Value_TEXT {
		return nil, fmt.Errorf("%q is no number >= 0, no [a-b] and no {a,b}", v.GetText().GetValue())
	}
	return &mesos.Resource{
		Name: proto.String(strings.TrimSpace(name)), Type: v.Type, Role: &role,
		Scalar: v.Scalar, Ranges: v.Ranges, Set: v.Set,
	}, nil
}

// validateFlag refuses what cannot come from a command line.
func validateFlag(list []*mesos.Resource) error {
	types := make(map[string]mesos.Value_Type)
	for _, r := range list {
		var why error
		switch t, known := types[r.GetName()]; {
		case known && t != r.GetType():
			why = errors.New("resources with the same name but different types are not allowed")
		case IsVolume(r):
			why = errors.New("persistent volumes cannot be given here")
		case r.GetRevocable() != nil:
			why = errors.New("revocable resources cannot be given here")
		case IsDynamic(r):
			why = errors.New("dynamic reservations cannot be given here, use type STATIC")
		}
		if why != nil {
			return fault.New("parse resources", fault.Invalid, Text(r), why)
		}
		types[r.GetName()] = r.GetType()
	}
	return nil
}

// ParseValue reads one value of the text grammar (mesos-master.md section 4): a number
// is a SCALAR, "[a-b,c-d]" RANGES in normal form, "{a,b}" a SET, anything else TEXT,
// also negative and infinite numbers. Spaces do not count.
func ParseValue(text string) (*mesos.Value, error) {
	text = strings.ReplaceAll(text, " ", "")
	switch {
	case text == "":
		return nil, errors.New("the value is empty")
	case unbalanced(text):
		return nil, errors.New("mismatched brackets")
	case text[0] == '[':
		return parseRanges(text)
	case text[0] == '{':
		items := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune("{},\n", r) })
		return &mesos.Value{Type: mesos.Value_SET.Enum(), Set: &mesos.Value_Set{Item: items}}, nil
	case strings.ContainsAny(text, "[{"):
		return nil, errors.New("unexpected bracket inside a value")
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v < 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return &mesos.Value{Type: mesos.Value_TEXT.Enum(), Text: &mesos.Value_Text{Value: &text}}, nil
	}
	if v > 0 && v < 0x1p-1022 {
		return nil, fmt.Errorf("%s is too small", text)
	}
	return &mesos.Value{Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: &v}}, nil
}

func parseRanges(text string) (*mesos.Value, error) {
	numbers := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune("[]-,\n", r) })
	if len(numbers)%2 != 0 {
		return nil, fmt.Errorf("%s is no list of ranges, write [begin-end,begin-end]", text)
	}
	var rs Ranges
	for i := 0; i < len(numbers); i += 2 {
		begin, err := strconv.ParseUint(numbers[i], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("range bound %q is no whole number >= 0", numbers[i])
		}
		end, err := strconv.ParseUint(numbers[i+1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("range bound %q is no whole number >= 0", numbers[i+1])
		}
		if begin > end {
			return nil, fmt.Errorf("range %d-%d begins after its end", begin, end)
		}
		rs = append(rs, Range{begin, end})
	}
	return &mesos.Value{Type: mesos.Value_RANGES.Enum(), Ranges: coalesce(rs).Wire()}, nil
}

func unbalanced(text string) bool {
	for _, pair := range [...]string{"[]", "{}", "()"} {
		open := 0
		for i := range len(text) {
			switch text[i] {
			case pair[0]:
				open++
			case pair[1]:
				open--
			}
			if open < 0 {
				return true
			}
		}
		if open != 0 {
			return true
		}
	}
	return false
}
