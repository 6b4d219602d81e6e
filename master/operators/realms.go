package operators

import "strings"

// Realm says who may use a route, before anything else is looked at (mesos-master.md 5.4
// and 8.1).
type Realm uint8

// The realms; Open routes are answered to anybody.
const (
	Readwrite Realm = iota
	Readonly
	Scheduler
	Open
)

// String is the realm's name in challenges.
func (r Realm) String() string {
	return [...]string{"mesos-master-readwrite", "mesos-master-readonly", "mesos-master-scheduler", ""}[r]
}

// realms lists every path of the contract that is not Readwrite.
var realms = map[string]Realm{
	"/health":            Open,
	"/redirect":          Open,
	"/version":           Open,
	"/system/stats.json": Open,
	"/":                  Open,

	"/state":                             Readonly,
	"/state.json":                        Readonly,
	"/state-summary":                     Readonly,
	"/slaves":                            Readonly,
	"/frameworks":                        Readonly,
	"/tasks":                             Readonly,
	"/tasks.json":                        Readonly,
	"/roles":                             Readonly,
	"/roles.json":                        Readonly,
	"/flags":                             Readonly,
	"/maintenance/status":                Readonly,
	"/metrics":                           Readonly,
	"/metrics/snapshot":                  Readonly,
	"/registrar(1)/registry":             Readonly,
	"/allocator/offer_constraints_debug": Readonly,

	"/api/v1":               Readwrite,
	"/quota":                Readwrite,
	"/quota/*":              Readwrite,
	"/weights":              Readwrite,
	"/reserve":              Readwrite,
	"/unreserve":            Readwrite,
	"/create-volumes":       Readwrite,
	"/destroy-volumes":      Readwrite,
	"/teardown":             Readwrite,
	"/machine/down":         Readwrite,
	"/machine/up":           Readwrite,
	"/maintenance/schedule": Readwrite,
	"/logging/toggle":       Readwrite,

	"/api/v1/scheduler": Scheduler,
}

// families are the realms of all paths below a folder.
var families = []struct {
	below string
	realm Realm
}{
	{"/files/", Readonly},
	{"/help", Open},
	{"/app/", Open},
	{"/assets/", Open},
}

// RealmOf gives the realm of a route; one that nobody thought of is Readwrite.
func RealmOf(path string) Realm {
	if realm, ok := realms[path]; ok {
		return realm
	}
	// A pattern such as /quota/* belongs to what stands before it.
	if base, ok := strings.CutSuffix(path, "/*"); ok {
		if realm, ok := realms[base]; ok && base != "" {
			return realm
		}
	}
	for _, f := range families {
		if strings.HasPrefix(path, f.below) {
			return f.realm
		}
	}
	return Readwrite
}
