package hashmap_test

import (
	"fmt"
	"log"
	"os"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/hashmap"
)

// Route is what the examples store.
type Route struct {
	Backend uint32
	Weight  uint32
}

func Example() {
	name := fmt.Sprintf("example-hashmap-%d", os.Getpid()) // programs that share use the same name
	a, err := arena.OpenOrCreate(name, &arena.Options{Size: 1 << 20, MaxSize: 1 << 30})
	if err != nil {
		log.Fatal(err)
	}
	defer arena.Remove(name, nil)
	defer a.Close()
	routes, err := hashmap.OpenOrCreate[string, Route](a, "routes", nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := routes.Store("/buy", Route{Backend: 3, Weight: 80}); err != nil {
		log.Fatal(err)
	}

	// A reader, in another process perhaps.
	ro, err := arena.Open(name, &arena.Options{ReadOnly: true})
	if err != nil {
		log.Fatal(err)
	}
	defer ro.Close()
	view, err := hashmap.Open[string, Route](ro, "routes", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(view.Load("/buy"))
	fmt.Println(view.Load("/sell"))
	// Output:
	// {3 80} true
	// {0 0} false
}

// A []byte value of any length is read into a buffer that is used again.
func ExampleMap_LoadAppend() {
	name := fmt.Sprintf("example-append-%d", os.Getpid())
	a, err := arena.Create(name, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer arena.Remove(name, nil)
	defer a.Close()
	pages, err := hashmap.Create[string, []byte](a, "pages", &hashmap.Options{Capacity: 100})
	if err != nil {
		log.Fatal(err)
	}
	if err := pages.Store("/", []byte("<h1>hello</h1>")); err != nil {
		log.Fatal(err)
	}
	buf := make([]byte, 0, 1024)
	buf, ok := pages.LoadAppend(buf[:0], "/")
	fmt.Println(string(buf), ok)
	// Output: <h1>hello</h1> true
}
