package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/shmkit/shmkit/hashmap"
)

// server answers requests. All it remembers is shared, so it does not matter which
// server answers which request.
type server struct {
	*shared
	mux      *http.ServeMux
	draining atomic.Bool // clients are to come again by another connection
}

// examples are what to try with -serve; %[1]s is where, %[2]d the supervisor.
const examples = `
  curl -c jar -d user=ann %[1]s/login     # a session, valid at every worker
  curl -b jar -d '' %[1]s/visit           # count a visit; GET /session shows it
  curl -i '%[1]s/report?id=7'             # slow once, then X-Report: hit; &work=3s is slower
  curl -i -H 'X-Client: me' %[1]s/api     # the limiter: Retry-After when it is enough
  curl %[1]s/stats                        # any worker answers for all
  kill -9 PID                                              # of a worker, as X-Worker says: nothing is lost
  kill -HUP %-47[2]d# replace all workers: nobody notices
`

func newServer(s *shared) *server {
	srv := &server{shared: s, mux: http.NewServeMux()}
	srv.mux.HandleFunc("POST /login", srv.login)
	srv.mux.HandleFunc("POST /visit", srv.visit)
	srv.mux.HandleFunc("GET /session", srv.session)
	srv.mux.HandleFunc("POST /logout", srv.logout)
	srv.mux.HandleFunc("GET /report", srv.report)
	srv.mux.HandleFunc("GET /api", srv.limited(srv.api))
	srv.mux.HandleFunc("GET /stats", srv.stats)
	return srv
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Inc()
	w.Header().Set("X-Worker", strconv.Itoa(os.Getpid()))
	if s.draining.Load() {
		w.Header().Set("Connection", "close")
	}
	s.mux.ServeHTTP(w, r)
}

// api is what the limiter guards.
func (s *server) api(w http.ResponseWriter, r *http.Request) {
	reply(w, map[string]string{"hello": clientOf(r)})
}

// stats is what all workers have done and know, as any of them sees it.
type stats struct {
	AnsweredBy int               `json:"answered_by"`
	Processes  []process         `json:"processes"` // that have the arena open
	Requests   uint64            `json:"requests"`
	Logins     uint64            `json:"logins"`
	Visits     uint64            `json:"visits"`
	Passed     uint64            `json:"api_passed"`
	Refused    uint64            `json:"api_refused"`
	Loads      uint64            `json:"report_loads"`
	Loading    map[string]uint64 `json:"report_loading"` // by whom
	Starts     uint64            `json:"worker_starts"`
	Kills      uint64            `json:"worker_kills"`
	Sessions   int               `json:"sessions"`
	Clients    int               `json:"api_clients"`
	Reports    int               `json:"reports"`
	Evictions  uint64            `json:"report_evictions"`
	ArenaBytes int64             `json:"arena_bytes"`
}

type process struct {
	PID   int       `json:"pid"`
	Since time.Time `json:"since"`
	Alive bool      `json:"alive"` // false: killed just now
}

func (s *server) stats(w http.ResponseWriter, _ *http.Request) {
	ps, err := s.arena.Processes()
	if err != nil {
		fail(w, err)
		return
	}
	loading, err := s.loading.Snapshot()
	if err != nil {
		fail(w, err)
		return
	}
	st := stats{
		AnsweredBy: os.Getpid(),
		Requests:   s.requests.Load(), Logins: s.logins.Load(), Visits: s.visits.Load(),
		Passed: s.passed.Load(), Refused: s.refused.Load(),
		Loads: s.loads.Load(), Loading: loading,
		Starts: s.starts.Load(), Kills: s.kills.Load(),
		Sessions: s.sessions.Len(), Clients: s.windows.Len(), Reports: s.reports.Len(),
		Evictions: s.reports.Evictions(), ArenaBytes: s.arena.Size(),
	}
	for _, p := range ps {
		st.Processes = append(st.Processes, process{p.PID, p.Started, p.Alive})
	}
	reply(w, st)
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

// fail answers for a structure that did not do what it was asked. A full one is no
// fault of the program: what was there is there, and expires.
func fail(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if errors.Is(err, hashmap.ErrFull) || errors.Is(err, hashmap.ErrNoSpace) {
		status = http.StatusServiceUnavailable
	}
	http.Error(w, err.Error(), status)
}
