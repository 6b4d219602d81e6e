package haproxy

import (
	"fmt"
	"strings"

	parser "github.com/haproxytech/client-native/v6/config-parser"
	"github.com/haproxytech/client-native/v6/config-parser/options"
)

// reviewed are the settings of a defaults section without which something goes wrong.
var reviewed = []struct{ name, why string }{
	{"timeout connect", "a server that does not answer is waited for without end"},
	{"timeout client", "a client that says nothing keeps its connection for ever"},
	{"timeout server", "a server that says nothing keeps its connection for ever"},
	{"option redispatch", "a request to a task that has just ended fails instead of going to another"},
	{"option idle-close-on-response", "a reload may cut kept connections while their next request is on its way"},
	{"load-server-state-from-file", "servers out of service are in service again for a moment after a reload"},
}

// Review reads a user's HEAD template as HAProxy's sections and gives what is amiss in
// it, one sentence each. It judges what HAProxy itself accepts; Validate tells the rest.
func Review(head string) []string {
	p, err := parser.New(options.Reader(strings.NewReader(head)), options.NoNamedDefaultsFrom)
	if err != nil {
		return []string{fmt.Sprintf("its sections cannot be read: %v", err)}
	}
	var out []string
	defaults, err := p.SectionsGet(parser.Defaults)
	if err != nil || len(defaults) == 0 {
		return []string{"there is no defaults section: no timeout is set"}
	}
	// The last one is in force for what follows.
	last := defaults[len(defaults)-1]
	for _, r := range reviewed {
		if _, err := p.Get(parser.Defaults, last, r.name); err != nil {
			out = append(out, fmt.Sprintf("defaults has no %q: %s", r.name, r.why))
		}
	}
	return out
}
