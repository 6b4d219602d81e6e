package app

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// checkVolume judges one mount of an app (marathon.md 2.8).
func (a *App) checkVolume(path string, v *Volume, r Rules, p *problems) {
	kinds := 0
	for _, set := range []bool{v.HostPath != "", v.Persistent != nil, v.External != nil, v.Secret != ""} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		p.add(path, "must have exactly one of hostPath, persistent, external and secret")
		return
	}
	if v.ContainerPath == "" {
		p.add(path+"/containerPath", "must not be empty")
	}
	switch {
	case v.Mode == "" && v.Secret == "":
		p.add(path+"/mode", "must be RO or RW")
	case v.Mode != "" && v.Secret != "":
		p.add(path+"/mode", "must be absent for a secret volume")
	}
	if v.External != nil {
		a.checkExternal(path, v, r, p)
	}
	if pv := v.Persistent; pv != nil {
		if v.Mode != "RW" {
			p.add(path+"/mode", "must be RW for a persistent volume")
		}
		if dots(v.ContainerPath) || strings.Contains(v.ContainerPath, "/") {
			p.add(path+"/containerPath", `value must not contain "/"`)
		}
		pv.check(path+"/persistent", p)
	}
}

// dots are the two paths that name no place of their own.
func dots(path string) bool { return path == "." || path == ".." }

// check judges what is asked of the disk of a persistent volume.
func (pv *PersistentVolume) check(path string, p *problems) {
	if pv.Size <= 0 {
		p.add(path+"/size", fmt.Sprintf("got %d, expected 1 or more", pv.Size))
	}
	if pv.MaxSize != nil {
		if pv.Type != "mount" {
			p.add(path+"/maxSize", "Only mount volumes can have maxSize")
		}
		if *pv.MaxSize <= pv.Size {
			p.add(path+"/maxSize", "Max size must be larger than size")
		}
	}
	if pv.ProfileName != "" {
		p.add(path+"/profileName", fmt.Sprintf("%q cannot be had: only disks of storage plugins (CSI) have a profile, and there are none here; leave it out", clip(pv.ProfileName)))
	}
	if len(pv.Constraints) > 0 && pv.Type == "root" {
		p.add(path+"/constraints", "Constraints on root volumes are not supported")
	}
	for i, c := range pv.Constraints {
		at := index(path+"/constraints", i)
		switch _, err := regexp.Compile(c.Value); {
		case c.Value == "":
			p.add(at, "A regular expression value must be provided")
		case err != nil:
			p.add(at, "Invalid regular expression: "+clip(err.Error()))
		}
	}
}

var (
	optionLabel = regexp.MustCompile(`^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$`)
	optionKey   = regexp.MustCompile(`^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?/[A-Za-z0-9](?:[-A-Za-z0-9._:]*[A-Za-z0-9])?$`)
	digits      = regexp.MustCompile(`^[0-9]+$`)
)

// checkExternal judges a volume of the provider dvdi, the only one there is.
func (a *App) checkExternal(path string, v *Volume, r Rules, p *problems) {
	e := v.External
	if !r.Features["external_volumes"] {
		p.add(path, "Feature external_volumes is not enabled. Enable with --enable_features external_volumes)")
	}
	at := path + "/external"
	if e.Provider == "csi" {
		p.add(at+"/provider", "is not supported: volumes of CSI plugins cannot be had, use dvdi or a persistent volume")
		return
	}
	if e.Provider != "dvdi" {
		p.add(at+"/provider", "is unknown provider")
		return
	}
	if e.Name == "" {
		p.add(at+"/name", "must not be empty")
	}
	if e.Size != nil && *e.Size <= 0 {
		p.add(at+"/size", fmt.Sprintf("got %d, expected 1 or more", *e.Size))
	}
	if a.Instances > 1 {
		p.add("/instances", "Number of instances is limited to 1 when declaring DVDI volumes in app ["+string(a.ID)+"]")
	}
	if dots(v.ContainerPath) {
		p.add(path+"/containerPath", "must not be . or ..")
	}
	for key := range e.Options {
		if !optionKey.MatchString(key) {
			p.add(at+"/options", clip(key)+" must fully match regular expression '"+optionKey.String()+"'")
		}
	}
	driver := e.Options["dvdi/driver"]
	if !optionLabel.MatchString(driver) {
		p.add(at+`/options("dvdi/driver")`, "must fully match regular expression '"+optionLabel.String()+"'")
	}
	if a.Container.Type == Docker {
		if len(e.Options) > 1 {
			p.add(at+"/options", "must only contain dvdi/driver")
		}
		if e.Size != nil {
			p.add(at+"/size", "must be undefined for Docker containers")
		}
	} else if v.Mode == "RO" {
		p.add(path+"/mode", "must be RW for an external volume of a container of type MESOS")
	}
	if driver == "rexray" {
		checkRexray(at+"/options", e.Options, p)
	}
}

// checkRexray judges the options that the driver rexray knows.
func checkRexray(at string, options Dict, p *problems) {
	option := func(key string, ok func(string) bool, what string) {
		if v, given := options[key]; given && !ok(v) {
			p.add(at+"("+strconv.Quote(key)+")", "got "+clip(v)+", expected "+what)
		}
	}
	option("dvdi/volumetype", optionLabel.MatchString, "a label: lower-case letters, digits and inner -")
	option("dvdi/newfstype", optionLabel.MatchString, "a label: lower-case letters, digits and inner -")
	option("dvdi/iops", digits.MatchString, "a natural number")
	option("dvdi/overwritefs", func(v string) bool { return v == "true" || v == "false" }, "true or false")
}

// externalNames lists the names of the app's external volumes; shared tells of each whether
// others may use it too.
func (a *App) externalNames() (names []string, shared []bool) {
	if a.Container == nil {
		return nil, nil
	}
	for i := range a.Container.Volumes {
		if e := a.Container.Volumes[i].External; e != nil && e.Name != "" {
			names, shared = append(names, e.Name), append(shared, e.Shared)
		}
	}
	return names, shared
}

// checkExternalNames refuses external volumes that two apps of the tree, or one app twice,
// would write to, unless all say that they share it. Only apps that the old tree does not
// have as they are now are judged.
func checkExternalNames(from, root *Group) error {
	changed := map[PathID]bool{}
	for a := range root.AllApps() {
		if a.hasExternalVolume() && (from == nil || from.App(a.ID) != a) {
			changed[a.ID] = true
		}
	}
	if len(changed) == 0 {
		return nil
	}
	p := &problems{}
	users := map[string][]PathID{}
	open := map[string]bool{} // somebody does not share it
	for a := range root.AllApps() {
		names, shared := a.externalNames()
		for k, name := range names {
			if slices.Contains(names[:k], name) && changed[a.ID] {
				p.add("/container/volumes", fmt.Sprintf("Requested DVDI volume '%s' is declared more than once within app %s", clip(name), a.ID))
			}
			users[name] = append(users[name], a.ID)
			open[name] = open[name] || !shared[k]
		}
	}
	for _, name := range sortedNames(users) {
		ids := slices.Compact(users[name])
		if len(ids) < 2 || !open[name] || !slices.ContainsFunc(ids, func(id PathID) bool { return changed[id] }) {
			continue
		}
		for _, id := range ids {
			if changed[id] {
				others := slices.DeleteFunc(slices.Clone(ids), func(o PathID) bool { return o == id })
				p.add("/container/volumes", fmt.Sprintf("Volume name '%s' in %s conflicts with volume(s) of same name in app(s): %v", clip(name), id, others))
			}
		}
	}
	return p.err(MsgInvalidObject)
}

func sortedNames[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
