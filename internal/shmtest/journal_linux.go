package shmtest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/mem"
	"github.com/shmkit/shmkit/internal/psync"
)

// Journal is a row of words in a file that parent and children have mapped. What
// a child has stored there is seen after its SIGKILL, to the last store. It is no
// segment: what is under test has no part in it.
type Journal struct {
	path  string
	words []byte
}

// NewJournal makes a journal of zeros, for as long as the test lasts.
func NewJournal(t testing.TB, words int) *Journal {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal")
	require.NoError(t, os.WriteFile(path, make([]byte, 8*words), 0o600))
	j, err := mapJournal(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, mem.Unmap(j.words)) })
	return j
}

// OpenJournal opens the journal of the parent, in a child.
func OpenJournal(path string) *Journal {
	j, err := mapJournal(path)
	Must(err)
	return j
}

func mapJournal(path string) (*Journal, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	about, err := file.Stat()
	if err != nil {
		return nil, err
	}
	b, err := mem.Map(int(file.Fd()), int(about.Size()), true)
	return &Journal{path, b}, err
}

// Path is what a child opens the journal by.
func (j *Journal) Path() string { return j.path }

// Len returns the number of words.
func (j *Journal) Len() int { return len(j.words) / 8 }

// Word returns a word. Stores are seen by all processes, in their order.
func (j *Journal) Word(i int) *psync.Word64 {
	return mem.Cast[psync.Word64](mem.PtrOf(j.words[8*i : 8*i+8]))
}
