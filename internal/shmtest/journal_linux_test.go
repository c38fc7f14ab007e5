package shmtest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func init() { roles["scribe"] = scribe }

// scribe writes, and is killed.
func scribe(args []string) int {
	j := OpenJournal(args[0])
	j.Word(j.Len() - 1).Store(7)
	Say("written")
	select {}
}

func TestJournal_Killed(t *testing.T) {
	j := NewJournal(t, 1000)
	require.Equal(t, 1000, j.Len())
	c := Start(t, "scribe", j.Path())
	c.Expect("written")
	require.False(t, c.Ended())
	c.Doom()
	c.Kill()
	require.True(t, c.Ended())
	require.True(t, c.Wait())
	c.Kill() // once more is no error
	require.EqualValues(t, 7, j.Word(999).Load())
	require.Zero(t, j.Word(998).Load())
}
