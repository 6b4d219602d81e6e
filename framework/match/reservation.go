package match

import "slices"

// Labels by which a reservation names its owner (marathon.md 6.4).
const (
	FrameworkLabel = "marathon_framework_id"
	InstanceLabel  = "marathon_task_id"
)

// Reservation is what a dynamic reservation tells besides its role.
type Reservation struct {
	Principal string // "" when it has none
	Labels    []Label
}

// Label is one label of a reservation, in the order of the offer.
type Label struct{ Key, Value string }

// label gives the value of a key.
func (r *Reservation) label(key string) (string, bool) {
	for _, l := range r.Labels {
		if l.Key == key {
			return l.Value, true
		}
	}
	return "", false
}

// owned tells whether any framework of this kind reserved the block for one of its
// instances; such blocks serve that instance alone.
func (r *Resource) owned() bool {
	if r.Reservation == nil {
		return false
	}
	_, f := r.Reservation.label(FrameworkLabel)
	_, i := r.Reservation.label(InstanceLabel)
	return f || i
}

// Owner gives the instance that the block is reserved for by the framework of this id,
// "" when there is none.
func (r *Resource) Owner(framework string) string {
	if r.Reservation == nil || framework == "" {
		return ""
	}
	if f, _ := r.Reservation.label(FrameworkLabel); f != framework {
		return ""
	}
	owner, _ := r.Reservation.label(InstanceLabel)
	return owner
}

// DiskSource is where the bytes of a disk are.
type DiskSource uint8

// The sources. Raw disk, block devices and disk with a profile are OtherDisk, which
// nothing takes: they belong to storage plugins.
const (
	RootDisk  DiskSource = iota // the agent's work directory
	PathDisk                    // a folder, shared by several volumes
	MountDisk                   // a whole file system, taken entirely
	OtherDisk
)

var diskSourceNames = [...]string{"root", "path", "mount", "other"}

// String gives the name as it stands in an app's volume.
func (d DiskSource) String() string { return diskSourceNames[d] }

// Disk tells of a disk block what makes it more than scratch space.
type Disk struct {
	Source DiskSource
	Root   string // folder of a path or mount disk
	// Volume is the id of the persistent volume on it, "" while there is none. Path is
	// where the volume appears in the container, ReadOnly how; Principal created it.
	Volume    string
	Path      string
	ReadOnly  bool
	Principal string
}

// Volume is a wish for disk that outlives the task.
type Volume struct {
	Path        string // in the container
	Source      DiskSource
	Size        int64        // thousandths of a MiB
	MaxSize     int64        // largest mount disk to take; 0: any
	Constraints []Constraint // on the folder of the disk: LIKE and UNLIKE
}

// fits tells whether an unused disk block may carry the volume.
func (v *Volume) fits(r *Resource) bool {
	if r.Name != "disk" || r.source() != v.Source || r.Disk != nil && r.Disk.Volume != "" || r.Milli < v.Size {
		return false
	}
	if v.MaxSize > 0 && r.Milli > v.MaxSize {
		return false
	}
	for i := range v.Constraints {
		if !v.Constraints[i].accepts(r.root(), true, nil) {
			return false
		}
	}
	return true
}

func (r *Resource) source() DiskSource {
	if r.Disk == nil {
		return RootDisk
	}
	return r.Disk.Source
}

func (r *Resource) root() string {
	if r.Disk == nil {
		return ""
	}
	return r.Disk.Root
}

// hasVolumes tells whether there is disk for the spec's volumes beside its scratch space.
func (t *table) hasVolumes(s *Spec) bool {
	before := t.blocks
	t.blocks = slices.Clone(before)
	t.take(s, "disk", s.Disk+s.Executor.Disk, nil)
	_, ok := t.takeVolumes(s)
	t.blocks = before
	return ok
}

// takeVolumes finds disk for each of the spec's volumes and takes it out of the table. Of
// path disks the largest is taken, so that they fill evenly; of mount disks the smallest
// that is large enough, and all of it. ok is false when a volume finds none.
func (t *table) takeVolumes(s *Spec) (got []Resource, ok bool) {
	if len(s.Volumes) == 0 {
		return nil, true
	}
	out := make([]Resource, 0, len(s.Volumes))
	for k := range s.Volumes {
		v := &s.Volumes[k]
		best := -1
		for i := range t.blocks {
			b := &t.blocks[i]
			if !s.takes(b) || !v.fits(b) {
				continue
			}
			if best < 0 || v.Source == PathDisk && b.Milli > t.blocks[best].Milli || v.Source == MountDisk && b.Milli < t.blocks[best].Milli {
				best = i
			}
		}
		if best < 0 {
			return nil, false
		}
		b := &t.blocks[best]
		r := *b
		r.Disk = &Disk{Source: v.Source, Root: b.root(), Path: v.Path}
		if v.Source != MountDisk {
			r.Milli = v.Size
		}
		b.Milli -= r.Milli
		out = append(out, r)
	}
	return out, true
}

// Held is one instance that waits on the agent where its resources are reserved.
type Held struct {
	Spec    *Spec
	Owner   string   // value of InstanceLabel
	Volumes []string // ids of its persistent volumes, in the order of Spec.Volumes
}

// Relaunch places a held instance on what the offer has reserved for it, or tells the
// first reason against it: NoCorrespondingReservationFound when a volume is missing. The
// blocks that are another's, or nobody's, are not touched. Call Spec.Placed before for the
// instances that constraints count, without this one.
func Relaunch(rules *Rules, framework string, h Held, o *Offer) (Launch, Reason, bool) {
	t := table{offer: o, place: o.Place(), opened: true}
	volumes := make([]Resource, len(h.Volumes))
	found := 0
	for i := range o.Resources {
		r := &o.Resources[i]
		switch {
		case r.Shared || r.Revocable || r.Owner(framework) != h.Owner:
		case r.Disk != nil && r.Disk.Volume != "":
			if k := slices.Index(h.Volumes, r.Disk.Volume); k >= 0 && volumes[k].Name == "" {
				volumes[k] = *r
				found++
			}
		case r.Disk != nil:
		case r.Name == "ports":
			t.ports = append(t.ports, *r)
		default:
			t.blocks = append(t.blocks, *r)
		}
	}
	if o.Role != h.Spec.Role {
		return Launch{}, UnfulfilledRole, false
	}
	if found < len(h.Volumes) || len(h.Volumes) == 0 && len(t.blocks) == 0 && len(t.ports) == 0 {
		return Launch{}, NoCorrespondingReservationFound, false
	}
	s := *h.Spec
	s.Accept, s.Volumes, s.Reserve, s.held = []string{o.Role}, nil, false, true
	l, why, ok := t.try(rules, &s)
	if ok {
		l.Resources = append(l.Resources, volumes...)
	}
	return l, why, ok
}
