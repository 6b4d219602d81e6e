package render

import (
	"regexp"
	"strings"
)

// Directives that HAProxy removed in 2.1 and that users' templates may still hold. Lines
// whose meaning a newer directive has exactly are rewritten; HAProxy refuses the others
// and says what to write.
var (
	addLine = regexp.MustCompile(`^([ \t]*)(rsp|req)add[ \t]+(?:"([^":]+):(?:\\ | )*([^"]*)"|([^ \t:"\\]+):((?:\\.|[^ \t\\])*))([ \t]+(?:if|unless)[ \t].*)?[ \t]*$`)
	delLine = regexp.MustCompile(`^([ \t]*)(rsp|req)i?del[ \t]+"?\^([A-Za-z0-9-]+):(?:\\ | )?(?:\.\*)?"?([ \t]+(?:if|unless)[ \t].*)?[ \t]*$`)
	// The request line without a prefix of its path, as Marathon-LB's template had it.
	prefixLine = regexp.MustCompile(`^([ \t]*)reqi?rep[ \t]+"?\^\(\[\^ :\]\*\)\\ ([^ \t"(]*?)/\?\(\.\*\)"?[ \t]+"?\\1\\ /\\2"?([ \t]+(?:if|unless)[ \t].*)?[ \t]*$`)
	// The Location of a reply with a prefix, likewise.
	locationLine = regexp.MustCompile(`^([ \t]*)rspi?rep[ \t]+"?\^Location:(?:\\ | )(\(https\?://[^ \t"(]*\(:\[0-9\]\+\)\?\)\?)\(/\.\*\)"?[ \t]+"?Location:(?:\\ | )+([^ \t"\\]*)(\\3)?"?([ \t]+(?:if|unless)[ \t].*)?[ \t]*$`)
	removedWord  = regexp.MustCompile(`(?m)^[ \t]*(?:rsp|req)i?(?:add|del|rep)\b`)
)

// modernise rewrites removed directives in a template's text.
func modernise(text string) string {
	if !removedWord.MatchString(text) {
		return text
	}
	lines := strings.SplitAfter(text, "\n")
	for i, l := range lines {
		body, end := strings.TrimSuffix(l, "\n"), ""
		if len(body) < len(l) {
			end = "\n"
		}
		lines[i] = moderniseLine(body) + end
	}
	return strings.Join(lines, "")
}

var sides = map[string]string{"rsp": "http-response", "req": "http-request"}

func moderniseLine(l string) string {
	if m := addLine.FindStringSubmatch(l); m != nil {
		name, value := m[3]+m[5], strings.TrimSpace(unescape(m[4]+m[6]))
		return m[1] + sides[m[2]] + " add-header " + strings.TrimSpace(name) + ` "` + strings.ReplaceAll(value, `"`, `\"`) + `"` + m[7]
	}
	if m := delLine.FindStringSubmatch(l); m != nil {
		return m[1] + sides[m[2]] + " del-header " + m[3] + m[4]
	}
	if m := prefixLine.FindStringSubmatch(l); m != nil {
		return m[1] + "http-request replace-path ^" + strings.TrimSuffix(m[2], "/") + `(/(.*))?$ /\2` + m[3]
	}
	if m := locationLine.FindStringSubmatch(l); m != nil {
		return m[1] + "http-response replace-header Location ^(" + m[2] + `)(/.*)$ \1` + strings.TrimSuffix(m[3], "/") + `\4` + m[5]
	}
	return l
}

// unescape takes the backslashes of HAProxy's words away.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
