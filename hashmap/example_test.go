package hashmap_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

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

// Config is a value that a codec stores: it has strings and a map inside.
type Config struct {
	Hosts  []string
	Limits map[string]int
}

// A configuration is decoded once by each process that reads it, and then when
// it has changed.
func ExampleEncoded() {
	name := fmt.Sprintf("example-encoded-%d", os.Getpid())
	a, err := arena.Create(name, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer arena.Remove(name, nil)
	defer a.Close()
	configs, err := hashmap.OpenOrCreateEncoded[string](a, "configs", hashmap.JSON[Config](), nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := configs.Store("shop", Config{Hosts: []string{"a", "b"}, Limits: map[string]int{"/buy": 80}}); err != nil {
		log.Fatal(err)
	}
	one, ok := configs.Load("shop") // shared: to be read only
	fmt.Println(one.Hosts, one.Limits["/buy"], ok)
	two, _ := configs.Load("shop")
	fmt.Println("the same:", one == two)

	_, _, err = configs.Compute("shop", func(c Config, ok bool) (Config, hashmap.Action) {
		c.Limits["/buy"]-- // its own
		return c, hashmap.Store
	})
	if err != nil {
		log.Fatal(err)
	}
	three, _ := configs.Load("shop")
	fmt.Println(three.Limits["/buy"], "was", one.Limits["/buy"])
	// Output:
	// [a b] 80 true
	// the same: true
	// 79 was 80
}

// A type that makes its bytes itself, for a key of text.
func ExampleBinary() {
	name := fmt.Sprintf("example-binary-%d", os.Getpid())
	a, err := arena.Create(name, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer arena.Remove(name, nil)
	defer a.Close()
	hosts, err := hashmap.CreateEncoded[string](a, "hosts", hashmap.Binary[netip.Addr](), nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := hosts.Store("shop", netip.MustParseAddr("10.0.0.7")); err != nil {
		log.Fatal(err)
	}
	fmt.Println(hosts.Load("shop"))
	_, err = hashmap.OpenEncoded[string](a, "hosts", hashmap.JSON[netip.Addr](), nil)
	fmt.Println(err)
	// Output:
	// 10.0.0.7 true
	// hashmap "hosts": type mismatch: the values are "binary of netip.Addr", want "json of netip.Addr"
}

// Workers of many processes claim jobs: one of them gets each.
func ExampleMap_LoadOrStore() {
	name := fmt.Sprintf("example-claim-%d", os.Getpid())
	a, err := arena.Create(name, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer arena.Remove(name, nil)
	defer a.Close()
	claims, err := hashmap.Create[string, uint32](a, "claims", nil)
	if err != nil {
		log.Fatal(err)
	}
	for worker := range uint32(3) {
		owner, taken, err := claims.LoadOrStore("job 17", worker)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("worker", worker, "finds owner", owner, "taken", taken)
	}
	// Output:
	// worker 0 finds owner 0 taken false
	// worker 1 finds owner 0 taken true
	// worker 2 finds owner 0 taken true
}

// A route loses weight each time its backend fails, and goes with the last of
// it. The function may be called several times, and only computes.
func ExampleMap_Compute() {
	name := fmt.Sprintf("example-compute-%d", os.Getpid())
	a, err := arena.Create(name, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer arena.Remove(name, nil)
	defer a.Close()
	routes, err := hashmap.Create[string, Route](a, "routes", nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := routes.Store("/buy", Route{Backend: 3, Weight: 80}); err != nil {
		log.Fatal(err)
	}
	for range 3 {
		r, ok, err := routes.Compute("/buy", func(r Route, ok bool) (Route, hashmap.Action) {
			if !ok {
				return r, hashmap.Cancel
			}
			if r.Weight <= 50 {
				return r, hashmap.Delete
			}
			r.Weight -= 30
			return r, hashmap.Store
		})
		fmt.Println(r, ok, err)
	}
	// Output:
	// {3 50} true <nil>
	// {0 0} false <nil>
	// {0 0} false <nil>
}

// A page takes long to make. However many want it, in however many processes, one
// makes it; it is fresh for a minute, and shown for another one while it is made
// anew. That there is none is remembered for a second.
func ExampleMap_Fetch() {
	name := fmt.Sprintf("example-fetch-%d", os.Getpid())
	a, err := arena.Create(name, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer arena.Remove(name, nil)
	defer a.Close()
	pages, err := hashmap.Create[string, []byte](a, "pages", &hashmap.Options{Limit: 1000})
	if err != nil {
		log.Fatal(err)
	}
	var loads atomic.Int64
	load := func(_ context.Context, path string) ([]byte, error) {
		loads.Add(1)
		time.Sleep(10 * time.Millisecond)
		if path != "/" {
			return nil, fmt.Errorf("no page %s", path)
		}
		return []byte("<h1>hello</h1>"), nil
	}
	o := &hashmap.FetchOptions{TTL: time.Minute, Stale: time.Minute, ErrorTTL: time.Second}

	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if page, err := pages.Fetch(context.Background(), "/", load, o); err != nil || len(page) == 0 {
				log.Fatal(page, err)
			}
		})
	}
	all.Wait()
	fmt.Println(loads.Load(), "load")
	_, err = pages.Fetch(context.Background(), "/nowhere", load, o)
	fmt.Println(err)
	// Output:
	// 1 load
	// no page /nowhere
}

// How large is the arena for a million entries? And does the default one do for a
// thousand?
func ExamplePlan() {
	fit, err := hashmap.Plan(nil, 1_000_000, 16, 100)
	fmt.Println(fit.OK, fit.Size>>20, "MiB", err)
	fit, err = hashmap.Plan(nil, 1000, 16, 100)
	fmt.Println(fit.OK, fit.Size>>10, "KiB", err)
	// Output:
	// false 179 MiB <nil>
	// true 264 KiB <nil>
}

// A scan goes on where another process has stopped: the cursor is a number.
func ExampleMap_Scan() {
	name := fmt.Sprintf("example-scan-%d", os.Getpid())
	a, err := arena.Create(name, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer arena.Remove(name, nil)
	defer a.Close()
	m, err := hashmap.Create[uint64, uint64](a, "m", &hashmap.Options{Capacity: 5000})
	if err != nil {
		log.Fatal(err)
	}
	for k := range uint64(5000) {
		if err := m.Store(k, k); err != nil {
			log.Fatal(err)
		}
	}
	sum := uint64(0)
	var cursor hashmap.Cursor
	for more := true; more; more = cursor != 0 {
		var entries []hashmap.Entry[uint64, uint64]
		if entries, cursor, err = m.Scan(cursor, 1000); err != nil {
			log.Fatal(err)
		}
		for _, e := range entries {
			sum += e.Value
		}
	}
	fmt.Println(sum)
	// Output: 12497500
}

// A process keeps something made from the map, and makes it anew when the map has
// changed.
func ExampleMap_WaitChange() {
	name := fmt.Sprintf("example-wait-%d", os.Getpid())
	a, err := arena.Create(name, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer arena.Remove(name, nil)
	defer a.Close()
	routes, err := hashmap.Create[string, Route](a, "routes", nil)
	if err != nil {
		log.Fatal(err)
	}
	since := routes.Version() // first the version, then what is there
	fmt.Println("routes:", routes.Len())
	go func() { // or another process
		if err := routes.Store("/buy", Route{Backend: 3, Weight: 80}); err != nil {
			log.Fatal(err)
		}
	}()
	if _, err := routes.WaitChange(context.Background(), since); err != nil {
		log.Fatal(err)
	}
	fmt.Println(routes.Load("/buy"))
	// Output:
	// routes: 0
	// {3 80} true
}
