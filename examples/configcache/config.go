package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

//go:embed mime-db/db.json
var mediaTypes []byte

// config is a JSON object: for each key the compact JSON of its value.
type config map[string][]byte

// source is where the configuration comes from.
type source struct {
	file string // "": the table of media types
	seen time.Time
	last config
}

// read returns the configuration as it is now. It is parsed when it has changed.
func (s *source) read() (config, error) {
	if s.last != nil && !s.changed() {
		return s.last, nil
	}
	text, err := s.text()
	if err != nil {
		return nil, err
	}
	c, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.file, err)
	}
	s.last = c
	return c, nil
}

func (s *source) text() ([]byte, error) {
	if s.file == "" {
		return mediaTypes, nil
	}
	s.seen = s.modified()
	return os.ReadFile(s.file)
}

// changed reports whether the file was modified since it was read.
func (s *source) changed() bool { return s.file != "" && !s.modified().Equal(s.seen) }

func (s *source) modified() time.Time {
	fi, err := os.Stat(s.file)
	if err != nil {
		return time.Time{} // read will say why
	}
	return fi.ModTime()
}

func parse(text []byte) (config, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, fmt.Errorf("want a JSON object: %w", err)
	}
	c := make(config, len(members))
	for key, raw := range members {
		var b bytes.Buffer
		if err := json.Compact(&b, raw); err != nil {
			return nil, fmt.Errorf("%q: %w", key, err)
		}
		c[key] = b.Bytes()
	}
	return c, nil
}
