module github.com/shmkit/shmkit/bench

go 1.26.0

replace github.com/shmkit/shmkit => ../

require (
	github.com/puzpuzpuz/xsync/v4 v4.5.0
	github.com/shmkit/shmkit v0.0.0-00010101000000-000000000000
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
