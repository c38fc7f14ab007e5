package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/shmkit/shmkit/hashmap"
)

// report is a page that takes long to make. No two that are made are equal.
type report struct {
	ID   string    `json:"id"`
	By   int       `json:"loaded_by"` // pid
	At   time.Time `json:"loaded_at"`
	Text string    `json:"text"`
}

// reportTerms say how long a report is worth. When it is no more fresh, one who
// asks makes it anew and all others get the old one meanwhile; that there is none
// is remembered for a second.
var reportTerms = hashmap.FetchOptions{
	TTL: 10 * time.Minute, Stale: 10 * time.Minute, ErrorTTL: time.Second, Lease: 30 * time.Second,
}

const (
	usualWork   = 80 * time.Millisecond
	longestWork = 10 * time.Second
	longestID   = 100
)

// How a request came to its report, said in the header X-Report.
const (
	reportHit    = "hit"    // it was there
	reportWaited = "waited" // somebody else was making it
	reportLoaded = "loaded" // this request made it
)

// report answers with a report, and makes it if it is not there, or waits for who
// does, in whatever process that is.
func (s *server) report(w http.ResponseWriter, r *http.Request) {
	id, work, err := wanted(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	how := reportWaited
	if s.reports.Contains(id) {
		how = reportHit
	}
	page, err := s.reports.Fetch(r.Context(), id, func(_ context.Context, id string) ([]byte, error) {
		how = reportLoaded
		return s.load(id, work)
	}, &reportTerms)
	if err != nil && page == nil { // with a page: it was loaded, but there is no room for it
		status := http.StatusBadGateway
		if r.Context().Err() != nil {
			status = http.StatusServiceUnavailable // nobody will read it: the client is gone
		}
		http.Error(w, err.Error(), status)
		return
	}
	w.Header().Set("X-Report", how)
	w.Header().Set("Content-Type", "application/json")
	w.Write(page)
}

func wanted(r *http.Request) (id string, work time.Duration, err error) {
	id = r.FormValue("id")
	if id == "" || len(id) > longestID {
		return "", 0, fmt.Errorf("id %q: want 1 to %d bytes", id, longestID)
	}
	if text := r.FormValue("work"); text != "" {
		if work, err = time.ParseDuration(text); err != nil || work < 0 || work > longestWork {
			return "", 0, fmt.Errorf("work %q: want 0s to %v", text, longestWork)
		}
		return id, work, nil
	}
	return id, usualWork, nil
}

// load makes a report, which takes some work. It goes on when its client breaks
// off: others wait for it.
func (s *server) load(id string, work time.Duration) ([]byte, error) {
	s.loads.Inc() // before the mark: who sees that finds the load counted
	// The mark is for who wonders what goes on; if there is no room for it, it goes
	// on all the same. If we are killed, the next one puts his there.
	_ = s.loading.Store(id, uint64(os.Getpid()))
	defer s.loading.Delete(id)
	time.Sleep(work)
	if strings.HasPrefix(id, "no-") {
		return nil, fmt.Errorf("there is no report %q", id)
	}
	page, err := json.Marshal(report{ID: id, By: os.Getpid(), At: time.Now(), Text: rand.Text()})
	return append(page, '\n'), err
}
