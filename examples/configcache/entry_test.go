package main

import (
	"slices"
	"testing"
)

func TestEntry(t *testing.T) {
	for _, value := range []string{"", "1", "1234567", "12345678", `{"source":"iana"}`} {
		e := appendEntry(nil, 7, "text/css", []byte(value))
		if g, v := inspect(e, digest("text/css")); g != 7 || v != intact {
			t.Errorf("%q: generation %d, verdict %d", value, g, v)
		}
		if _, v := inspect(e, digest("text/csv")); v != wrong {
			t.Errorf("%q under another key: verdict %d, want %d", value, v, wrong)
		}
		for bit := range len(e) * 8 {
			bad := slices.Clone(e)
			bad[bit/8] ^= 1 << (bit % 8)
			if _, v := inspect(bad, digest("text/css")); v != torn {
				t.Fatalf("%q with bit %d flipped: verdict %d, want %d", value, bit, v, torn)
			}
		}
		for n := range e {
			if _, v := inspect(e[:n], digest("text/css")); v != torn {
				t.Fatalf("%d bytes of %q: verdict %d, want %d", n, value, v, torn)
			}
		}
	}
}

// TestEntry_Mixed joins the first words of one generation to the last of another.
func TestEntry_Mixed(t *testing.T) {
	a := appendEntry(nil, 1, "k", []byte(`{"compressible":true,"extensions":["css"]}`))
	b := appendEntry(nil, 2, "k", []byte(`{"compressible":true,"extensions":["csv"]}`))
	for n := 8; n < len(a)-2; n += 8 {
		if _, v := inspect(slices.Concat(a[:n], b[n:]), digest("k")); v != torn {
			t.Errorf("cut at %d: verdict %d, want %d", n, v, torn)
		}
	}
}
