package operators

import "testing"

// Every route is in the table by name, so that nobody adds one without a thought of who
// may use it.
func TestEveryRouteHasARealm(t *testing.T) {
	s := New(Config{}, nil)
	for _, r := range s.Routes() {
		if _, named := realms[r.Path]; named {
			continue
		}
		if realm := RealmOf(r.Path); realm == Readwrite {
			t.Errorf("%s is in no realm: put it into realms or families", r.Path)
		}
	}
	for path, want := range map[string]Realm{"/files/read": Readonly, "/quota/*": Readwrite, "/assets/x.js": Open, "/nobody/thought/of": Readwrite, "/help": Open} {
		if got := RealmOf(path); got != want {
			t.Errorf("%s: realm %q, want %q", path, got, want)
		}
	}
}
