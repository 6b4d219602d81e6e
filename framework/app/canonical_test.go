package app

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write what is seen into the golden files")

// TestConformance_2_6_Normalization stores each example body and compares with its golden form; the stored
// form must also survive the store and count as unchanged when it is sent back.
func TestConformance_2_6_Normalization(t *testing.T) {
	files, err := filepath.Glob("testdata/canonical/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var c struct {
				Given  json.RawMessage `json:"given"`
				Stored json.RawMessage `json:"stored"`
			}
			if err := json.Unmarshal(raw, &c); err != nil {
				t.Fatal(err)
			}
			a := settled(t, string(c.Given))
			got, err := json.Marshal(a)
			if err != nil {
				t.Fatal(err)
			}
			if *rewrite {
				c.Stored = got
				out, err := json.MarshalIndent(c, "", " ")
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, append(out, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			sameJSON(t, a, string(c.Stored))

			var back App
			if err := json.Unmarshal(got, &back); err != nil {
				t.Fatalf("the stored form cannot be read: %v", err)
			}
			if again, _ := json.Marshal(&back); string(again) != string(got) {
				t.Errorf("the stored form changed:\n%s\n%s", got, again)
			}
			u, err := ReadUpdate(got)
			if err != nil {
				t.Fatal(err)
			}
			same, err := u.Create(a.ID, testRules, testRules.RolesAt(EmptyRoot(), a.ID))
			if err != nil {
				t.Fatalf("the stored form sent back: %v", err)
			}
			if Compare(a, same) != Unchanged {
				b, _ := json.Marshal(same)
				t.Errorf("the stored form sent back counts as a change:\n%s\n%s", got, b)
			}
		})
	}
}
