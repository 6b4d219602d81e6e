package ledger

import (
	"fmt"
	"time"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// operatorRefuse is how long resources that were taken back for an operator's operation
// are not offered again to who had them (mesos-master.md 3.4).
const operatorRefuse = 5 * time.Second

// OperatorOperation reads the operation of an operator's call; nil when the call is
// another one (mesos-master.md 5.1).
func OperatorOperation(c *masterapi.Call) (AgentID, *mesos.Offer_Operation) {
	switch c.GetType() {
	case masterapi.Call_RESERVE_RESOURCES:
		m := c.GetReserveResources()
		return AgentID(m.GetAgentId().GetValue()), &mesos.Offer_Operation{Type: mesos.Offer_Operation_RESERVE.Enum(),
			Reserve: &mesos.Offer_Operation_Reserve{Source: m.GetSource(), Resources: m.GetResources()}}
	case masterapi.Call_UNRESERVE_RESOURCES:
		m := c.GetUnreserveResources()
		return AgentID(m.GetAgentId().GetValue()), &mesos.Offer_Operation{Type: mesos.Offer_Operation_UNRESERVE.Enum(),
			Unreserve: &mesos.Offer_Operation_Unreserve{Resources: m.GetResources()}}
	case masterapi.Call_CREATE_VOLUMES:
		m := c.GetCreateVolumes()
		return AgentID(m.GetAgentId().GetValue()), &mesos.Offer_Operation{Type: mesos.Offer_Operation_CREATE.Enum(),
			Create: &mesos.Offer_Operation_Create{Volumes: m.GetVolumes()}}
	case masterapi.Call_DESTROY_VOLUMES:
		m := c.GetDestroyVolumes()
		return AgentID(m.GetAgentId().GetValue()), &mesos.Offer_Operation{Type: mesos.Offer_Operation_DESTROY.Enum(),
			Destroy: &mesos.Offer_Operation_Destroy{Volumes: m.GetVolumes()}}
	case masterapi.Call_GROW_VOLUME:
		m := c.GetGrowVolume()
		return AgentID(m.GetAgentId().GetValue()), &mesos.Offer_Operation{Type: mesos.Offer_Operation_GROW_VOLUME.Enum(),
			GrowVolume: &mesos.Offer_Operation_GrowVolume{Volume: m.GetVolume(), Addition: m.GetAddition()}}
	case masterapi.Call_SHRINK_VOLUME:
		m := c.GetShrinkVolume()
		return AgentID(m.GetAgentId().GetValue()), &mesos.Offer_Operation{Type: mesos.Offer_Operation_SHRINK_VOLUME.Enum(),
			ShrinkVolume: &mesos.Offer_Operation_ShrinkVolume{Volume: m.GetVolume(), Subtract: m.GetSubtract()}}
	}
	return "", nil
}

// operateFor carries out an operator's operation on what no task uses: 202, 400 when it
// breaks a rule, 409 when the resources are not there (mesos-master.md 5.1).
func (l *Ledger) operateFor(c OperatorCall, on AgentID, given *mesos.Offer_Operation) {
	answer := func(code int, why string) { l.emit(Answer{Ticket: c.Ticket, Code: code, Body: why}) }
	a := l.agents[on]
	if a == nil {
		answer(400, "No agent found with specified ID")
		return
	}
	op, why := prepare(given, "")
	if why != "" {
		answer(400, why)
		return
	}
	if why := l.checkOperation(a, asker{principal: c.Principal}, op); why != "" {
		answer(400, fmt.Sprintf("Invalid %s operation on agent %s: %s", op.GetType(), a.id, why))
		return
	}
	if why := a.canApply(op); why != "" {
		answer(409, why)
		return
	}
	if !a.connected {
		answer(409, fmt.Sprintf("Agent %s is disconnected: try again when it is back", a.id))
		return
	}
	conversions, err := resource.Conversions(op)
	if err != nil {
		answer(400, err.Error())
		return
	}
	l.rescindFor(a, resource.Consumed(op))
	free, total := a.free(), a.total
	for _, each := range conversions {
		if free, err = free.Convert(each); err == nil {
			total, err = total.Convert(each)
		}
		if err != nil {
			answer(409, fmt.Sprintf("Invalid %s operation: %s", op.GetType(), cause(err)))
			return
		}
	}
	for _, each := range conversions {
		l.emit(Converted{Agent: a.id, From: each.From, To: each.To})
	}
	l.setTotal(a, total)
	l.apply(a, nil, "", op, conversions, nil)
	answer(202, "")
}

// rescindFor takes offers back, oldest first, until the resources are free or no offer
// holds any of them.
func (l *Ledger) rescindFor(a *agent, need resource.Resources) {
	for _, o := range sortedOffers(a.offers) {
		if a.free().Contains(need) {
			return
		}
		if held := o.resources.Unallocate(); !held.Subtract(need).Equal(held) {
			l.rescindWith(o, operatorRefuse)
		}
	}
}
