package constraint

import (
	"errors"
	"regexp"
	"regexp/syntax"
)

// Defaults of Mesos.
const (
	DefaultMaxMem     = 4096
	DefaultMaxProgram = 100
)

// What RE2, the library behind Mesos, does with its limit on memory: two thirds are for
// the program, of which a fixed part and this much for each instruction are used.
const (
	re2Fixed       = 432
	re2Instruction = 8
)

// anyRune is how many instructions RE2 needs for "any character" in UTF-8, where Go's
// program has one.
const anyRune = 9

// compile makes a pattern into a program that matches whole texts, within the limits.
func compile(limits Limits, pattern string) (*regexp.Regexp, error) {
	if limits.MaxMem <= 0 {
		limits.MaxMem = DefaultMaxMem
	}
	if limits.MaxProgram <= 0 {
		limits.MaxProgram = DefaultMaxProgram
	}
	refuse := func(why string) error {
		return refusef("Failed to construct regex from pattern '%s': %s", pattern, why)
	}
	tree, err := syntax.Parse(pattern, syntax.Perl)
	var bad *syntax.Error
	switch {
	case errors.As(err, &bad) && (bad.Code == syntax.ErrLarge || bad.Code == syntax.ErrNestingDepth):
		return nil, refuse("pattern too large - compile failed")
	case errors.As(err, &bad):
		return nil, refuse(re2Error(bad))
	case err != nil:
		return nil, refuse(err.Error())
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, refuse(err.Error())
	}
	size := 0
	for i := range prog.Inst {
		switch prog.Inst[i].Op {
		case syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			size += anyRune
		default:
			size++
		}
	}
	if room := (limits.MaxMem*2/3 - re2Fixed) / re2Instruction; int64(size) > room {
		return nil, refuse("pattern too large - compile failed")
	}
	if size > limits.MaxProgram {
		return nil, refusef("Regex '%s' is too complex: program size of %d is larger than maximum of %d allowed", pattern, size, limits.MaxProgram)
	}
	return full(pattern)
}

// re2Error is the sentence that RE2 has for the mistake.
func re2Error(e *syntax.Error) string {
	words := map[syntax.ErrorCode]string{
		syntax.ErrInvalidCharClass: "invalid character class", syntax.ErrInvalidCharRange: "invalid character class range",
		syntax.ErrInvalidEscape: "invalid escape sequence", syntax.ErrInvalidNamedCapture: "invalid named capture group",
		syntax.ErrInvalidPerlOp: "invalid perl operator", syntax.ErrInvalidRepeatOp: "bad repetition operator",
		syntax.ErrInvalidRepeatSize: "invalid repetition size", syntax.ErrInvalidUTF8: "invalid UTF-8",
		syntax.ErrMissingBracket: "missing ]", syntax.ErrMissingParen: "missing )",
		syntax.ErrMissingRepeatArgument: "no argument for repetition operator", syntax.ErrTrailingBackslash: `trailing \`,
		syntax.ErrUnexpectedParen: "unexpected )",
	}[e.Code]
	if words == "" {
		words = string(e.Code)
	}
	if e.Expr == "" {
		return words
	}
	return words + ": " + e.Expr
}
