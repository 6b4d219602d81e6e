// Command stoa-demo is the small program that the apps in this folder start: a web
// server, a TCP echo, a worker that leaves a sign of life, a load generator, and the
// image of all these.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

type cli struct {
	Web    webCmd    `cmd:"" help:"Serve HTTP and say who answers."`
	Echo   echoCmd   `cmd:"" help:"Echo lines over TCP."`
	Worker workerCmd `cmd:"" help:"Write the time into a file again and again."`
	Load   loadCmd   `cmd:"" help:"Send HTTP requests and count the failed ones; prints one JSON line."`
	Image  imageCmd  `cmd:"" help:"Write an image of this program, as docker save would."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	k := kong.Parse(&cli{}, kong.Name("stoa-demo"), kong.UsageOnError(), kong.BindTo(ctx, (*context.Context)(nil)))
	if err := k.Run(); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "stoa-demo:", err)
		os.Exit(1)
	}
}
