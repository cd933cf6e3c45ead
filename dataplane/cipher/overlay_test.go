package cipher

import "testing"

// TestClassAddr: computed with Python's hashlib from the generator point's key.
func TestClassAddr(t *testing.T) {
	pk, err := ParsePubKeyText("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		class uint32
		want  string
	}{
		{0, "fd0f:715b:af5d:4c2e:d329:785c:ef29:e562"},
		{1, "fc43:1ad6:1205:f9b5:89e0:6bec:b516:d76a"},
		{0xfffffffe, "fcdd:8c04:753e:6309:5f88:2da3:a1cb:7623"},
	} {
		if got := pk.ClassAddr(v.class).String(); got != v.want {
			t.Errorf("ClassAddr(%d) = %s, want %s", v.class, got, v.want)
		}
	}
	if pk.ClassAddr(0) != pk.OverlayAddr() {
		t.Error("class 0 is not the ordinary address")
	}
}
