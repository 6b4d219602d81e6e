package core

import "fmt"

// CheckCounts compares what is kept as instances change with what a look at all of them gives.
func (c *Core) CheckCounts() error {
	for id, l := range c.lines {
		got := *c.count(l)
		var want tally
		scheduled, provisioned, waiting := 0, 0, map[*instance]bool{}
		for k, i := range l.instances {
			want.add(c.shareOf(c.actionOn(id), i), 1)
			if i.waits() {
				scheduled++
				waiting[i] = true
			}
			if i.provisioned() {
				provisioned++
			}
			if i.forgotten || k > 0 && l.instances[k-1].slot >= i.slot {
				return fmt.Errorf("%s: instance %d at slot %d, forgotten %t", id, k, i.slot, i.forgotten)
			}
		}
		if got != want {
			return fmt.Errorf("%s: counted %+v, there are %+v", id, got, want)
		}
		for _, i := range l.waiting() {
			if !waiting[i] {
				return fmt.Errorf("%s: %s does not wait, or twice", id, i.view.ID)
			}
			delete(waiting, i)
		}
		if l.scheduled != scheduled || l.provisioned != provisioned || len(waiting) > 0 {
			return fmt.Errorf("%s: %d scheduled, %d provisioned, there are %d and %d, %d not in the list", id, l.scheduled, l.provisioned, scheduled, provisioned, len(waiting))
		}
	}
	return nil
}
