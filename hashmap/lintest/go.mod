module github.com/shmkit/shmkit/hashmap/lintest

go 1.26.0

replace github.com/shmkit/shmkit => ../../

require (
	github.com/anishathalye/porcupine v1.3.1
	github.com/shmkit/shmkit v0.0.0-00010101000000-000000000000
	github.com/stretchr/testify v1.12.1
	golang.org/x/sys v0.49.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)
