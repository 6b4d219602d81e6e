package operators

import (
	"html"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
)

// helpTexts say in one line what each endpoint is for.
var helpTexts = map[string]string{
	"/allocator/offer_constraints_debug": "Agents that offer constraints keep from frameworks.",
	"/api/v1":                            "Operator API: POST a call in JSON or protobuf.",
	"/api/v1/scheduler":                  "Scheduler API: POST a call in JSON or protobuf.",
	"/create-volumes":                    "POST a form with slaveId and volumes.",
	"/destroy-volumes":                   "POST a form with slaveId and volumes.",
	"/files/browse":                      "Files below the virtual path in ?path=.",
	"/files/debug":                       "Virtual files and the real ones behind them.",
	"/files/download":                    "The file at the virtual path in ?path=.",
	"/files/read":                        "A piece of the file in ?path=, from ?offset= and of ?length= bytes.",
	"/flags":                             "All flags with their values.",
	"/frameworks":                        "Frameworks with their tasks; ?framework_id= gives one.",
	"/health":                            "200 while this master answers.",
	"/help":                              "This page.",
	"/logging/toggle":                    "The log's verbosity; ?level= and ?duration= set it for a time.",
	"/machine/down":                      "POST a JSON array of machines whose maintenance begins.",
	"/machine/up":                        "POST a JSON array of machines whose maintenance ends.",
	"/maintenance/schedule":              "The maintenance schedule; POST a new one.",
	"/maintenance/status":                "Machines that drain or are down.",
	"/metrics":                           "All metrics as Prometheus text.",
	"/metrics/snapshot":                  "All metrics as one JSON object; ?timeout=5secs bounds the wait.",
	"/quota":                             "Quotas; POST sets one, DELETE below it removes one.",
	"/redirect":                          "Redirects to the leading master.",
	"/registrar(1)/registry":             "What the registry holds.",
	"/reserve":                           "POST a form with slaveId and resources.",
	"/roles":                             "Roles with their weights, quotas and resources.",
	"/roles.json":                        "The same under its old name.",
	"/slaves":                            "Agents; ?slave_id= gives one.",
	"/state":                             "Everything this master knows.",
	"/state.json":                        "The same under its old name.",
	"/state-summary":                     "Agents and frameworks with counts of tasks.",
	"/system/stats.json":                 "Load and memory of this host.",
	"/tasks":                             "Tasks; ?limit=, ?offset=, ?order=asc|desc, ?framework_id=, ?task_id=.",
	"/tasks.json":                        "The same under its old name.",
	"/teardown":                          "POST a form with frameworkId.",
	"/unreserve":                         "POST a form with slaveId and resources.",
	"/version":                           "Version of this program.",
	"/weights":                           "Weights of roles; PUT sets some.",
}

// help answers /help: every endpoint in a line; /help/<group> those of one group.
func (s *Shell) help(w http.ResponseWriter, r *http.Request) {
	group := strings.TrimPrefix(r.URL.Path, "/master")
	group = strings.Trim(strings.TrimPrefix(group, "/help"), "/")
	var b strings.Builder
	b.WriteString("<html><head><title>Help</title></head><body><h2>HELP</h2>\n<dl>\n")
	found := 0
	for _, path := range slices.Sorted(maps.Keys(helpTexts)) {
		if group != "" && group != "master" && path != "/"+group && !strings.HasPrefix(path, "/"+group+"/") {
			continue
		}
		found++
		b.WriteString("<dt>" + html.EscapeString(path) + "</dt><dd>" + html.EscapeString(helpTexts[path]) + "</dd>\n")
	}
	b.WriteString("</dl></body></html>\n")
	if found == 0 {
		text(w, http.StatusBadRequest, "No help available for '/"+group+"'.")
		return
	}
	write(w, r, "text/html", []byte(b.String()))
}

// webUI serves the files of --webui_dir: index.html at /, everything else by its name. A
// name that leads out of the folder, by a link too, is not found.
func (s *Shell) webUI(w http.ResponseWriter, r *http.Request) {
	root, err := os.OpenRoot(s.cfg.WebUIDir)
	if err != nil {
		text(w, http.StatusNotFound, "404 Not Found.")
		return
	}
	defer root.Close()
	name := strings.Trim(r.URL.Path, "/")
	if name == "" {
		name = "index.html"
	}
	f, err := root.Open(name)
	if err != nil {
		text(w, http.StatusNotFound, "404 Not Found.")
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		text(w, http.StatusNotFound, "404 Not Found.")
		return
	}
	http.ServeContent(w, r, info.Name(), info.ModTime(), f)
}
