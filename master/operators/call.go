package operators

import (
	"net/http"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/stoa-project/stoa/internal/web"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// call is POST /api/v1 on a leading, recovered master: the checks of mesos-master.md 1.2
// and 5.1 in their order, then the call.
func (s *Shell) call(w http.ResponseWriter, r *http.Request) {
	c := &masterapi.Call{}
	if !web.ReadCall(w, r, s.cfg.BodyLimit, c) {
		return
	}
	if why := validate(c); why != "" {
		text(w, http.StatusBadRequest, "Failed to validate master::Call: "+why)
		return
	}
	answer, ok := wire.Negotiate(r.Header.Values("Accept"))
	if !ok {
		text(w, http.StatusNotAcceptable, "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'")
		return
	}
	s.dispatch(w, r, c, answer)
}

func (s *Shell) dispatch(w http.ResponseWriter, r *http.Request, c *masterapi.Call, codec wire.Codec) {
	if !s.permitted(w, r, c) {
		return
	}
	t := c.GetType()
	if list := s.lists[t.String()+" "+codec.MediaType]; list != nil {
		d, err := list.get(r.Context(), s.views.View)
		if err != nil {
			s.unavailable(w, r, err)
			return
		}
		s.deliver(w, r, codec.MediaType, d)
		return
	}
	switch t {
	case masterapi.Call_SUBSCRIBE:
		s.subscribe(w, r, codec)
	case masterapi.Call_SET_LOGGING_LEVEL:
		s.setLoggingLevel(w, c.GetSetLoggingLevel())
	case masterapi.Call_GET_METRICS:
		s.getMetrics(w, r, c.GetGetMetrics(), codec)
	case masterapi.Call_LIST_FILES:
		s.listFiles(w, r, c.GetListFiles().GetPath(), codec)
	case masterapi.Call_READ_FILE:
		s.readFile(w, r, c.GetReadFile(), codec)
	case masterapi.Call_TEARDOWN:
		s.teardown(w, r, c.GetTeardown().GetFrameworkId().GetValue())
	case masterapi.Call_GET_OPERATIONS, masterapi.Call_GET_ROLES, masterapi.Call_GET_MASTER, masterapi.Call_GET_WEIGHTS,
		masterapi.Call_GET_QUOTA, masterapi.Call_GET_MAINTENANCE_STATUS, masterapi.Call_GET_MAINTENANCE_SCHEDULE:
		b, err := s.views.View(r.Context())
		if err != nil {
			s.unavailable(w, r, err)
			return
		}
		s.respond(w, r, s.read(t, b), codec)
	case masterapi.Call_RESERVE_RESOURCES, masterapi.Call_UNRESERVE_RESOURCES, masterapi.Call_CREATE_VOLUMES,
		masterapi.Call_DESTROY_VOLUMES, masterapi.Call_GROW_VOLUME, masterapi.Call_SHRINK_VOLUME,
		masterapi.Call_UPDATE_QUOTA, masterapi.Call_SET_QUOTA, masterapi.Call_REMOVE_QUOTA, masterapi.Call_UPDATE_WEIGHTS,
		masterapi.Call_UPDATE_MAINTENANCE_SCHEDULE, masterapi.Call_START_MAINTENANCE, masterapi.Call_STOP_MAINTENANCE,
		masterapi.Call_DRAIN_AGENT, masterapi.Call_DEACTIVATE_AGENT, masterapi.Call_REACTIVATE_AGENT, masterapi.Call_MARK_AGENT_GONE:
		s.order(w, r, c)
	case masterapi.Call_UNKNOWN:
		text(w, http.StatusNotImplemented, "501 Not Implemented.")
	default:
		if answer := s.readAside(t); answer != nil {
			s.respond(w, r, answer, codec)
			return
		}
		text(w, http.StatusNotImplemented, unsupported("The call "+t.String()))
	}
}

func (s *Shell) respond(w http.ResponseWriter, r *http.Request, m *masterapi.Response, codec wire.Codec) {
	body, err := codec.Marshal(m)
	if err != nil {
		s.unavailable(w, r, err)
		return
	}
	write(w, r, codec.MediaType, body)
}

// teardown removes a framework; 200 without body, or the ledger's refusal.
func (s *Shell) teardown(w http.ResponseWriter, r *http.Request, id string) {
	got, err := s.views.Teardown(r.Context(), ledger.FrameworkID(id))
	switch {
	case err != nil:
		s.unavailable(w, r, err)
	case got.Code == http.StatusOK:
		empty(w, got.Code)
	default:
		text(w, got.Code, got.Body)
	}
}

// maxForm bounds the body of a form.
const maxForm = 64 << 10

// teardownForm is POST /teardown with frameworkId in its form.
func (s *Shell) teardownForm(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		wrongMethod(w, r, http.MethodPost)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if r.Header.Get("Content-Type") == "" { // Mesos reads the body as a form whatever it is called
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if err := r.ParseForm(); err != nil {
		text(w, http.StatusBadRequest, "Unable to decode query string: "+err.Error())
		return
	}
	if !r.PostForm.Has("frameworkId") {
		text(w, http.StatusBadRequest, "Missing 'frameworkId' query parameter in the request body")
		return
	}
	id := r.PostForm.Get("frameworkId")
	c := &masterapi.Call{Type: masterapi.Call_TEARDOWN.Enum(), Teardown: &masterapi.Call_Teardown{FrameworkId: &mesos.FrameworkID{Value: &id}}}
	if s.permitted(w, r, c) {
		s.teardown(w, r, id)
	}
}

// validate checks that a call has what its type needs: the field of the type's name,
// where the call has one.
func validate(c *masterapi.Call) string {
	if c.Type == nil {
		return "Expecting 'type' to be present"
	}
	m := c.ProtoReflect()
	name := protoreflect.Name(strings.ToLower(c.GetType().String()))
	if field := m.Descriptor().Fields().ByName(name); field != nil && !m.Has(field) {
		return "Expecting '" + string(name) + "' to be present"
	}
	return ""
}
