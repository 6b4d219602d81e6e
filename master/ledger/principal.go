package ledger

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// ForeignPrincipal is the refusal of a call whose caller is authenticated as somebody
// else than its framework says (mesos-master.md 1.2 row 12).
func ForeignPrincipal(authenticated, framework string) string {
	return fmt.Sprintf("Authenticated principal '%s' does not match principal '%s' set in `FrameworkInfo`", authenticated, framework)
}

// owned gives info the principal that was authenticated when it names none; the answer is
// why it may not be used, or empty (1.3).
func owned(info *mesos.FrameworkInfo, authenticated string) string {
	switch {
	case authenticated == "":
	case info.Principal == nil:
		info.Principal = proto.String(authenticated)
	case info.GetPrincipal() != authenticated:
		return ForeignPrincipal(authenticated, info.GetPrincipal())
	}
	return ""
}
