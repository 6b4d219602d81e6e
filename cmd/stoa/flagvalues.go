package main

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// flagValues gives what /flags and /state print: the value of each flag as a string,
// given or default, without those that have none. unset names the flags whose zero means
// that they were not given.
func flagValues(cmd any, unset ...string) map[string]string {
	out := map[string]string{}
	collect(reflect.ValueOf(cmd).Elem(), out)
	for _, name := range unset {
		if v := out[name]; v == "0" || v == "0ns" || v == "false" {
			delete(out, name)
		}
	}
	for _, name := range []string{"help", "version"} {
		out[name] = "false"
	}
	for _, name := range []string{"zk", "master"} {
		if v, ok := out[name]; ok {
			out[name] = withoutPassword(v)
		}
	}
	return out
}

func collect(v reflect.Value, out map[string]string) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Anonymous {
			collect(v.Field(i), out)
			continue
		}
		name := field.Tag.Get("name")
		if name == "" {
			continue
		}
		text := ""
		switch value := v.Field(i).Interface().(type) {
		case []string:
			text = strings.Join(value, ",")
		case *bool: // nil: not given
			if value != nil {
				text = fmt.Sprint(*value)
			}
		case time.Duration:
			text = duration(value).String()
		default:
			text = fmt.Sprint(value)
		}
		if text != "" {
			out[name] = text
		}
	}
}
