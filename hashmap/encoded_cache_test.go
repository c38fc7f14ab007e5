package hashmap

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmkit/shmkit/internal/shmtest"
)

// An encoded map has deadlines, by each verb those that a map would set.
func TestEncoded_TTL(t *testing.T) {
	m, err := CreateEncoded[string](shmtest.Heap(t, roomy), "m", JSON[config](), &Options{TTL: time.Minute})
	require.NoError(t, err)
	s := new(sundial)
	s.rule(&m.raw.table)
	left := func() time.Duration {
		d, ok := m.TTL("k")
		require.True(t, ok)
		return d.Round(time.Second)
	}
	require.NoError(t, m.StoreTTL("k", configOf(1), time.Hour))
	require.Equal(t, time.Hour, left())
	_, _, err = m.Swap("k", configOf(2))
	require.NoError(t, err)
	require.Equal(t, time.Minute, left(), "Swap begins anew")
	s.at = 10 * time.Second
	require.True(t, yes(t)(m.CompareAndSwap("k", configOf(2), configOf(3))))
	_, _, err = m.Compute("k", to(configOf(4), Store))
	require.NoError(t, err)
	require.Equal(t, 50*time.Second, left(), "they leave it")
	v, ok, err := m.Compute("k", to(configOf(5), Renew))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, configOf(5), v)
	require.Equal(t, time.Minute, left())
	require.True(t, yes(t)(m.Expire("k", time.Second)))
	require.True(t, yes(t)(m.Persist("k")))
	require.Zero(t, left())
	require.True(t, yes(t)(m.Expire("k", time.Second)))
	s.at = time.Hour
	_, ok = m.Load("k")
	require.False(t, ok)
	n, err := m.PurgeExpired(10)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	_, _, err = m.LoadOrStore("k", configOf(6))
	require.NoError(t, err)
	require.Equal(t, time.Minute, left())
}

// A value is loaded once, and then is the one that Load returns.
func TestEncoded_Fetch(t *testing.T) {
	m, err := CreateEncoded[string](shmtest.Heap(t, roomy), "m", JSON[config](), nil)
	require.NoError(t, err)
	loads := 0
	load := func(context.Context, string) (config, error) {
		loads++
		return configOf(loads), nil
	}
	since := m.Version()
	for _, o := range []*FetchOptions{nil, nil, {TTL: time.Hour, Stale: time.Hour}} {
		v, err := m.Fetch(soon(t), "k", load, o)
		require.NoError(t, err)
		require.Equal(t, configOf(1), *v)
		same, ok := m.Load("k")
		require.True(t, ok)
		require.Same(t, same, v)
	}
	require.Equal(t, 1, loads)
	_, err = m.WaitChange(soon(t), since)
	require.NoError(t, err)
	require.NoError(t, m.WaitKey(soon(t), "k", KeyVersion{}))
	require.Equal(t, m.KeyVersion("k"), m.KeyVersion("k"))

	broken := errors.New("broken")
	v, err := m.Fetch(soon(t), "none", func(context.Context, string) (config, error) { return config{}, broken }, nil)
	require.ErrorIs(t, err, broken)
	require.Nil(t, v)
	require.NoError(t, m.raw.Store("bad", []byte("{")))
	_, err = m.Fetch(soon(t), "bad", load, nil)
	require.ErrorIs(t, err, ErrCodec)
}

// A decoded value is there as long as its entry is.
func TestEncoded_CacheExpires(t *testing.T) {
	m, err := CreateEncoded[string](shmtest.Heap(t, roomy), "m", JSON[config](), nil)
	require.NoError(t, err)
	s := &sundial{at: time.Hour}
	s.rule(&m.raw.table)
	require.NoError(t, m.StoreTTL("k", configOf(1), time.Minute))
	loads := 0
	load := func(context.Context, string) (config, error) {
		loads++
		return configOf(2), nil
	}
	_, err = m.Fetch(t.Context(), "k", load, nil)
	require.NoError(t, err)
	require.Zero(t, loads)
	s.at += time.Minute - 1
	_, ok := m.Load("k")
	require.True(t, ok)
	s.at++
	_, ok = m.Load("k")
	require.False(t, ok)
	v, err := m.Fetch(t.Context(), "k", load, nil)
	require.NoError(t, err)
	require.Equal(t, configOf(2), *v)
	require.Equal(t, 1, loads)
}

// A Load of a decoded value is a use, and counted, as that of a Map.
func TestEncoded_CacheTells(t *testing.T) {
	m, err := CreateEncoded[string](shmtest.Heap(t, roomy), "m", JSON[config](), &Options{Limit: 256, CountReads: true})
	require.NoError(t, err)
	require.NoError(t, m.Store("hot", configOf(1)))
	for i := range 2000 {
		for range 20 {
			_, ok := m.Load("hot")
			require.True(t, ok, "after %d others", i)
		}
		require.NoError(t, m.Store(key16(i), configOf(2)))
	}
	_, ok := m.Load("cold")
	require.False(t, ok)
	s, err := m.Stats()
	require.NoError(t, err)
	require.EqualValues(t, 40_000, s.Hits)
	require.EqualValues(t, 1, s.Misses)
}
