package shm

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestName(t *testing.T) {
	for _, name := range []string{"a", "0", "Shop-1.v2_x", "a.b", "a-", strings.Repeat("x", 200)} {
		require.NoError(t, checkName(name), name)
	}
	for name, why := range map[string]string{
		"":                       "it is empty",
		".hidden":                `it begins with "."`,
		"-rf":                    `it begins with "-"`,
		"_x":                     `it begins with "_"`,
		"a..b":                   `it contains ".."`,
		"a/b":                    `it contains "/" at byte 1`,
		"a b":                    `it contains " " at byte 1`,
		"a\x00":                  `it contains "\x00" at byte 1`,
		"b\u00fc":                "at byte 1",
		strings.Repeat("x", 201): "it has 201 bytes",
	} {
		err := checkName(name)
		require.ErrorIs(t, err, ErrName, name)
		require.ErrorIs(t, err, fs.ErrInvalid, name)
		require.ErrorContains(t, err, why)
		require.ErrorContains(t, err, "allowed:")
	}
}

func TestName_Path(t *testing.T) {
	path, err := pathOf("", "shop")
	require.NoError(t, err)
	require.Equal(t, "/dev/shm/shmkit.shop", filepath.ToSlash(path))

	path, err = pathOf("here", "shop")
	require.NoError(t, err)
	require.True(t, filepath.IsAbs(path), "must not move with the working directory: %s", path)
}

func TestOptions_Refused(t *testing.T) {
	for want, o := range map[string]*Options{
		"size 0":                     nil,
		"size -1":                    {Size: -1},
		"maximum size 1: at least":   {Size: 2, MaxSize: 1},
		"maximum size -1: at least":  {Size: 2, MaxSize: -1},
		"at most 70368744177664":     {Size: 1, MaxSize: 1<<46 + 1},
		"mode -r--------":            {Size: 1, Mode: 0o400},
		"mode d":                     {Size: 1, Mode: fs.ModeDir | 0o600},
		"permission bits expected, ": {Size: 1, Mode: fs.ModeSetuid | 0o600},
	} {
		_, err := Create("refused", o)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, `create "refused"`)
		_, err = Heap(o)
		require.ErrorContains(t, err, want)
	}
}
