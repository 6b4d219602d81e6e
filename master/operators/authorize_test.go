package operators

import (
	"testing"

	"github.com/stoa-project/stoa/internal/wire/masterapi"
)

// Nobody adds a call without saying who may make it.
func TestEveryCallHasARow(t *testing.T) {
	for number, name := range masterapi.Call_Type_name {
		if callNeeds[masterapi.Call_Type(number)] == nil {
			t.Errorf("%s has no row in callNeeds", name)
		}
	}
	for call := range callNeeds {
		if masterapi.Call_Type_name[int32(call)] == "" {
			t.Errorf("%d is no call", call)
		}
	}
}
