// Readme is the program that the README shows.
package main

import (
	"fmt"
	"log"
	"os"
	"time"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/hashmap"
)

type Route struct{ Backend, Weight uint64 }

func main() {
	if len(os.Args) > 1 && os.Args[1] == "write" {
		a := must(arena.OpenOrCreate("shop", &arena.Options{MaxSize: 1 << 30}))
		routes := must(hashmap.OpenOrCreate[string, Route](a, "routes", nil))
		for n := uint64(1); ; n++ {
			if err := routes.Store("/buy", Route{Backend: n, Weight: 2 * n}); err != nil {
				log.Fatal(err)
			}
		}
	}
	a := must(arena.Open("shop", &arena.Options{ReadOnly: true}))
	routes := must(hashmap.Open[string, Route](a, "routes", nil))
	for range time.Tick(time.Second) {
		r, ok := routes.Load("/buy") // no lock, no store, no allocation
		fmt.Println(r, ok, "whole:", r.Weight == 2*r.Backend)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
