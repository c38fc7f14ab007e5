package main

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/shmkit/shmkit/hashmap"
)

// session is stored as it is in memory. It holds no pointers, so the name of the
// user is an array and not a string.
type session struct {
	User          name
	Visits        uint64
	Created, Seen int64 // Unix time in ns
}

type name [32]byte

func newName(s string) (n name, err error) {
	if s == "" || len(s) > len(n) {
		return n, fmt.Errorf("user %q: want 1 to %d bytes", s, len(n))
	}
	copy(n[:], s)
	return n, nil
}

func (n name) String() string { return strings.TrimRight(string(n[:]), "\x00") }

// sessionView is how a session is shown.
type sessionView struct {
	User    string    `json:"user"`
	Visits  uint64    `json:"visits"`
	Created time.Time `json:"created"`
	Seen    time.Time `json:"seen"`
}

func (v *session) view() sessionView {
	return sessionView{v.User.String(), v.Visits, time.Unix(0, v.Created), time.Unix(0, v.Seen)}
}

const (
	sessionCookie = "session"
	longestToken  = 64
)

// login begins a session. The cookie is all the client has of it: 130 random bits.
func (s *server) login(w http.ResponseWriter, r *http.Request) {
	user, err := newName(r.FormValue("user"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	now := time.Now().UnixNano()
	v := session{User: user, Created: now, Seen: now}
	token := rand.Text()
	if err := s.sessions.Store(token, v); err != nil {
		fail(w, err)
		return
	}
	s.logins.Inc()
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: token, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	reply(w, v.view())
}

// visit counts a visit. Compute sees to it that of two visits at two workers
// neither is lost: the one that comes second is computed again from the first. And
// in the same step the session has its whole time to live again.
func (s *server) visit(w http.ResponseWriter, r *http.Request) {
	token := tokenOf(r)
	now := time.Now().UnixNano()
	v, ok, err := s.sessions.Compute(token, func(v session, ok bool) (session, hashmap.Action) {
		if !ok {
			return v, hashmap.Cancel
		}
		v.Visits++
		v.Seen = max(v.Seen, now)
		return v, hashmap.Renew
	})
	if ok && err == nil {
		s.visits.Inc()
	}
	answerSession(w, &v, ok, err)
}

// session shows a session and changes nothing.
func (s *server) session(w http.ResponseWriter, r *http.Request) {
	v, ok := s.sessions.Load(tokenOf(r))
	answerSession(w, &v, ok, s.sessions.Err())
}

func (s *server) logout(w http.ResponseWriter, r *http.Request) {
	v, ok, err := s.sessions.LoadAndDelete(tokenOf(r))
	answerSession(w, &v, ok, err)
}

func answerSession(w http.ResponseWriter, v *session, ok bool, err error) {
	switch {
	case err != nil:
		fail(w, err)
	case !ok:
		http.Error(w, "no session: log in first", http.StatusUnauthorized)
	default:
		reply(w, v.view())
	}
}

// tokenOf returns the cookie, "" if there is none that could be ours: no session
// has that.
func tokenOf(r *http.Request) string {
	c, err := r.Cookie(sessionCookie)
	if err != nil || len(c.Value) > longestToken {
		return ""
	}
	return c.Value
}
