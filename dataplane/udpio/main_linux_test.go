package udpio

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// namespaceName is the name of a test process inside its own network namespace.
const namespaceName = "udpio-in-namespace"

// namespaceMTU is the MTU of the loopback device in there, bytes.
const namespaceMTU = 1500

// inNamespace runs the calling test again in a fresh user and network namespace, in
// which the loopback device has an MTU of namespaceMTU, and returns false; in there
// it returns true.
//
//	+------------- namespace -------------+
//	|  test sockets on 127.0.0.1 and ::1  |
//	|            lo, mtu 1500             |
//	+-------------------------------------+
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Args[0] == namespaceName {
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Args[0] = namespaceName
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("in a namespace: %v\n%s", err, out)
	} else if !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("the test did not run in the namespace:\n%s", out)
	}
	return false
}

// prepareNamespace brings the loopback device up if this is such a run.
func prepareNamespace() error {
	if os.Args[0] != namespaceName {
		return nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint32(namespaceMTU)
	errMTU := unix.IoctlIfreq(fd, unix.SIOCSIFMTU, ifr)
	ifr.SetUint16(unix.IFF_UP)
	return errors.Join(errMTU, unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr))
}

// openSocketCount returns how many sockets this process has open.
func openSocketCount() (n int) {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}
