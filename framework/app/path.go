package app

import (
	"slices"
	"strings"
)

// PathID is the absolute id of an app or group, like /shop/web; the root group is "/".
// Values come from ParsePath; a PathID never ends in / and holds no . or .. segments.
type PathID string

// Root is the id of the root group.
const Root PathID = "/"

// ParsePath resolves s against base (which must be absolute): without a leading slash s
// is relative, doubled and trailing slashes collapse, . and .. are followed and ..
// above the root stays at the root. It accepts any text; CheckPath judges the segments.
func ParsePath(s string, base PathID) PathID {
	var segs []string
	if !strings.HasPrefix(s, "/") {
		segs = base.Segments()
	}
	for seg := range strings.SplitSeq(s, "/") {
		switch seg {
		case "", ".":
		case "..":
			if len(segs) > 0 {
				segs = segs[:len(segs)-1]
			}
		default:
			segs = append(segs, seg)
		}
	}
	return PathID("/" + strings.Join(segs, "/"))
}

// Segments splits the path; the root has none.
func (p PathID) Segments() []string {
	t := strings.Trim(string(p), "/")
	if t == "" {
		return nil
	}
	return strings.Split(t, "/")
}

// IsRoot tells whether p is the root group.
func (p PathID) IsRoot() bool { return p == Root || p == "" }

// Parent is the enclosing group's id; the root is its own parent.
func (p PathID) Parent() PathID {
	i := strings.LastIndexByte(string(p), '/')
	if i <= 0 {
		return Root
	}
	return p[:i]
}

// Name is the last segment, "" for the root.
func (p PathID) Name() string { return string(p[strings.LastIndexByte(string(p), '/')+1:]) }

// Child appends one segment.
func (p PathID) Child(name string) PathID {
	if p.IsRoot() {
		return PathID("/" + name)
	}
	return p + PathID("/"+name)
}

// Includes tells whether other is p itself or lies below it.
func (p PathID) Includes(other PathID) bool {
	if p.IsRoot() || p == other {
		return true
	}
	return len(other) > len(p) && other[len(p)] == '/' && other[:len(p)] == p
}

// Safe is the form used inside instance and task ids: segments joined by _ (which can
// not occur in a valid id).
func (p PathID) Safe() string { return strings.Join(p.Segments(), "_") }

// FromSafe inverts Safe.
func FromSafe(s string) PathID { return PathID("/" + strings.ReplaceAll(s, "_", "/")) }

// Host is the name Mesos and DNS see: segments in reverse order joined by dots
// (/a/b/c gives c.b.a).
func (p PathID) Host() string {
	segs := p.Segments()
	slices.Reverse(segs)
	return strings.Join(segs, ".")
}

// SegmentPattern is the grammar of one path segment, as Marathon's error texts quote it.
const SegmentPattern = `^(([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])\.)*([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])|(\.|\.\.)$`

// CheckPath gives the rules that the segments of p break, none when p is a valid id.
func CheckPath(p PathID) []string {
	var out []string
	for _, seg := range p.Segments() {
		if !validSegment(seg) {
			out = append(out, "must fully match regular expression '"+SegmentPattern+"'")
			break
		}
	}
	return out
}

func validSegment(seg string) bool {
	if seg == "" {
		return false
	}
	for label := range strings.SplitSeq(seg, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return true
}
