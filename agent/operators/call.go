package operators

import (
	"net/http"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/web"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/agentapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// refusal is an answer of one plain sentence.
type refusal struct {
	status int
	text   string
}

// call is POST /api/v1, checked in Mesos' order (mesos-agent.md 6.1).
func (s *server) call(c echo.Context) error {
	answer, codec, bad := s.answer(c)
	switch {
	case bad != nil && bad.status == http.StatusAccepted:
		c.Response().WriteHeader(http.StatusAccepted)
		return nil
	case bad != nil:
		if bad.status == http.StatusMethodNotAllowed {
			c.Response().Header().Set("Allow", http.MethodPost)
		}
		return plain(c, bad.status, bad.text)
	case c.Response().Committed: // a stream, which is over
		return nil
	case answer == nil: // success without a word, and so without a Content-Type
		c.Response().Header().Set("Content-Length", "0")
		c.Response().WriteHeader(http.StatusOK)
		return nil
	}
	marshal := func() ([]byte, error) { return codec.Marshal(answer) }
	if codec.MediaType == wire.MediaJSON {
		marshal = func() ([]byte, error) { return printed(answer) }
	}
	b, err := marshal()
	if err != nil {
		return err
	}
	web.Answer(c.Response(), c.Request(), codec.MediaType, b)
	return nil
}

func (s *server) answer(c echo.Context) (*agentapi.Response, wire.Codec, *refusal) {
	r := c.Request()
	none := wire.Codec{}
	if !s.Recovered() {
		return nil, none, &refusal{503, "Agent has not finished recovery"}
	}
	call, in, bad := readCall(r)
	if bad != nil {
		return nil, none, bad
	}
	kind, recordio := call.GetType(), in.records != nil
	streaming := kind == agentapi.Call_LAUNCH_NESTED_CONTAINER_SESSION || kind == agentapi.Call_ATTACH_CONTAINER_OUTPUT
	// Of several lines the last one counts, as for Mesos: mesos-go sends its codec and
	// then what it wants.
	accept := r.Header.Values("Accept")
	accept = accept[max(0, len(accept)-1):]
	codec, ok := wire.Negotiate(accept)
	wantsRecords := len(accept) > 0 && !ok && wire.Accepts(accept, wire.MediaRecordIO)
	switch {
	case recordio && kind != agentapi.Call_ATTACH_CONTAINER_INPUT:
		return nil, none, &refusal{415, "Streaming 'Content-Type' " + wire.MediaRecordIO + " is not supported for " + kind.String() + " call"}
	case !recordio && kind == agentapi.Call_ATTACH_CONTAINER_INPUT:
		return nil, none, &refusal{415, "Expecting 'Content-Type' to be " + wire.MediaRecordIO + " for " + kind.String() + " call"}
	case wantsRecords && !streaming:
		return nil, none, &refusal{406, "Streaming response is not supported for " + kind.String() + " call"}
	case !ok && !wantsRecords:
		return nil, none, &refusal{406, "Expecting 'Accept' to allow application/json or application/x-protobuf or application/recordio"}
	case !wantsRecords && r.Header.Get("Message-Accept") != "":
		return nil, none, &refusal{406, "Expecting 'Message-Accept' to be not set for non-streaming responses"}
	}
	o := output{inner: codec, media: codec.MediaType}
	if wantsRecords {
		inner := wire.JSON
		if want := r.Header.Values("Message-Accept"); len(want) > 0 {
			if inner, ok = wire.Negotiate(want); !ok {
				return nil, none, &refusal{406, "Expecting 'Message-Accept' to allow application/json or application/x-protobuf"}
			}
		}
		o = output{inner: inner, media: wire.MediaRecordIO, named: true}
	}
	if bad := s.mayCall(r.Context(), call); bad != nil {
		return nil, none, bad
	}
	switch kind {
	case agentapi.Call_LAUNCH_NESTED_CONTAINER_SESSION:
		return nil, none, s.session(c, call, o)
	case agentapi.Call_ATTACH_CONTAINER_OUTPUT:
		o.patience = readerPatience
		return nil, none, s.stream(c, lifecycle.PrintedID(containerID(call)), o)
	case agentapi.Call_ATTACH_CONTAINER_INPUT:
		return nil, none, s.input(c, lifecycle.PrintedID(containerID(call)), in.codec, in.records)
	}
	answer, bad := s.dispatch(c, call)
	return answer, codec, bad
}

// incoming is what a request's body was made of.
type incoming struct {
	codec   wire.Codec
	records *wire.Reader // of a streaming request, after its first record
}

// readCall takes the call out of a request.
func readCall(r *http.Request) (call *agentapi.Call, in incoming, bad *refusal) {
	const types = "Expecting 'Content-Type' of application/json or application/x-protobuf or application/recordio"
	if r.Method != http.MethodPost {
		return nil, in, &refusal{405, "405 Method Not Allowed. Expecting one of { 'POST' }, but received '" + r.Method + "'."}
	}
	recordio := false
	inner := r.Header.Get("Message-Content-Type")
	media := r.Header.Get("Content-Type")
	switch media {
	case "":
		return nil, in, &refusal{400, "Expecting 'Content-Type' to be present"}
	case wire.MediaRecordIO:
		recordio = true
		if inner == "" {
			return nil, in, &refusal{400, "Expecting 'Message-Content-Type' to be set for streaming requests"}
		}
		media = inner
	case wire.MediaJSON, wire.MediaProtobuf:
		if inner != "" {
			return nil, in, &refusal{415, "Expecting 'Message-Content-Type' to be not set for non-streaming requests"}
		}
	default:
		return nil, in, &refusal{415, types}
	}
	var codec wire.Codec
	switch media {
	case wire.MediaJSON:
		codec = wire.JSON
	case wire.MediaProtobuf:
		codec = wire.Protobuf
	default:
		return nil, in, &refusal{415, "Expecting 'Message-Content-Type' of application/json or application/x-protobuf"}
	}
	var body []byte
	var err error
	if recordio {
		in.records = wire.NewReader(r.Body, bodyLimit)
		body, err = in.records.ReadRecord()
	} else {
		body, err = web.ReadBody(r, bodyLimit)
	}
	if fault.KindOf(err) == fault.TooLarge {
		return nil, in, &refusal{413, "The body is over the limit of 16 MiB"}
	}
	if err != nil {
		return nil, in, &refusal{400, "Failed to read the body: " + err.Error()}
	}
	call = &agentapi.Call{}
	if why := wire.DecodeCall(codec, body, call); why != "" {
		return nil, in, &refusal{400, why}
	}
	if why := invalid(call); why != "" {
		return nil, in, &refusal{400, "Failed to validate agent::Call: " + why}
	}
	in.codec = codec
	return call, in, nil
}

// invalid names the message a call lacks, or "".
func invalid(c *agentapi.Call) string {
	if c.Type == nil {
		return "Expecting 'type' to be present"
	}
	if why := invalidContainer(c); why != "" {
		return why
	}
	missing := false
	switch c.GetType() {
	case agentapi.Call_GET_METRICS:
		missing = c.GetMetrics == nil
	case agentapi.Call_SET_LOGGING_LEVEL:
		missing = c.SetLoggingLevel == nil
	case agentapi.Call_LIST_FILES:
		missing = c.ListFiles == nil
	case agentapi.Call_READ_FILE:
		missing = c.ReadFile == nil
	}
	if missing {
		return "Expecting '" + strings.ToLower(c.GetType().String()) + "' to be present"
	}
	return ""
}

// dispatch answers a call that was understood. Calls of rooms this agent does not have
// answer 501, as a Mesos agent does for what it was built without.
func (s *server) dispatch(c echo.Context, call *agentapi.Call) (*agentapi.Response, *refusal) {
	kind := agentapi.Response_Type(agentapi.Response_Type_value[call.GetType().String()])
	out := &agentapi.Response{Type: &kind}
	ctx := c.Request().Context()
	if aboutContainer(call.GetType()) {
		return s.containerCall(c, call)
	}
	switch call.GetType() {
	case agentapi.Call_GET_HEALTH:
		healthy := true
		out.GetHealth = &agentapi.Response_GetHealth{Healthy: &healthy}
	case agentapi.Call_GET_VERSION:
		out.GetVersion = &agentapi.Response_GetVersion{VersionInfo: &mesos.VersionInfo{Version: str(s.Version), BuildDate: str(""), BuildTime: new(float64), BuildUser: str("")}}
	case agentapi.Call_GET_FLAGS:
		out.GetFlags = &agentapi.Response_GetFlags{Flags: sortedFlags(s.Flags)}
	case agentapi.Call_GET_METRICS:
		out.GetMetrics = &agentapi.Response_GetMetrics{Metrics: s.metricList()}
	case agentapi.Call_GET_LOGGING_LEVEL:
		level := s.verbosity.Level()
		out.GetLoggingLevel = &agentapi.Response_GetLoggingLevel{Level: &level}
	case agentapi.Call_SET_LOGGING_LEVEL:
		q := call.GetSetLoggingLevel()
		s.verbosity.Set(q.GetLevel(), time.Duration(q.GetDuration().GetNanoseconds()))
		return nil, nil
	case agentapi.Call_LIST_FILES:
		if !s.mayRead(ctx, call.GetListFiles().GetPath()) {
			return nil, &refusal{403, ""}
		}
		return s.listFiles(out, call.GetListFiles().GetPath())
	case agentapi.Call_READ_FILE:
		if !s.mayRead(ctx, call.GetReadFile().GetPath()) {
			return nil, &refusal{403, ""}
		}
		return s.readFile(out, call.GetReadFile())
	case agentapi.Call_GET_CONTAINERS:
		all, err := s.measure(ctx, nil)
		if err != nil {
			return nil, &refusal{503, err.Error()}
		}
		out.GetContainers = containerList(all)
		if call.GetGetContainers().GetShowNested() {
			s.addNested(ctx, out.GetContainers)
		}
	case agentapi.Call_GET_STATE, agentapi.Call_GET_TASKS, agentapi.Call_GET_FRAMEWORKS, agentapi.Call_GET_EXECUTORS, agentapi.Call_GET_AGENT, agentapi.Call_GET_OPERATIONS:
		v, err := s.see(ctx)
		if err != nil {
			return nil, &refusal{503, err.Error()}
		}
		s.fill(out, v)
	case agentapi.Call_PRUNE_IMAGES:
		if s.PruneImages == nil {
			return nil, &refusal{501, "501 Not Implemented."}
		}
		s.PruneImages(call.GetPruneImages().GetExcludedImages())
		return nil, nil
	case agentapi.Call_GET_RESOURCE_PROVIDERS:
		out.GetResourceProviders = &agentapi.Response_GetResourceProviders{}
	default:
		return nil, &refusal{501, "501 Not Implemented."}
	}
	return out, nil
}

func sortedFlags(m map[string]string) []*mesos.Flag {
	var out []*mesos.Flag
	for name, value := range m {
		out = append(out, &mesos.Flag{Name: str(name), Value: str(value)})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].GetName() < out[j].GetName() })
	return out
}

func (s *server) metricList() []*mesos.Metric {
	var out []*mesos.Metric
	for name, value := range s.Metrics.Snapshot() {
		out = append(out, &mesos.Metric{Name: str(name), Value: &value})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].GetName() < out[j].GetName() })
	return out
}

func (s *server) listFiles(out *agentapi.Response, path string) (*agentapi.Response, *refusal) {
	entries, err := s.Files.Browse(path)
	if err != nil {
		return nil, fileRefusal(err)
	}
	out.ListFiles = &agentapi.Response_ListFiles{}
	for _, e := range entries {
		nlink, mode := int32(e.NLink), fileMode(e)
		size := uint64(e.Size)
		mtime := int64(e.MTime * 1e9)
		out.ListFiles.FileInfos = append(out.ListFiles.FileInfos, &mesos.FileInfo{
			Path: str(e.Path), Nlink: &nlink, Size: &size, Mode: &mode, Uid: str(e.UID), Gid: str(e.GID),
			Mtime: &mesos.TimeInfo{Nanoseconds: &mtime},
		})
	}
	return out, nil
}

func (s *server) readFile(out *agentapi.Response, q *agentapi.Call_ReadFile) (*agentapi.Response, *refusal) {
	length := int64(-1)
	if q.Length != nil {
		length = int64(min(q.GetLength(), 1<<40))
	}
	_, size, err := s.Files.Read(q.GetPath(), -1, -1)
	if err != nil {
		return nil, fileRefusal(err)
	}
	total := uint64(size)
	out.ReadFile = &agentapi.Response_ReadFile{Size: &total, Data: []byte{}}
	if q.GetOffset() >= total {
		return out, nil
	}
	data, _, err := s.Files.Read(q.GetPath(), int64(q.GetOffset()), length)
	if err != nil {
		return nil, fileRefusal(err)
	}
	out.ReadFile.Data = append(out.ReadFile.Data, data...)
	return out, nil
}

func fileRefusal(err error) *refusal {
	switch fault.KindOf(err) {
	case fault.NotFound:
		return &refusal{404, ""}
	case fault.Forbidden:
		return &refusal{403, ""}
	case fault.Invalid:
		return &refusal{400, sentence(err)}
	}
	return &refusal{500, "file cannot be read: " + strconv.Quote(sentence(err))}
}
