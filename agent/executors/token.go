package executors

import (
	"context"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/auth"
)

// Realm is the realm of the executor API (mesos-agent.md 0.1).
const Realm = "mesos-agent-executor"

// The claims of an executor's token.
const (
	claimFramework = "fid"
	claimExecutor  = "eid"
	claimContainer = "cid"
)

// Token makes what an executor shows as MESOS_EXECUTOR_AUTHENTICATION_TOKEN: it is good
// for this run of this executor only (mesos-agent.md 1.6).
func Token(key []byte, of lifecycle.ExecutorKey, container lifecycle.ContainerID) (string, error) {
	return auth.Token(key, map[string]any{
		claimFramework: string(of.Framework), claimExecutor: string(of.Executor), claimContainer: string(container),
	})
}

// authentic tells whether the caller is the executor it speaks for. Without
// authentication everybody is.
func (s *Server) authentic(ctx context.Context, key lifecycle.ExecutorKey) bool {
	who, known := auth.From(ctx)
	if !known {
		return true
	}
	container, err := s.agent.Container(ctx, key)
	return err == nil && container != "" && who.Claims[claimFramework] == string(key.Framework) &&
		who.Claims[claimExecutor] == string(key.Executor) && who.Claims[claimContainer] == string(container)
}
