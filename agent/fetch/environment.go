package fetch

import (
	"slices"
	"strings"

	"github.com/stoa-project/stoa/agent/fetch/carry"
)

// needed are the variables of the agent that downloads and the xz program look at.
var needed = []string{
	"PATH", "TZ", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "RES_OPTIONS", "LOCALDOMAIN", "GODEBUG",
}

// environment picks what a fetch gets of the agent's environment: what is needed, and for
// the hadoop client, which programs of others may stand in for, all but what is meant for
// Mesos and Stoa (mesos-agent.md 8.3).
func environment(own []string, hadoop bool) (out []string) {
	for _, v := range own {
		name, _, _ := strings.Cut(v, "=")
		if hadoop {
			ours := strings.HasPrefix(name, "MESOS_") || strings.HasPrefix(name, "LIBPROCESS_") || strings.HasPrefix(name, "STOA_")
			if !ours {
				out = append(out, v)
			}
		} else if slices.Contains(needed, name) {
			out = append(out, v)
		}
	}
	return out
}

// anyHadoop tells whether the hadoop client is wanted for any URI.
func anyHadoop(uris []carry.URI) bool {
	return slices.ContainsFunc(uris, func(u carry.URI) bool { return carry.ForHadoop(u.Value) })
}
