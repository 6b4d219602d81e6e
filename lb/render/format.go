package render

import (
	"fmt"
	"slices"
	"strings"
)

// format is a compiled template text. The language is that of Marathon-LB's templates,
// Python's str.format: {name} is replaced, {{ and }} are braces.
type format struct {
	pieces []piece
}

// piece is literal text, or the name of a value.
type piece struct {
	text string
	name string // "" for text; parts of healthCheck are "healthCheck.path"
}

// compile reads a template that may use the given names.
func compile(text string, names []string) (format, error) {
	var f format
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			f.pieces = append(f.pieces, piece{text: literal.String()})
			literal.Reset()
		}
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c != '{' && c != '}' {
			literal.WriteByte(c)
			continue
		}
		if i+1 < len(text) && text[i+1] == c {
			literal.WriteByte(c)
			i++
			continue
		}
		if c == '}' {
			return f, fmt.Errorf("line %d: a single '}'; a brace of the configuration is written twice", lineOf(text, i))
		}
		end := strings.IndexByte(text[i:], '}')
		if end < 0 {
			return f, fmt.Errorf("line %d: '{' without '}'; a brace of the configuration is written twice", lineOf(text, i))
		}
		name, err := fieldName(text[i+1:i+end], names)
		if err != nil {
			return f, fmt.Errorf("line %d: %w", lineOf(text, i), err)
		}
		flush()
		f.pieces = append(f.pieces, piece{name: name})
		i += end
	}
	flush()
	return f, nil
}

func lineOf(text string, at int) int { return strings.Count(text[:at], "\n") + 1 }

// fieldName checks what stands between braces. healthCheck has parts, as .part or [part].
func fieldName(in string, names []string) (string, error) {
	name := strings.TrimSuffix(strings.NewReplacer("[", ".", "]", "").Replace(in), ".")
	base, part, _ := strings.Cut(name, ".")
	if !slices.Contains(names, base) {
		return "", fmt.Errorf("there is no value {%.60s} here; known are %s; a brace of the configuration is written twice", in, strings.Join(names, " "))
	}
	if part != "" && (base != "healthCheck" || !slices.Contains(checkParts, part)) {
		return "", fmt.Errorf("{%.60s} has no such part", in)
	}
	return name, nil
}

// write appends the text with the values that value gives.
func (f format) write(b *strings.Builder, value func(string) string) {
	for _, p := range f.pieces {
		if p.name == "" {
			b.WriteString(p.text)
		} else {
			b.WriteString(value(p.name))
		}
	}
}

// values are the values of one use of a template.
type values map[string]string

func (v values) get(name string) string { return v[name] }
