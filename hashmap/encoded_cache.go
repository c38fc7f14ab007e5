package hashmap

import (
	"context"
	"errors"
	"time"
)

// What makes a cache of an encoded map: deadlines, loading, changes. It is all done
// by the map of bytes below.

// StoreTTL is Store for an entry that is there for so long only; see
// [Map.StoreTTL].
func (m *Encoded[K, V]) StoreTTL(k K, v V, ttl time.Duration) error {
	buffer := m.borrow()
	defer m.buffers.Put(buffer)
	if err := m.encode(buffer, k, v); err != nil {
		return err
	}
	return m.raw.StoreTTL(k, *buffer, ttl)
}

// Expire is [Map.Expire].
func (m *Encoded[K, V]) Expire(k K, ttl time.Duration) (bool, error) { return m.raw.Expire(k, ttl) }

// Persist is [Map.Persist].
func (m *Encoded[K, V]) Persist(k K) (bool, error) { return m.raw.Persist(k) }

// TTL is [Map.TTL].
func (m *Encoded[K, V]) TTL(k K) (left time.Duration, ok bool) { return m.raw.TTL(k) }

// PurgeExpired is [Map.PurgeExpired].
func (m *Encoded[K, V]) PurgeExpired(n int) (int, error) { return m.raw.PurgeExpired(n) }

// Fetch returns the value of a key, as Load does, and has it loaded if it is not
// there, as [Map.Fetch] does: by one goroutine of one process, for all who want it.
// A value that could not be stored comes with the error. One that load returns and
// the codec does not encode is an error that wraps ErrCodec, and so is one that is
// there and does not decode.
func (m *Encoded[K, V]) Fetch(ctx context.Context, k K, load func(context.Context, K) (V, error), o *FetchOptions) (*V, error) {
	if m.raw.floor.Pool != nil && (o == nil || o.Stale == 0) {
		if v, ok := m.peek(k); ok {
			if m.raw.tells {
				m.tell(k, ok)
			}
			return v, nil
		}
	}
	b, err := m.raw.Fetch(ctx, k, func(ctx context.Context, k K) (b []byte, err error) {
		v, err := load(ctx, k)
		if err == nil {
			err = m.encode(&b, k, v)
		}
		return b, err
	}, o)
	if err == nil {
		if v, ok := m.peek(k); ok { // the one that all share
			return v, nil
		}
	} else if len(b) == 0 {
		return nil, err
	}
	v := new(V)
	if failed := m.decode(k, b, v); failed != nil {
		return nil, errors.Join(err, failed)
	}
	return v, err
}

// Version is [Map.Version].
func (m *Encoded[K, V]) Version() uint64 { return m.raw.Version() }

// WaitChange is [Map.WaitChange].
func (m *Encoded[K, V]) WaitChange(ctx context.Context, since uint64) (uint64, error) {
	return m.raw.WaitChange(ctx, since)
}

// KeyVersion returns the version of a key, for WaitKey. Take the version first and
// the value after. See [Map.LoadVersion].
func (m *Encoded[K, V]) KeyVersion(k K) KeyVersion { return m.raw.KeyVersion(k) }

// WaitKey is [Map.WaitKey].
func (m *Encoded[K, V]) WaitKey(ctx context.Context, k K, since KeyVersion) error {
	return m.raw.WaitKey(ctx, k, since)
}
