package app

// Reservation is what an instance of a resident app owns on its agent: resources that bear
// its id as a label, and its persistent volumes. It stays through relaunches and scaling
// down, until the instance is decommissioned (marathon.md 6.4).
type Reservation struct {
	At      Timestamp     `json:"at"`                // when it was asked for
	Volumes []LocalVolume `json:"volumes,omitempty"` // in the order of the definition
}

// VolumeIDs lists the persistence ids.
func (r *Reservation) VolumeIDs() []string {
	ids := make([]string, len(r.Volumes))
	for k := range r.Volumes {
		ids[k] = r.Volumes[k].PersistenceID
	}
	return ids
}

// LocalVolume is one persistent volume of an instance.
type LocalVolume struct {
	ContainerPath string `json:"containerPath"`
	PersistenceID string `json:"persistenceId"`
	UUID          string `json:"uuid"`
}

// NewLocalVolume names a volume: <safe path of the app>#<path in the container>#<uuid>.
func NewLocalVolume(app PathID, containerPath, uuid string) LocalVolume {
	return LocalVolume{ContainerPath: containerPath, UUID: uuid, PersistenceID: app.Safe() + "#" + containerPath + "#" + uuid}
}

// Leftover is a reservation whose instance was given up. It is freed when the agent next
// offers it; until then offers are asked for in its role.
type Leftover struct {
	Instance InstanceID `json:"instance"`
	Role     string     `json:"role"`
	AgentID  string     `json:"agentId"`
	Until    Timestamp  `json:"until"`           // from then on offers are not asked for any more
	Freed    bool       `json:"freed,omitempty"` // it was offered and given back; that may have got lost
}

// VolumeSpec is one persistent volume that each instance has of its own.
type VolumeSpec struct {
	ContainerPath string
	PersistentVolume
}

// volumes lists the persistent volumes of the app.
func (a *App) volumes() []VolumeSpec {
	if a.Container == nil {
		return nil
	}
	var out []VolumeSpec
	for i := range a.Container.Volumes {
		if v := &a.Container.Volumes[i]; v.Persistent != nil {
			out = append(out, VolumeSpec{v.ContainerPath, *v.Persistent})
		}
	}
	return out
}
