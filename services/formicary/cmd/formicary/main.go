// Command formicary is the command line of the engine and the whole colony in one process.
package main

import (
	"context"
	"os"

	"github.com/formicary/formicary/services/formicary/internal/cli"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(cli.Run(context.Background(), cli.Env{
		Args: os.Args[1:], Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Version: version,
	}))
}
