package rest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stoa-project/stoa/internal/fault"
)

// selector is one condition on labels; all operators but "exists" need the label to be
// there (marathon.md 1.15).
type selector struct {
	key    string
	op     string // "", "==", "!=", "in" or "notin"
	values []string
}

func (s selector) matches(labels map[string]string) bool {
	v, ok := labels[s.key]
	if !ok {
		return false
	}
	switch s.op {
	case "==", "in":
		return slices.Contains(s.values, v)
	case "!=", "notin":
		return !slices.Contains(s.values, v)
	}
	return true
}

// parseSelectors reads a comma-separated list of conditions that must all hold. The
// error is a fault.Invalid that names the place.
func parseSelectors(text string) ([]selector, error) {
	p := &selectorParser{text: text}
	var out []selector
	for {
		s, err := p.one()
		if err != nil {
			return nil, err
		}
		out = append(out, s)
		if p.blank(); p.end() {
			return out, nil
		}
		if !p.take(",") {
			return nil, p.fail("',' or the end")
		}
	}
}

type selectorParser struct {
	text string
	at   int
}

func (p *selectorParser) end() bool { return p.at >= len(p.text) }

func (p *selectorParser) blank() {
	for !p.end() && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

func (p *selectorParser) take(token string) bool {
	p.blank()
	if strings.HasPrefix(p.text[p.at:], token) {
		p.at += len(token)
		return true
	}
	return false
}

func (p *selectorParser) fail(want string) error {
	return say(fault.Invalid, fmt.Sprintf("label selector %q: expected %s at position %d", p.text, want, p.at+1))
}

// word reads characters of [-A-Za-z0-9_.] and escaped ones.
func (p *selectorParser) word(want string) (string, error) {
	p.blank()
	var b strings.Builder
	for !p.end() {
		c := p.text[p.at]
		switch {
		case c == '\\' && p.at+1 < len(p.text):
			p.at++
			c = p.text[p.at]
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			if b.Len() == 0 {
				return "", p.fail(want)
			}
			return b.String(), nil
		}
		b.WriteByte(c)
		p.at++
	}
	if b.Len() == 0 {
		return "", p.fail(want)
	}
	return b.String(), nil
}

func (p *selectorParser) one() (selector, error) {
	key, err := p.word("a label name")
	if err != nil {
		return selector{}, err
	}
	for _, op := range []string{"==", "!="} {
		if p.take(op) {
			v, err := p.word("a value")
			return selector{key, op, []string{v}}, err
		}
	}
	for _, op := range []string{"notin", "in"} {
		if p.take(op) {
			values, err := p.set()
			return selector{key, op, values}, err
		}
	}
	return selector{key: key}, nil
}

func (p *selectorParser) set() ([]string, error) {
	if !p.take("(") {
		return nil, p.fail("'('")
	}
	var out []string
	for {
		v, err := p.word("a value")
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		if p.take(")") {
			return out, nil
		}
		if !p.take(",") {
			return nil, p.fail("',' or ')'")
		}
	}
}
