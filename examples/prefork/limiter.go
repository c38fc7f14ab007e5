package main

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/shmkit/shmkit/hashmap"
)

// limited lets a client through so many times in a window. The window begins with
// the first request, which creates the count with a time to live; who comes later
// adds to it and leaves the deadline. When it has passed the count is not there, and
// the next request begins another. Both is one step each, so no two workers ever
// begin two windows, or let the same number through twice.
func (s *server) limited(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		client, rule := clientOf(r), s.rule.Load()
		limit := uint64(rule.Limit)
		n, err := hashmap.AddInitial(s.windows, client, 1, 0, rule.window())
		if err != nil {
			fail(w, err)
			return
		}
		w.Header().Set("X-RateLimit-Limit", strconv.FormatUint(limit, 10))
		w.Header().Set("X-RateLimit-Remaining", strconv.FormatUint(limit-min(n, limit), 10))
		if n <= limit {
			s.passed.Inc()
			next(w, r)
			return
		}
		s.refused.Inc()
		left, _ := s.windows.TTL(client)
		w.Header().Set("Retry-After", strconv.Itoa(wholeSeconds(left)))
		http.Error(w, fmt.Sprintf("%d requests in this window, of %d", n, limit), http.StatusTooManyRequests)
	}
}

// wholeSeconds rounds up, since who comes early is refused again; 0 means now.
func wholeSeconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// longestClient bounds what a client can make us store.
const longestClient = 64

// clientOf says who asks: the header, for a demonstration from one machine, or
// else the address.
func clientOf(r *http.Request) string {
	client := r.Header.Get("X-Client")
	if client == "" {
		client, _, _ = net.SplitHostPort(r.RemoteAddr)
	}
	return client[:min(len(client), longestClient)]
}
