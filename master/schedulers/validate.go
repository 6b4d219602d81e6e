package schedulers

import (
	"fmt"

	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// validate checks that a call has what its type needs (mesos-master.md 1.2 row 8); the
// answer is empty or the sentence for the framework.
func validate(c *scheduler.Call) string {
	if c.Type == nil {
		return "Expecting 'type' to be present"
	}
	id := c.GetFrameworkId().GetValue()
	if c.GetType() == scheduler.Call_SUBSCRIBE {
		switch {
		case c.Subscribe == nil:
			return "Expecting 'subscribe' to be present"
		case c.GetSubscribe().GetFrameworkInfo().GetId().GetValue() != id:
			return "'framework_id' differs from 'subscribe.framework_info.id'"
		}
		return ""
	}
	if id == "" {
		return "Expecting 'framework_id' to be present"
	}
	missing := ""
	need := func(present bool, name string) {
		if !present {
			missing = fmt.Sprintf("Expecting '%s' to be present", name)
		}
	}
	switch c.GetType() {
	case scheduler.Call_ACCEPT:
		need(c.Accept != nil, "accept")
	case scheduler.Call_DECLINE:
		need(c.Decline != nil, "decline")
	case scheduler.Call_ACCEPT_INVERSE_OFFERS:
		need(c.AcceptInverseOffers != nil, "accept_inverse_offers")
	case scheduler.Call_DECLINE_INVERSE_OFFERS:
		need(c.DeclineInverseOffers != nil, "decline_inverse_offers")
	case scheduler.Call_KILL:
		need(c.Kill != nil, "kill")
	case scheduler.Call_SHUTDOWN:
		need(c.Shutdown != nil, "shutdown")
	case scheduler.Call_ACKNOWLEDGE:
		need(c.Acknowledge != nil, "acknowledge")
		if c.Acknowledge != nil && len(c.Acknowledge.GetUuid()) != 16 {
			return "Not a valid UUID"
		}
	case scheduler.Call_ACKNOWLEDGE_OPERATION_STATUS:
		need(c.AcknowledgeOperationStatus != nil, "acknowledge_operation_status")
		if c.AcknowledgeOperationStatus != nil && len(c.AcknowledgeOperationStatus.GetUuid()) != 16 {
			return "Not a valid UUID"
		}
	case scheduler.Call_RECONCILE:
		need(c.Reconcile != nil, "reconcile")
	case scheduler.Call_RECONCILE_OPERATIONS:
		need(c.ReconcileOperations != nil, "reconcile_operations")
	case scheduler.Call_MESSAGE:
		need(c.Message != nil, "message")
	case scheduler.Call_REQUEST:
		need(c.Request != nil, "request")
	case scheduler.Call_UPDATE_FRAMEWORK:
		need(c.UpdateFramework != nil, "update_framework")
		if c.UpdateFramework != nil && c.GetUpdateFramework().GetFrameworkInfo().GetId().GetValue() != id {
			return "'framework_id' differs from 'update_framework.framework_info.id'"
		}
	}
	return missing
}
