package netstack

import (
	"reflect"

	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// senderState finds where gVisor keeps a stream's congestion window and slow start
// threshold, in a field that is not exported. Callers hold e's lock, and hold it whenever
// they use the result: gVisor does so as well. It returns nil while e is not connected, and
// where a newer gVisor has no such field; then TestReopen and TestSpreadSlowStartGoesOn
// fail.
func senderState(e *tcp.Endpoint) *tcp.TCPSenderState {
	snd := reflect.ValueOf(e).Elem().FieldByName("snd")
	if !snd.IsValid() || snd.Kind() != reflect.Pointer || snd.IsNil() || snd.Elem().Kind() != reflect.Struct {
		return nil
	}
	state := snd.Elem().FieldByName("TCPSenderState")
	if !state.IsValid() || state.Type() != reflect.TypeFor[tcp.TCPSenderState]() {
		return nil
	}
	return (*tcp.TCPSenderState)(state.Addr().UnsafePointer())
}
