package libprocess

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/fault"
)

// recursionLimit bounds nesting in a message; Mesos' own stay below twenty.
const recursionLimit = 100

// Mux is a Process that calls one typed handler per message name. Fill it with Handle
// before Spawn; afterwards it is read-only and may serve many processes. Embed *Mux in
// a struct with its own Exited to give each of them its own links.
type Mux struct {
	handlers map[string]decodeFunc
	screens  map[string]func(Message) bool
	exited   func(peer UPID, cause error)
}

type decodeFunc func(Message) (func(), error)

// NewMux gives an empty Mux that passes lost links to exited; nil ignores them.
func NewMux(exited func(peer UPID, cause error)) *Mux {
	return &Mux{handlers: make(map[string]decodeFunc), exited: exited}
}

// Handle registers fn for messages called name, whose bodies are T. It panics when
// name is taken or is not T's wire name: both are mistakes of the program.
func Handle[T proto.Message](m *Mux, name string, fn func(from UPID, msg T)) {
	HandleMessage(m, name, func(env Message, msg T) { fn(env.From, msg) })
}

// HandleMessage is Handle for those who need the receiving process, the TCP peer or
// the TLS state: env is the whole envelope, its Body nil.
func HandleMessage[T proto.Message](m *Mux, name string, fn func(env Message, msg T)) {
	var zero T
	desc := zero.ProtoReflect()
	if want, err := NameOf(zero); err != nil || want != name {
		panic(fmt.Sprintf("libprocess.Handle: %q does not carry %s", name, desc.Descriptor().FullName()))
	}
	if _, taken := m.handlers[name]; taken {
		panic(fmt.Sprintf("libprocess.Handle: %q has two handlers", name))
	}
	m.handlers[name] = func(env Message) (func(), error) {
		msg := desc.New().Interface().(T)
		if err := unmarshal(env.Body, msg); err != nil {
			return nil, err
		}
		env.Body = nil
		return func() { fn(env, msg) }, nil
	}
}

// Screen lets want see messages called name before they are decoded; those it refuses
// are dropped without a word, as if they had been lost. It runs on the goroutines of the
// connections, so it may be called several times at once and has to be quick.
func (m *Mux) Screen(name string, want func(Message) bool) {
	if m.screens == nil {
		m.screens = map[string]func(Message) bool{}
	}
	m.screens[name] = want
}

// unmarshal reads body into msg and insists on required fields, naming the first
// missing one by its path.
func unmarshal(body []byte, msg proto.Message) error {
	opts := proto.UnmarshalOptions{AllowPartial: true, RecursionLimit: recursionLimit}
	if err := opts.Unmarshal(body, msg); err != nil {
		return fault.New("decode", fault.Malformed, string(msg.ProtoReflect().Descriptor().FullName()), err)
	}
	if proto.CheckInitialized(msg) != nil {
		return fault.New("decode", fault.Invalid, string(msg.ProtoReflect().Descriptor().FullName()),
			errors.New("required field "+missingField(msg.ProtoReflect())+" is not set"))
	}
	return nil
}

// Accepts says whether name has a handler.
func (m *Mux) Accepts(name string) bool { _, ok := m.handlers[name]; return ok }

// Decode reads the body and binds it to its handler.
func (m *Mux) Decode(env Message) (func(), error) {
	h, ok := m.handlers[env.Name]
	if !ok {
		return nil, fault.New("decode", fault.NotFound, env.Name, nil)
	}
	if want := m.screens[env.Name]; want != nil && !want(env) {
		return nil, ErrUnwanted
	}
	return h(env)
}

// Receive decodes and handles in one go, for a Mux used outside a Transport. What
// does not decode is dropped.
func (m *Mux) Receive(env Message) {
	if call, err := m.Decode(env); err == nil {
		call()
	}
}

// Exited passes the event to the function given to NewMux.
func (m *Mux) Exited(peer UPID, cause error) {
	if m.exited != nil {
		m.exited(peer, cause)
	}
}
