package render

import (
	"strings"
	"testing"
)

func TestFormat(t *testing.T) {
	rows := []struct{ text, want, wrong string }{
		{"plain", "plain", ""},
		{"a {x} b", "a 1 b", ""},
		{"{{ {x} }}", "{ 1 }", ""},
		{"{x}{x}", "11", ""},
		{"if {{ path /{x} }}", "if { path /1 }", ""},
		{"{healthCheck[path]} {healthCheck.path}", "/h /h", ""},
		{"{healthCheck[nope]}", "", "no such part"},
		{"{y}", "", "there is no value {y}"},
		{"{}", "", "there is no value {}"},
		{"{x:>3}", "", "there is no value"},
		{"one\ntwo }", "", "line 2: a single '}'"},
		{"{x", "", "'{' without '}'"},
	}
	for _, r := range rows {
		f, err := compile(r.text, []string{"x", "healthCheck"})
		if r.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), r.wrong) {
				t.Errorf("%q: %v, want %q", r.text, err, r.wrong)
			}
			continue
		}
		var b strings.Builder
		f.write(&b, values{"x": "1", "healthCheck.path": "/h"}.get)
		if err != nil || b.String() != r.want {
			t.Errorf("%q: %q %v, want %q", r.text, b.String(), err, r.want)
		}
	}
}

// The names are those of Marathon-LB: 53 templates, ten of which no label replaces.
func TestCatalogIsWhole(t *testing.T) {
	all, global := TemplateNames(), 0
	for _, n := range all {
		if catalog[n].global {
			global++
		}
	}
	if len(all) != 53 {
		t.Errorf("%d templates: %v", len(all), all)
	}
	if global != 10 {
		t.Errorf("%d are global, want 10", global)
	}
	for name, text := range map[string]string{"FRONTEND_HEAD": "{nope}", "HTTPS_FRONTEND_HEAD": "bind { x"} {
		if _, err := NewTemplates(map[string]string{name: text}, false); err == nil || !strings.Contains(err.Error(), "HAPROXY_"+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOwnerOfALine(t *testing.T) {
	c, _ := File(every(), settings())
	lines := strings.Split(c.Text, "\n")
	seen := 0
	for i, l := range lines {
		key, ok := c.OwnerOf(i + 1)
		if strings.HasPrefix(l, "backend ") {
			seen++
			if id := "backend " + strings.ReplaceAll(strings.TrimPrefix(key.AppID, "/"), "/", "_") + "_1000"; !ok || !strings.HasPrefix(l, id) {
				t.Errorf("line %d %q belongs to %v", i+1, l, key)
			}
		}
		if i < 30 && ok {
			t.Errorf("line %d %q of the head belongs to %v", i+1, l, key)
		}
	}
	if seen != len(every()) {
		t.Errorf("%d backends", seen)
	}
}

// Words that could end a runtime command, or that HAProxy does not take at run time,
// keep a backend out of it.
func TestWhatFitsRuntime(t *testing.T) {
	for options, want := range map[string]bool{
		"id 7": true, "id 7 check inter 5s fall 3 port 80": true, "id 7 maxconn 5 weight 3": true, "": true,
		"id 7;disable server b/x": false, "id 7 cookie abc": false, "id": false, "id 7 resolvers r": false, "id \"7\"": false, "id 7 weight $X": false,
	} {
		if got := fitsRuntime(options); got != want {
			t.Errorf("%q: %v", options, got)
		}
	}
}
