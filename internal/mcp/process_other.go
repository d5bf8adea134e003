//go:build !unix

package mcp

import "os/exec"

func alone(*exec.Cmd) {}

// tell asks the command to end.
func tell(cmd *exec.Cmd) { kill(cmd) }

// kill ends the command.
func kill(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
