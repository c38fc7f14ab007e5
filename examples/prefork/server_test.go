package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/shm"
)

// pair is two servers as two workers have them: each with its own attach.
type pair [2]*server

func newPair(t *testing.T, size int64, r rule) pair {
	t.Helper()
	o := &arena.Options{Size: 1 << 20, MaxSize: size}
	seg, err := shm.Heap(&shm.Options{Size: size})
	if err != nil {
		t.Fatal(err)
	}
	if err := arena.Format(seg, o); err != nil {
		t.Fatal(err)
	}
	var p pair
	for i := range p {
		a, err := arena.Attach(seg, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.Close() })
		s, err := open(a, r)
		if err != nil {
			t.Fatal(err)
		}
		p[i] = newServer(s)
	}
	t.Cleanup(func() {
		if r, err := p[0].arena.Check(); err != nil || r.LeakedBytes != 0 {
			t.Errorf("check: %v, %d bytes leaked", err, r.LeakedBytes)
		}
	})
	return p
}

// ask asks one of the two.
func (p pair) ask(which int, method, path string, header http.Header) *http.Response {
	return p.askUnder(context.Background(), which, method, path, header)
}

func (p pair) askUnder(ctx context.Context, which int, method, path string, header http.Header) *http.Response {
	r := httptest.NewRequestWithContext(ctx, method, path, nil)
	if header != nil {
		r.Header = header
	}
	w := httptest.NewRecorder()
	p[which%2].ServeHTTP(w, r)
	return w.Result()
}

// atOnce asks n times at once, either server in turn.
func (p pair) atOnce(n int, method, path string, header http.Header) []*http.Response {
	answers := make([]*http.Response, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { answers[i] = p.ask(i, method, path, header) })
	}
	all.Wait()
	return answers
}

func want(t *testing.T, r *http.Response, status int) {
	t.Helper()
	if r.StatusCode != status {
		t.Fatalf("answer %d, want %d: %s", r.StatusCode, status, text(r))
	}
}

func text(r *http.Response) string {
	b := make([]byte, 1<<10)
	n, _ := r.Body.Read(b)
	return string(b[:n])
}

var fewRequests = rule{Limit: 10, Window: uint32(time.Hour / time.Millisecond)}

func TestSession(t *testing.T) {
	p := newPair(t, 16<<20, fewRequests)
	in := p.ask(0, "POST", "/login?user=ann", nil)
	want(t, in, http.StatusOK)
	cookie := http.Header{"Cookie": {in.Cookies()[0].String()}}
	for _, a := range p.atOnce(200, "POST", "/visit", cookie) {
		want(t, a, http.StatusOK)
	}
	for i := range p {
		a := p.ask(i, "GET", "/session", cookie)
		want(t, a, http.StatusOK)
		var v sessionView
		if err := json.NewDecoder(a.Body).Decode(&v); err != nil || v.User != "ann" || v.Visits != 200 || v.Seen.Before(v.Created) {
			t.Errorf("server %d: %+v, %v; want 200 visits of ann", i, v, err)
		}
	}
	want(t, p.ask(1, "POST", "/logout", cookie), http.StatusOK)
	for _, path := range []string{"POST /visit", "GET /session", "POST /logout"} {
		var method, where string
		fmt.Sscan(path, &method, &where)
		want(t, p.ask(0, method, where, cookie), http.StatusUnauthorized)
		want(t, p.ask(0, method, where, nil), http.StatusUnauthorized)
		want(t, p.ask(0, method, where, http.Header{"Cookie": {"session=" + fmt.Sprintf("%0100d", 0)}}), http.StatusUnauthorized)
	}
	want(t, p.ask(0, "POST", "/login", nil), http.StatusBadRequest)
	want(t, p.ask(0, "POST", "/login?user="+fmt.Sprintf("%033d", 0), nil), http.StatusBadRequest)
}

// TestSession_Expires: a visit gives a session its whole time again.
func TestSession_Expires(t *testing.T) {
	p := newPair(t, 16<<20, fewRequests)
	in := p.ask(0, "POST", "/login?user=ann", nil)
	token := in.Cookies()[0].Value
	cookie := http.Header{"Cookie": {in.Cookies()[0].String()}}
	if _, err := p[0].sessions.Expire(token, sessionTTL/2); err != nil {
		t.Fatal(err)
	}
	want(t, p.ask(1, "POST", "/visit", cookie), http.StatusOK)
	if left, ok := p[0].sessions.TTL(token); !ok || left <= sessionTTL/2 {
		t.Errorf("%v left after a visit, want about %v", left, sessionTTL)
	}
	if _, err := p[0].sessions.Expire(token, 1); err != nil {
		t.Fatal(err)
	}
	want(t, p.ask(1, "POST", "/visit", cookie), http.StatusUnauthorized)
}

func TestLimiter(t *testing.T) {
	p := newPair(t, 16<<20, fewRequests)
	client := http.Header{"X-Client": {"greedy"}}
	passed := 0
	for _, a := range p.atOnce(100, "GET", "/api", client) {
		if a.StatusCode == http.StatusOK {
			passed++
			continue
		}
		want(t, a, http.StatusTooManyRequests)
		if wait, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || wait < 3000 || wait > 3600 {
			t.Errorf("Retry-After %d, %v: want about an hour", wait, err)
		}
		if rest := a.Header.Get("X-RateLimit-Remaining"); rest != "0" {
			t.Errorf("refused with %s left", rest)
		}
	}
	if passed != int(fewRequests.Limit) {
		t.Errorf("%d passed, want %d", passed, fewRequests.Limit)
	}
	modest := p.ask(0, "GET", "/api", http.Header{"X-Client": {"modest"}})
	want(t, modest, http.StatusOK)
	if rest := modest.Header.Get("X-RateLimit-Remaining"); rest != "9" {
		t.Errorf("%s left after the first, want 9", rest)
	}
	want(t, p.ask(0, "GET", "/api", nil), http.StatusOK) // by address

	if _, err := p[0].windows.Expire("greedy", 1); err != nil { // the window ends
		t.Fatal(err)
	}
	want(t, p.ask(1, "GET", "/api", client), http.StatusOK)
	if left, ok := p[0].windows.TTL("greedy"); !ok || left < fewRequests.window()/2 {
		t.Errorf("%v left of the next window, want an hour", left)
	}
}

func TestReport(t *testing.T) {
	p := newPair(t, 16<<20, fewRequests)
	how := make(map[string]int)
	answers := p.atOnce(100, "GET", "/report?id=7&work=50ms", nil)
	first := text(answers[0])
	for i, a := range answers {
		want(t, a, http.StatusOK)
		how[a.Header.Get("X-Report")]++
		if page := text(a); i > 0 && page != first {
			t.Errorf("two pages: %s and %s", first, page)
		}
	}
	if n := p[0].loads.Load(); n != 1 || how[reportLoaded] != 1 || how[reportLoaded]+how[reportWaited]+how[reportHit] != 100 {
		t.Errorf("%d loads, answers %v: want one load", n, how)
	}
	if a := p.ask(1, "GET", "/report?id=7", nil); a.Header.Get("X-Report") != reportHit {
		t.Errorf("%q afterwards, want a hit", a.Header.Get("X-Report"))
	}
	for _, bad := range []string{"/report", "/report?id=7&work=x", "/report?id=7&work=-1s", "/report?id=7&work=1h", "/report?id=" + fmt.Sprintf("%0101d", 0)} {
		want(t, p.ask(0, "GET", bad, nil), http.StatusBadRequest)
	}
	if n := p[0].loading.Len(); n != 0 {
		t.Errorf("%d reports are said to be loading", n)
	}
}

// TestReport_Fails: that there is none is found out once, for all who ask at once.
func TestReport_Fails(t *testing.T) {
	p := newPair(t, 16<<20, fewRequests)
	for _, a := range p.atOnce(20, "GET", "/report?id=no-such&work=50ms", nil) {
		want(t, a, http.StatusBadGateway)
		if said := text(a); said != "there is no report \"no-such\"\n" {
			t.Errorf("%q", said)
		}
	}
	if n := p[0].loads.Load(); n < 1 || n > 20 { // more than once only if the second of memory was over
		t.Errorf("%d loads", n)
	}
}

// TestReport_ClientGone: who loads does so for all, also when his client leaves.
func TestReport_ClientGone(t *testing.T) {
	p := newPair(t, 16<<20, fewRequests)
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan *http.Response)
	go func() { gone <- p.askUnder(ctx, 0, "GET", "/report?id=7&work=2s", nil) }()
	for !p[1].loading.Contains("7") && p[1].loads.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	want(t, p.ask(1, "GET", "/report?id=7&work=2s", nil), http.StatusOK)
	<-gone
	if n := p[1].loads.Load(); n != 1 {
		t.Errorf("%d loads, want 1", n)
	}
}

// TestFull: who is known is served, who is not is told to come later.
func TestFull(t *testing.T) {
	p := newPair(t, 4<<20, rule{Limit: 1e9, Window: fewRequests.Window})
	status := http.StatusOK
	for i := 0; status == http.StatusOK && i < 1e6; i++ {
		status = p.ask(i, "GET", "/api", http.Header{"X-Client": {strconv.Itoa(i)}}).StatusCode
	}
	if status != http.StatusServiceUnavailable {
		t.Errorf("answer %d of a full arena", status)
	}
	want(t, p.ask(0, "GET", "/report?id=1&work=0s", nil), http.StatusOK) // made, stored or not
	want(t, p.ask(1, "GET", "/stats", nil), http.StatusOK)
}

func TestStats(t *testing.T) {
	p := newPair(t, 16<<20, fewRequests)
	p.ask(0, "POST", "/login?user=ann", nil)
	p.ask(1, "GET", "/api", nil)
	p.ask(0, "GET", "/report?id=1&work=0s", nil)
	var st stats
	if err := json.NewDecoder(p.ask(1, "GET", "/stats", nil).Body).Decode(&st); err != nil {
		t.Fatal(err)
	}
	if st.Requests != 4 || st.Logins != 1 || st.Sessions != 1 || st.Passed != 1 || st.Clients != 1 || st.Loads != 1 || st.Reports != 1 || len(st.Processes) != 2 {
		t.Errorf("%+v", st)
	}
}
