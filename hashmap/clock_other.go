//go:build !linux

package hashmap

import "time"

func machineTime() uint64 { return uint64(time.Now().UnixNano()) }

func bootID() uint64 { return 1 }
