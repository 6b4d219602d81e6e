package render

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/stoa-project/stoa/lb/labels"
)

// A Memo writes the same text, structure, servers and maps as a rendering from nothing,
// for every case after every other.
func TestMemoWritesTheSame(t *testing.T) {
	memos := map[string]*Memo{}
	for round := range 2 {
		for _, c := range cases(t) {
			var in caseInput
			in.Options.Groups = []string{"*"}
			if err := json.Unmarshal([]byte(c.in), &in); err != nil {
				t.Fatal(err)
			}
			s := settings()
			s.MapDir, s.Profile, s.Maps, s.GroupHTTPS = "/maps", in.Settings.Profile, in.Settings.Maps, in.Settings.Group
			var err error
			if s.Templates, err = NewTemplates(in.Settings.Templates, s.Profile == Compat); err != nil {
				t.Fatal(err)
			}
			m := memos[c.name]
			if m == nil {
				m = &Memo{}
				memos[c.name] = m
			}
			services, _ := labels.Services(in.Apps, in.Options)
			for i := range services {
				services[i].Rev = uint64(i + 1)
				if round == 1 && i == 0 && len(services[i].Servers) > 1 {
					services[i].Rev = 1000
					services[i].Servers = services[i].Servers[1:]
				}
			}
			got, gotProblems := m.File(services, s)
			want, wantProblems := File(services, s)
			if want.Origins == nil || got.Origins != nil {
				t.Errorf("%s: origins %v and %v", c.name, want.Origins, got.Origins)
			}
			want.Origins = nil
			if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(gotProblems, wantProblems) {
				t.Errorf("%s, round %d: with memory\n%s\nwithout\n%s", c.name, round, got.Text, want.Text)
			}
		}
	}
}
