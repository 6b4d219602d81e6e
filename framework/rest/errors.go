package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/web"
)

var errNotLeading = fault.New("", fault.Unavailable, "", errors.New("this process does not lead: try again"))

// errorStatus maps fault kinds (marathon.md 1.2).
func errorStatus(k fault.Kind) int {
	switch k {
	case fault.Timeout:
		return http.StatusServiceUnavailable
	case fault.Unsupported:
		return http.StatusNotImplemented
	}
	return web.ErrorStatus(k)
}

type deploymentRef struct {
	ID string `json:"id"`
}

// errorBody words a refusal. Clients tell a name conflict from a lock by the key
// deployments, and broken JSON from broken rules by the type of details.
func errorBody(_ int, err error) (string, []byte) {
	var (
		invalid *app.Invalid
		broken  *app.Broken
		locked  *core.Locked
		body    any
	)
	switch {
	case errors.As(err, &invalid):
		body = invalid
	case errors.As(err, &broken):
		body = broken
	case errors.As(err, &locked):
		refs := app.List[deploymentRef]{}
		for _, id := range locked.Deployments {
			refs = append(refs, deploymentRef{id})
		}
		body = struct {
			Message     string                  `json:"message"`
			Deployments app.List[deploymentRef] `json:"deployments"`
		}{locked.Error(), refs}
	default:
		body = message{err.Error()}
	}
	return jsonType, encode(body)
}

type message struct {
	Message string `json:"message"`
}

const jsonType = "application/json"

// encode gives JSON without HTML escapes. The values are this package's own, which always encode.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		b.Reset()
		b.WriteString(`{"message":"the answer cannot be encoded"}`)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func reply(c echo.Context, status int, v any) error {
	return c.Blob(status, jsonType, encode(v))
}

// read takes the request's body, at most limit bytes.
func read(c echo.Context, limit int64) ([]byte, error) { return web.ReadBody(c.Request(), limit) }

// refuse marks an error of package app with the kind its status comes from.
func refuse(op string, err error) error {
	if err == nil {
		return nil
	}
	var broken *app.Broken
	var invalid *app.Invalid
	switch {
	case errors.As(err, &broken):
		return fault.New(op, fault.Malformed, "", err)
	case errors.As(err, &invalid):
		return fault.New(op, fault.Invalid, "", err)
	}
	return err
}

// say makes a refusal of one sentence, with the kind that gives its status.
func say(kind fault.Kind, sentence string) error {
	return fault.New("", kind, "", errors.New(sentence))
}

func noApp(id app.PathID) error { return say(fault.NotFound, "App '"+string(id)+"' does not exist") }
func noGroup(id app.PathID) error {
	return say(fault.NotFound, "Group '"+string(id)+"' does not exist")
}
func noTask(id string) error { return say(fault.NotFound, "Task '"+id+"' does not exist") }
func badRequest(sentence string) error {
	return echo.NewHTTPError(http.StatusBadRequest, sentence)
}

// flag reads a boolean query parameter; text that is no boolean counts as false.
func flag(c echo.Context, name string, def bool) bool {
	v := c.QueryParam(name)
	if v == "" {
		return def
	}
	b, err := strconv.ParseBool(v)
	return err == nil && b
}

// timestamp reads a version from a URL.
func timestamp(s string) (app.Timestamp, error) {
	t, err := app.ParseTimestamp(s)
	if err != nil {
		return 0, say(fault.Invalid, err.Error())
	}
	return t, nil
}
