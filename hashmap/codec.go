package hashmap

import (
	"encoding"
	"encoding/json"
)

// Codec turns values into bytes and back, for an [Encoded] map. It is called by
// many goroutines at once, with no lock held and never on shared memory: it may
// take its time, fail, and panic, and the map is as it was.
type Codec[V any] interface {
	// Name says what the bytes are; it is stored with the map. A codec that can't
	// read the bytes of another one has another name.
	Name() string
	// Append appends the bytes of v to dst, of which it keeps nothing, and returns
	// the whole. The comparing verbs take values for equal whose bytes are.
	Append(dst []byte, v V) ([]byte, error)
	// Decode makes *v, which is zero, the value whose bytes are src. It neither
	// keeps src nor writes to it. Any process that may write the arena can store
	// any bytes: for those that Append has not made it returns an error.
	Decode(src []byte, v *V) error
}

// JSON returns the codec "json", of package encoding/json. Equal maps have equal
// bytes: their keys are sorted.
func JSON[V any]() Codec[V] { return jsonCodec[V]{} }

type jsonCodec[V any] struct{}

func (jsonCodec[V]) Name() string { return "json" }

func (jsonCodec[V]) Append(dst []byte, v V) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(dst, b...), err
}

func (jsonCodec[V]) Decode(src []byte, v *V) error { return json.Unmarshal(src, v) }

// Binary returns the codec "binary", for a V that makes its bytes itself, such as
// time.Time, netip.Addr or url.URL: Binary[netip.Addr]().
func Binary[V any, P interface {
	*V
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}]() Codec[V] {
	return binaryCodec[V, P]{}
}

type binaryCodec[V any, P interface {
	*V
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}] struct{}

func (binaryCodec[V, P]) Name() string { return "binary" }

func (binaryCodec[V, P]) Append(dst []byte, v V) ([]byte, error) { return P(&v).AppendBinary(dst) }

func (binaryCodec[V, P]) Decode(src []byte, v *V) error { return P(v).UnmarshalBinary(src) }
