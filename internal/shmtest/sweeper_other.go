//go:build !linux

package shmtest

const sweeperRole = "sweeper"

var hasMain bool

// There are no named segments here.
func startSweeper()        {}
func endSweeper()          {}
func sweeper([]string) int { return 0 }
