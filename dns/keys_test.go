package dns

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// Every key is explained, under a name that the file takes.
func TestKeysAreComplete(t *testing.T) {
	fields := reflect.TypeFor[Config]()
	if len(meanings) != fields.NumField() || len(Keys()) != fields.NumField() {
		t.Errorf("%d meanings and %d keys for %d fields", len(meanings), len(Keys()), fields.NumField())
	}
	for _, k := range Keys() {
		var c Config
		d := json.NewDecoder(strings.NewReader(`{"` + k.Name + `":` + k.Default + `}`))
		d.DisallowUnknownFields()
		if err := d.Decode(&c); err != nil {
			t.Errorf("%s: %v", k.Name, err)
		}
		if k.Meaning == "" {
			t.Errorf("%s is not explained", k.Name)
		}
	}
}
