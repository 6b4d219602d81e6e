package wire_test

import (
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
)

// A duration is taken as the object the real parser wants and as the text the documents
// show.
func TestDurationForms(t *testing.T) {
	for in, want := range map[string]time.Duration{
		`{"seconds":600,"nanos":0}`: 10 * time.Minute,
		`{"seconds":1,"nanos":5}`:   time.Second + 5,
		`"10mins"`:                  10 * time.Minute,
		`"1.5hrs"`:                  90 * time.Minute,
		`"500ms"`:                   500 * time.Millisecond,
		`"3 secs"`:                  3 * time.Second,
		`"-2secs"`:                  -2 * time.Second,
	} {
		c := &masterapi.Call{}
		if err := wire.UnmarshalJSON([]byte(`{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"S0"},"max_grace_period":`+in+`}}`), c); err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := c.GetDrainAgent().GetMaxGracePeriod().AsDuration(); got != want {
			t.Errorf("%s: %v, want %v", in, got, want)
		}
	}
	for _, in := range []string{`"10"`, `"mins"`, `"1e300weeks"`, `"10parsecs"`, `5`} {
		c := &masterapi.Call{}
		if err := wire.UnmarshalJSON([]byte(`{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"S0"},"max_grace_period":`+in+`}}`), c); err == nil {
			t.Errorf("%s was taken as %v", in, c.GetDrainAgent().GetMaxGracePeriod())
		}
	}
}
