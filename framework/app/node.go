package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Broken is input that is no JSON at all; doors answer 400 (marathon.md 1.2).
type Broken struct {
	Message string `json:"message"`
	Details string `json:"details"`
}

// Error joins message and details.
func (e *Broken) Error() string { return e.Message + ": " + e.Details }

// decode makes something of a body. What f misses is said by it at its place; expected says
// what a body that is null should be, such as error.expected.jsobject, and may be empty
// where f says that itself. The error is *Broken, or *Invalid with the message "Invalid
// JSON".
func decode[T any](body []byte, expected string, f func(n node) T) (T, error) {
	v, err := parse(body)
	if err != nil {
		var none T
		return none, err
	}
	p := &problems{}
	n := node{p: p, v: v}
	if v == nil && expected != "" {
		n.fail(expected)
	}
	out := f(n)
	return out, p.err(MsgInvalidJSON)
}

// parse reads one JSON value that fills the whole body. The error is a *Broken.
func parse(body []byte) (any, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, &Broken{"Please specify data in JSON format", "the body is empty"}
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("unexpected end of JSON input")
		}
		return nil, &Broken{MsgInvalidJSON, err.Error() + " (at byte " + strconv.FormatInt(d.InputOffset(), 10) + ")"}
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, &Broken{MsgInvalidJSON, "more data after the JSON value (at byte " + strconv.FormatInt(d.InputOffset(), 10) + ")"}
	}
	return v, nil
}

// node is one place in a parsed document. Reading a node of the wrong type records a
// violation at its path and gives the zero value; an absent or null node reads as zero
// without one.
type node struct {
	p    *problems
	base string // path of the enclosing value, or of this one when key is ""
	key  string
	v    any
}

// at is the node's path, "" for the whole document.
func (n node) at() string {
	if n.key == "" {
		return n.base
	}
	return n.base + "/" + n.key
}

func (n node) fail(text string) {
	path := n.at()
	if path == "" {
		path = "/"
	}
	n.p.add(path, text)
}

func (n node) present() bool { return n.v != nil }

// get gives a member; n must have been read with object or be absent.
func (n node) get(key string) node {
	m, _ := n.v.(map[string]any)
	return node{n.p, n.at(), key, m[key]}
}

// object tells whether n is a present object.
func (n node) object() bool {
	if n.v == nil {
		return false
	}
	if _, ok := n.v.(map[string]any); !ok {
		n.fail("error.expected.jsobject")
		return false
	}
	return true
}

// required records a violation when n is absent.
func (n node) required() node {
	if n.v == nil {
		n.fail("error.path.missing")
	}
	return n
}

func (n node) str() string {
	s, ok := n.v.(string)
	if !ok && n.v != nil {
		n.fail("error.expected.jsstring")
	}
	return s
}

func (n node) boolean(def bool) bool {
	if n.v == nil {
		return def
	}
	b, ok := n.v.(bool)
	if !ok {
		n.fail("error.expected.jsboolean")
		return def
	}
	return b
}

func (n node) optBool() *bool {
	if n.v == nil {
		return nil
	}
	b := n.boolean(false)
	return &b
}

func (n node) float(def float64) float64 {
	if n.v == nil {
		return def
	}
	num, ok := n.v.(json.Number)
	if ok {
		if f, err := num.Float64(); err == nil && !math.IsInf(f, 0) {
			return f
		}
	}
	n.fail("error.expected.jsnumber")
	return def
}

// integer reads a 32-bit number without fraction.
func (n node) integer(def int) int {
	if n.v == nil {
		return def
	}
	num, ok := n.v.(json.Number)
	if !ok {
		n.fail("error.expected.jsnumber")
		return def
	}
	f, err := num.Float64()
	if err != nil || f != math.Trunc(f) || math.Abs(f) > math.MaxInt32 {
		n.fail("error.expected.int")
		return def
	}
	return int(f)
}

func (n node) optInt() *int {
	if n.v == nil {
		return nil
	}
	i := n.integer(0)
	return &i
}

// enum reads a string that must be one of the values.
func (n node) enum(def string, values ...string) string {
	if n.v == nil {
		return def
	}
	s, ok := n.v.(string)
	if !ok {
		n.fail("error.expected.jsstring")
		return def
	}
	if !slices.Contains(values, s) {
		n.fail("error.unknown.enum.literal: got " + clip(s) + ", expected one of " + strings.Join(values, ", "))
		return def
	}
	return s
}

// list gives the elements, null ones left out; nil when absent, empty when [].
func (n node) list() []node {
	if n.v == nil {
		return nil
	}
	l, ok := n.v.([]any)
	if !ok {
		n.fail("error.expected.jsarray")
		return nil
	}
	at := n.at()
	if at == "" {
		at = "/"
	}
	out := make([]node, 0, len(l))
	for i, v := range l {
		if v != nil {
			out = append(out, node{p: n.p, base: index(at, i), v: v})
		}
	}
	return out
}

// each reads a list through f; nil when absent.
func each[T any](n node, f func(node) T) []T {
	l := n.list()
	if l == nil {
		return nil
	}
	out := make([]T, 0, len(l))
	for _, e := range l {
		out = append(out, f(e))
	}
	return out
}

func (n node) strings() []string { return each(n, node.str) }
func (n node) ints() []int {
	return each(n, func(e node) int { return e.integer(0) })
}

// entries gives the members sorted by key, null ones left out.
func (n node) entries() []entry {
	if !n.object() {
		return nil
	}
	m := n.v.(map[string]any)
	out := make([]entry, 0, len(m))
	for k, v := range m {
		if v != nil {
			out = append(out, entry{k, node{n.p, n.at(), k, v}})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].key < out[j].key })
	return out
}

type entry struct {
	key string
	node
}

// dict reads a map of strings; nil when absent.
func (n node) dict() map[string]string {
	if n.v == nil {
		return nil
	}
	out := map[string]string{}
	for _, e := range n.entries() {
		out[e.key] = e.str()
	}
	return out
}

// clip keeps error texts short whatever the input was.
func clip(s string) string {
	if len(s) <= 64 {
		return s
	}
	return strings.ToValidUTF8(s[:64], "") + "…"
}
