package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// client asks the workers, as anybody would.
type client struct {
	url    string
	http   http.Client
	broken atomic.Int64 // requests that got no answer: their worker was killed
}

const (
	// idle is how long a client keeps a connection on which it has nothing to
	// ask. It is shorter than a worker that drains waits for him.
	idle = 500 * time.Millisecond
	// stuck is when a client gives up. Nothing here takes so long.
	stuck = time.Minute
)

func newClient(url string, keepAlive bool) *client {
	t := &http.Transport{MaxIdleConnsPerHost: 1 << 16, IdleConnTimeout: idle, DisableKeepAlives: !keepAlive}
	return &client{url: url, http: http.Client{Transport: t, Timeout: stuck}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// answer is what a worker has said.
type answer struct {
	status int
	header http.Header
	worker int // pid
	body   []byte
}

// ask asks once. A request that was sent and not answered is broken, also if package
// net/http sends it again by itself, as it does with a GET on a connection that it
// has used before.
func (c *client) ask(ctx context.Context, method, path string, header http.Header) (*answer, error) {
	var sent atomic.Int64
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(i httptrace.WroteRequestInfo) {
		if i.Err == nil {
			sent.Add(1)
		}
	}})
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, nil)
	if err != nil {
		return nil, err
	}
	if header != nil {
		req.Header = header.Clone()
	}
	a, err := c.do(req)
	answered := int64(1)
	if err != nil {
		answered = 0
	}
	c.broken.Add(max(sent.Load(), 1) - answered)
	return a, err
}

func (c *client) do(req *http.Request) (*answer, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	pid, err := strconv.Atoi(resp.Header.Get("X-Worker"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", req.URL.Path, err)
	}
	return &answer{resp.StatusCode, resp.Header, pid, body}, nil
}

// get asks until it is answered: a GET changes nothing.
func (c *client) get(ctx context.Context, path string, header http.Header) (*answer, error) {
	for end := time.Now().Add(stuck); ; {
		a, err := c.ask(ctx, http.MethodGet, path, header)
		if err == nil || ctx.Err() != nil || time.Now().After(end) {
			return a, err
		}
	}
}

// atOnce asks the same n times at once.
func atOnce(ctx context.Context, url string, n int, path string, header http.Header) (answers []*answer, broken int64, err error) {
	c := newClient(url, true)
	defer c.close()
	answers = make([]*answer, n)
	errs := make([]error, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			answers[i], errs[i] = c.get(ctx, path, header)
		})
	}
	close(start)
	all.Wait()
	return answers, c.broken.Load(), cmp.Or(errs...)
}

// want is an error if an answer is another one.
func (a *answer) want(status int) error {
	if a.status == status {
		return nil
	}
	return fmt.Errorf("worker %d answers %d, want %d: %s", a.worker, a.status, status, a.body)
}
