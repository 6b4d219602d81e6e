package journal

import (
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// encodeNested makes the image of a nested container; put encodes one message.
func encodeNested(x *lifecycle.NestedImage, put func(proto.Message) []byte) image {
	img := image{
		Framework: string(x.Root.Framework), Executor: string(x.Root.Executor), Container: string(x.Container),
		Parent: string(x.Parent), Task: string(x.Task), Info: put(x.Command), Box: put(x.Box),
		Directory: x.Directory, Started: x.Started, Process: x.PID, Resources: list(x.Resources, put),
	}
	if len(x.Limits) > 0 {
		img.Limits = map[string][]byte{}
		for name, v := range x.Limits {
			img.Limits[name] = put(v)
		}
	}
	for _, n := range x.Networks {
		img.Networks = append(img.Networks, put(n))
	}
	if x.Ended {
		img.End = &endImage{Known: x.Exit.Known, Code: x.Exit.Code, Signal: x.Exit.Signal, Core: x.Exit.CoreDumped}
		if l := x.Limitation; l != nil {
			img.End.Limited, img.End.Reason, img.End.Message, img.End.Resources = true, int32(l.Reason), l.Message, list(l.Resources, put)
		}
	}
	return img
}

func list(rs []*mesos.Resource, put func(proto.Message) []byte) (out [][]byte) {
	for _, r := range rs {
		out = append(out, put(r))
	}
	return out
}

func unlist(all [][]byte, get func([]byte, proto.Message)) (out []*mesos.Resource) {
	for _, b := range all {
		r := &mesos.Resource{}
		get(b, r)
		out = append(out, r)
	}
	return out
}

func decodeNested(img image, get func([]byte, proto.Message)) *lifecycle.NestedImage {
	x := &lifecycle.NestedImage{
		Root:      lifecycle.ExecutorKey{Framework: lifecycle.FrameworkID(img.Framework), Executor: lifecycle.ExecutorID(img.Executor)},
		Container: lifecycle.ContainerID(img.Container), Parent: lifecycle.ContainerID(img.Parent), Task: lifecycle.TaskID(img.Task),
		Command: &mesos.CommandInfo{}, Directory: img.Directory, Started: img.Started, PID: img.Process,
		Resources: unlist(img.Resources, get),
	}
	get(img.Info, x.Command)
	if len(img.Box) > 0 {
		x.Box = &mesos.ContainerInfo{}
		get(img.Box, x.Box)
	}
	if len(img.Limits) > 0 {
		x.Limits = map[string]*mesos.Value_Scalar{}
		for name, b := range img.Limits {
			v := &mesos.Value_Scalar{}
			get(b, v)
			x.Limits[name] = v
		}
	}
	for _, b := range img.Networks {
		n := &mesos.NetworkInfo{}
		get(b, n)
		x.Networks = append(x.Networks, n)
	}
	if end := img.End; end != nil {
		x.Ended = true
		x.Exit = lifecycle.Exit{Known: end.Known, Code: end.Code, Signal: end.Signal, CoreDumped: end.Core}
		if end.Limited {
			x.Limitation = &lifecycle.Limitation{Reason: mesos.TaskStatus_Reason(end.Reason), Message: end.Message, Resources: unlist(end.Resources, get)}
		}
	}
	return x
}
